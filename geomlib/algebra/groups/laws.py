"""The check of the checker: a group must be one before anything is judged by it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
import itertools

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.element import Element
from geomlib.errors import InvalidInput

__all__ = ["LAWS", "check_group", "group_error"]

#: Round-off allowed to the laws, relative to the norms of the matrices.
LAWS = 1e-12
_NODES = 7
#: Most pairs of components that are tried.
_PAIRS = 16


def group_error(group: Group, seed: int = 0) -> tuple[float, str]:
    """Return the largest violation of the group laws over random elements, and which law it is.

    Identity, inverse, associativity and the action of products, on matrices, shifts and permutations; also that the
    same seed draws the same elements.

    Args:
        group: any group; sized to 7 nodes where it can be.
        seed: seed of the random elements.
    """
    with contextlib.suppress(InvalidInput):  # tied to its own number of nodes
        group = group.sized(_NODES)
    rng = Generator().manual_seed(seed)
    worst = (0.0, "")
    pairs = list(itertools.product(group.components(), repeat=2))
    for a, b in pairs[:: -(-len(pairs) // _PAIRS)]:
        g, h, k = group.sample(a, rng), group.sample(b, rng), group.sample(a, rng)
        e, gh = group.identity(), group.compose(g, h)
        laws = {
            "e g = g": (group.compose(e, g), g),
            "g e = g": (group.compose(g, e), g),
            "g^-1 g = e": (group.compose(group.inverse(g), g), group.compose(e, e)),
            "g g^-1 = e": (group.compose(g, group.inverse(g)), group.compose(e, e)),
            "(g h) k = g (h k)": (group.compose(gh, k), group.compose(g, group.compose(h, k))),
            "(g h) x = g (h x)": (gh, _product(g, h)),
            "same seed, same element": tuple(
                group.sample(a, Generator().manual_seed(seed)) for _ in range(2)
            ),
        }
        size = max(1.0, _size(g)) * max(1.0, _size(h)) * max(1.0, _size(k))
        for law, (left, right) in laws.items():
            error = _difference(left, right) / size
            worst = max(worst, (error, law)) if error == error else (float("inf"), law)
    return worst


def check_group(group: Group) -> Group:
    """Return the group, after checking that it is one.

    Raises:
        InvalidInput: a law fails by more than 1e-12, or the group has no components.
    """
    if not group.components():
        raise InvalidInput(f"group {group.name!r}: components() is empty, so nothing would be tested.")
    error, law = group_error(group)
    if not error <= LAWS:
        raise InvalidInput(
            f"group {group.name!r} is not a group: {law} fails by {error:.1e}, allowed {LAWS:.0e}. "
            "Check compose, inverse and the order of factors (the right factor acts first)."
        )
    return group


def _homogeneous(g: Element) -> Tensor:
    n = g.shift.numel()
    m = torch.eye(n + 1, dtype=torch.float64)
    if n:
        m[:n, :n] = g.on(n)
        m[:n, n] = g.shift
    return torch.block_diag(m, *(a for a in (g.linear, *g.others) if a.shape[0] != n))


def _product(g: Element, h: Element) -> Element:
    """Return g h from the definition: homogeneous matrices multiply, permutations act in turn."""
    n = max(g.shift.numel(), h.shift.numel())
    if not n:
        linear, shift, others = Element().linear, Element().shift, ()
    else:
        a = _homogeneous(g) @ _homogeneous(h)
        linear, shift = a[:n, :n], a[:n, n]
        others = tuple(x @ y for x, y in zip(g.others, h.others, strict=True))
    nodes = None
    if g.nodes is not None and h.nodes is not None:
        nodes = torch.tensor([int(g.nodes[int(k)]) for k in h.nodes], dtype=torch.long)
    edges = None
    if g.edges is not None and h.edges is not None:
        edges = torch.tensor([int(g.edges[int(k)]) for k in h.edges], dtype=torch.long)
    return Element(linear, shift, nodes, edges, others=others)


def _size(g: Element) -> float:
    return max(
        (float(torch.linalg.matrix_norm(a, 2)) for a in (g.linear, *g.others) if a.shape[0]), default=1.0
    )


def _difference(a: Element, b: Element) -> float:
    if a.linear.shape != b.linear.shape or len(a.others) != len(b.others):
        return float("inf")
    worst = 0.0
    for x, y in zip((a.linear, a.shift, *a.others), (b.linear, b.shift, *b.others), strict=True):
        if x.shape != y.shape:
            return float("inf")
        worst = max(worst, float((x - y).abs().amax()) if x.numel() else 0.0)
    for p, q in ((a.nodes, b.nodes), (a.edges, b.edges)):
        if not _same_order(p, q):
            return float("inf")
    return worst


def _same_order(p: Tensor | None, q: Tensor | None) -> bool:
    if p is None or q is None:
        other = q if p is None else p
        return other is None or bool((other == torch.arange(len(other))).all())
    return torch.equal(p, q)
