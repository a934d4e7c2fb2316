"""Edges prepared for message passing: sorted by receiver, paired where both directions exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["EdgeList"]


@dataclass(frozen=True)
class EdgeList:
    r"""Directed edges that share *rows* of radial weights.

    A radial weight depends on the distance only, so both directions of a pair use one row: row ``p`` serves
    ``i <- j`` and, when ``both`` is set, ``j <- i``. With ``loops`` one more row, the last, serves every self loop.
    The vector of row ``p`` points from ``i`` to ``j``; the direction of a message, target minus source, is minus
    that for ``i <- j`` and plus that for ``j <- i``.

    Args:
        i: first node of each pair, shape (P,).
        j: second node of each pair, shape (P,).
        num_nodes: number of nodes N.
        both: messages flow both ways along a pair.
        loops: every node also receives from itself.
    """

    i: Tensor  # (P,)
    j: Tensor  # (P,)
    num_nodes: int
    both: bool = True
    loops: bool = True

    @staticmethod
    def from_edge_index(edge_index: Tensor, num_nodes: int, *, loops: bool = False) -> EdgeList:
        """Wrap a PyG ``edge_index`` (2, E), row 0 the source and row 1 the target; one row of weights an edge.

        Raises:
            InvalidInput: wrong shape or dtype, or an index outside ``0..num_nodes-1``.
        """
        if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
            raise InvalidInput(
                f"edge_index: expected an int64 tensor of shape (2, E), got {edge_index.dtype} of shape "
                f"{tuple(edge_index.shape)}. Row 0 is the source, row 1 the target."
            )
        if edge_index.numel() and (int(edge_index.min()) < 0 or int(edge_index.max()) >= num_nodes):
            raise InvalidInput(
                f"edge_index: node {int(edge_index.min())}..{int(edge_index.max())} found, but there are {num_nodes} nodes."
            )
        return EdgeList(edge_index[1], edge_index[0], num_nodes, both=False, loops=loops)

    @property
    def num_pairs(self) -> int:
        """Number of pairs P, without the self-loop row."""
        return self.i.shape[0]

    @property
    def num_rows(self) -> int:
        """Number of rows of radial weights."""
        return self.num_pairs + int(self.loops)

    @property
    def num_edges(self) -> int:
        """Number of directed edges, self loops included."""
        return self.num_pairs * (2 if self.both else 1) + self.num_nodes * int(self.loops)

    @cached_property
    def directed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``(target, source, row, sign)`` of every directed edge, each of shape (E,)."""
        i, j = self.i, self.j
        rows = torch.arange(self.num_pairs, device=i.device)
        minus = torch.full_like(i, -1)
        target, source, row, sign = [i], [j], [rows], [minus]
        if self.both:
            target, source, row, sign = [i, j], [j, i], [rows, rows], [minus, -minus]
        if self.loops:
            nodes = torch.arange(self.num_nodes, device=i.device)
            target, source = [*target, nodes], [*source, nodes]
            row, sign = [*row, torch.full_like(nodes, self.num_pairs)], [*sign, torch.ones_like(nodes)]
        return torch.cat(target), torch.cat(source), torch.cat(row), torch.cat(sign)

    @cached_property
    def csr(self) -> CSR:
        """Edges grouped by target (self loops excluded; they need no list)."""
        return _group(self.i, self.j, self.num_nodes, self.both)

    def arrays(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return everything a pair list consists of as tensors; :meth:`from_arrays` is the inverse.

        A recorded computation reads these tensors, so that new edges of the same number can be copied into them.
        """
        csr = self.csr
        lists = {"start": csr.start, "other": csr.other, "row": csr.row, "sign": csr.signs(dtype)}
        return {"i": self.i, "j": self.j, **{name: torch.from_numpy(a) for name, a in lists.items()}}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Tensor], num_nodes: int) -> EdgeList:
        """Return pairs with self loops that live in the given tensors, without sorting anything."""
        edges = EdgeList(arrays["i"], arrays["j"], num_nodes)
        edges.__dict__["csr"] = CSR(
            arrays["start"].numpy(), arrays["other"].numpy(), arrays["row"].numpy(), arrays["sign"].numpy()
        )
        return edges

    @cached_property
    def csr_transposed(self) -> CSR:
        """Edges grouped by source; the same lists when every edge has its reverse."""
        return self.csr if self.both else _group(self.j, self.i, self.num_nodes, False)


@dataclass(frozen=True)
class CSR:
    """Neighbours grouped by node: entries ``start[n]:start[n+1]`` of ``other`` and ``row`` belong to node n.

    ``sign`` is -1 where the node is the first of its pair: the message direction is then minus the pair's vector.
    """

    start: np.ndarray  # (N+1,) int64
    other: np.ndarray  # (E,) int64
    row: np.ndarray  # (E,) int64
    sign: np.ndarray  # (E,) floating
    _cast: dict[torch.dtype, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def signs(self, dtype: torch.dtype) -> np.ndarray:
        """Return the signs in the type of the features."""
        if torch.from_numpy(self.sign[:0]).dtype == dtype:
            return self.sign
        if dtype not in self._cast:
            self._cast[dtype] = torch.from_numpy(self.sign).to(dtype).numpy()
        return self._cast[dtype]


def _group(i: Tensor, j: Tensor, num_nodes: int, both: bool) -> CSR:
    a, b = i.numpy(), j.numpy()
    rows = np.arange(a.shape[0])
    sign = np.full(a.shape[0], -1.0)
    if both:
        a, b = np.concatenate([a, b]), np.concatenate([b, a])
        rows, sign = np.concatenate([rows, rows]), np.concatenate([sign, -sign])
    order = np.argsort(a, kind="stable")
    start = np.zeros(num_nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(a, minlength=num_nodes), out=start[1:])
    return CSR(start, b[order], rows[order], sign[order])
