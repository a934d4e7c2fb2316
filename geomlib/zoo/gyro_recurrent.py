r"""A recurrent network whose state is SPD matrices: gates on logarithms, gyro sums and gyro multiples instead of + and x."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import symfun, symmetrize
from geomlib.algebra.manifolds.vech import triangle, vech
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers import BiMap, GyroScale, GyroTranslate
from geomlib.layers._multivectors import rows_symmetry_of
from geomlib.layers._spd import FLAT, checked_metric, example_spd, positive
from geomlib.layers._spd_hyperplanes import SPDHyperplanes
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["GyroRecurrent", "GyroRecurrentCell"]


class GyroRecurrentCell(nn.Module):
    r"""One step of a gated recurrent unit with a state of SPD matrices, in several channels.

    .. math:: (z, r) &= \sigma\bigl(G\,[\log_I X_t,\; \log_I H_{t-1}] + g\bigr) \\
              C &= \exp_I\operatorname{asinh} \log_I\bigl(B \oplus (A_h \circ (r \otimes H_{t-1}) \oplus A_x \circ X_t)\bigr)\\
              H_t &= H_{t-1} \oplus \bigl(z \otimes (\ominus H_{t-1} \oplus C)\bigr)

    z and r are one number per channel, asinh acts on entries. The last line is the point at z on the gyroline, for these
    metrics the geodesic, from the state to the candidate. States are kept as coordinates at the identity, :math:`\log_I H`,
    the chart of a flat metric: there gyro multiples and inverses are plain ones, and so are sums of flat metrics. Sums of
    ``"ai"`` are :math:`\log(e^{S/2} e^T e^{S/2})`, in float64.

    Args:
        n: size of the matrices.
        channels: of inputs and state.
        metric: ``"le"``, ``"lc"`` or ``"ai"``.
    """

    def __init__(self, n: int, channels: int, metric: str) -> None:
        super().__init__()
        self.metric, self.channels = metric, channels
        # In coordinates at the identity, "ai" scales as "le" does.
        chart = "lc" if metric == "lc" else "le"
        self.state_scale = GyroScale(n, chart, channels=channels, in_chart=True, out_chart=True)
        self.input_scale = GyroScale(n, chart, channels=channels, in_chart=True, out_chart=True)
        self.translate = GyroTranslate(n, chart, channels=channels, in_chart=True, out_chart=True)
        self.gates = nn.Linear(channels * n * (n + 1), 2 * channels)

    def entered(self, x: Tensor) -> Tensor:  # (..., n, n)
        """Return the coordinates of points."""
        return SPD("lc").chart(x) if self.metric == "lc" else symfun(x, "log")

    def add(self, s: Tensor, t: Tensor) -> Tensor:
        """Return the coordinates of the gyro sum."""
        if self.metric in FLAT:
            return s + t
        root = symfun(0.5 * s.double(), "exp")
        return symfun(symmetrize(root @ symfun(t.double(), "exp") @ root), "log").to(t.dtype)

    def vector(self, s: Tensor) -> Tensor:  # (..., channels, n, n) -> (..., channels d)
        """Return orthonormal coordinates of all channels as one vector."""
        return (triangle(s.mT) if self.metric == "lc" else vech(s)).flatten(-2)

    def forward(self, x: Tensor, features: Tensor, state: Tensor) -> Tensor:  # (B, channels, n, n)
        """Return the coordinates of the next state.

        Args:
            x: inputs, scaled, in coordinates.
            features: :meth:`vector` of the inputs.
            state: of the step before.
        """
        gates = self.gates(torch.cat([features, self.vector(state)], -1)).sigmoid()
        z, r = gates.unflatten(-1, (2, self.channels))[..., None, None].unbind(-4)
        kept = self.state_scale(r * state)
        candidate = self.add(self.translate.step(), self.add(kept, x)).asinh()
        return self.add(state, z * self.add(-state, candidate))


@register_model("gyro_recurrent")
class GyroRecurrent(nn.Module):
    r"""Classify sequences of local covariances by a recurrent network on SPD matrices.

    .. math:: X_t = W\, C_t\, W^\top, \qquad H_t = \mathrm{cell}(X_t, H_{t-1}), \quad H_0 = I, \qquad
              \hat y_c = \sum_k \langle \ominus P_{ck} \oplus H_{Tk},\; A_{ck} \rangle

    W mixes the parts of the body into several channels, each of d x d matrices; the cell is
    :class:`GyroRecurrentCell`. Under the flat metrics ``"le"`` and ``"lc"`` the recurrence stays in the chart: one logarithm,
    or Cholesky factor, per input matrix in all.

    The design is ours, after the description of GyroAI-HAUNet, of which no code is public.

    **Group** permutations of samples: the weights are learned templates. **Shapes** ``cov`` (B, windows, parts, n, n) to
    (B, classes).

    Args:
        n: size of the matrices.
        windows: steps of time.
        parts: matrices of one step.
        classes: to tell apart.
        metric: ``"le"``, ``"lc"`` or ``"ai"``.
        reduced: d, at most n.
        channels: of the state.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call; a matrix that is not positive definite.

    Source: Nguyen, *The gyro-structure of some matrix manifolds*, NeurIPS 2022.

    >>> model = GyroRecurrent(n=6, windows=4, parts=2, classes=3, reduced=4, channels=2)
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
    ) -> None:
        super().__init__()
        positive("GyroRecurrent", windows=windows, parts=parts, classes=classes, channels=channels)
        checked_metric("GyroRecurrent", metric, ("ai", "le", "lc"))
        self._options: dict[str, Any] = {
            "n": n, "windows": windows, "parts": parts, "classes": classes, "metric": metric, "reduced": reduced,
            "channels": channels,
        }  # fmt: skip
        self.congruence = BiMap(n, reduced, parts, channels)
        self.cell = GyroRecurrentCell(reduced, channels, metric)
        self.head = SPDHyperplanes(
            "GyroRecurrent",
            reduced,
            classes,
            metric,
            1.0,
            1.0,
            0.0,
            in_chart=metric in FLAT,
            factors=channels,
        )

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gyro_recurrent", **self._options}

    @full_precision
    def forward(self, cov: Tensor) -> Tensor:  # (B, windows, parts, n, n) -> (B, classes)
        """Return logits.

        Args:
            cov: matrices, positive definite.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        o, cell = self._options, self.cell
        shape = None, o["windows"], o["parts"], o["n"], o["n"]
        check_samples("GyroRecurrent", "cov", cov, shape, self.congruence.weight)
        x = cell.entered(self.congruence(cov))  # (B, windows, channels, d, d)
        scaled, features = cell.input_scale(x), cell.vector(x)
        state = torch.zeros_like(x[:, 0])
        for t in range(o["windows"]):
            state = cell(scaled[:, t], features[:, t], state)
        return self.head.values(state if o["metric"] in FLAT else symfun(state, "exp"))

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of samples."""
        return rows_symmetry_of("cov")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GyroRecurrent, dict[str, Any]]:
        """Return a small affine-invariant instance and four sequences."""
        model = cls(n=4, windows=3, parts=2, classes=3, metric="ai", reduced=3, channels=2)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        return model, {"cov": example_spd(generator, 4, 4, 3, 2)}

    def extra_repr(self) -> str:
        """Return the sizes, the metric and the number of weights."""
        o = self._options
        sizes = f"{o['parts']} x spd({o['n']}) -> {o['channels']} x spd({o['reduced']})"
        return f"{sizes}, metric={o['metric']!r}, {sum(p.numel() for p in self.parameters()):,} weights"
