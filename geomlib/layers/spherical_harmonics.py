"""Spherical harmonics of directions, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.harmonics import NORMALIZATIONS, degrees_of
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.harmonics import spherical_harmonics

__all__ = ["SphericalHarmonics"]


class SphericalHarmonics(nn.Module):
    r"""Real spherical harmonics of vectors, of any degree.

    .. math:: Y_{lm}(x) = N_{l|m|}\, Q_l^{|m|}(x)\, \{\sqrt2\, s_{|m|},\; 1,\; \sqrt2\, c_m\}, \qquad c_m + i s_m = (z + ix)^m,
              \qquad Y_l(Rx) = D^l(R)\, Y_l(x)

    with :math:`Q_m^m = (2m-1)!!` and :math:`(l-m)\,Q_l^m = (2l-1)\,y\,Q_{l-1}^m - (l+m-1)\,r^2\,Q_{l-2}^m`.

    The derivatives of first and second order recompute the harmonics: nothing but ``x`` is kept.

    **Group** O(3): vectors to irreps l with parity :math:`(-1)^l`. **Shapes** (..., 3) to (..., sum 2l+1).

    Signs, order and normalisations are those of e3nn (Geiger, Smidt, *e3nn: Euclidean Neural Networks*, arXiv 2207.09453).

    Args:
        l: a degree, several, or irreps.
        normalize: evaluate at the unit vector along x.
        normalization: ``"component"``, ``"norm"`` or ``"integral"``, as
            :func:`~geomlib.algebra.irreps.spherical_harmonics`.
        backend: of :func:`~geomlib.kernels.harmonics.spherical_harmonics`.

    Raises:
        InvalidInput: degrees, normalisation or shapes.

    >>> SphericalHarmonics("0e+1o+2e")(torch.randn(5, 3)).shape
    torch.Size([5, 9])
    """

    def __init__(
        self,
        l: int | Sequence[int] | str | Irreps,
        normalize: bool = True,
        normalization: str = "component",
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if normalization not in NORMALIZATIONS:
            raise InvalidInput(
                f"normalization={normalization!r}: expected one of {', '.join(NORMALIZATIONS)}."
            )
        self.degrees = degrees_of(l)
        self.normalize, self.normalization, self.backend = normalize, normalization, backend

    @property
    def irreps_out(self) -> Irreps:
        """Irreps of the result."""
        return Irreps([(1, (d, (-1) ** d)) for d in self.degrees])

    def forward(self, x: Tensor) -> Tensor:  # (..., 3) -> (..., sum of 2l + 1)
        """Return the harmonics."""
        return spherical_harmonics(self.degrees, x, self.normalize, self.normalization, backend=self.backend)

    @property
    def symmetry(self) -> Symmetry:
        """O(3); rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": "node:vector"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SphericalHarmonics, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return cls([0, 1, 2, 3, 4]), {"x": torch.randn(6, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the types."""
        return f"vector -> {self.irreps_out}, normalize={self.normalize}, {self.normalization}"
