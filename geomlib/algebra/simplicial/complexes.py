"""Simplicial complexes up to triangles, of many clouds of points at once."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.simplicial.ragged import starts, within
from geomlib.errors import InvalidInput

__all__ = ["SimplicialComplex", "from_simplices"]


@dataclass(frozen=True, eq=False)
class SimplicialComplex:
    r"""Points, edges and triangles, each triangle with its edges; the points of all clouds are numbered through.

    Vertices increase within a simplex, simplices are in lexicographic order and occur once. Make one from any list of
    simplices with :func:`from_simplices`.

    **Group** the permutations S_n of points, which relabel the simplices. **Shapes** ``ptr`` (B + 1,): cloud b has the
    points ptr[b] to ptr[b+1] - 1; ``edges`` (2, E); ``triangles`` (3, T).

    >>> complex = from_simplices(torch.tensor([0, 4]), torch.tensor([[2], [3]]), torch.tensor([[0], [1], [2]]))
    >>> complex.edges.tolist()
    [[0, 0, 1, 2], [1, 2, 2, 3]]
    """

    ptr: Tensor  # (B + 1,)
    edges: Tensor  # (2, E)
    triangles: Tensor  # (3, T)

    @property
    def num_points(self) -> int:
        """Number of points of all clouds."""
        return int(self.ptr[-1])

    @property
    def num_clouds(self) -> int:
        """Number of clouds."""
        return len(self.ptr) - 1

    def offsets(self, dim: int) -> Tensor:  # (B + 1,)
        """Return where the simplices of every cloud begin in the list of that dimension."""
        if dim == 0:
            return self.ptr
        return torch.searchsorted(self._list(dim)[0].contiguous(), self.ptr)

    def clouds(self, dim: int) -> Tensor:
        """Return the cloud of every simplex of that dimension."""
        return torch.repeat_interleave(self.offsets(dim).diff())

    def number_of(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the number of the edges from ``first`` to ``second``, and -1 where there is none."""
        return find_edges(self.edges, self.num_points, first, second)

    def sides(self) -> Tensor:  # (3, T)
        """Return the numbers of the edges (b, c), (a, c), (a, b) of every triangle (a, b, c)."""
        a, b, c = self.triangles
        return torch.stack([self.number_of(b, c), self.number_of(a, c), self.number_of(a, b)])

    def boundary(self, dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
        r"""Return the signed incidence matrix from simplices of a dimension to their faces, sparse.

        .. math:: \partial (v_0, \dots, v_k) = \sum_i (-1)^i (v_0, \dots, \hat v_i, \dots, v_k), \qquad \partial\partial = 0

        Raises:
            InvalidInput: a dimension that is not 1 or 2.

        >>> complex = from_simplices(torch.tensor([0, 3]), triangles=torch.tensor([[0], [1], [2]]))
        >>> (complex.boundary(1).to_dense() @ complex.boundary(2).to_dense()).tolist()
        [[0.0], [0.0], [0.0]]
        """
        if dim not in (1, 2):
            raise InvalidInput(
                f"boundary: dim={dim}, expected 1 (edges to points) or 2 (triangles to edges)."
            )
        faces = self.edges.flip(0) if dim == 1 else self.sides()
        columns = torch.arange(faces.shape[1], device=faces.device).expand_as(faces)
        signs = torch.tensor([1, -1, 1][: dim + 1], dtype=dtype, device=faces.device)
        rows = self.num_points if dim == 1 else self.edges.shape[1]
        return torch.sparse_coo_tensor(
            torch.stack([faces.flatten(), columns.flatten()]),
            signs[:, None].expand(faces.shape).flatten(),
            (rows, faces.shape[1]),
            check_invariants=False,
        ).coalesce()

    def select(self, index: Tensor) -> SimplicialComplex:
        """Return the complex of some clouds, in the order of ``index``; a cloud may come twice."""
        ptr = starts(self.ptr.diff()[index])
        shift = ptr[:-1] - self.ptr[index]  # from old to new numbers of points, by chosen cloud
        lists: list[Tensor] = []
        for dim in (1, 2):
            at = self.offsets(dim)
            row, inside = within(at.diff()[index])
            lists.append(self._list(dim)[:, at[index][row] + inside] + shift[row])
        return SimplicialComplex(ptr, *lists)

    def _list(self, dim: int) -> Tensor:
        return self.edges if dim == 1 else self.triangles


def find_edges(edges: Tensor, points: int, first: Tensor, second: Tensor) -> Tensor:
    """Return the column of (first, second) in a sorted list of edges, and -1 where there is none."""
    keys, wanted = edges[0] * points + edges[1], first * points + second
    if not len(keys):
        return torch.full_like(wanted, -1)
    at = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, at, -1)


def unique_edges(edges: Tensor, points: int) -> Tensor:
    """Return edges whose vertices increase, sorted and once each."""
    low, high = edges.amin(0), edges.amax(0)
    keys = torch.unique(low * points + high)
    return torch.stack([keys // max(points, 1), keys % max(points, 1)])


def from_simplices(
    ptr: Tensor,  # (B + 1,)
    edges: Tensor | None = None,  # (2, E)
    triangles: Tensor | None = None,  # (3, T)
) -> SimplicialComplex:
    r"""Return the smallest complex that has these simplices.

    .. math:: (v_0, \dots, v_k) \in K \;\Rightarrow\; \text{every face of it} \in K

    **Group** the permutations S_n of points. **Shapes** as :class:`SimplicialComplex`; any order, repetitions allowed.

    Args:
        ptr: points of every cloud, see :class:`SimplicialComplex`.
        edges: pairs of points of one cloud.
        triangles: triples of points of one cloud; their edges are added.

    Raises:
        InvalidInput: wrong shapes or types, points that do not exist, that repeat in a simplex or are of two clouds.

    Source: the definition; Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing
    networks*, arXiv 2402.10011, send messages on it.

    >>> from_simplices(torch.tensor([0, 3]), torch.tensor([[1, 2, 1], [0, 1, 2]])).edges.tolist()
    [[0, 1], [1, 2]]
    """
    if ptr.dim() != 1 or len(ptr) < 1 or ptr.is_floating_point() or bool((ptr.diff() < 0).any()) or ptr[0]:
        raise InvalidInput(
            f"from_simplices: `ptr` is {ptr.dtype} {ptr.tolist() if ptr.numel() < 9 else tuple(ptr.shape)}, expected "
            "integers that begin with 0 and do not decrease, one more than there are clouds."
        )
    ptr = ptr.long()
    points = int(ptr[-1])
    pairs = _checked(edges, 2, ptr)
    triples = _checked(triangles, 3, ptr)
    sides = torch.cat([triples[[1, 2]], triples[[0, 2]], triples[[0, 1]]], 1)
    pairs = unique_edges(torch.cat([pairs, sides], 1), points)
    # A triangle is its first edge and its last vertex: a key that fits 64 bits where three vertices might not.
    keys = torch.unique(find_edges(pairs, points, triples[0], triples[1]) * points + triples[2])
    found = torch.cat([pairs[:, keys // max(points, 1)], (keys % max(points, 1))[None]])
    return SimplicialComplex(ptr, pairs, found)


def _checked(simplices: Tensor | None, vertices: int, ptr: Tensor) -> Tensor:
    name = "edges" if vertices == 2 else "triangles"
    if simplices is None:
        return torch.zeros(vertices, 0, dtype=torch.int64, device=ptr.device)
    if (
        simplices.dim() != 2
        or simplices.shape[0] != vertices
        or simplices.dtype not in (torch.int64, torch.int32)
    ):
        raise InvalidInput(
            f"`{name}`: expected integers of shape ({vertices}, count), got {simplices.dtype} of shape "
            f"{tuple(simplices.shape)}. A list of simplices, one a row, is transposed by .T."
        )
    found = simplices.long().sort(0).values.contiguous()
    if not found.numel():
        return found
    cloud = torch.bucketize(found, ptr[1:], right=True)
    wrong = {
        f"points are 0..{int(ptr[-1]) - 1}": (found[0] < 0) | (found[-1] >= ptr[-1]),
        "its points must differ": (found.diff(dim=0) == 0).any(0),
        "its points must be of one cloud": cloud[0] != cloud[-1],
    }
    for reason, bad in wrong.items():
        if bool(bad.any()):
            column = int(bad.nonzero()[0])
            raise InvalidInput(f"`{name}`: number {column} is {simplices[:, column].tolist()}; {reason}.")
    return found
