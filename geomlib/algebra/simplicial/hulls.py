"""The complex of convex hulls: all pairs and triples of points that share a facet."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.simplicial.complexes import SimplicialComplex, from_simplices
from geomlib.algebra.simplicial.lifts import clouds_of, equal_clouds
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["hull_complex"]

#: Up to this many simplices of d + 1 points a cloud, their orientations are cheaper than a search.
_ENUMERATED = 256
#: Below this part of the largest orientation of the cloud, points count as lying in one plane.
_FLAT = 1e-9
_CHUNK = 1 << 21


def hull_complex(pos: Tensor) -> SimplicialComplex:
    r"""Return all edges and triangles whose points share a facet of the convex hull.

    .. math:: (v_0, \dots, v_k) \in K \iff \exists \text{ facet } F:\ \{v_0, \dots, v_k\} \subseteq F

    Few points are settled by orientations: d points are a facet if all others are on one side, that is if the signs of
    the determinants det[1, x] of d + 1 points agree. More points, and clouds with d + 1 points in one plane, go to Qhull
    (scipy), which triangulates facets of more than d points.

    **Group** GL(n) and translations, which leave the complex as it is, and the permutations S_n. **Shapes** ``pos``
    (B, n, d) or (n, d).

    Args:
        pos: points of every cloud, more than d of them, d at least 2.

    Raises:
        InvalidInput: wrong shapes or types, too few points, points that are not finite, a cloud without volume.
        MissingDependency: scipy is needed and not there.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> hull_complex(torch.tensor([[0.0, 0], [1, 0], [0, 1], [0.2, 0.2]])).edges.tolist()
    [[0, 0, 1], [1, 2, 2]]
    """
    x = clouds_of("hull_complex", pos)
    x = x[None] if x.dim() == 2 else x
    clouds, points, dim = x.shape
    if dim < 2 or points <= dim:
        raise InvalidInput(
            f"hull_complex: `pos` has shape {tuple(pos.shape)}: a hull needs d >= 2 and more than d points."
        )
    ptr = equal_clouds(clouds, points, x.device)
    edges, triangles, left = [], [], torch.arange(clouds, device=x.device)
    if math.comb(points, dim + 1) <= _ENUMERATED:
        pairs, triples, left = _by_orientations(x)
        edges.append(pairs)
        triangles.append(triples)
    for cloud in left.tolist():
        facets = torch.from_numpy(_qhull(x[cloud].cpu().numpy(), cloud)).to(x.device) + points * cloud
        edges.extend(facets[:, list(pair)].T for pair in itertools.combinations(range(dim), 2))
        triangles.extend(facets[:, list(triple)].T for triple in itertools.combinations(range(dim), 3))
    return from_simplices(
        ptr, torch.cat(edges, 1) if edges else None, torch.cat(triangles, 1) if triangles else None
    )


def _by_orientations(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return edges, triangles, and the clouds that are not settled."""
    points, dim = x.shape[1:]
    simplices, member, sign, pairs, triples, in_pairs, in_triples = (
        t.to(x.device) for t in _tables(points, dim)
    )
    x = x - x.mean(1, keepdim=True)
    x = x / x.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    found, flat = [], []
    step = max(1, _CHUNK // (len(simplices) * (dim + 1) ** 2))
    for part in x.split(step):
        corners = part[:, simplices]  # (b, simplices, d + 1, d)
        volume = torch.linalg.det(corners[:, :, 1:] - corners[:, :, :1])
        flat.append((volume.abs() <= _FLAT * volume.abs().amax(1, keepdim=True)).any(1))
        side = volume.sign()[:, member] * sign  # (b, facets, other points)
        found.append((side == side[..., :1]).all(-1).to(x.dtype))
    facets, bad = torch.cat(found), torch.cat(flat)
    facets[bad] = 0.0
    lists: list[Tensor] = []
    for subsets, inside in ((pairs, in_pairs), (triples, in_triples)):
        cloud, which = (facets @ inside.to(x.dtype)).nonzero().T
        lists.append(subsets[:, which] + points * cloud)
    return lists[0], lists[1], bad.nonzero()[:, 0]


@lru_cache(maxsize=16)
def _tables(points: int, dim: int) -> tuple[Tensor, ...]:
    """Return simplices, the simplex of a facet and another point with its sign, subsets, and which facets have them."""
    simplices = list(itertools.combinations(range(points), dim + 1))
    number = {s: i for i, s in enumerate(simplices)}
    facets = list(itertools.combinations(range(points), dim))
    member, sign = [], []
    for facet in facets:
        others = [p for p in range(points) if p not in facet]
        member.append([number[tuple(sorted((*facet, p)))] for p in others])
        # To put p in its place among the sorted vertices of the facet takes one exchange for each that is smaller.
        sign.append([(-1.0) ** sum(v < p for v in facet) for p in others])
    tables = [torch.tensor(simplices), torch.tensor(member), torch.tensor(sign, dtype=torch.float64)]
    held: list[Tensor] = []
    for size in (2, 3):
        subsets = list(itertools.combinations(range(points), size))
        tables.append(torch.tensor(subsets).T)
        inside = [[float(set(s) <= set(f)) for s in subsets] for f in facets]
        held.append(torch.tensor(inside, dtype=torch.float64))
    return (*tables, *held)


def _qhull(points: np.ndarray, cloud: int) -> np.ndarray:
    try:
        from scipy.spatial import ConvexHull, QhullError  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise MissingDependency(
            "scipy is needed for hulls of many points, or of points in one plane: pip install scipy."
        ) from None
    try:
        return ConvexHull(points).simplices.astype(np.int64)
    except QhullError as error:
        reason = str(error).split("\n", 1)[0]
        raise InvalidInput(
            f"hull_complex: cloud {cloud} has no hull of full dimension ({reason}). Leave it out, or use vietoris_rips."
        ) from None
