r"""CGENN for an invariant of two vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers.geometric_product import MVGeometricProduct
from geomlib.layers.multivector_linear import MVLinear
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["CGENNO5"]


@register_model("cgenn_o5")
class CGENNO5(nn.Module):
    r"""Predict an invariant of two vectors, by products of multivectors of Cl(dim,0) and a network of their scalars.

    .. math:: h = \mathrm{Product}(W x), \qquad \hat y = s\; \mathrm{MLP}(\langle h \rangle_0) + t

    **Group** O(dim). **Shapes** ``pos`` (B, 2, dim) to (B,).

    Args:
        dim: of space.
        hidden: number of channels.
        width: of the two hidden layers of the network of scalars.
        shift: t, the mean of the target.
        scale: s, its deviation.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> CGENNO5(width=16)(torch.randn(3, 2, 5)).shape
    torch.Size([3])
    """

    def __init__(
        self, dim: int = 5, hidden: int = 8, width: int = 580, shift: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.algebra = algebra = CliffordAlgebra(dim)
        self._options = {
            "dim": dim, "hidden": hidden, "width": width, "shift": float(shift), "scale": float(scale),
        }  # fmt: skip
        self.dim, self.shift, self.scale = dim, float(shift), float(scale)
        self.embedding = MVLinear(algebra, 2, hidden, subspaces=False)
        self.product = MVGeometricProduct(algebra, hidden)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "cgenn_o5", **self._options}

    @full_precision
    def forward(self, pos: Tensor) -> Tensor:  # (B, 2, dim) -> (B,)
        """Return the invariants.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("CGENNO5", "pos", pos, (None, 2, self.dim), self.embedding.weight)
        x = nn.functional.pad(pos, (1, self.algebra.size - 1 - self.dim))
        return self.shift + self.scale * self.mlp(self.product(self.embedding(x))[..., 0])[:, 0]

    @property
    def symmetry(self) -> Symmetry:
        """O(dim); the rows that S_n permutes are samples."""
        return Symmetry(f"O({self.dim})*S_n", inputs={"pos": "node:vector"}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CGENNO5, dict[str, Any]]:
        """Return a small instance and four samples."""
        return cls(dim=4, hidden=3, width=8), {"pos": torch.randn(4, 2, 4, generator=generator)}

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights"
