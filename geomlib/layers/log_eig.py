"""The logarithm of SPD matrices, as matrices or as vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.vech import vech
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import checked_matrices, example_spd, logarithm, positive, spd_symmetry

__all__ = ["LogEig"]


class LogEig(nn.Module):
    r"""The matrix logarithm: from SPD matrices to a vector space, where ordinary layers follow.

    .. math:: Y = \log X = U \log(\Lambda)\, U^\top

    It is the chart of the log-Euclidean metric, so its output is also what layers with ``in_chart=True`` take. With
    ``vector=True`` the result is the upper triangle, row by row, with off-diagonal entries multiplied by √2: a vector whose
    scalar products are those of the matrices.

    **Group** O(n); as a vector, permutations of rows. **Shapes** ``x`` (..., n, n) to (..., n, n) or (..., n(n+1)/2).

    Args:
        n: size of the matrices.
        vector: return vectors.

    Raises:
        InvalidInput: wrong shapes or types at the call, a matrix that is not positive definite.

    Source: Z. Huang and L. Van Gool, *A Riemannian network for SPD matrix learning*, arXiv 1608.04233.

    >>> LogEig(2)(torch.eye(2))
    tensor([[0., 0.],
            [0., 0.]])
    >>> LogEig(3, vector=True)(torch.eye(3).expand(5, 3, 3)).shape
    torch.Size([5, 6])
    """

    def __init__(self, n: int, *, vector: bool = False) -> None:
        super().__init__()
        positive("LogEig", n=n)
        self.n, self.vector = n, vector

    @property
    def features(self) -> int:
        """Length of the vectors."""
        return self.n * (self.n + 1) // 2

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., n, n) -> (..., n, n) or (..., n(n+1)/2)
        """Return the logarithms.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        checked_matrices("LogEig", x, self.n)
        y = logarithm(x)
        return vech(y, symmetric=True) if self.vector else y

    @property
    def symmetry(self) -> Symmetry:
        """Rotations and reflections, of matrices to symmetric matrices; permutations of rows for vectors."""
        return rows_symmetry() if self.vector else spd_symmetry(self.n, outputs="sym")

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": example_spd(generator, self.n)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[LogEig, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(3)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the size and the form of the result."""
        return f"O({self.n}), {f'{self.features} scalars' if self.vector else 'symmetric matrices'}"
