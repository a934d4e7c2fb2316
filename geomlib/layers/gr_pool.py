"""Pooling of subspaces: the dominant subspace of the mean projector of several channels."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann.bases import mean_subspace, projector
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._grassmann import checked_frames, example_frames, subspace_sizes
from geomlib.layers._spd import positive

__all__ = ["GrPool"]


class GrPool(nn.Module):
    r"""Put the mean of every few channels in place of them: average of projectors, then the leading eigenvectors.

    .. math:: y_j = \operatorname{top}_p\Big(\frac1s \sum_{c \in \text{group } j} x_c x_c^\top\Big)

    Only gaps between kept and dropped eigenvalues enter the gradient, so it is right where eigenvalues coincide, as those of
    every projector do. Where s q < n the eigenvectors are those of the (s q, s q) products of the frames.

    **Group** O(n), and permutations of rows; the choice of the frames of the input is not seen. With ``view="onb"`` the
    output is a frame of that subspace, which one is not settled, so permutations of rows alone are declared. **Shapes** ``x``
    (..., channels, n, q) to (..., channels / size, n, p), or (..., channels / size, n, n) for ``view="proj"``.

    Args:
        n: dimension of the space.
        q: of the subspaces of the input.
        size: s, channels that become one; it divides their number.
        p: of the subspaces of the output; q by default.
        view: of the output, ``"onb"`` or ``"proj"``.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types, columns that are not orthonormal, or a mean without a gap
            after its p-th eigenvalue.

    Source: Huang, Wu and Van Gool, *Building deep networks on Grassmann manifolds*, arXiv 1611.05742.

    >>> x = torch.linalg.qr(torch.randn(5, 8, 6, 2))[0]
    >>> GrPool(6, 2, size=4)(x).shape
    torch.Size([5, 2, 6, 2])
    """

    def __init__(
        self, n: int, q: int, size: int = 4, p: int | None = None, *, view: Literal["onb", "proj"] = "onb"
    ) -> None:
        super().__init__()
        p = q if p is None else p
        positive("GrPool", size=size)
        subspace_sizes("GrPool", n, q)
        subspace_sizes("GrPool", n, p)
        if p > size * q:
            raise InvalidInput(
                f"GrPool: p={p}, but {size} subspaces of dimension {q} span {size * q} at most."
            )
        if view not in ("onb", "proj"):
            raise InvalidInput(f"GrPool: view={view!r}, expected 'onb' or 'proj'.")
        self.n, self.q, self.p, self.size, self.view = n, q, p, size, view

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, n, q)
        """Return the pooled subspaces.

        Raises:
            InvalidInput: shapes or types that do not fit, or a mean without a gap.
        """
        checked_frames("GrPool", x, None, self.n, self.q, None)
        if x.shape[-3] % self.size:
            raise InvalidInput(
                f"GrPool: `x` has shape {tuple(x.shape)}: {x.shape[-3]} channels do not divide into groups of {self.size}."
            )
        pooled = mean_subspace(x.unflatten(-3, (-1, self.size)), self.p)
        return pooled if self.view == "onb" else projector(pooled)

    @property
    def symmetry(self) -> Symmetry:
        """O(n) for projectors, and permutations of rows; these alone for frames, which are not settled."""
        if self.view == "onb":
            return Symmetry("S_n", inputs={"x": "node:inv"}, outputs="node:inv")
        types = {"x": f"node:grassmann({self.n},{self.q})"}
        return Symmetry(f"O({self.n})*S_n", inputs=types, outputs=f"node:grassmann({self.n},{self.p})")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrPool, dict[str, Any]]:
        """Return an instance and one set of inputs, whose means have a gap."""
        return cls(7, 3, size=2, view="proj"), {"x": example_frames(generator, 4, 4, 7, 3, spread=0.15)}

    def extra_repr(self) -> str:
        """Return the sizes."""
        spaces = f"O({self.n}): Gr({self.n}, {self.q}) -> Gr({self.n}, {self.p})"
        return f"{spaces}, {self.size} channels to one, view={self.view!r}"
