"""Batch normalisation of subspaces by gyro operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann.blocks import block, block_exp, block_rotate
from geomlib.algebra.manifolds.grassmann.frames import frame_exp, frame_log
from geomlib.algebra.manifolds.grassmann.means import karcher_mean
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._grassmann import checked_frames, example_frames, frame_symmetry, subspace_sizes
from geomlib.layers._spd import positive

__all__ = ["GrBatchNorm"]


class GrBatchNorm(nn.Module):
    r"""Move the mean of every channel to a learned subspace and its variance to a learned number.

    .. math:: y_i = P \oplus \Big(\frac{s}{\sqrt{v + \epsilon}} \otimes \big((\ominus M) \oplus x_i\big)\Big), \qquad
              v = \frac1N \sum_i d^2(M, x_i)

    M is the Karcher mean of the batch. Centring and translating are isometries and scaling acts at the identity, so the mean
    of the output is P and its variance :math:`s^2 v/(v + \epsilon)`, as long as scaled angles stay below 90 degrees. The
    exponential is exact. In training M and v are those of the batch and running values are kept, M along geodesics; in
    evaluation these are used.

    **Group** O(p), the choice of frames, which is not seen, and permutations of rows. **Shapes** ``x`` (batch, ..., channels,
    n, p) to the same; all axes before the channels count as the batch.

    Args:
        channels: subspaces of each row; each has statistics of its own.
        n: dimension of the space.
        p: of the subspaces.
        eps: added to the variance.
        momentum: of the running values.
        iters: steps to the mean; 0 takes the extrinsic mean, where they start.
        affine: learn P and s, which begin with the identity and 1.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types, columns that are not orthonormal, an empty batch in
            training, or one without a mean: its mean projector has no gap after the p-th eigenvalue.

    Source: Chen, Song, Wu and Sebe, *Gyrogroup batch normalization* (ICLR 2025), with the exact exponential and log.

    >>> layer = GrBatchNorm(2, 6, 2)
    >>> layer.weight.data.fill_(0.3)
    tensor([0.3000, 0.3000])
    >>> x = torch.linalg.qr(torch.eye(6, 2) + 0.2 * torch.randn(20, 2, 6, 2))[0]
    >>> spread = block(layer(x)).square().sum((-2, -1)).mean(0)  # about the identity
    >>> torch.allclose(spread, torch.full((2,), 0.09), atol=1e-4)
    True
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        channels: int,
        n: int,
        p: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        iters: int = 5,
        affine: bool = True,
    ) -> None:
        super().__init__()
        positive("GrBatchNorm", channels=channels)
        subspace_sizes("GrBatchNorm", n, p)
        if eps < 0 or not 0 <= momentum <= 1 or iters < 0:
            raise InvalidInput(
                f"GrBatchNorm: eps={eps}, momentum={momentum}, iters={iters}, expected eps >= 0, 0 <= momentum <= 1 and "
                "iters >= 0."
            )
        self.channels, self.n, self.p = channels, n, p
        self.eps, self.momentum, self.iters = eps, momentum, iters
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels, n - p, p)) if affine else None
        self.register_buffer("running_mean", torch.eye(n, p).repeat(channels, 1, 1))
        self.register_buffer("running_var", torch.ones(channels))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (batch, ..., channels, n, p)
        """Return frames of the normalised subspaces.

        Raises:
            InvalidInput: shapes or types that do not fit; no rows to average over.
        """
        checked_frames("GrBatchNorm", x, self.channels, self.n, self.p, self.running_mean)
        if self.training and (x.dim() < 4 or not x[..., 0, 0, 0].numel()):
            raise InvalidInput(
                f"GrBatchNorm: `x` has shape {tuple(x.shape)}, no rows to average over; pass (batch, ..., {self.channels}, "
                f"{self.n}, {self.p}) or call layer.eval()."
            )
        mean = self.running_mean
        if self.training:
            rows = x.flatten(0, -4).transpose(0, 1)  # (channels, rows, n, p)
            mean = karcher_mean(rows, x.new_full(rows.shape[:2], 1.0 / rows.shape[1]), self.iters)
        centred = block(block_rotate(block(mean), x, inverse=True))
        variance = self.running_var
        if self.training:
            variance = centred.square().sum((-2, -1)).flatten(0, -2).mean(0)
            self._keep(mean.detach(), variance.detach())
        factor = (variance + self.eps).rsqrt()
        factor = factor if self.weight is None else factor * self.weight
        y = block_exp(factor[:, None, None] * centred)
        return y if self.bias is None else block_rotate(self.bias, y)

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        with torch.no_grad():
            step = self.momentum * frame_log(self.running_mean, mean)
            moved = frame_exp(self.running_mean, step)
            # One step to the nearest frame, so that rounding does not add up.
            self.running_mean.copy_(1.5 * moved - 0.5 * moved @ (moved.mT @ moved))
            self.running_var.mul_(1 - self.momentum).add_(variance, alpha=self.momentum)

    @property
    def symmetry(self) -> Symmetry:
        """The choice of frames, which is not seen, and permutations of rows."""
        return frame_symmetry(self.n, self.p)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrBatchNorm, dict[str, Any]]:
        """Return an instance that has been trained on one batch, and one set of inputs."""
        layer = cls(2, 5, 2)
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(0.5 + 0.3 * torch.randn(p.shape, generator=generator))
            layer(example_frames(generator, 12, 2, 5, 2))
        return layer.eval(), {"x": example_frames(generator, 4, 2, 5, 2)}

    def extra_repr(self) -> str:
        """Return the sizes and the constants."""
        options = f"eps={self.eps}, momentum={self.momentum}, iters={self.iters}"
        return f"{self.channels} channels, Gr({self.n}, {self.p}), frames up to O({self.p}), {options}"
