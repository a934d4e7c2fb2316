r"""Radial bases: a distance becomes a smooth vector that vanishes at the cutoff."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geomlib.algebra.radial import ENVELOPES
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._constants import Float64Buffers

__all__ = ["BesselBasis", "ExpNormalBasis", "RadialBasis"]


class RadialBasis(Float64Buffers):
    """Base class: functions of a distance times an envelope, with their exact derivative.

    Subclasses implement :meth:`functions`. Constants are kept in float64 whatever the type of the module and are cast
    when used, so ``.double()`` loses nothing.

    Args:
        num_radial: number of functions R.
        cutoff: distance at which everything vanishes, Å.
        envelope: ``"smooth"`` (twice differentiable at the cutoff) or ``"cosine"`` (once).

    Raises:
        InvalidInput: a size or cutoff that is not positive, or an unknown envelope.
    """

    def __init__(self, num_radial: int, cutoff: float, envelope: str = "smooth") -> None:
        super().__init__()
        if num_radial < 1 or not cutoff > 0 or not math.isfinite(cutoff):
            raise InvalidInput(
                f"{type(self).__name__}: num_radial={num_radial} and cutoff={cutoff} must be positive."
            )
        if envelope not in ENVELOPES:
            raise InvalidInput(f"envelope: unknown {envelope!r}, expected one of {', '.join(ENVELOPES)}.")
        self.num_radial, self.cutoff, self.envelope_name = num_radial, float(cutoff), envelope

    def functions(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the functions before the envelope and their derivatives, (P, R) each."""
        raise NotImplementedError

    def envelope(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the envelope and its derivative, (P,) each."""
        return ENVELOPES[self.envelope_name](r, self.cutoff)

    def with_slope(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the basis and its derivative, stacked (2, P, R), and the envelope and its derivative, (2, P)."""
        (value, slope), (c, dc) = self.functions(r), self.envelope(r)
        slopes = dc[:, None] * value + c[:, None] * slope
        return torch.stack([c[:, None] * value, slopes]), torch.stack([c, dc])

    def forward(self, r: Tensor) -> Tensor:  # (P,) -> (P, R)
        """Return the basis at distances ``r`` (P,), shape (P, R)."""
        return self.envelope(r)[0][:, None] * self.functions(r)[0]

    @property
    def symmetry(self) -> Symmetry:
        """Distances are invariant, so are their functions."""
        return Symmetry("E(3)*S_n", inputs={"r": "edge:inv"}, outputs="edge:inv")

    def extra_repr(self) -> str:
        """Return the types, cutoff and envelope."""
        return f"distances -> {self.num_radial}x0e, cutoff {self.cutoff} Å, {self.envelope_name} envelope"


class ExpNormalBasis(RadialBasis):
    r"""Gaussians in :math:`e^{-\alpha r}`, denser at short distances.

    .. math:: e_k(r) = c(r)\,\exp\!\left(-\beta_k (e^{-\alpha r} - \mu_k)^2\right), \quad \alpha = 5 / r_c,

    with :math:`\mu_k` evenly spaced from :math:`e^{-r_c}` to 1 and :math:`\beta_k = (2(1 - e^{-r_c})/R)^{-2}`.

    **Group** E(3): invariant. **Shapes** ``r`` (P,) to (P, R).

    Args:
        num_radial: number of functions R.
        cutoff: :math:`r_c` in Å.
        envelope: ``"smooth"`` or ``"cosine"``.
        trainable: learn :math:`\mu` and :math:`\beta` (never :math:`\alpha`).

    Source: Unke and Meuwly, *PhysNet*, arXiv 1902.08408; in this scaling Thölke and De Fabritiis, *TorchMD-NET*,
    arXiv 2202.02541.

    >>> ExpNormalBasis(8, cutoff=5.0)(torch.tensor([1.0, 5.0])).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, num_radial: int = 32, cutoff: float = 5.0, envelope: str = "smooth", *, trainable: bool = False
    ) -> None:
        super().__init__(num_radial, cutoff, envelope)
        start = math.exp(-cutoff)
        means = torch.linspace(start, 1.0, num_radial, dtype=torch.float64)
        betas = torch.full((num_radial,), (2.0 * (1.0 - start) / num_radial) ** -2, dtype=torch.float64)
        self.trainable = trainable
        if trainable:
            self.means, self.betas = nn.Parameter(means.float()), nn.Parameter(betas.float())
        else:
            self.register_buffer("means", means)
            self.register_buffer("betas", betas)

    def functions(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Gaussians and their derivatives, (P, R) each."""
        means, betas = self.means.to(r.dtype), self.betas.to(r.dtype)
        alpha = 5.0 / self.cutoff
        x = torch.exp(-alpha * r)[:, None]
        shifted = x - means
        scaled = betas * shifted
        value = torch.exp(-scaled * shifted)
        return value, (2.0 * alpha) * x * scaled * value

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[ExpNormalBasis, dict[str, Tensor]]:
        """Return an instance and one set of inputs."""
        return cls(8, 5.0), {"r": torch.rand(12, generator=generator) * 5.0 + 0.5}


class BesselBasis(RadialBasis):
    r"""Spherical Bessel functions of order zero.

    .. math:: e_k(r) = c(r)\,\sqrt{2/r_c}\;\sin(k\pi r/r_c)/r, \quad k = 1..R

    **Group** E(3): invariant. **Shapes** ``r`` (P,) to (P, R). At r = 0 the limit :math:`k\pi/r_c` is taken.

    Args:
        num_radial: number of functions R.
        cutoff: :math:`r_c` in Å.
        envelope: ``"smooth"`` or ``"cosine"``.

    Source: Gasteiger et al., *Directional Message Passing*, arXiv 2003.03123.

    >>> BesselBasis(8, cutoff=5.0)(torch.tensor([0.0, 1.0])).isfinite().all()
    tensor(True)
    """

    means: Tensor

    def __init__(self, num_radial: int = 8, cutoff: float = 5.0, envelope: str = "smooth") -> None:
        super().__init__(num_radial, cutoff, envelope)
        self.register_buffer("means", torch.arange(1, num_radial + 1, dtype=torch.float64))

    def functions(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the functions and their derivatives, (P, R) each."""
        k = self.means.to(r.dtype) * (math.pi / self.cutoff)
        norm = math.sqrt(2.0 / self.cutoff)
        x = k * r[:, None]
        # sin(x)/x and its derivative by series near zero, where the quotients lose their digits.
        small = x.abs() < 1e-2
        safe = torch.where(small, torch.ones_like(x), x)
        x2 = x * x
        sinc = torch.where(small, 1.0 - x2 / 6.0 * (1.0 - x2 / 20.0), torch.sin(safe) / safe)
        series = -x / 3.0 * (1.0 - x2 / 10.0 * (1.0 - x2 / 28.0))
        slope = torch.where(small, series, (torch.cos(safe) - torch.sin(safe) / safe) / safe)
        return norm * k * sinc, norm * k * k * slope

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[BesselBasis, dict[str, Tensor]]:
        """Return an instance and one set of inputs."""
        return cls(8, 5.0), {"r": torch.rand(12, generator=generator) * 5.0 + 0.5}
