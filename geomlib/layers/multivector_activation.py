"""The gates of multivectors."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.geometric_product.gates import INVARIANTS, grade_gate
from geomlib.layers._multivectors import (
    checked,
    checked_sizes,
    example_of,
    label,
    symmetry_of,
)

__all__ = ["MVGELU", "MVSiLU"]


class _GradeGate(nn.Module):
    """Multiply every grade by a function of its invariant; what the two gates share."""

    _gate: ClassVar[str]

    def __init__(self, algebra: CliffordAlgebra, channels: int, invariant: str = "mag2") -> None:
        super().__init__()
        checked_sizes(type(self).__name__, algebra, channels=channels)
        if invariant not in INVARIANTS:
            raise InvalidInput(f"{type(self).__name__}: invariant={invariant!r}, expected 'mag2' or 'norm'.")
        self.algebra, self.channels, self.invariant = algebra, channels, invariant
        self.a = nn.Parameter(torch.ones(1, channels, algebra.n + 1))
        self.b = nn.Parameter(torch.zeros(1, channels, algebra.n + 1))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, 2^n)
        """Return the gated multivectors.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked(type(self).__name__, x, self.algebra, self.channels, self.a)
        return grade_gate(x, self.a[0], self.b[0], self.algebra, gate=self._gate, invariant=self.invariant)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    def extra_repr(self) -> str:
        """Return the group, the channels and the invariant."""
        return f"{label(self.algebra)}, {self.channels}, invariant={self.invariant!r}"


class MVSiLU(_GradeGate):
    r"""Multiply every grade by a sigmoid of its invariant.

    .. math:: y_{cg} = \sigma(a_{cg}\, u_{cg} + b_{cg})\, x_{cg}, \qquad
              u_{c0} = x_{c0}, \quad u_{cg} = q(x_{cg}) \text{ or } |x_{cg}|

    with :math:`|x| = (q(x)^2 + 10^{-16})^{1/4}`. Squares that would overflow are capped, so values and gradients stay finite.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., channels, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        invariant: ``"mag2"`` for the quadratic form, ``"norm"`` for the length.

    Raises:
        InvalidInput: an unknown invariant; wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVSiLU(CliffordAlgebra(1, 3), 4)
    >>> layer(torch.zeros(5, 4, 16)).abs().max()
    tensor(0., grad_fn=<MaxBackward1>)
    """

    _gate = "sigmoid"

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVSiLU, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3, 0, 1)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)


class MVGELU(_GradeGate):
    r"""Multiply every grade by the cumulated normal distribution at its invariant.

    .. math:: y_{cg} = \Phi(a_{cg}\, u_{cg} + b_{cg})\, x_{cg}, \qquad
              u_{c0} = x_{c0}, \quad u_{cg} = q(x_{cg}) \text{ or } |x_{cg}|

    On scalars, with a = 1 and b = 0, this is GELU. Squares that would overflow are capped, as in :class:`MVSiLU`.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., channels, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        invariant: ``"mag2"`` for the quadratic form, ``"norm"`` for the length.

    Raises:
        InvalidInput: an unknown invariant; wrong shapes or types at the call.

    Source: Hendrycks and Gimpel, *Gaussian error linear units (GELUs)*, arXiv 1606.08415, in the place of the sigmoid of
    Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVGELU(CliffordAlgebra(2), 1)
    >>> x = torch.tensor([[[0.5, 0.0, 0.0, 0.0]]])
    >>> torch.allclose(layer(x), torch.nn.functional.gelu(x))
    True
    """

    _gate = "normal"

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVGELU, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(1, 2)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)
