"""Edges with their geometry, computed once and read by every layer of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.edges import EdgeList
from geomlib.kernels.geometry import bond_geometry
from geomlib.kernels.recording import deferred
from geomlib.layers.radial import RadialBasis

__all__ = ["MIN_DISTANCE", "Bonds"]

#: Atoms closer than this (Å) have no usable direction; forces of order 1/distance would be meaningless.
MIN_DISTANCE = 1e-6


@dataclass(frozen=True)
class Bonds:
    r"""Edges, distances and directions of a graph of points.

    Args:
        edges: who receives from whom.
        vec: vector of each pair, from its first to its second node, (P, 3), Å.
        second_order: second derivatives with respect to ``vec`` may be asked for. False allows the faster evaluation
            of radial networks (values with derivatives); first derivatives, and gradients of a loss of forces with
            respect to the weights, are exact in both cases.
        track_parameters: somebody may ask for gradients with respect to weights.
        batch: structure of each node, (N,), so that an error can name it.
    """

    edges: EdgeList
    vec: Tensor  # (P, 3)
    second_order: bool = True
    track_parameters: bool = True
    batch: Tensor | None = field(default=None, repr=False)  # (N,)
    length: Tensor = field(init=False)  # (rows,), 0 for the self loops
    direction: Tensor = field(init=False)  # (P, 9)
    _bases: dict[int, tuple[Tensor, Tensor]] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        length, direction = bond_geometry(self.vec, loop=self.edges.loops, second_order=self.second_order)
        if self.edges.num_pairs and not torch.compiler.is_compiling():
            deferred(self._check, length.detach()[: self.edges.num_pairs])
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "direction", direction)

    def basis_with_slope(self, basis: RadialBasis) -> tuple[Tensor, Tensor]:
        """Return ``basis.with_slope`` of the lengths, evaluated once for all layers that share the basis."""
        if id(basis) not in self._bases:
            self._bases[id(basis)] = basis.with_slope(self.length.detach())
        return self._bases[id(basis)]

    @staticmethod
    def from_edge_index(edge_index: Tensor, edge_vec: Tensor, num_nodes: int, *, loops: bool = True) -> Bonds:
        """Wrap PyG's ``edge_index`` (2, E) and the vectors target minus source (E, 3).

        Raises:
            InvalidInput: shapes do not match, indices are out of range, or two nodes coincide.
        """
        if edge_vec.shape != (edge_index.shape[-1], 3):
            raise InvalidInput(
                f"edge_vec: expected shape ({edge_index.shape[-1]}, 3), one vector target minus source per edge, "
                f"got {tuple(edge_vec.shape)}."
            )
        edges = EdgeList.from_edge_index(edge_index, num_nodes, loops=loops)
        return Bonds(edges, -edge_vec, second_order=edge_vec.requires_grad)

    def _check(self, length: Tensor) -> None:
        shortest = float(length.min())
        if shortest >= MIN_DISTANCE:
            return
        if shortest != shortest:
            raise InvalidInput(
                "positions: NaN found in the vector of a pair. Every coordinate must be finite."
            )
        p = int(length.argmin())
        i, j = int(self.edges.i[p]), int(self.edges.j[p])
        where = ""
        if self.batch is not None:
            graph = int(self.batch[i])
            i, j = (int((self.batch[:n] == graph).sum()) for n in (i, j))
            where = f"structure {graph}: "
        raise InvalidInput(
            f"positions: {where}atoms {i} and {j} are {shortest:.3g} Å apart, which leaves no bond direction (at least "
            f"{MIN_DISTANCE:g} Å is needed). Remove duplicate atoms."
        )
