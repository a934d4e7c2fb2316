"""Derivatives of any order of a spectral function, in the basis of eigenvectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.spectral.divided_differences import divided_differences, index_sets

__all__ = ["directional"]

#: Entries of the tensors of divided differences that are held at once.
HELD = 2**21


def directional(w: Tensor, f: str, t: float, E: Sequence[Tensor]) -> Tensor:
    r"""Return the derivative of order k >= 2 of f at diag(w) in k symmetric directions.

    .. math:: X_{i_0 i_k} = \sum_\pi \sum_{i_1 .. i_{k-1}}
        f[w_{i_0}, ..., w_{i_k}]\, (E_{\pi 1})_{i_0 i_1} ... (E_{\pi k})_{i_{k-1} i_k}

    **Shapes** w (..., n), ascending; every E and the result (..., n, n).

    The roots and the inverse satisfy algebraic equations, whose derivatives are sums without cancellation; the other functions
    sum over tensors of divided differences.

    >>> directional(torch.ones(1), "inv", 0.0, [torch.ones(1, 1)] * 3).tolist()
    [[-6.0]]
    """
    if f == "inv":
        return _inverse(w, E)
    if f in ("sqrt", "invsqrt"):
        return _root(w, E, inverse=f == "invsqrt")
    return _summed(w, f, t, E)


def _inverse(w: Tensor, E: Sequence[Tensor]) -> Tensor:
    """Derivatives of the inverse: products of the inverse and the directions in every order."""
    r = w.reciprocal()
    parts = {1 << e: -r[..., :, None] * E[e] * r[..., None, :] for e in range(len(E))}
    for subset in _subsets(len(E), 2):
        members = [e for e in range(len(E)) if subset >> e & 1]
        total = sum(parts[subset ^ (1 << e)] @ E[e] for e in members)
        parts[subset] = -total * r[..., None, :]
    return parts[(1 << len(E)) - 1]


def _root(w: Tensor, E: Sequence[Tensor], *, inverse: bool) -> Tensor:
    """Derivatives of S S = A, and with them those of R S = I; all summands have one sign."""
    s = w.sqrt()
    pairs = s[..., :, None] + s[..., None, :]
    root = {1 << e: E[e] / pairs for e in range(len(E))}
    for subset in _subsets(len(E), 2):
        root[subset] = -_split_products(root, root, subset) / pairs
    whole = (1 << len(E)) - 1
    if not inverse:
        return root[whole]
    r = s.reciprocal()
    rows, columns = r[..., :, None], r[..., None, :]
    found: dict[int, Tensor] = {}
    for subset in _subsets(len(E), 1):
        total = rows * root[subset]
        if subset & (subset - 1):
            total = total + _split_products(found, root, subset)
        found[subset] = -total * columns
    return found[whole]


def _subsets(count: int, least: int) -> list[int]:
    """Subsets of so many directions with at least so many members, as bits; parts come before wholes."""
    return [s for s in range(1, 1 << count) if s.bit_count() >= least]


def _split_products(left: dict[int, Tensor], right: dict[int, Tensor], subset: int) -> Tensor:
    """Sum the products over all ways to split a subset into two parts."""
    parts = [p for p in range(1, subset) if p & subset == p]
    total = left[parts[0]] @ right[subset ^ parts[0]]
    for p in parts[1:]:
        total = total + left[p] @ right[subset ^ p]
    return total


def _summed(w: Tensor, f: str, t: float, E: Sequence[Tensor]) -> Tensor:
    """Sum over tensors of divided differences, a few matrices at a time."""
    n, k, batch = w.shape[-1], len(E), w.shape[:-1]
    sets, row = index_sets(n, k + 1, w.device)
    rows = max(1, HELD // n ** (k + 1))
    flat_w, flat = w.reshape(-1, n), [e.reshape(-1, n, n) for e in E]
    found: list[Tensor] = []
    for start in range(0, max(1, flat_w.shape[0]), rows):
        some = slice(start, start + rows)
        table = divided_differences(f, flat_w[some], sets, t)[..., row]
        found.append(_contracted(table, [e[some] for e in flat]))
    return torch.cat(found).reshape(*batch, n, n)


def _contracted(table: Tensor, E: Sequence[Tensor]) -> Tensor:
    k = len(E)
    if k == 2:  # both orders share the divided differences
        first, second = E
        return (table * _chain(first, second)).sum(-2) + (table * _chain(second, first)).sum(-2)
    letters = "abcdefghijkl"[: k + 1]
    steps = ",".join(f"z{letters[i : i + 2]}" for i in range(k))
    formula = f"z{letters},{steps}->z{letters[0]}{letters[-1]}"
    total = torch.einsum(formula, table, *E)
    for order in list(permutations(E))[1:]:
        total = total + torch.einsum(formula, table, *order)
    return total


def _chain(first: Tensor, second: Tensor) -> Tensor:
    return first[..., :, :, None] * second[..., None, :, :]
