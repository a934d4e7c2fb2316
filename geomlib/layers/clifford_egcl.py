r"""Message passing between multivectors on the nodes of a graph."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.geometric_product.linear import grade_linear
from geomlib.layers._features import checked_edges
from geomlib.layers._multivectors import checked, checked_sizes, label
from geomlib.layers.cemlp import CEMLP
from geomlib.layers.multivector_linear import MVLinear

__all__ = ["CliffordEGCL"]


class CliffordEGCL(nn.Module):
    r"""Send differences of multivectors through a network, average them at the receiver, and update it.

    .. math:: m_{ij} = \phi_e([h_i - h_j,\, e_{ij}]), \qquad m_i = \frac{1}{\max(1, |N_i|)} \sum_{j \in N_i} m_{ij}, \qquad
              h_i \leftarrow h_i + \phi_h([h_i,\, m_i,\, a_i])

    :math:`\phi_e` and :math:`\phi_h` are :class:`CEMLP`. The first map of :math:`\phi_e` is linear, so it is applied to nodes,
    of which there are fewer than edges; :math:`\phi_e` and that map are not called, so hooks on them do not fire. Names and
    shapes of the weights are those of the authors' code, whose checkpoints
    load: the n-body network averages at the source (``receiver="source"``), the simplicial one at the target; both are
    reproduced with ``safe=False``.

    **Group** Pin(p,q,r), permutations of nodes and of edges. **Shapes** ``x`` (N, in, 2^n), ``edge_index`` (2, E),
    ``edge_attr`` (E, edge_channels, 2^n), ``node_attr`` (N, node_channels, 2^n), ``edge_weight`` (E,), to (N, out, 2^n).

    Args:
        algebra: of the multivectors.
        in_channels: of the nodes.
        hidden_channels: inside both networks.
        out_channels: of messages and of the output.
        edge_channels: multivectors of every edge.
        node_channels: multivectors of every node that enter the update.
        n_layers: blocks of both networks.
        normalization_init: of their product layers.
        aggregation: ``"mean"`` or ``"sum"``.
        receiver: the end of an edge where messages arrive, i above: ``"target"`` or ``"source"``.
        residual: add the input to the update; needs as many channels out as in.
        safe: of the layer norms; see :class:`MVLayerNorm`.

    Raises:
        InvalidInput: options, shapes, types or indices that do not fit.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141; Liu, Ruhe,
    Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*, arXiv 2402.10011.

    >>> layer = CliffordEGCL(CliffordAlgebra(3), 4, 8, 4)
    >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    >>> layer(torch.randn(3, 4, 8), edge_index).shape
    torch.Size([3, 4, 8])
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        edge_channels: int = 0,
        node_channels: int = 0,
        n_layers: int = 2,
        normalization_init: float | None = 0.0,
        *,
        aggregation: str = "mean",
        receiver: str = "target",
        residual: bool = True,
        safe: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels}
        checked_sizes("CliffordEGCL", algebra, **sizes, n_layers=n_layers)
        if min(edge_channels, node_channels) < 0:
            raise InvalidInput(
                f"CliffordEGCL: edge_channels={edge_channels}, node_channels={node_channels}, expected 0 or more."
            )
        if aggregation not in ("mean", "sum"):
            raise InvalidInput(f"CliffordEGCL: aggregation={aggregation!r}, expected 'mean' or 'sum'.")
        if receiver not in ("target", "source"):
            raise InvalidInput(f"CliffordEGCL: receiver={receiver!r}, expected 'target' or 'source'.")
        if residual and in_channels != out_channels:
            raise InvalidInput(
                f"CliffordEGCL: residual=True adds {in_channels} channels to {out_channels}. Make them equal, or pass "
                "residual=False."
            )
        self.algebra, self.in_channels, self.out_channels = algebra, in_channels, out_channels
        self.edge_channels, self.node_channels = edge_channels, node_channels
        self.aggregation, self.receiver, self.residual = aggregation, receiver, residual
        self.edge_model = CEMLP(
            algebra, in_channels + edge_channels, hidden_channels, out_channels, n_layers, normalization_init, safe=safe
        )  # fmt: skip
        self.node_model = CEMLP(
            algebra, in_channels + out_channels + node_channels, hidden_channels, out_channels, n_layers,
            normalization_init, safe=safe,
        )  # fmt: skip

    @full_precision
    def forward(
        self,
        x: Tensor,  # (N, in, 2^n)
        edge_index: Tensor,  # (2, E)
        edge_attr: Tensor | None = None,  # (E, edge_channels, 2^n)
        node_attr: Tensor | None = None,  # (N, node_channels, 2^n)
        edge_weight: Tensor | None = None,  # (E,)
    ) -> Tensor:  # (N, out, 2^n)
        """Return the updated multivectors; ``edge_weight`` multiplies messages, and the mean divides by its sum, if above one.

        Raises:
            InvalidInput: shapes, types or indices that do not fit.
        """
        weight = next(self.parameters())
        checked("CliffordEGCL", x, self.algebra, self.in_channels, weight)
        if x.dim() != 3:
            raise InvalidInput(
                f"CliffordEGCL: `x` has shape {tuple(x.shape)}, expected (nodes, channels, blades)."
            )
        self._check_attributes("edge_attr", edge_attr, self.edge_channels, edge_index.shape[-1], weight)
        self._check_attributes("node_attr", node_attr, self.node_channels, x.shape[0], weight)
        edge_index = torch.stack(checked_edges(edge_index, x.shape[0], x.shape[0]))
        if edge_weight is not None and (
            edge_weight.shape != edge_index.shape[1:] or edge_weight.dtype != x.dtype
        ):
            raise InvalidInput(
                f"CliffordEGCL: `edge_weight` is {edge_weight.dtype} {tuple(edge_weight.shape)}, expected one {x.dtype} "
                f"number per edge, ({edge_index.shape[1]},)."
            )
        return self.propagate(x, edge_index, edge_attr, node_attr, edge_weight)

    def propagate(
        self,
        x: Tensor,  # (N, in, 2^n)
        edge_index: Tensor,  # (2, E)
        edge_attr: Tensor | None = None,  # (E, edge_channels, 2^n)
        node_attr: Tensor | None = None,  # (N, node_channels, 2^n)
        edge_weight: Tensor | None = None,  # (E,)
    ) -> Tensor:  # (N, out, 2^n)
        """Return what calling the layer returns, of arguments that are known to fit: a graph that the caller has made."""
        sender, receiver = edge_index if self.receiver == "target" else edge_index.flip(0)
        messages = self._messages(x, sender, receiver, edge_attr)
        if edge_weight is not None:
            messages = messages * edge_weight[:, None, None]
        found = messages.new_zeros(x.shape[0], *messages.shape[1:]).index_add(0, receiver, messages)
        if self.aggregation == "mean":
            one = x.new_ones(receiver.shape) if edge_weight is None else edge_weight
            count = x.new_zeros(x.shape[0]).index_add(0, receiver, one)
            found = found / count.clamp(min=1)[:, None, None]
        update = self.node_model(torch.cat([x, found] if node_attr is None else [x, found, node_attr], 1))
        return x + update if self.residual else update

    def _messages(self, x: Tensor, sender: Tensor, receiver: Tensor, edge_attr: Tensor | None) -> Tensor:
        """Return the network of differences; its first map commutes with them, and acts on nodes."""
        first, *others = cast("list[nn.Sequential]", list(self.edge_model.layers))
        linear, *rest = first
        weight, bias = cast(MVLinear, linear).weight, cast(MVLinear, linear).bias
        nodes = grade_linear(x, weight[:, : self.in_channels], None, self.algebra)
        y = nodes.index_select(0, receiver) - nodes.index_select(0, sender)
        if edge_attr is not None:
            y = y + grade_linear(edge_attr, weight[:, self.in_channels :], bias, self.algebra)
        elif bias is not None:
            y = y + nn.functional.pad(bias, (0, self.algebra.size - 1))
        for layer in (*rest, *others):
            y = layer(y)
        return y

    def _check_attributes(
        self, name: str, value: Tensor | None, channels: int, rows: int, weight: Tensor
    ) -> None:
        if value is None and channels:
            raise InvalidInput(f"CliffordEGCL: `{name}` is missing: the layer has {channels} channels of it.")
        if value is None:
            return
        if not channels:
            raise InvalidInput(f"CliffordEGCL: `{name}` was given, but the layer was built for none.")
        checked(f"CliffordEGCL, {name}", value, self.algebra, channels, weight)
        if value.dim() != 3 or value.shape[0] != rows:
            raise InvalidInput(
                f"CliffordEGCL: `{name}` has shape {tuple(value.shape)}, expected {rows} rows."
            )

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r), permutations of nodes and edges."""
        kind = self.algebra.type_name
        inputs = {
            "x": f"node:{kind}", "edge_index": "edge:index", "edge_attr": f"edge:{kind}", "node_attr": f"node:{kind}",
            "edge_weight": "edge:inv",
        }  # fmt: skip
        return Symmetry(f"{self.algebra.group_name}*S_n", inputs=inputs, outputs=f"node:{kind}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CliffordEGCL, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3)
        layer = cls(algebra, 3, 4, 3, edge_channels=2, node_channels=1, n_layers=1)
        inputs = {
            "x": torch.randn(5, 3, 8, generator=generator),
            "edge_index": torch.randint(0, 5, (2, 9), generator=generator),
            "edge_attr": torch.randn(9, 2, 8, generator=generator),
            "node_attr": torch.randn(5, 1, 8, generator=generator),
            "edge_weight": torch.rand(9, generator=generator),
        }
        return layer, inputs

    def extra_repr(self) -> str:
        """Return the group, the channels and the aggregation."""
        return f"{label(self.algebra)}, {self.in_channels} -> {self.out_channels}, {self.aggregation} at the {self.receiver}"
