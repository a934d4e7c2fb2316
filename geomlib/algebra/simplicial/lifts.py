"""Complexes from points and graphs: Vietoris-Rips, cliques, and one skeleton for all samples."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.algebra.simplicial.complexes import SimplicialComplex, find_edges, from_simplices
from geomlib.algebra.simplicial.ragged import starts, within
from geomlib.errors import InvalidInput

__all__ = ["clique_complex", "clouds_of", "skeleton_complex", "vietoris_rips"]

#: Distances or candidate triangles held at once.
_CHUNK = 1 << 22


def clouds_of(name: str, pos: Tensor) -> Tensor:
    """Return points as (B, n, d).

    Raises:
        InvalidInput: another shape, not floating, or not finite.
    """
    if pos.dim() not in (2, 3) or not pos.is_floating_point() or not pos.shape[-1]:
        raise InvalidInput(
            f"{name}: `pos` is {pos.dtype} of shape {tuple(pos.shape)}, expected floating points (B, n, d), or (n, d) for one "
            "cloud."
        )
    if not bool(torch.isfinite(pos).all()):
        raise InvalidInput(f"{name}: `pos` has entries that are not finite; no complex is defined.")
    return pos.detach().double().reshape(-1, *pos.shape[-2:]) if pos.numel() else pos.detach().double()


def equal_clouds(clouds: int, points: int, device: torch.device) -> Tensor:
    """Return the boundaries of clouds of equal size."""
    return points * torch.arange(clouds + 1, device=device)


def vietoris_rips(pos: Tensor, distance: float) -> SimplicialComplex:
    r"""Join points that are near each other, and fill every triangle of edges.

    .. math:: (v_0, \dots, v_k) \in K \iff \lVert x_{v_i} - x_{v_j} \rVert \le \mathrm{distance}\ \forall i, j

    **Group** E(n), which leaves the complex as it is, and the permutations S_n. **Shapes** ``pos`` (B, n, d) or (n, d).

    Args:
        pos: points of every cloud.
        distance: largest length of an edge.

    Raises:
        InvalidInput: wrong shapes or types, points that are not finite, a negative distance.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    >>> vietoris_rips(square, 1.0).edges.tolist()
    [[0, 0, 1, 2], [1, 3, 2, 3]]
    >>> vietoris_rips(square, 1.5).triangles.shape
    torch.Size([3, 4])
    """
    x = clouds_of("vietoris_rips", pos)
    if not distance >= 0:
        raise InvalidInput(f"vietoris_rips: distance={distance}, expected a number that is not negative.")
    x = x[None] if x.dim() == 2 else x
    clouds, points = x.shape[:2]
    step = max(1, _CHUNK // max(points * points, 1))
    found: list[Tensor] = []
    for start in range(0, clouds, step):
        part = x[start : start + step]
        near = torch.cdist(part, part, compute_mode="donot_use_mm_for_euclid_dist") <= distance
        cloud, first, second = near.triu_(1).nonzero().T
        found.append(torch.stack([first, second]) + points * (cloud + start))
    edges = torch.cat(found, 1) if found else torch.zeros(2, 0, dtype=torch.int64, device=x.device)
    ptr = equal_clouds(clouds, points, x.device)
    return SimplicialComplex(ptr, edges, flag_triangles(edges, clouds * points))


def flag_triangles(edges: Tensor, points: int) -> Tensor:  # (3, T)
    """Return all triangles of a sorted list of edges: common later neighbours of the ends of an edge."""
    degree = torch.bincount(edges[0], minlength=points)
    begin = starts(degree)
    candidates = degree[edges[1]]
    ends = torch.cumsum(candidates, 0)
    total = int(ends[-1]) if len(ends) else 0
    found: list[Tensor] = []
    done = 0
    for chunk in range(max(1, math.ceil(total / _CHUNK))):
        stop = int(torch.searchsorted(ends, (chunk + 1) * _CHUNK, right=True)) if total else 0
        stop = len(ends) if (chunk + 1) * _CHUNK >= total else stop
        row, inside = within(candidates[done:stop])
        i, j = edges[:, done:stop][:, row]
        k = edges[1, begin[j] + inside]
        closed = find_edges(edges, points, i, k) >= 0
        found.append(torch.stack([i, j, k])[:, closed])
        done = stop
    return torch.cat(found, 1)


def clique_complex(
    edge_index: Tensor,  # (2, E)
    points: int | Tensor,
    *,
    pos: Tensor | None = None,  # (N, d)
    max_length: float = math.inf,
    max_area: float = math.inf,
) -> SimplicialComplex:
    r"""Fill every triangle of a graph, after edges that are too long are dropped and unless it is too large.

    .. math:: (i, j, k) \in K \iff ij, ik, jk \in K, \quad \tfrac12 \lVert (x_j - x_i) \wedge (x_k - x_i) \rVert \le
              \mathrm{max\_area}

    **Group** E(n), which leaves the complex as it is, and the permutations S_n. **Shapes** ``edge_index`` (2, E),
    ``pos`` (N, d).

    Args:
        edge_index: edges of one direction or of both; repetitions are allowed.
        points: number of points of one cloud, or the boundaries of many, see :class:`SimplicialComplex`.
        pos: positions, where one of the limits is given.
        max_length: edges longer than this are dropped.
        max_area: triangles larger than this are left open.

    Raises:
        InvalidInput: wrong shapes or types, edges that do not fit, limits without positions or below zero.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> clique_complex(torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]]), 4).triangles.tolist()
    [[0], [1], [2]]
    """
    ptr = points if isinstance(points, Tensor) else torch.tensor([0, points], device=edge_index.device)
    complex = from_simplices(ptr, edge_index)
    edges, limited = complex.edges, max_length < math.inf or max_area < math.inf
    if not (max_length >= 0 and max_area >= 0):
        raise InvalidInput(
            f"clique_complex: max_length={max_length}, max_area={max_area}, expected no negative number."
        )
    if not limited:
        return SimplicialComplex(complex.ptr, edges, flag_triangles(edges, complex.num_points))
    if pos is None or pos.dim() != 2 or pos.shape[0] != complex.num_points:
        raise InvalidInput(
            f"clique_complex: limits need `pos` of shape ({complex.num_points}, d), got "
            f"{None if pos is None else tuple(pos.shape)}."
        )
    x = clouds_of("clique_complex", pos).view(pos.shape)
    edges = edges[:, (x[edges[1]] - x[edges[0]]).norm(dim=-1) <= max_length]
    triangles = flag_triangles(edges, complex.num_points)
    u, v = x[triangles[1]] - x[triangles[0]], x[triangles[2]] - x[triangles[0]]
    # Lagrange's identity in a form that loses no digits: remove from v what is along u.
    along = (u * v).sum(-1, keepdim=True) / (u * u).sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    area = 0.5 * u.norm(dim=-1) * (v - along * u).norm(dim=-1)
    return SimplicialComplex(complex.ptr, edges, triangles[:, area <= max_area])


def skeleton_complex(
    bones: Tensor,  # (2, E)
    points: int,
    *,
    triangles: Tensor | None = None,  # (3, T)
    copies: int = 1,
) -> SimplicialComplex:
    r"""Repeat one complex for clouds whose points mean the same, such as the joints of a body.

    .. math:: K = K_0 \sqcup \dots \sqcup K_0

    **Group** none: the numbers of the points have a meaning. **Shapes** ``bones`` (2, E), ``triangles`` (3, T).

    Args:
        bones: pairs of points of one cloud.
        points: number of points of one cloud.
        triangles: triples of points; all cliques of the bones if not given.
        copies: number of clouds.

    Raises:
        InvalidInput: simplices that do not fit the number of points, or a negative number of copies.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> skeleton_complex(torch.tensor([[0, 1, 0], [1, 2, 2]]), 3, copies=2).triangles.tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    if copies < 0 or points < 1:
        raise InvalidInput(
            f"skeleton_complex: points={points}, copies={copies}, expected at least 1 and at least 0."
        )
    if triangles is None:
        one = clique_complex(bones, points)
    else:
        one = from_simplices(torch.tensor([0, points], device=bones.device), bones, triangles)
    return one.select(torch.zeros(copies, dtype=torch.int64, device=bones.device))
