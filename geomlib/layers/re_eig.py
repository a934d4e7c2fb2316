"""A floor under the eigenvalues: the rectifier of SPD networks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import first_bad, named, symmetrize, values_known
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._spd import checked_matrices, example_spd, positive, spd_symmetry

__all__ = ["ReEig"]

#: Zero for values, just below it for derivatives: at the floor itself the derivative is 0.
_BELOW_ZERO = -1e-300


class ReEig(nn.Module):
    r"""Eigenvalues below a floor are raised to it.

    .. math:: Y = U \max(\Lambda, \varepsilon)\, U^\top, \qquad X = U \Lambda U^\top

    With ``relative=True`` the floor of every matrix is :math:`\varepsilon \operatorname{tr}(X)/n`, and the layer commutes with
    scaling. Gradients are exact divided differences, also at equal eigenvalues; at the floor itself the derivative is 0.

    **Group** O(n). **Shapes** ``x`` (..., n, n) to (..., n, n).

    Args:
        n: size of the matrices.
        floor: :math:`\varepsilon > 0`.
        relative: measure the floor by the mean eigenvalue of each matrix.

    Raises:
        InvalidInput: a floor that is not positive; wrong shapes or types at the call; NaN in a matrix; a trace that is not
            positive with a relative floor.

    Source: Z. Huang and L. Van Gool, *A Riemannian network for SPD matrix learning*, arXiv 1608.04233; the relative floor is
    ours.

    >>> ReEig(2, floor=0.5)(torch.diag(torch.tensor([2.0, 0.1])))
    tensor([[2.0000, 0.0000],
            [0.0000, 0.5000]])
    """

    def __init__(self, n: int, floor: float = 1e-4, *, relative: bool = False) -> None:
        super().__init__()
        positive("ReEig", n=n)
        if not (floor > 0 and math.isfinite(floor)):
            raise InvalidInput(f"ReEig: floor = {floor!r}, expected a positive number.")
        self.n, self.floor, self.relative = n, float(floor), relative

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., n, n)
        """Return the rectified matrices.

        Raises:
            InvalidInput: shapes or types that do not fit, NaN in a matrix, a trace that is not positive.
        """
        checked_matrices("ReEig", x, self.n)
        wide = symmetrize(x.to(torch.promote_types(x.dtype, torch.float64)))
        one = torch.eye(self.n, dtype=wide.dtype, device=x.device)
        floor = self.floor * one
        if self.relative:
            mean = wide.diagonal(dim1=-2, dim2=-1).mean(-1)
            self._positive(mean)
            floor = floor * mean[..., None, None]
        # What is added, max(floor - X, 0), is small where X is large: rounding spares the eigenvalues above the floor.
        return (wide + symfun(floor - wide, "clamp", _BELOW_ZERO)).to(x.dtype)

    def _positive(self, mean: Tensor) -> None:
        if values_known(mean) and not bool((mean > 0).all()):
            where = first_bad(mean > 0)
            raise InvalidInput(
                f"ReEig: {named('x', where)} has trace {self.n * float(mean[where]):.3g}; a floor relative to it needs "
                "a positive trace. Use relative=False, or pass covariances."
            )

    @property
    def symmetry(self) -> Symmetry:
        """Rotations and reflections of matrices."""
        return spd_symmetry(self.n)

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": example_spd(generator, self.n)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[ReEig, dict[str, Any]]:
        """Return an instance and one set of inputs, with eigenvalues on both sides of the floor."""
        layer = cls(3, floor=0.6, relative=True)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the size and the floor."""
        return f"O({self.n}), floor={self.floor:g}{' of the mean' if self.relative else ''}"
