"""SPDNet: covariances through learned congruences, rectified eigenvalues, and a logarithm or a Riemannian classifier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.rectified_log import rectified_log
from geomlib.algebra.manifolds.vech import vech
from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers import SPDMLR, BiMap, ReEig, SPDBatchNorm
from geomlib.layers._multivectors import rows_symmetry_of
from geomlib.layers._spd import example_spd, positive
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["HEADS", "NORMS", "SPDNet"]

#: A linear layer on logarithms, or the hyperplanes of a metric.
HEADS = ("logeig", "le", "ai", "lc", "bw", "euclidean")
NORMS = ("ai", "le", "lc", "bw", "gbw")


@register_model("spdnet")
class SPDNet(nn.Module):
    r"""Classify SPD matrices, such as covariances, through smaller and smaller SPD matrices.

    .. math:: X_k = \max\bigl(\mathrm{BN}(W_k X_{k-1} W_k^\top),\; \varepsilon\bigr), \quad W_k W_k^\top = I, \qquad
              \hat y = \begin{cases} B \operatorname{vech} \log X_K + b & \text{head "logeig"} \\
              \langle \ominus P_c \oplus X_K, A_c \rangle & \text{the others} \end{cases}

    The maximum is that of eigenvalues. Before a logarithm it costs no decomposition of its own: both are one function,
    :func:`~geomlib.algebra.manifolds.rectified_log.rectified_log`.

    **Group** permutations of samples: frames and hyperplanes are learned templates, so turning the input does not turn
    anything. **Shapes** ``cov`` (B, n, n) to (B, classes).

    Args:
        n: size of the matrices.
        dims: sizes after each congruence; none for a classifier of the matrices themselves.
        classes: to tell apart.
        head: ``"logeig"``, or the metric of a :class:`~geomlib.layers.SPDMLR`: ``"le"``, ``"ai"``, ``"lc"``, ``"bw"``,
            ``"euclidean"``.
        bn: metric of a :class:`~geomlib.layers.SPDBatchNorm` after every congruence: ``"ai"``, ``"le"``, ``"lc"``, ``"bw"``,
            ``"gbw"``, or None.
        floor: :math:`\varepsilon`.
        relative: measure the floor by the mean eigenvalue of each matrix.
        theta: power of the metric of the head.

    Raises:
        InvalidInput: unknown options, sizes that grow; wrong shapes or types at the call; a matrix that a head needs positive
            definite and is not.

    Source: Huang and Van Gool, *A Riemannian network for SPD matrix learning*, arXiv 1608.04233; heads: Chen et al., *RMLR:
    extending multinomial logistic regression into general geometries*, arXiv 2409.19433; normalisation: Brooks et al.,
    *Riemannian batch normalization for SPD neural networks*, arXiv 1909.02414.

    >>> model = SPDNet(n=8, dims=(4,), classes=3)
    >>> model(torch.eye(8).expand(5, 8, 8)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        n: int = 93,
        dims: Sequence[int] = (30,),
        classes: int = 11,
        head: str = "logeig",
        bn: str | None = None,
        floor: float = 1e-4,
        relative: bool = False,
        theta: float = 1.0,
    ) -> None:
        super().__init__()
        positive("SPDNet", n=n, classes=classes)
        for name, found, known in (("head", head, HEADS), ("bn", bn, (None, *NORMS))):
            if found not in known:
                near = closest(str(found), [k for k in known if k])
                raise InvalidInput(
                    f"SPDNet: {name}={found!r}, expected one of {', '.join(map(repr, known))}.{near}"
                )
        sizes = [n, *dims]
        if any(b > a for a, b in pairwise(sizes)):
            raise InvalidInput(
                f"SPDNet: n={n}, dims={list(dims)}: sizes must not grow; a congruence to more dimensions is singular."
            )
        self._options: dict[str, Any] = {
            "n": n, "dims": list(dims), "classes": classes, "head": head, "bn": bn, "floor": float(floor),
            "relative": bool(relative), "theta": float(theta),
        }  # fmt: skip
        last = sizes[-1]
        self.maps = nn.ModuleList(BiMap(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(SPDBatchNorm(m, metric=bn) if bn else nn.Identity() for m in dims)
        self.rectifiers = nn.ModuleList(ReEig(m, floor, relative=relative) for m in dims)
        self.takes_log = head in ("logeig", "le")
        self.head: nn.Module
        if head == "logeig":
            self.head = nn.Linear(last * (last + 1) // 2, classes)
        else:
            self.head = SPDMLR(last, classes, metric=head, theta=theta, in_chart=head == "le")

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "spdnet", **self._options}

    @full_precision
    def forward(self, cov: Tensor) -> Tensor:  # (B, n, n) -> (B, classes)
        """Return logits.

        Args:
            cov: matrices, positive definite.

        Raises:
            InvalidInput: shapes or types that do not fit, a matrix that is not positive definite.
        """
        options = self._options
        check_samples("SPDNet", "cov", cov, (None, options["n"], options["n"]), next(self.parameters()))
        x = cov
        for k, (congruence, norm, rectifier) in enumerate(
            zip(self.maps, self.norms, self.rectifiers, strict=True)
        ):
            x = norm(congruence(x))
            if k + 1 < len(self.maps) or not self.takes_log:
                x = rectifier(x)
        if self.takes_log:
            x = rectified_log(x, options["floor"], relative=options["relative"])
        return self.head(vech(x) if options["head"] == "logeig" else x)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of samples."""
        return rows_symmetry_of("cov")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDNet, dict[str, Any]]:
        """Return a small instance of two blocks and five matrices."""
        model = cls(n=6, dims=(4, 3), classes=3, head="ai", floor=0.4, relative=True)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        return model, {"cov": example_spd(generator, 6)}

    def extra_repr(self) -> str:
        """Return the sizes, the head and the number of weights."""
        o = self._options
        sizes = " -> ".join(map(str, [o["n"], *o["dims"]]))
        norm = f", bn={o['bn']!r}" if o["bn"] else ""
        return f"{sizes}, head={o['head']!r}{norm}, {sum(p.numel() for p in self.parameters()):,} weights"
