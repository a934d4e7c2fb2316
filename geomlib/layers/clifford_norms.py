"""Whitening normalisations of multivector fields."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._fields import checked_groups
from geomlib.layers._multivectors import example_of, rows_symmetry

__all__ = ["CliffordBatchNorm", "CliffordGroupNorm"]

#: Keeps the factorisation of a covariance that is exactly zero.
_TINY = 1e-12


def _centred(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (G, M, D)
    """Return centred samples, their mean (G, D) and their covariance (G, D, D)."""
    mean = x.mean(1)
    y = x - mean[:, None]
    return y, mean, y.transpose(1, 2) @ y / max(x.shape[1], 1)


def _whitened(y: Tensor, cov: Tensor, eps: float, legacy: bool) -> Tensor:  # (G, M, D), (G, D, D)
    r"""Return :math:`L^{-1} y` for :math:`L L^\top = C + \epsilon \max(C)\, 1`, or, in legacy, :math:`L^{-\top} y`."""
    largest = cov.amax((-2, -1), keepdim=True)
    identity = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    # A covariance is positive but for rounding, which is below eps times its largest entry: the factor exists.
    factor, _ = torch.linalg.cholesky_ex(cov + (eps * largest + (0 if legacy else _TINY)) * identity)
    if legacy:
        return torch.linalg.solve_triangular(factor.mT, y.mT, upper=True).mT
    return torch.linalg.solve_triangular(factor, y.mT, upper=False).mT


class _Whitening(nn.Module):
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self, algebra: CliffordAlgebra, channels: int, columns: int, eps: float, affine: bool, legacy: bool
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(algebra, CliffordAlgebra):  # pyright: ignore[reportUnnecessaryIsInstance] - user input
            raise InvalidInput(
                f"{name}: expected a CliffordAlgebra, such as CliffordAlgebra(3), got {algebra!r}."
            )
        if not 1e-6 <= eps < 1:
            raise InvalidInput(
                f"{name}: eps={eps}, expected a number from 1e-6, above the rounding of single precision, to 1."
            )
        self.algebra, self.channels, self.eps, self.legacy = algebra, channels, float(eps), legacy
        size = algebra.size
        if affine:
            self.weight = nn.Parameter(torch.eye(size)[..., None].repeat(1, 1, columns))
            self.bias = nn.Parameter(torch.zeros(size, columns))
        else:
            self.weight = self.bias = None

    def _checked(self, x: Tensor) -> Tensor:
        name, size = type(self).__name__, self.algebra.size
        if x.dim() < 3 or x.shape[1] != self.channels or x.shape[-1] != size:
            raise InvalidInput(
                f"{name}: `x` has shape {tuple(x.shape)}, expected (batch, {self.channels}, *space, {size}): channels, then "
                f"space, then the blades of {self.algebra}."
            )
        if not x.is_floating_point():
            raise InvalidInput(f"{name}: `x` is {x.dtype}; pass floating features, such as x.float().")
        if self.weight is not None and x.dtype != self.weight.dtype:
            raise InvalidInput(
                f"{name}: `x` is {x.dtype} and the weights are {self.weight.dtype}. Cast one of them: "
                f"layer.to({x.dtype}) or x.to({self.weight.dtype})."
            )
        return x

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of the batch."""
        return rows_symmetry()


class CliffordBatchNorm(_Whitening):
    r"""Whiten the blades of every channel over batch and space, then mix them by a learned matrix.

    .. math:: y_c = W_c\, L_c^{-1} (x_c - \mu_c) + b_c, \quad L_c L_c^{\top} = C + \epsilon \max C, \quad C = \mathrm{Cov}(x_c)

    so that, before :math:`W_c` and :math:`b_c`, blades are uncorrelated with variance one. The authors' code divides by
    :math:`L^{\top}` instead, which does not whiten, and reads the bias in the wrong order: ``legacy=True`` is that. In
    evaluation the running mean and covariance take the place of those of the batch.

    **Group** permutations of the batch. **Shapes** ``x`` (batch, channels, space, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        eps: relative to the largest entry of the covariance.
        momentum: of the running statistics.
        affine: learn W and b; they start as 1 and 0.
        track_running_stats: keep running statistics; otherwise evaluation uses those of its batch.
        legacy: the formula of the authors' code.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call, or a training batch of one value per channel.

    Source: Brandstetter, van den Berg, Welling and Gupta, *Clifford neural layers for PDE modeling*, arXiv 2209.04934.

    >>> y = CliffordBatchNorm(CliffordAlgebra(2), 3)(torch.randn(8, 3, 16, 16, 4))[:, 0].flatten(0, -2)
    >>> torch.allclose(y.T @ y / len(y), torch.eye(4), atol=1e-3)
    True
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        channels: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        legacy: bool = False,
    ) -> None:
        checked_groups("CliffordBatchNorm", 1, channels=channels)
        super().__init__(algebra, channels, channels, eps, affine, legacy)
        self.momentum, self.track_running_stats = momentum, track_running_stats
        size = algebra.size
        mean = torch.zeros(size, channels) if track_running_stats else None
        cov = torch.eye(size)[..., None].repeat(1, 1, channels) if track_running_stats else None
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_cov", cov)
        self.running_mean: Tensor | None
        self.running_cov: Tensor | None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (B, C, *space, 2^n)
        """Return the whitened field.

        Raises:
            InvalidInput: shapes or types that do not fit, or one value per channel in training.
        """
        self._checked(x)
        rows = x.transpose(0, 1).flatten(1, -2)  # (C, batch and space, 2^n)
        stored = self.running_mean, self.running_cov
        if self.training or stored[0] is None or stored[1] is None:
            if self.training and rows.shape[1] < 2:
                raise InvalidInput(
                    "CliffordBatchNorm: one value per channel has no covariance; use evaluation mode."
                )
            y, mean, cov = _centred(rows)
            self._remember(mean.detach(), cov.detach())
        else:
            cov = stored[1].permute(2, 0, 1)
            y = rows - stored[0].T[:, None]
        out = _whitened(y, cov, self.eps, self.legacy)
        if self.weight is not None and self.bias is not None:
            bias = self.bias.reshape(self.channels, -1) if self.legacy else self.bias.T
            out = out @ self.weight.permute(2, 1, 0) + bias[:, None]
        return out.unflatten(1, (len(x), *x.shape[2:-1])).transpose(0, 1)

    def _remember(self, mean: Tensor, cov: Tensor) -> None:
        if self.training and self.running_mean is not None and self.running_cov is not None:
            self.running_mean.lerp_(mean.T, self.momentum)
            self.running_cov.lerp_(cov.permute(1, 2, 0), self.momentum)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CliffordBatchNorm, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(2)
        layer, inputs = example_of(lambda: cls(algebra, 3), algebra, 3, generator)
        return layer, {"x": inputs["x"][:, :, None] + 0.1 * torch.randn(6, 3, 5, 4, generator=generator)}

    def extra_repr(self) -> str:
        """Return the algebra, the channels and the form."""
        return (
            f"{self.algebra}, {self.channels}, eps={self.eps}, momentum={self.momentum}, legacy={self.legacy}"
        )


class CliffordGroupNorm(_Whitening):
    r"""Whiten the blades of every sample over groups of channels and space, then mix them by a learned matrix per channel.

    .. math:: y_c = W_c\, L_g^{-1} (x_c - \mu_g) + b_c, \quad L_g L_g^{\top} = C + \epsilon \max C, \quad C = \mathrm{Cov}(x_g)

    with mean and covariance over the channels of the group g of c, and over space. ``groups=channels`` is instance
    normalisation. The authors' code takes ``groups`` as the number of channels in a group, has one W and b per group, divides
    by :math:`L^{\top}`, and reads a bias that depends on the batch size: ``legacy=True`` is that.

    **Group** permutations of the batch; in legacy only those that leave the bias.
    **Shapes** ``x`` (batch, channels, space, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        groups: of consecutive channels.
        eps: relative to the largest entry of the covariance.
        affine: learn W and b; they start as 1 and 0.
        legacy: the formula of the authors' code.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Brandstetter, van den Berg, Welling and Gupta, *Clifford neural layers for PDE modeling*, arXiv 2209.04934.

    >>> y = CliffordGroupNorm(CliffordAlgebra(2), 4, 2)(torch.randn(8, 4, 16, 16, 4))[0, :2].flatten(0, -2)
    >>> torch.allclose(y.T @ y / len(y), torch.eye(4), atol=1e-3)
    True
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        channels: int,
        groups: int = 1,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        legacy: bool = False,
    ) -> None:
        checked_groups("CliffordGroupNorm", groups, channels=channels)
        super().__init__(algebra, channels, channels // groups if legacy else channels, eps, affine, legacy)
        self.groups = channels // groups if legacy else groups

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (B, C, *space, 2^n)
        """Return the whitened field.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        self._checked(x)
        rows = (
            x.unflatten(1, (self.groups, -1)).flatten(0, 1).flatten(1, -2)
        )  # (B groups, channels and space, 2^n)
        y, _, cov = _centred(rows)
        out = _whitened(y, cov, self.eps, self.legacy).view(x.shape)
        if self.weight is None or self.bias is None:
            return out
        weight, bias = self.weight, self.bias.T
        if self.legacy:
            each = self.channels // self.groups
            weight = weight.repeat_interleave(each, 2)
            bias = self.bias.repeat(1, len(x)).reshape(len(x), self.groups, -1).repeat_interleave(each, 1)
        flat = out.flatten(2, -2) @ weight.permute(2, 1, 0) + bias.unsqueeze(-2)
        return flat.view(x.shape)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CliffordGroupNorm, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(0, 1)
        layer, _ = example_of(lambda: cls(algebra, 4, 2), algebra, 4, generator)
        return layer, {"x": torch.randn(3, 4, 5, 6, 2, generator=generator)}

    def extra_repr(self) -> str:
        """Return the algebra, the channels and the form."""
        return f"{self.algebra}, {self.channels}, {self.groups} groups, eps={self.eps}, legacy={self.legacy}"
