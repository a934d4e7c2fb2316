r"""SPDEEGNet: trained filters of EEG channels, their covariance, and a normalised congruence before a logarithm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.covariance import covariance
from geomlib.algebra.manifolds.rectified_log import rectified_log
from geomlib.algebra.manifolds.vech import vech
from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import positive
from geomlib.layers.bimap import BiMap
from geomlib.layers.spd_batch_norm import SPDBatchNorm
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["NORMS", "SPDEEGNet"]

#: Normalisations of the SPD matrices.
NORMS = ("none", "ai", "le", "lc", "bw", "gbw")


@register_model("spd_eegnet")
class SPDEEGNet(nn.Module):
    r"""Classify trials of EEG by the covariance of filtered signals.

    .. math:: z = \mathrm{BN}\big(K_t * \mathrm{BN}(K_c\, x)\big), \qquad S = \mathrm{cov}(z), \qquad
              Y = \mathrm{BN}_{\mathrm{SPD}}(W S W^\top), \qquad \hat y = A \operatorname{vech} \log \max(Y, \varepsilon) + b

    K_c mixes channels, K_t filters in time, W has orthonormal rows, and the last normalisation is
    :class:`~geomlib.layers.SPDBatchNorm`. The maximum is that of eigenvalues. A part ``shrink`` of the mean variance is added
    to the diagonal of the covariance, where the published network adds 1e-5.

    **Group** permutations of trials; in training they share the statistics of the batch. **Shapes** ``x`` (B, channels, time)
    to (B, classes).

    Args:
        channels: of the recording.
        classes: to tell apart.
        filters: mixtures of channels.
        signals: filtered signals whose covariance is taken.
        kernel: length of the filters in time.
        size: of the matrices after the congruence, at most ``signals``.
        bn: ``"none"``, or the metric of the SPD normalisation: ``"ai"``, ``"le"``, ``"lc"``, ``"bw"``, ``"gbw"`` (M is
            learned).
        n_mean_steps: of that normalisation; to the mean by default.
        theta: power of its metric.
        scale: what the signals are divided by, about their deviation; microvolts here.
        shrink: see above.
        floor: :math:`\varepsilon`.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call, series too short for the filters.

    Source: Wang, Jin, Chen, Luo and Wu, *Learning to normalize on the SPD manifold under Bures-Wasserstein geometry*, arXiv
    2504.00660, with the filters of Pan, Chou and Wei, *MAtt: a manifold attention network for EEG decoding*, arXiv 2210.01986.

    >>> SPDEEGNet(channels=8, classes=5)(torch.randn(4, 8, 125)).shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        channels: int = 8,
        classes: int = 5,
        filters: int = 125,
        signals: int = 15,
        kernel: int = 36,
        size: int = 12,
        bn: str = "gbw",
        n_mean_steps: int | None = None,
        theta: float = 1.0,
        scale: float = 1.0,
        shrink: float = 1e-3,
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        positive(
            "SPDEEGNet", channels=channels, classes=classes, filters=filters, signals=signals, kernel=kernel, size=size
        )  # fmt: skip
        if bn not in NORMS:
            raise InvalidInput(
                f"SPDEEGNet: bn={bn!r}, expected one of {', '.join(map(repr, NORMS))}.{closest(str(bn), NORMS)}"
            )
        if size > signals or not (scale > 0 and shrink > 0 and floor > 0):
            raise InvalidInput(
                f"SPDEEGNet: size={size}, signals={signals}, scale={scale}, shrink={shrink}, floor={floor}: expected a size "
                "of at most the number of signals, and positive numbers."
            )
        self._options: dict[str, Any] = {
            "channels": channels, "classes": classes, "filters": filters, "signals": signals, "kernel": kernel, "size": size,
            "bn": bn, "n_mean_steps": n_mean_steps, "theta": float(theta), "scale": float(scale), "shrink": float(shrink),
            "floor": float(floor),
        }  # fmt: skip
        # Without the shifts that a normalisation, or the covariance, takes out again.
        self.mix = nn.Conv1d(channels, filters, 1, bias=False)
        self.mixed = nn.BatchNorm1d(filters)
        self.filter = nn.Conv1d(filters, signals, kernel, padding=kernel // 2, bias=False)
        self.filtered = nn.BatchNorm1d(signals)
        self.filtered.register_parameter("bias", None)
        self.congruence = BiMap(signals, size)
        self.norm: nn.Module = nn.Identity()
        if bn != "none":
            self.norm = SPDBatchNorm(size, bn, theta=theta, n_mean_steps=n_mean_steps, learn_M=bn == "gbw")
        self.head = nn.Linear(size * (size + 1) // 2, classes)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "spd_eegnet", **self._options}

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (B, channels, time) -> (B, classes)
        """Return logits.

        Args:
            x: trials, time last.

        Raises:
            InvalidInput: shapes or types that do not fit, series too short.
        """
        o = self._options
        check_samples("SPDEEGNet", "x", x, (None, o["channels"], None), self.head.weight)
        if x.shape[-1] + 2 * (o["kernel"] // 2) < o["kernel"] + 1:
            raise InvalidInput(
                f"SPDEEGNet: `x` has {x.shape[-1]} samples in time, too few for filters of length {o['kernel']}."
            )
        z = self.filtered(self.filter(self.mixed(self.mix(x / o["scale"]))))
        y = self.norm(self.congruence(covariance(z, o["shrink"])))
        return self.head(vech(rectified_log(y, o["floor"])))

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of trials."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDEEGNet, dict[str, Any]]:
        """Return a small instance that has been trained on one batch, and three trials."""
        model = cls(channels=3, classes=2, filters=4, signals=3, kernel=4, size=2, bn="ai")
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(0.5 * torch.randn(p.shape, generator=generator))
            model(torch.randn(8, 3, 16, generator=generator))
        return model.eval(), {"x": torch.randn(3, 3, 16, generator=generator)}

    def extra_repr(self) -> str:
        """Return the normalisation and the number of weights."""
        return f"bn={self._options['bn']!r}, {sum(p.numel() for p in self.parameters()):,} weights"
