"""Networks of group-action layers: a perceptron, and messages on a graph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import PGA
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._features import checked_edges
from geomlib.layers._multivectors import checked_held, example_of, rows_symmetry, shaken
from geomlib.layers.group_action import GroupActionLinear
from geomlib.layers.multivector_gate import MVAct

__all__ = ["GroupActionMLP", "GroupActionMessagePassing"]


class GroupActionMLP(nn.Module):
    r"""Group-action layers with gates between them.

    .. math:: x \mapsto A_L\, g_L \cdots A_1\, g_1\, A_0\, x

    with :class:`GroupActionLinear` A and :class:`MVAct` g; weights are named as in the authors' code.

    **Group** permutations of rows only: see :class:`GroupActionLinear`.
    **Shapes** ``x`` (..., in, blades) to (..., out, blades).

    Args:
        in_channels: of the input.
        hidden_channels: between layers.
        out_channels: of the output.
        layers: number of gates; 0 gives one linear layer.
        agg: of the gates.
        blades: that all features hold, as ``input_blades`` of the layers; all 16 by default. Layers keep grades, so networks
            of points need trivectors only.
        e123_init: of the linear layers.
        overwrite: of the linear layers.
        renormalize: of the linear layers.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> GroupActionMLP(4, 16, 2)(torch.randn(5, 4, 16)).shape
    torch.Size([5, 2, 16])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        layers: int = 2,
        agg: str = "linear",
        *,
        blades: Sequence[int] | Sequence[str] | None = None,
        e123_init: float = 1.0,
        overwrite: bool = False,
        renormalize: bool = False,
    ) -> None:
        super().__init__()
        if layers < 0:
            raise InvalidInput(f"GroupActionMLP: layers={layers}, expected 0 or more.")
        widths = [in_channels, *[hidden_channels] * layers, out_channels]

        options: dict[str, Any] = {"e123_init": e123_init, "overwrite": overwrite, "renormalize": renormalize}

        def linear(a: int, b: int) -> GroupActionLinear:
            return GroupActionLinear(a, b, blades, **options)

        first, *rest = itertools.pairwise(widths)
        gated = [nn.Sequential(MVAct(PGA, a, agg, blades), linear(a, b)) for a, b in rest]
        self.model = nn.Sequential(linear(*first), *gated)

    @property
    def first(self) -> GroupActionLinear:
        """The first linear layer."""
        return cast(GroupActionLinear, self.model[0])

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in, 16) -> (..., out, 16)
        """Return the output of the last layer.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        return self.model(x)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GroupActionMLP, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return example_of(lambda: cls(3, 4, 2), PGA, 3, generator)


class GroupActionMessagePassing(nn.Module):
    r"""Messages along edges and updates of nodes, both group-action networks.

    .. math:: m_i = \sum_{j \to i} \phi(x_i, x_j), \qquad y_i = \psi(x_i, m_i)

    The first layer of :math:`\phi` is linear in target and source, and its last commutes with the sum: both run on nodes, so
    edges only add and gate. Neither they nor :math:`\phi` are called, so hooks on them do not fire. Names of the weights are
    those of the authors' code.

    **Group** permutations of nodes only: see :class:`GroupActionLinear`.
    **Shapes** ``x`` (N, in, blades), ``edge_index`` (2, E) to (N, out, blades).

    Args:
        in_channels: of the nodes.
        message_channels: of the messages.
        out_channels: of the updated nodes.
        hidden_channels: of both networks.
        layers: of both networks, 1 or more.
        agg: of their gates.
        blades: that all features hold, as ``input_blades`` of the layers; all 16 by default.
        e123_init: of their linear layers.
        overwrite: of their linear layers.
        renormalize: of their linear layers.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types, or edges between nodes that are not there, at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> layer = GroupActionMessagePassing(2, 4, 3, hidden_channels=8)
    >>> layer(torch.randn(3, 2, 16), torch.tensor([[0, 1], [1, 2]])).shape
    torch.Size([3, 3, 16])
    """

    def __init__(
        self,
        in_channels: int,
        message_channels: int,
        out_channels: int,
        hidden_channels: int = 128,
        layers: int = 1,
        agg: str = "linear",
        *,
        blades: Sequence[int] | Sequence[str] | None = None,
        e123_init: float = 1.0,
        overwrite: bool = False,
        renormalize: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise InvalidInput(f"GroupActionMessagePassing: layers={layers}, expected 1 or more.")
        self.in_channels = in_channels
        options: dict[str, Any] = {
            "blades": blades, "e123_init": e123_init, "overwrite": overwrite, "renormalize": renormalize,
        }  # fmt: skip
        self.message_mlp = GroupActionMLP(
            2 * in_channels, hidden_channels, message_channels, layers, agg, **options
        )
        self.update_mlp = GroupActionMLP(
            in_channels + message_channels, hidden_channels, out_channels, layers, agg, **options
        )

    @full_precision
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:  # (N, in, 16), (2, E) -> (N, out, 16)
        """Return the updated nodes.

        Raises:
            InvalidInput: shapes or types that do not fit, or edges between nodes that are not there.
        """
        like = self.message_mlp.first.weight
        held = self.message_mlp.first.input_blades
        checked_held("GroupActionMessagePassing", x, self.in_channels, held, PGA, like)
        if x.dim() != 3:
            raise InvalidInput(
                f"GroupActionMessagePassing: `x` has shape {tuple(x.shape)}, expected (N, {self.in_channels}, {len(held)})."
            )
        return self.propagate(x, torch.stack(checked_edges(edge_index, len(x), len(x))))

    def propagate(
        self, x: Tensor, edge_index: Tensor
    ) -> Tensor:  # (N, in, blades), (2, E) -> (N, out, blades)
        """Return what calling the layer returns, of arguments that are known to fit: a graph that the caller has made."""
        return self.update_mlp(torch.cat([x, self._messages(x, edge_index[0], edge_index[1])], 1))

    def _messages(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:  # (N, message, 16)
        """Return the sums of messages; what is linear is done once per node."""
        first, *blocks = cast(list[Any], list(self.message_mlp.model))
        matrices, shift = first.matrices()
        halves = [m.chunk(2, 1) for m in matrices]
        to_target = first.image(x, [a for a, _ in halves], shift)
        to_source = first.image(x, [b for _, b in halves], None)
        h = to_target.index_select(0, target) + to_source.index_select(0, source)
        for block in blocks[:-1]:
            h = block(h)
        gate, last = blocks[-1]
        total = h.new_zeros(len(x), *h.shape[1:]).index_add(0, target, gate(h))
        matrices, shift = last.matrices()
        out = last.image(total, matrices, None)
        if shift is None:
            return out
        degree = x.new_zeros(len(x)).index_add(0, target, torch.ones_like(target, dtype=x.dtype))
        return out + degree[:, None, None] * last.placed(shift)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of nodes."""
        return Symmetry("S_n", inputs={"x": "node:inv", "edge_index": "index"}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GroupActionMessagePassing, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = shaken(cls(2, 3, 2, hidden_channels=4), generator)
        edges = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])
        return layer, {"x": torch.randn(6, 2, 16, generator=generator), "edge_index": edges}
