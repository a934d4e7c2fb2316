"""Gyro SPD networks: translations, scalings, convolutions and hyperplanes of local covariances, under three metrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers import BiMap, GyroScale, GyroTranslate, ReEig, SPDConv
from geomlib.layers._multivectors import rows_symmetry_of
from geomlib.layers._spd import FLAT, checked_metric, example_spd, positive
from geomlib.layers._spd_hyperplanes import SPDHyperplanes
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["GyroSPDNet"]


@register_model("gyro_spdnet")
class GyroSPDNet(nn.Module):
    r"""Classify sequences of local covariances by gyro operations, as GyroSPD and GyroSPD++ do.

    .. math:: X' = \exp_I\bigl(A \circ \log_I (P \oplus W X W^\top)\bigr), \qquad
              Y_{ot} = \exp_I\Bigl(\sum_u v_{ou}(X'_{\cdot,\, t}, \dots, X'_{\cdot,\, t+k-1})\, B_u\Bigr), \qquad
              \hat y_c = \sum_{ot} \langle \ominus P_{cot} \oplus Y_{ot},\; A_{cot} \rangle

    A congruence to d x d matrices in several channels, a gyro translation and a gyro scaling of each, a convolution along
    time on their product manifold, and a multinomial logistic regression on the product of its outputs. Under the flat
    metrics ``"le"`` and ``"lc"`` everything behind the congruence stays in the chart: one logarithm, or Cholesky factor, per
    matrix in all. Under ``"ai"`` matrices are kept, whose condition float32 holds only within limits: before the convolution
    and before the regression eigenvalues below ``floor`` times their mean are raised to it.

    **Group** permutations of samples: the weights are learned templates. **Shapes** ``cov`` (B, windows, parts, n, n) to
    (B, classes).

    Args:
        n: size of the matrices.
        windows: steps of time.
        parts: matrices of one window.
        classes: to tell apart.
        metric: ``"le"``, ``"lc"`` or ``"ai"``.
        reduced: d, at most n.
        channels: of the congruence.
        hidden: m, size of the matrices of the convolution.
        hidden_channels: of the convolution.
        kernel_size: k.
        floor: least eigenvalue, relative to the mean, for ``"ai"``.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call; a matrix that is not positive definite.

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560;
    Nguyen, Yang and Histace, *Matrix manifold neural networks++*, arXiv 2405.19206.

    >>> model = GyroSPDNet(n=6, windows=4, parts=2, classes=3, reduced=4, channels=2)
    >>> model(torch.eye(6).expand(5, 4, 2, 6, 6)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        n: int = 15,
        windows: int = 6,
        parts: int = 5,
        classes: int = 11,
        metric: str = "le",
        reduced: int = 8,
        channels: int = 5,
        hidden: int = 4,
        hidden_channels: int = 2,
        kernel_size: int = 2,
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        positive(
            "GyroSPDNet",
            windows=windows,
            parts=parts,
            classes=classes,
            channels=channels,
            hidden_channels=hidden_channels,
        )
        checked_metric("GyroSPDNet", metric, ("ai", "le", "lc"))
        if not 1 <= kernel_size <= windows:
            raise InvalidInput(f"GyroSPDNet: kernel_size={kernel_size}, expected 1..windows={windows}.")
        self._options: dict[str, Any] = {
            "n": n, "windows": windows, "parts": parts, "classes": classes, "metric": metric, "reduced": reduced,
            "channels": channels, "hidden": hidden, "hidden_channels": hidden_channels, "kernel_size": kernel_size,
            "floor": float(floor),
        }  # fmt: skip
        flat = metric in FLAT
        charts = {"in_chart": flat, "out_chart": flat}
        self.congruence = BiMap(n, reduced, parts, channels)
        self.translate = GyroTranslate(reduced, metric, channels=channels, out_chart=flat)
        self.scale = GyroScale(reduced, metric, channels=channels, **charts)
        self.conv = SPDConv(reduced, hidden, channels, hidden_channels, kernel_size, metric, **charts)
        self.rectify = nn.Identity() if flat else ReEig(reduced, floor, relative=True)
        self.rectify_hidden = nn.Identity() if flat else ReEig(hidden, floor, relative=True)
        steps = windows - kernel_size + 1
        self.head = SPDHyperplanes(
            "GyroSPDNet",
            hidden,
            classes,
            metric,
            1.0,
            1.0,
            0.0,
            in_chart=flat,
            factors=hidden_channels * steps,
        )

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gyro_spdnet", **self._options}

    @full_precision
    def forward(self, cov: Tensor) -> Tensor:  # (B, windows, parts, n, n) -> (B, classes)
        """Return logits.

        Args:
            cov: matrices, positive definite.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        o = self._options
        shape = None, o["windows"], o["parts"], o["n"], o["n"]
        check_samples("GyroSPDNet", "cov", cov, shape, self.congruence.weight)
        x = self.congruence(cov)  # (B, windows, channels, d, d)
        x = self.rectify(self.scale(self.translate(x))).transpose(1, 2)
        return self.head.values(self.rectify_hidden(self.conv(x)).flatten(1, 2))

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of samples."""
        return rows_symmetry_of("cov")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GyroSPDNet, dict[str, Any]]:
        """Return a small affine-invariant instance and four sequences."""
        model = cls(n=4, windows=3, parts=2, classes=3, metric="ai", reduced=3, channels=2, hidden=2)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        return model, {"cov": example_spd(generator, 4, 4, 3, 2)}

    def extra_repr(self) -> str:
        """Return the sizes, the metric and the number of weights."""
        o = self._options
        steps = (("parts", "n"), ("channels", "reduced"), ("hidden_channels", "hidden"))
        sizes = " -> ".join(f"{o[count]} x spd({o[size]})" for count, size in steps)
        return f"{sizes}, metric={o['metric']!r}, {sum(p.numel() for p in self.parameters()):,} weights"
