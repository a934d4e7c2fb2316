"""Edges with their geometry, computed once and read by every layer of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from geomlib.algebra.cartesian import directions
from geomlib.errors import InvalidInput
from geomlib.kernels.edges import EdgeList

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
    """

    edges: EdgeList
    vec: Tensor  # (P, 3)
    second_order: bool = True
    track_parameters: bool = True
    length: Tensor = field(init=False)  # (rows,), 0 for the self loops
    direction: Tensor = field(init=False)  # (P, 9)

    def __post_init__(self) -> None:
        length = torch.linalg.vector_norm(self.vec, dim=-1)
        if length.numel() and not torch.compiler.is_compiling():
            self._check(length.detach())
        object.__setattr__(self, "direction", directions(self.vec / length[:, None]))
        if self.edges.loops:
            length = torch.cat([length, length.new_zeros(1)])
        object.__setattr__(self, "length", length)

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
            raise InvalidInput("positions: NaN found in the vector of a pair. Every coordinate must be finite.")
        p = int(length.argmin())
        raise InvalidInput(
            f"positions: atoms {int(self.edges.i[p])} and {int(self.edges.j[p])} are {shortest:.3g} Å apart, which leaves "
            f"no bond direction (at least {MIN_DISTANCE:g} Å is needed). Remove duplicate atoms."
        )
