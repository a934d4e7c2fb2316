r"""Multivectors of simplices, from those of their vertices."""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.edge_index import check_edge_shape
from geomlib.layers._features import read_values
from geomlib.layers._multivectors import checked, checked_sizes, label
from geomlib.layers.cemlp import CEMLP
from geomlib.layers.multivector_linear import MVLinear

__all__ = ["SimplicialEmbedding"]


class SimplicialEmbedding(nn.Module):
    r"""Embed points, edges and triangles, without regard to the order of their vertices.

    .. math:: h_{v} = W x_v + \beta, \qquad
              h_{v_0 \dots v_d} = \sum_{\pi \in S_{d+1}} \phi_d([x_{v_{\pi 0}}, \dots, x_{v_{\pi d}}])

    where :math:`\phi_d` is a :class:`CEMLP` of d blocks. All orders pass through it in one batch. Names and shapes of the
    weights are those of the authors' code, whose checkpoints load; they reproduce its numbers with ``safe=False``.

    **Group** Pin(p,q,r), permutations of nodes and of the vertices of a simplex. **Shapes** ``x`` (N, in, 2^n), ``edges``
    (2, E), ``triangles`` (3, T), to (N, out, 2^n), (E, out, 2^n) and (T, out, 2^n).

    Args:
        algebra: of the multivectors.
        in_channels: of the points.
        out_channels: of the simplices.
        normalization_init: of the product layers.
        safe: of the layer norms; see :class:`MVLayerNorm`.

    Raises:
        InvalidInput: channels that are not positive; wrong shapes or types, or points that do not exist, at the call.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> layer = SimplicialEmbedding(CliffordAlgebra(3), 1, 4)
    >>> edges, triangles = torch.tensor([[0, 0, 1], [1, 2, 2]]), torch.tensor([[0], [1], [2]])
    >>> [h.shape[0] for h in layer(torch.randn(5, 1, 8), edges, triangles)]
    [5, 3, 1]
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_channels: int,
        out_channels: int,
        normalization_init: float | None = 0.0,
        *,
        safe: bool = True,
    ) -> None:
        super().__init__()
        checked_sizes("SimplicialEmbedding", algebra, in_channels=in_channels, out_channels=out_channels)
        self.algebra, self.in_channels, self.out_channels = algebra, in_channels, out_channels
        self.add_module("0", MVLinear(algebra, in_channels, out_channels, subspaces=False))
        for dim in (1, 2):
            network = CEMLP(
                algebra, (dim + 1) * in_channels, out_channels, out_channels, dim, normalization_init, safe=safe
            )  # fmt: skip
            self.add_module(str(dim), network)

    @full_precision
    def forward(
        self,
        x: Tensor,  # (N, in, 2^n)
        edges: Tensor,  # (2, E)
        triangles: Tensor,  # (3, T)
    ) -> tuple[Tensor, Tensor, Tensor]:  # (N, out, 2^n), (E, out, 2^n), (T, out, 2^n)
        """Return the multivectors of points, edges and triangles.

        Raises:
            InvalidInput: shapes, types or points that do not fit.
        """
        points = cast(MVLinear, self.get_submodule("0"))
        checked("SimplicialEmbedding", x, self.algebra, self.in_channels, points.weight)
        if x.dim() != 3:
            raise InvalidInput(
                f"SimplicialEmbedding: `x` has shape {tuple(x.shape)}, expected (points, channels, blades)."
            )
        check_edge_shape(edges)
        if (
            triangles.dim() != 2
            or triangles.shape[0] != 3
            or triangles.dtype not in (torch.int64, torch.int32)
        ):
            raise InvalidInput(
                f"SimplicialEmbedding: `triangles` is {triangles.dtype} {tuple(triangles.shape)}, expected integers (3, T)."
            )
        for name, simplices in (("edges", edges), ("triangles", triangles)):
            read_values(lambda found, name=name: _check_points(name, found, x.shape[0]), simplices)
        return points(x), self._orders(x, edges), self._orders(x, triangles)

    def _orders(self, x: Tensor, simplices: Tensor) -> Tensor:
        """Return the sum of the network over all orders of the vertices."""
        vertices, count = simplices.shape
        orders = list(itertools.permutations(range(vertices)))
        rows = torch.stack([simplices[list(order)] for order in orders], 0)  # (orders, vertices, count)
        found = x.index_select(0, rows.transpose(1, 2).flatten())
        found = found.view(len(orders) * count, vertices * self.in_channels, self.algebra.size)
        found = cast(CEMLP, self.get_submodule(str(vertices - 1)))(found)
        return found.view(len(orders), count, *found.shape[1:]).sum(0)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r), permutations of points."""
        kind = self.algebra.type_name
        inputs = {"x": f"node:{kind}", "edges": "simplex(1)", "triangles": "simplex(2)"}
        outputs = (f"node:{kind}", f"graph:{kind}", f"graph:{kind}")
        return Symmetry(f"{self.algebra.group_name}*S_n", inputs=inputs, outputs=outputs)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SimplicialEmbedding, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        inputs = {
            "x": torch.randn(5, 2, 8, generator=generator),
            "edges": torch.tensor([[0, 0, 1, 2, 3], [1, 2, 2, 3, 4]]),
            "triangles": torch.tensor([[0, 1], [1, 2], [2, 4]]),
        }
        return cls(CliffordAlgebra(3), 2, 3), inputs

    def extra_repr(self) -> str:
        """Return the group and the channels."""
        return f"{label(self.algebra)}, {self.in_channels} -> {self.out_channels}"


def _check_points(name: str, simplices: Tensor, points: int) -> None:
    bad = ((simplices < 0) | (simplices >= points)).any(0)
    if bool(bad.any()):
        column = int(bad.nonzero()[0])
        raise InvalidInput(
            f"SimplicialEmbedding: number {column} of `{name}` is {simplices[:, column].tolist()}; points are 0..{points - 1}."
        )
