r"""Messages between simplices of all dimensions, by one pair of networks."""

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
from geomlib.layers.clifford_egcl import CliffordEGCL
from geomlib.layers.multivector_linear import MVLinear

__all__ = ["SimplicialMessagePassing"]


class SimplicialMessagePassing(CliffordEGCL):
    r"""Send messages along the graph of all simplices; the networks are shared and told the kinds of both ends.

    .. math:: m_i = \operatorname{mean}_{j \to i} \phi_e([h_i - h_j,\, t_j,\, t_i]), \qquad
              h_i \leftarrow h_i + \phi_h([h_i,\, m_i,\, t_i])

    with the kind :math:`t_i` of simplex i, invariant numbers such as its dimension one-hot, in the scalars. It is
    :class:`CliffordEGCL` with these attributes; names and shapes of the weights are those of the authors' code.

    **Group** Pin(p,q,r), permutations of simplices and of edges. **Shapes** ``x`` (S, channels, 2^n), ``edge_index``
    (2, M), ``kinds`` (S, num_kinds), to (S, channels, 2^n).

    Args:
        algebra: of the multivectors.
        channels: of the simplices, in both networks.
        num_kinds: numbers that describe a simplex.
        n_layers: blocks of both networks.
        normalization_init: of their product layers.
        aggregation: ``"mean"`` or ``"sum"``.
        safe: of the layer norms; see :class:`MVLayerNorm`.

    Raises:
        InvalidInput: options, shapes, types or indices that do not fit.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> layer = SimplicialMessagePassing(CliffordAlgebra(3), 4)
    >>> layer(torch.randn(3, 4, 8), torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.eye(3)).shape
    torch.Size([3, 4, 8])
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        channels: int,
        num_kinds: int = 3,
        n_layers: int = 2,
        normalization_init: float | None = 0.0,
        *,
        aggregation: str = "mean",
        safe: bool = True,
    ) -> None:
        checked_sizes("SimplicialMessagePassing", algebra, channels=channels, num_kinds=num_kinds)
        super().__init__(
            algebra, channels, channels, channels, 2 * num_kinds, num_kinds, n_layers, normalization_init,
            aggregation=aggregation, receiver="target", safe=safe,
        )  # fmt: skip
        self.num_kinds = num_kinds

    @full_precision
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - kinds stand for both attributes
        self,
        x: Tensor,  # (S, channels, 2^n)
        edge_index: Tensor,  # (2, M)
        kinds: Tensor,  # (S, num_kinds)
    ) -> Tensor:  # (S, channels, 2^n)
        """Return the updated multivectors.

        Raises:
            InvalidInput: shapes, types or indices that do not fit.
        """
        if x.dim() != 3 or tuple(kinds.shape) != (x.shape[0], self.num_kinds) or kinds.dtype != x.dtype:
            raise InvalidInput(
                f"SimplicialMessagePassing: `kinds` is {kinds.dtype} {tuple(kinds.shape)}, expected {x.dtype} of shape "
                f"({x.shape[0]}, {self.num_kinds}): one row per simplex."
            )
        checked("SimplicialMessagePassing", x, self.algebra, self.in_channels, next(self.parameters()))
        edge_index = torch.stack(checked_edges(edge_index, x.shape[0], x.shape[0]))
        return self.propagate(x, edge_index, kinds, self._scalars(kinds))

    def _messages(self, x: Tensor, sender: Tensor, receiver: Tensor, edge_attr: Tensor | None) -> Tensor:
        """Return the network of differences; the kinds, too, pass its first map on nodes, of which there are fewer."""
        first, *others = cast("list[nn.Sequential]", list(self.edge_model.layers))
        linear, *rest = cast("list[MVLinear]", list(first))
        kinds = cast(Tensor, edge_attr)
        nodes = grade_linear(x, linear.weight[:, : self.in_channels], None, self.algebra)
        scalar = linear.weight[:, self.in_channels :, 0].mT
        sent = kinds @ scalar[: self.num_kinds]
        received = kinds @ scalar[self.num_kinds :]
        if linear.bias is not None:
            received = received + linear.bias[..., 0]
        y = (nodes + self._scalars(received)).index_select(0, receiver)
        y = y - (nodes - self._scalars(sent)).index_select(0, sender)
        for layer in (*rest, *others):
            y = layer(y)
        return y

    def _scalars(self, numbers: Tensor) -> Tensor:
        return nn.functional.pad(numbers.unsqueeze(-1), (0, self.algebra.size - 1))

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r), permutations of simplices and edges."""
        kind = self.algebra.type_name
        inputs = {"x": f"node:{kind}", "edge_index": "edge:index", "kinds": "node:inv"}
        return Symmetry(f"{self.algebra.group_name}*S_n", inputs=inputs, outputs=f"node:{kind}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SimplicialMessagePassing, dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return an instance and one set of inputs."""
        inputs = {
            "x": torch.randn(6, 3, 8, generator=generator),
            "edge_index": torch.randint(0, 6, (2, 14), generator=generator),
            "kinds": torch.eye(3)[torch.tensor([0, 0, 0, 1, 1, 2])],
        }
        return cls(CliffordAlgebra(3), 3), inputs

    def extra_repr(self) -> str:
        """Return the group, the channels and the aggregation."""
        return f"{label(self.algebra)}, {self.in_channels}, {self.num_kinds} kinds, {self.aggregation}"
