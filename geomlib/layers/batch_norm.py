"""Batch and instance normalisation by invariant norms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._features import blocks, checked

__all__ = ["BatchNorm"]


class BatchNorm(nn.Module):
    r"""Divide every channel by the root of its mean squared norm, and take the mean from scalars.

    .. math:: z_{um} = \frac{w_u\, (x_{um} - \mu_u)}{\sqrt{\langle |x_u - \mu_u|^2 \rangle + \epsilon}} + \beta_u

    with :math:`\mu` and :math:`\beta` for blocks 0e only. In training the averages run over the batch and their running
    values are kept for evaluation. Definitions and names of stored tensors are those of e3nn's ``nn.BatchNorm``.

    **Group** O(3). **Shapes** ``x`` (batch, ..., dim) to (batch, ..., dim).

    Args:
        irreps: of x.
        eps: added to the variance.
        momentum: of the running averages.
        affine: learn w and, with ``include_bias``, the shifts.
        reduce: ``"mean"`` or ``"max"`` of the norms over the samples of one entry of the batch.
        instance: average over the samples of each entry alone, always.
        include_bias: learn shifts of blocks 0e.
        normalization: ``"component"``: norms are means over components, ``"norm"``: sums.

    Raises:
        InvalidInput: unknown options; wrong shapes, or an empty batch in training.

    Source: Ioffe and Szegedy, *Batch Normalization*, arXiv 1502.03167; with norms as in Weiler et al., arXiv 1807.02547.

    >>> layer = BatchNorm("4x0e+2x1o")
    >>> layer(5 * torch.randn(300, 10)).square().mean().item() < 1.1
    True
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        irreps: Any,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        reduce: str = "mean",
        instance: bool = False,
        include_bias: bool = True,
        normalization: str = "component",
    ) -> None:
        super().__init__()
        if reduce not in ("mean", "max"):
            raise InvalidInput(f"BatchNorm: reduce={reduce!r}, expected 'mean' or 'max'.")
        if normalization not in ("norm", "component"):
            raise InvalidInput(f"BatchNorm: normalization={normalization!r}, expected 'norm' or 'component'.")
        self.irreps = Irreps(irreps)
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.reduce, self.instance, self.include_bias = reduce, instance, include_bias
        self.normalization = normalization
        scalars = self.irreps.count("0e")
        self.register_buffer("running_mean", None if instance else torch.zeros(scalars))
        self.register_buffer("running_var", None if instance else torch.ones(self.irreps.num_irreps))
        self.weight = nn.Parameter(torch.ones(self.irreps.num_irreps)) if affine else None
        self.bias = nn.Parameter(torch.zeros(scalars)) if affine and include_bias else None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (batch, ..., dim) -> (batch, ..., dim)
        """Return the normalised features.

        Raises:
            InvalidInput: shapes or types that do not fit; no rows to average over.
        """
        if x.dim() < 2:
            raise InvalidInput(f"BatchNorm: `x` has shape {tuple(x.shape)}; pass (batch, ..., dim).")
        checked("BatchNorm", "x", x, self.irreps, like=self.weight)
        measuring = self.training or self.instance
        flat = x.reshape(x.shape[0], -1, x.shape[-1]) if x.numel() else x.new_zeros(0, 1, x.shape[-1])
        if measuring and not x.numel() and not self.instance and self.irreps.dim:
            raise InvalidInput(
                f"BatchNorm: `x` has shape {tuple(x.shape)}, no rows to average over; call layer.eval() or skip it."
            )
        out, scalar, first = [flat[..., :0]], 0, 0
        means: list[Tensor] = []
        variances: list[Tensor] = []
        for block, part in zip(self.irreps, blocks(flat, self.irreps), strict=True):
            shifted = block.ir.l == 0 and block.ir.p == 1
            stored = slice(first, first + block.mul), slice(scalar, scalar + block.mul)
            centred = part
            if shifted:
                mean = self._mean(part, stored[1], measuring)
                means.append(mean)
                centred = part - mean.reshape(-1, 1, block.mul, 1)
                scalar += block.mul
            variance = self._variance(centred, stored[0], measuring)
            variances.append(variance)
            factor = (variance + self.eps).rsqrt()
            if self.weight is not None:
                factor = factor * self.weight[stored[0]]
            z = centred * factor.reshape(-1, 1, block.mul, 1)
            if shifted and self.bias is not None:
                z = z + self.bias[stored[1], None]
            out.append(z.flatten(-2))
            first += block.mul
        if self.training and not self.instance:
            self._keep(means, variances)
        return torch.cat(out, dim=-1).reshape(x.shape)

    def _mean(self, part: Tensor, where: slice, measuring: bool) -> Tensor:
        if measuring or self.running_mean is None:
            return part.mean((1, 3)) if self.instance else part.mean((0, 1, 3))
        return self.running_mean[where]

    def _variance(self, part: Tensor, where: slice, measuring: bool) -> Tensor:
        if not measuring and self.running_var is not None:
            return self.running_var[where]
        squares = part.square()
        norms = squares.sum(3) if self.normalization == "norm" else squares.mean(3)
        each = norms.mean(1) if self.reduce == "mean" else norms.amax(1)
        return each if self.instance else each.mean(0)

    def _keep(self, means: list[Tensor], variances: list[Tensor]) -> None:
        with torch.no_grad():
            for running, found in ((self.running_mean, means), (self.running_var, variances)):
                if running is not None and found:
                    running.mul_(1 - self.momentum).add_(torch.cat(found), alpha=self.momentum)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, the same out; the averages do not depend on the order of rows."""
        types = f"node:{self.irreps}"
        return Symmetry("O(3)*S_n", inputs={"x": types}, outputs=types)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[BatchNorm, dict[str, Any]]:
        """Return an instance that has been trained on one batch, and one set of inputs."""
        layer = cls("4x0e+2x0o+3x1o+1x2e")
        with torch.no_grad():
            for p in layer.parameters():
                p.normal_(generator=generator)
            layer(torch.randn(20, layer.irreps.dim, generator=generator))
        return layer.eval(), {"x": torch.randn(6, layer.irreps.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps and the constants."""
        return f"{self.irreps}, eps={self.eps}, momentum={self.momentum}, instance={self.instance}"
