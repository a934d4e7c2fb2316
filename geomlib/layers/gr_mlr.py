"""Multinomial logistic regression on subspaces, by projectors or by hypergyroplanes."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann.bases import projector
from geomlib.algebra.manifolds.grassmann.hyperplanes import gyro_logits
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._grassmann import (
    checked_frames,
    example_frames,
    frame_symmetry,
    init_block,
    subspace_sizes,
)
from geomlib.layers._spd import positive

__all__ = ["GrMLR"]


class GrMLR(nn.Module):
    r"""Logits of classes from the subspaces of several channels.

    .. math:: \text{"proj"}: \quad \ell_k = b_k + \sum_c \operatorname{tr}(W_{kc}\, x_c x_c^\top), \qquad\quad
              \text{"gyro"}: \quad \ell_k = \sum_c \langle (\ominus P_{kc}) \oplus x_c, W_{kc} \rangle

    The first is a linear map of projectors. The second has a point :math:`P_{kc} = \exp_{\tilde I} Z_{kc}` and a normal per
    class and channel, both free tangents at the identity.

    **Group** O(p), the choice of frames, which is not seen, and permutations of rows. **Shapes** ``x`` (..., channels, n, p)
    to (..., classes).

    Args:
        classes: number of logits.
        channels: subspaces of each row.
        n: dimension of the space.
        p: of the subspaces.
        kind: ``"proj"`` or ``"gyro"``.

    Raises:
        InvalidInput: sizes and options that do not fit; wrong shapes or types, or columns that are not orthonormal.

    Source: Huang, Wu and Van Gool, *Building deep networks on Grassmann manifolds*, arXiv 1611.05742, for projectors; Nguyen
    and Yang, arXiv 2305.04560, and Nguyen, Yang and Histace, *Matrix manifold neural networks++*, arXiv 2405.19206.

    >>> x = torch.linalg.qr(torch.randn(5, 2, 6, 3))[0]
    >>> GrMLR(4, 2, 6, 3)(x).shape, GrMLR(4, 2, 6, 3, "gyro")(x).shape
    (torch.Size([5, 4]), torch.Size([5, 4]))
    """

    def __init__(
        self, classes: int, channels: int, n: int, p: int, kind: Literal["proj", "gyro"] = "proj"
    ) -> None:
        super().__init__()
        positive("GrMLR", classes=classes, channels=channels)
        subspace_sizes("GrMLR", n, p)
        if kind not in ("proj", "gyro"):
            raise InvalidInput(f"GrMLR: kind={kind!r}, expected 'proj' or 'gyro'.")
        self.classes, self.channels, self.n, self.p, self.kind = classes, channels, n, p, kind
        if kind == "proj":
            self.weight = nn.Parameter(torch.empty(classes, channels, n, n))
            self.bias = nn.Parameter(torch.empty(classes))
        else:
            self.weight = nn.Parameter(torch.empty(classes, channels, n - p, p))
            self.bias = nn.Parameter(torch.empty(classes, channels, n - p, p))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights; points begin at the identity, other biases at 0."""
        nn.init.zeros_(self.bias)
        if self.kind == "proj":
            nn.init.normal_(self.weight, std=1 / math.sqrt(self.channels * self.p))
        else:
            init_block(self.weight)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, n, p) -> (..., classes)
        """Return the logits.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_frames("GrMLR", x, self.channels, self.n, self.p, self.weight)
        if self.kind == "gyro":
            return gyro_logits(x, self.bias, self.weight).sum(-1)
        return nn.functional.linear(projector(x).flatten(-3), self.weight.flatten(1), self.bias)

    @property
    def symmetry(self) -> Symmetry:
        """The choice of frames, which is not seen, and permutations of rows."""
        return frame_symmetry(self.n, self.p)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrMLR, dict[str, Any]]:
        """Return an instance with hypergyroplanes and one set of inputs."""
        layer = cls(3, 2, 5, 2, "gyro")
        with torch.no_grad():
            layer.weight.normal_(generator=generator)
            layer.bias.copy_(0.2 * torch.randn(layer.bias.shape, generator=generator))
        return layer, {"x": example_frames(generator, 4, 2, 5, 2)}

    def extra_repr(self) -> str:
        """Return the sizes."""
        sizes = f"{self.channels} channels, Gr({self.n}, {self.p}), frames up to O({self.p})"
        return f"{sizes} -> {self.classes}, {self.kind}"
