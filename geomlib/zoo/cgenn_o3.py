r"""CGENN for a pseudoscalar: the signed volume of three vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers.geometric_product import MVGeometricProductFC
from geomlib.layers.multivector_activation import MVSiLU
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["CGENNO3"]


@register_model("cgenn_o3")
class CGENNO3(nn.Module):
    r"""Predict a pseudoscalar of three vectors, by fully connected products of multivectors of Cl(3,0).

    .. math:: h = \mathrm{Product}(x), \qquad h \leftarrow \mathrm{Product}(\mathrm{SiLU}(h)), \qquad
              \hat y = \langle h \rangle_{123}

    **Group** O(3): the prediction changes its sign under reflections. **Shapes** ``pos`` (B, 3, 3), vectors as rows, to (B,).

    Args:
        hidden: number of channels.
        layers: number of products, 2 or more.
        released: two products with three gates in a row between them, as the released code has it (hidden=96);
            ``layers`` is then 2.

    Raises:
        InvalidInput: fewer than two products, or other than two with ``released=True``.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> CGENNO3(hidden=4)(torch.randn(2, 3, 3)).shape
    torch.Size([2])
    """

    def __init__(self, hidden: int = 32, layers: int = 2, released: bool = False) -> None:
        super().__init__()
        if layers < 2 or (released and layers != 2):
            raise InvalidInput(f"CGENNO3: layers={layers}, expected 2 or more; the released network has 2.")
        self.algebra = algebra = CliffordAlgebra(3)
        self._options = {"hidden": hidden, "layers": layers, "released": released}
        widths = [*[hidden] * (layers - 1), 1]
        net: list[nn.Module] = [MVGeometricProductFC(algebra, 3, hidden)]
        for width in widths[1:]:
            net += [MVSiLU(algebra, hidden) for _ in range(3 if released else 1)]
            net.append(MVGeometricProductFC(algebra, hidden, width))
        self.net = nn.Sequential(*net)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "cgenn_o3", **self._options}

    @full_precision
    def forward(self, pos: Tensor) -> Tensor:  # (B, 3, 3) -> (B,)
        """Return the pseudoscalars.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("CGENNO3", "pos", pos, (None, 3, 3), next(self.parameters()))
        return self.net(nn.functional.pad(pos, (1, 4)))[:, 0, 7]

    @property
    def symmetry(self) -> Symmetry:
        """O(3), a pseudoscalar; the rows that S_n permutes are samples."""
        return Symmetry("O(3)*S_n", inputs={"pos": "node:vector"}, outputs="node:pseudoscalar")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CGENNO3, dict[str, Any]]:
        """Return a small instance and four samples."""
        return cls(hidden=4), {"pos": torch.randn(4, 3, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights"
