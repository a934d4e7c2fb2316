r"""CGENN for the volume of a convex hull."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.versors import smooth_root
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import finite_squares
from geomlib.layers.geometric_product import MVGeometricProduct
from geomlib.layers.multivector_linear import MVLinear
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["CGENNHull"]


@register_model("cgenn_hull")
class CGENNHull(nn.Module):
    r"""Predict a number from points, by products of multivectors of Cl(n,0) whose channels are mixtures of points.

    .. math:: h = W\,(x - \bar x), \qquad h \leftarrow \mathrm{Product}(h), \qquad \hat y = \mathrm{MLP}(|h|)

    with one length over all blades for every channel. Points are channels: the answer depends on their order.

    **Group** E(dim); O(dim) with ``released=True``, which does not take out the centre. **Shapes** ``pos``
    (B, points, dim) to (B,).

    Args:
        points: of each sample.
        dim: of space.
        hidden: number of channels.
        layers: number of products.
        shift: added to the prediction.
        scale: multiplies the prediction before.
        released: as the released code: points from the origin.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> CGENNHull(points=8, dim=3, hidden=4, layers=1)(torch.randn(2, 8, 3)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        points: int = 16,
        dim: int = 5,
        hidden: int = 32,
        layers: int = 4,
        shift: float = 0.0,
        scale: float = 1.0,
        released: bool = False,
    ) -> None:
        super().__init__()
        self.algebra = CliffordAlgebra(dim)
        self._options = {
            "points": points, "dim": dim, "hidden": hidden, "layers": layers, "shift": float(shift),
            "scale": float(scale), "released": released,
        }  # fmt: skip
        self.points, self.dim, self.released = points, dim, released
        self.shift, self.scale = float(shift), float(scale)
        self.embedding = MVLinear(self.algebra, points, hidden, subspaces=False)
        self.products = nn.Sequential(*(MVGeometricProduct(self.algebra, hidden) for _ in range(layers)))
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "cgenn_hull", **self._options}

    @full_precision
    def forward(self, pos: Tensor) -> Tensor:  # (B, points, dim) -> (B,)
        """Return the numbers.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("CGENNHull", "pos", pos, (None, self.points, self.dim), self.embedding.weight)
        if not self.released:
            pos = pos - pos.mean(1, keepdim=True)
        x = nn.functional.pad(pos, (1, self.algebra.size - 1 - self.dim))
        h = self.products(self.embedding(x))
        length = smooth_root(finite_squares(h, self.algebra).sum(-1))  # (B, hidden)
        return self.shift + self.scale * self.mlp(length)[:, 0]

    @property
    def symmetry(self) -> Symmetry:
        """E(dim), or O(dim) about the origin; the rows that S_n permutes are samples."""
        group, kind = ("O", "node:vector") if self.released else ("E", "node:point")
        return Symmetry(f"{group}({self.dim})*S_n", inputs={"pos": kind}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CGENNHull, dict[str, Any]]:
        """Return a small instance and three samples."""
        return cls(points=6, dim=4, hidden=4, layers=1), {"pos": torch.randn(3, 6, 4, generator=generator)}

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights"
