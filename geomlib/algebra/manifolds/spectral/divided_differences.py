"""Divided differences of order two and more, right to rounding at repeated, close and distant arguments.

Newton's scheme divides the difference of two divided differences of lower order by the distance of the two most distant
arguments; where even those are close, the Taylor series about their middle takes over. Source: Higham, Functions of
Matrices: Theory and Computation (2008), and McCurdy, Ng, Parlett, Accurate computation of divided differences of the
exponential function (1984), for the combination of the two.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import values_known
from geomlib.algebra.manifolds.spectral.scalar import loewner, value

__all__ = ["divided_differences", "index_sets"]

#: Half the spread of the arguments, relative to their middle (for exp: absolute), up to which the series is taken, and the
#: terms that it takes to rounding. Quotients lose a digit at 0.08, and again with every order, which larger ones make up for.
CLOSE = {"second": (0.08, 16), "more": (0.2, 26)}
CLOSE_EXP = {"second": (0.1, 9), "more": (0.5, 16)}


def index_sets(n: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the ascending tuples of ``count`` indices below n, and for every tuple of indices the row of its sorted one.

    >>> sets, row = index_sets(2, 3, torch.device("cpu"))
    >>> sets.tolist(), row.tolist()
    ([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]], [[[0, 1], [1, 2]], [[1, 2], [2, 3]]])
    """
    plain = values_known() and type(torch.empty(0)) is Tensor
    return _kept_index_sets(n, count, device) if plain else _index_sets(n, count, device)


def _index_sets(n: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    axis = torch.arange(n, device=device)
    grid = torch.cartesian_prod(*([axis] * count)).sort(-1).values
    if torch.compiler.is_compiling():  # a trace does not know the number of combinations: all tuples
        return grid, torch.arange(n**count, device=device).reshape((n,) * count)
    sets = torch.combinations(axis, count, with_replacement=True)
    weights = torch.tensor([n**k for k in range(count - 1, -1, -1)], device=device)
    row = torch.searchsorted((sets * weights).sum(-1), (grid * weights).sum(-1))
    return sets, row.reshape((n,) * count)


_kept_index_sets = lru_cache(maxsize=8)(_index_sets)


def divided_differences(f: str, w: Tensor, sets: Tensor, t: float = 0.0) -> Tensor:  # (..., n) -> (..., m)
    """Return f[w_i, w_j, ...] for ascending w and for every ascending tuple of two indices or more.

    Args:
        f: "log", "exp", "pow", "clamp" or "top".
        w: ascending numbers (..., n).
        sets: rows of indices (m, k + 1) from :func:`index_sets`; k is the order.
        t: parameter of f.

    >>> sets, _ = index_sets(1, 4, torch.device("cpu"))
    >>> divided_differences("exp", torch.zeros(1, dtype=torch.float64), sets)  # exp'''(0) / 3!
    tensor([0.1667], dtype=torch.float64)
    """
    x = [w[..., column] for column in sets.unbind(-1)]  # ascending along the list
    if f in ("clamp", "top"):
        heights = value(f, w, t)
        upper = (w > t) if f == "clamp" else heights > 0
        sides = [upper[..., column] for column in sets.unbind(-1)]
        return _two_sides(x, [heights[..., c] for c in sets.unbind(-1)], sides, 1.0 if f == "clamp" else 0.0)
    n, first = w.shape[-1], loewner(f, w, t).flatten(-2)
    table = [first[..., i * n + j] for i, j in pairwise(sets.unbind(-1))]
    for order in range(2, len(x)):
        windows = [x[i : i + order + 1] for i in range(len(x) - order)]
        table = [
            _step(f, window, low, high, t, len(x) - 1)
            for window, low, high in zip(windows, table[:-1], table[1:], strict=True)
        ]
    return table[0]


def _step(f: str, x: list[Tensor], low: Tensor, high: Tensor, t: float, order: int) -> Tensor:
    """Return the divided difference of the arguments x from those without the last and without the first."""
    middle, half = 0.5 * (x[-1] + x[0]), 0.5 * (x[-1] - x[0])
    limit, terms = (CLOSE_EXP if f == "exp" else CLOSE)["second" if order == 2 else "more"]
    near = half <= (limit if f == "exp" else limit * middle)
    quotient = (high - low) / torch.where(near, 1.0, 2 * half)
    scale = torch.ones_like(middle) if f == "exp" else middle
    inner = [torch.where(near, (a - middle) / scale, 0.0) for a in x[1:-1]]
    series = _series(f, inner, torch.where(near, half / scale, 0.0), t, terms + math.ceil(3 * abs(t)))
    if f == "exp":
        series = series * torch.where(near, middle, 0.0).exp()
    else:
        series = series * middle.pow((t if f == "pow" else 0.0) - (len(x) - 1))
    return torch.where(near, series, quotient)


def _series(f: str, inner: list[Tensor], half: Tensor, t: float, terms: int) -> Tensor:
    """Return the divided difference at 1 - half, 1 + y, 1 + half (exp: about 0) from the Taylor series in the middle.

    The divided difference of x^p is the complete homogeneous symmetric polynomial of degree p - k; that of the two ends alone
    is a power of half, or zero.
    """
    order = len(inner) + 1
    square, ends = half * half, torch.ones_like(half)
    h = [ends for _ in inner]  # of degree q in the ends and the first inner argument, the first two, ...
    total = _coefficient(f, order, t) * ends
    for q in range(1, terms):
        if q % 2 == 0:
            ends = ends * square
        last = torch.zeros_like(ends) if q % 2 else ends
        for j, y in enumerate(inner):
            last = h[j] = torch.addcmul(last, y, h[j])
        total = torch.add(total, last, alpha=_coefficient(f, order + q, t))
    return total


def _coefficient(f: str, p: int, t: float) -> float:
    """Return the p-th Taylor coefficient of log or pow about 1, of exp about 0."""
    if f == "exp":
        return 1 / math.factorial(p)
    if f == "log":
        return (-1) ** (p - 1) / p
    found = 1.0
    for i in range(p):  # a loop: torch.compile takes no generator here
        found *= (t - i) / (i + 1)
    return found


def _two_sides(x: list[Tensor], heights: list[Tensor], upper: list[Tensor], slope: float) -> Tensor:
    """Return divided differences of a function that is linear below and above a point, by pairs across the point only."""
    table = heights
    for order in range(1, len(x)):
        found: list[Tensor] = []
        for i in range(len(x) - order):
            alike = upper[i] == upper[i + order]
            across = (table[i + 1] - table[i]) / torch.where(alike, 1.0, x[i + order] - x[i])
            inside = slope * upper[i].to(across.dtype) if order == 1 else torch.zeros_like(across)
            found.append(torch.where(alike, inside, across))
        table = found
    return table[0]
