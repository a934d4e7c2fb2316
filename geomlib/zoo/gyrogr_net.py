r"""GyroGr: subspaces through learned translations, normalisation, pooling of channels and hyperplanes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._grassmann import example_frames
from geomlib.layers._spd import positive
from geomlib.layers.gr_batch_norm import GrBatchNorm
from geomlib.layers.gr_mlr import GrMLR
from geomlib.layers.gr_pool import GrPool
from geomlib.layers.gr_translate import GrTranslate
from geomlib.zoo.registry import register_model

__all__ = ["GyroGrNet"]


@register_model("gyrogr_net")
class GyroGrNet(nn.Module):
    r"""Classify subspaces, such as the leading singular vectors of a clip, by operations on the Grassmann manifold.

    .. math:: x_c = P_c \oplus x, \qquad z_j = \operatorname{top}_p \operatorname{mean}_{c \in j}
              \mathrm{BN}(x_c)\, \mathrm{BN}(x_c)^\top, \qquad \hat y_k = \sum_j \operatorname{tr}(W_{kj}\, z_j z_j^\top) + b_k

    A learned translation per channel (:class:`~geomlib.layers.GrTranslate`), batch normalisation where asked for
    (:class:`~geomlib.layers.GrBatchNorm`), pooling of every few channels (:class:`~geomlib.layers.GrPool`), and logits by
    projectors or hypergyroplanes (:class:`~geomlib.layers.GrMLR`).

    **Group** O(p), the choice of the frame of a subspace, and permutations of samples; translations and hyperplanes are
    learned templates. **Shapes** ``basis`` (B, n, p), or (B, channels, n, p), to (B, classes).

    Args:
        n: dimension of the space.
        p: of the subspaces.
        channels: translations.
        classes: to tell apart.
        pool: channels that become one; 1 for no pooling.
        norm: ``"gyro"`` for batch normalisation after the translations, or None.
        head: ``"proj"`` or ``"gyro"``, see :class:`~geomlib.layers.GrMLR`.
        mean_steps: of the mean of a batch, for ``norm``.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call, or columns that are not orthonormal.

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560;
    pooling: Huang, Wu and Van Gool, *Building deep networks on Grassmann manifolds*, arXiv 1611.05742.

    >>> model = GyroGrNet(n=6, p=2, classes=3)
    >>> model(torch.linalg.qr(torch.randn(5, 6, 2))[0]).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        n: int = 93,
        p: int = 8,
        channels: int = 8,
        classes: int = 11,
        pool: int = 4,
        norm: str | None = None,
        head: str = "proj",
        mean_steps: int = 2,
    ) -> None:
        super().__init__()
        positive("GyroGrNet", channels=channels, classes=classes, pool=pool)
        if norm not in (None, "gyro"):
            raise InvalidInput(f"GyroGrNet: norm={norm!r}, expected 'gyro' or None.")
        if head not in ("proj", "gyro"):
            near = closest(str(head), ("proj", "gyro"))
            raise InvalidInput(f"GyroGrNet: head={head!r}, expected 'proj' or 'gyro'.{near}")
        if channels % pool:
            raise InvalidInput(f"GyroGrNet: channels={channels} do not divide into groups of pool={pool}.")
        self._options: dict[str, Any] = {
            "n": n, "p": p, "channels": channels, "classes": classes, "pool": pool, "norm": norm, "head": head,
            "mean_steps": mean_steps,
        }  # fmt: skip
        self.translate = GrTranslate(channels, n, p)
        self.norm = GrBatchNorm(channels, n, p, iters=mean_steps) if norm else nn.Identity()
        self.pool = GrPool(n, p, pool) if pool > 1 else nn.Identity()
        self.head = GrMLR(classes, channels // pool, n, p, head)  # type: ignore[arg-type]

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gyrogr_net", **self._options}

    @full_precision
    def forward(self, basis: Tensor) -> Tensor:  # (B, n, p) or (B, channels, n, p) -> (B, classes)
        """Return logits.

        Args:
            basis: frames; without channels, all see the same subspace.

        Raises:
            InvalidInput: shapes or types that do not fit, or columns that are not orthonormal.
        """
        n, p, channels = (self._options[k] for k in ("n", "p", "channels"))
        if basis.dim() not in (3, 4) or tuple(basis.shape[-2:]) != (n, p):
            raise InvalidInput(
                f"GyroGrNet: `basis` has shape {tuple(basis.shape)}, expected (B, {n}, {p}) or (B, {channels}, {n}, {p})."
            )
        x = basis.unsqueeze(1).expand(-1, channels, -1, -1) if basis.dim() == 3 else basis
        return self.head(self.pool(self.norm(self.translate(x))))

    @property
    def symmetry(self) -> Symmetry:
        """The choice of frames, which is not seen, and permutations of samples."""
        n, p = self._options["n"], self._options["p"]
        return Symmetry(f"O({p})*S_n", inputs={"basis": f"node:grassmann({n},{p})"}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GyroGrNet, dict[str, Any]]:
        """Return a small instance that has seen one batch, and four subspaces."""
        model = cls(n=6, p=2, channels=4, classes=3, pool=2, norm="gyro", head="gyro")
        with torch.no_grad():
            for w in model.parameters():
                w.copy_(0.3 * torch.randn(w.shape, generator=generator))
            model.get_parameter("norm.weight").fill_(0.5)
            model(example_frames(generator, 8, 6, 2))
        return model.eval(), {"basis": example_frames(generator, 4, 6, 2)}

    def extra_repr(self) -> str:
        """Return the sizes and the number of weights."""
        o = self._options
        total = sum(w.numel() for w in self.parameters())
        return f"Gr({o['n']}, {o['p']}), {o['channels']} channels, {o['classes']} classes, {total:,} weights"
