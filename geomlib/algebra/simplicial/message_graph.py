"""One graph whose nodes are all simplices."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.simplicial.complexes import SimplicialComplex
from geomlib.algebra.simplicial.ragged import within

__all__ = ["to_message_graph"]


def to_message_graph(
    complex: SimplicialComplex, *, complete: bool = True, legacy_duplicates: bool = False
) -> Tensor:  # (2, M)
    r"""Return the edges of the graph of all simplices, sources in row 0 and targets in row 1.

    Nodes are the N points, then the E edges, then the T triangles. Directed edges join

    .. math:: \text{points of one cloud}, \quad \text{points and edges they are in}, \quad
              \text{edges of one triangle}, \quad \text{edges and triangles they are in}

    always in both directions, and each pair once.

    **Group** the permutations S_n of points. **Shapes** (2, M), nodes 0 to N + E + T - 1.

    Args:
        complex: the complex.
        complete: join all points of a cloud; otherwise those that an edge joins.
        legacy_duplicates: with ``complete``, repeat the messages from b to a of every edge a < b, as the authors' code does.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> from geomlib.algebra.simplicial import from_simplices
    >>> to_message_graph(from_simplices(torch.tensor([0, 2]), torch.tensor([[0], [1]]))).tolist()
    [[1, 0, 0, 1, 2, 2], [0, 1, 2, 2, 0, 1]]
    """
    n, e, t = complex.num_points, complex.edges.shape[1], complex.triangles.shape[1]
    device = complex.edges.device
    edge_nodes = n + torch.arange(e, device=device)
    triangle_nodes = n + e + torch.arange(t, device=device)
    sides = n + complex.sides()
    up01 = torch.stack([complex.edges.flatten(), edge_nodes.repeat(2)])
    up12 = torch.stack([sides.flatten(), triangle_nodes.repeat(3)])
    a, b = [0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]
    across = torch.stack([sides[a].flatten(), sides[b].flatten()])
    if complete:
        among = _all_pairs(complex.ptr)
        if legacy_duplicates:
            among = torch.cat([among, complex.edges.flip(0)], 1)
    else:
        among = torch.cat([complex.edges, complex.edges.flip(0)], 1)
    return torch.cat([among, up01, up01.flip(0), across, up12, up12.flip(0)], 1)


def _all_pairs(ptr: Tensor) -> Tensor:
    """Return all ordered pairs of two points of one cloud, by target."""
    counts = ptr.diff()
    cloud, _ = within(counts)
    target, inside = within((counts - 1)[cloud].clamp_min(0))
    source = ptr[cloud[target]] + inside
    return torch.stack([source + (source >= target), target])
