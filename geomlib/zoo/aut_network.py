r"""A network on the nodes of one fixed graph, equivariant to its automorphisms and to nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams.orbit_groups import AutGraph
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers.equivariant_tensor import EquivariantTensorLayer
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["AutNetwork"]


@register_model("aut_network")
class AutNetwork(nn.Module):
    r"""Predict values of the nodes of a graph, or of the whole, from features of the nodes, by all maps that Aut(G) allows.

    .. math:: h \leftarrow L_1 h \odot \mathrm{SiLU}(L_2 h), \qquad \hat y = t + s\, L h

    with h features of nodes and, if wanted, of pairs of nodes, and L the linear maps with one weight for every orbit of
    (outputs, inputs). Automorphisms permute nodes, so products of entries are equivariant.

    **Group** the automorphisms of the graph. **Shapes** ``x`` (B, features, nodes) to (B, nodes), or to (B,) with
    ``order=0``; (B, outputs, nodes) or (B, outputs) for more than one output.

    Args:
        edges: pairs of nodes, undirected; no edges make it a network of S_n.
        nodes: number of nodes.
        features: of a node.
        outputs: values of a node, or of the graph.
        order: 1 for values of the nodes, 0 for values of the graph.
        channels: of the nodes between the layers.
        pair_channels: of the pairs of nodes between the layers; 0 for none.
        layers: number of layers with products.
        shift: t, the mean of the target.
        scale: s, its deviation.

    Raises:
        InvalidInput: options out of range; wrong shapes or types at the call.

    Source: E. Pearce-Crump and W. J. Knottenbelt, *Graph automorphism group equivariant neural networks*, arXiv 2307.07810,
    for the linear maps; the gates and their arrangement are ours.

    >>> model = AutNetwork([(0, 1), (1, 2), (2, 3)], 4, features=2, channels=8)
    >>> model(torch.randn(5, 2, 4)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        edges: Sequence[Sequence[int]] = ((0, 1), (1, 2), (2, 3)),
        nodes: int = 4,
        features: int = 1,
        outputs: int = 1,
        order: int = 1,
        channels: int = 32,
        pair_channels: int = 0,
        layers: int = 2,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if order not in (0, 1) or layers < 1 or pair_channels < 0:
            raise InvalidInput(
                f"AutNetwork: order={order}, layers={layers}, pair_channels={pair_channels}: expected order 0 or 1, at least "
                "one layer, and no negative number of channels."
            )
        pairs = [(int(a), int(b)) for a, b in edges]
        self._options: dict[str, Any] = {
            "edges": [list(p) for p in pairs], "nodes": nodes, "features": features, "outputs": outputs, "order": order,
            "channels": channels, "pair_channels": pair_channels, "layers": layers, "shift": float(shift),
            "scale": float(scale),
        }  # fmt: skip
        self.group = AutGraph(pairs, nodes)
        self.features, self.outputs, self.order, self.nodes = features, outputs, order, nodes
        self.shift, self.scale = float(shift), float(scale)
        hidden = {1: channels} | ({2: pair_channels} if pair_channels else {})
        doubled = {k: 2 * c for k, c in hidden.items()}
        sizes = [{1: features}, *[hidden] * (layers - 1)]
        self.layers = nn.ModuleList(EquivariantTensorLayer(self.group, size, doubled) for size in sizes)
        self.last = EquivariantTensorLayer(self.group, hidden, {order: outputs})

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "aut_network", **self._options}

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (B, features, nodes) -> (B, nodes)
        """Return the values.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("AutNetwork", "x", x, (None, self.features, self.nodes), next(self.parameters()))
        h = {1: x}
        for layer in self.layers:
            h = {k: _gated(z) for k, z in layer(h).items()}
        y = self.last(h)[self.order]
        y = y[:, 0] if self.outputs == 1 else y
        return self.shift + self.scale * y

    @property
    def symmetry(self) -> Symmetry:
        """The automorphisms of the graph."""
        G = self.group
        return Symmetry(
            G.name,
            inputs={"x": f"graph:{G.tensor_type(1)}"},
            outputs=f"graph:{G.tensor_type(self.order)}",
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[AutNetwork, dict[str, Any]]:
        """Return a small instance and three samples."""
        # Every node moves: a cycle of six with one pair of opposite nodes joined.
        model = cls(
            [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3)],
            6,
            features=2,
            channels=4,
            pair_channels=2,
        )
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name.endswith("bias"):
                    p.normal_(generator=generator)
        return model, {"x": torch.randn(3, 2, 6, generator=generator)}

    def extra_repr(self) -> str:
        """Return the group and the number of weights."""
        return f"{self.group.name}, {sum(p.numel() for p in self.parameters()):,} weights"


def _gated(z: Tensor) -> Tensor:
    value, gate = z.chunk(2, dim=1)
    return value * nn.functional.silu(gate)
