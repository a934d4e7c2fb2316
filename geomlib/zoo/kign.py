r"""KIGN: graphs as tensors of order two, three, ..., through every linear map that commutes with permutations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers.equivariant_linear import EquivariantLinear
from geomlib.zoo.dense_graphs import SampledGraphs, check_graphs, graph_tensor, prepared
from geomlib.zoo.registry import register_model

__all__ = ["KIGN"]


@register_model("kign")
class KIGN(nn.Module):
    r"""Predict classes or a number of graphs by linear maps between tensors of the nodes, with ReLU in between.

    .. math:: h^{(0)} = [A, \operatorname{diag} x], \qquad h^{(t)} = \mathrm{ReLU}\big(L_t\, h^{(t-1)}\big), \qquad
              \hat y = s\, \mathrm{MLP}\big(\mathrm{ReLU}(L\, h^{(T)})\big) + t

    L_t maps tensors of one order to the next of ``orders``, and the last to order 0, by all maps that commute with
    permutations of the nodes (:class:`~geomlib.layers.EquivariantLinear`). Tensors of order two cannot count triangles; with
    an order three among them, :math:`\tfrac16 \sum_{ijk} \mathrm{ReLU}(A_{ij} + A_{jk} + A_{ik} - 2)` does it exactly.
    Without ``nodes`` one set of weights serves graphs of all sizes.

    **Group** S_n. **Shapes** ``adjacency`` (B, n, n), ``x`` (B, features, n), ``mask`` (B, n), to (B,), or (B, classes).

    Args:
        features: of a node; 0 for none.
        classes: to tell apart; 0 for one number.
        orders: of the tensors in between.
        channels: of each of them.
        hidden: of the order-0 layer and of the MLP.
        nodes: of every graph, to leave out maps that are dependent where this is small; by default any number.
        normalization: ``"mean"`` divides sums over nodes by their number, ``"sum"`` does not.
        shift: t, the mean of the target.
        scale: s, its deviation.

    Raises:
        InvalidInput: unknown options; shapes or types that do not fit at the call.

    Source: Maron, Ben-Hamu, Shamir and Lipman, *Invariant and equivariant graph networks*, arXiv 1812.09902.

    >>> model = KIGN(orders=(2, 2), channels=4)
    >>> model(torch.ones(5, 6, 6)).shape, model(torch.ones(5, 9, 9)).shape
    (torch.Size([5]), torch.Size([5]))
    """

    def __init__(
        self,
        features: int = 0,
        classes: int = 0,
        orders: Sequence[int] = (2, 2),
        channels: int = 16,
        hidden: int = 32,
        nodes: int | None = None,
        normalization: str = "mean",
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not orders or min(orders) < 1 or min(channels, hidden) < 1 or min(features, classes) < 0:
            raise InvalidInput(
                f"KIGN: features={features}, classes={classes}, orders={list(orders)}, channels={channels}, hidden={hidden}: "
                "expected one order or more, positive sizes; features and classes may be 0."
            )
        self._options: dict[str, Any] = {
            "features": features, "classes": classes, "orders": list(orders), "channels": channels, "hidden": hidden,
            "nodes": nodes, "normalization": normalization, "shift": float(shift), "scale": float(scale),
        }  # fmt: skip
        self.features, self.classes = features, classes
        self.shift, self.scale = float(shift), float(scale)
        group = "S_n" if nodes is None else f"S_{nodes}"
        sizes = [1 + features, *[channels] * len(orders), hidden]
        steps = zip([2, *orders], [*orders, 0], sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(
            EquivariantLinear(group, k, l, a, b, normalization=normalization) for k, l, a, b in steps
        )
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes or 1))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "kign", **self._options}

    def prepare(self, samples: SampledGraphs) -> SampledGraphs:
        """Return a set whose batches have adjacency matrices, made of lists of edges and cut to their largest graph."""
        return prepared(samples)

    @full_precision
    def forward(
        self,
        adjacency: Tensor,  # (B, n, n)
        x: Tensor | None = None,  # (B, features, n)
        mask: Tensor | None = None,  # (B, n)
    ) -> Tensor:  # (B,) or (B, classes)
        """Return predictions.

        Args:
            adjacency: matrices, of any real entries.
            x: features of the nodes, for a model with ``features``.
            mask: True for nodes; what else is in the tensors is not read.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_graphs("KIGN", adjacency, x, mask, self.features, self.mlp[0].weight)  # pyright: ignore[reportArgumentType]
        h = graph_tensor(adjacency, x, mask)
        for layer in self.layers:
            h = layer(h, mask=mask).relu()
        out = self.shift + self.scale * self.mlp(h)
        return out if self.classes else out[:, 0]

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of the nodes."""
        inputs = {"adjacency": "perm(2)", "mask": "perm(1)"}
        return Symmetry(
            "S_n", inputs={**inputs, "x": "perm(1)"} if self.features else inputs, outputs="graph:inv"
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[KIGN, dict[str, Any]]:
        """Return a small instance with orders 2 and 3, and three graphs, two of them padded."""
        model = cls(features=2, classes=3, orders=(2, 3), channels=3, hidden=6)
        inputs = {
            "adjacency": torch.randn(3, 5, 5, generator=generator),
            "x": torch.randn(3, 2, 5, generator=generator),
            "mask": torch.arange(5) < torch.tensor([5, 3, 4])[:, None],
        }
        return model, inputs

    def extra_repr(self) -> str:
        """Return the orders and the number of weights."""
        orders = " -> ".join(map(str, [2, *self._options["orders"], 0]))
        return f"{orders}, {sum(p.numel() for p in self.parameters()):,} weights"
