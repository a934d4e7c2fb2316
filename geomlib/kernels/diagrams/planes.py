r"""Maps of S_n from matrices to matrices with two loops and two products, for tensors with their channels first.

With the five sums :math:`z` of :mod:`geomlib.kernels.diagrams.cpu_planes`,

.. math:: y = A\,(x, x^\top) + E\,(M z)

where A holds the weights of the identity and of the transposition, M those of all other diagrams, and E spreads over rows,
columns and the diagonal. The total and the trace stand at every position, so that M mixes them in the same product. The
transposed map is of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geomlib.kernels.arrays import array, empty
from geomlib.kernels.diagrams.plan import Plan
from geomlib.kernels.diagrams.waist import Row, rows_of

__all__ = ["has_planes", "planes_gradients", "planes_map"]

#: Types of a matrix by their blocks: sums of rows, of columns, the diagonal, the total, the trace.
_TYPES = {
    Row(((0,),), (), ((1,),)): 0,
    Row(((1,),), (), ((0,),)): 1,
    Row(((0, 1),), (), ()): 2,
    Row((), (), ((0,), (1,))): 3,
    Row((), (), ((0, 1),)): 4,
}


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Which diagram is where, -1 for none.

    Args:
        pairs: the identity and the transposition.
        blocks: (3, 5), spread over rows, columns, the diagonal, from the five types.
        turned: ``blocks`` of the transposed map.
        places: of each diagram, 0 and 1 for the pairs, ``2 + 5 top + bottom`` for others.
    """

    pairs: np.ndarray
    blocks: np.ndarray
    turned: np.ndarray
    places: np.ndarray


def has_planes(plan: Plan) -> bool:
    """Return whether a plan has maps of matrices to matrices, and most of the fifteen.

    >>> from geomlib.kernels.diagrams import tensor_plan
    >>> has_planes(tensor_plan("S_n", 2, 2)), has_planes(tensor_plan("S_n", 2, 1))
    (True, False)
    """
    return plan.k == plan.l == 2 and plan.group.kind == "S" and len(plan) >= 8


@lru_cache(maxsize=64)
def _numbers(plan: Plan) -> _Numbers:
    pairs, types, places = np.full(2, -1), np.full((5, 5), -1), list[int]()
    for number, diagram in enumerate(plan.diagrams):
        above, below = rows_of(diagram)
        if len(below.marked) == 2:
            places.append(diagram.waist.sigma[0])
            pairs[places[-1]] = number
        else:
            t, b = _TYPES[above], _TYPES[below]
            places.append(2 + 5 * t + b)
            types[t, b] = number
    return _Numbers(pairs, _blocks(types), _blocks(types.T), np.array(places))


def _blocks(types: np.ndarray) -> np.ndarray:
    """Spread what belongs everywhere over the rows, and what belongs to the whole diagonal over the diagonal."""
    blocks = types[:3].copy()
    blocks[0, 3:], blocks[2, 3:] = types[3, 3:], types[4, 3:]
    return blocks


def _sums(x: Tensor, *, once: bool, paired: bool) -> tuple[Tensor, Tensor]:  # (B, 2 C, n n), (5 C, B n)
    from geomlib.kernels.diagrams import cpu_planes

    batch, channels, n, _ = x.shape
    pair = empty(batch if paired else 0, 2, channels, n, n, dtype=x.dtype)
    sums = empty(5, channels, batch, n, dtype=x.dtype)
    cpu_planes.sum_planes(array(x), once, pair.numpy(), sums.numpy())
    return pair.view(len(pair), 2 * channels, n * n), sums.view(5 * channels, batch * n)


def _mixed(weights: Tensor, pair: Tensor, sums: Tensor, numbers: _Numbers, n: int, *, turned: bool) -> Tensor:
    """Return the map, or the transposed one, of a tensor whose sums are there."""
    from geomlib.kernels.diagrams import cpu_planes

    _, c_out, c_in = weights.shape
    above, below = (c_in, c_out) if turned else (c_out, c_in)
    both = empty(above, 2, below, dtype=weights.dtype)
    matrix = empty(3, above, 5, below, dtype=weights.dtype)
    blocks = numbers.turned if turned else numbers.blocks
    cpu_planes.mix_matrices(array(weights), numbers.pairs, blocks, turned, both.numpy(), matrix.numpy())
    batch = len(pair)
    y = torch.bmm(both.view(1, above, 2 * below).expand(batch, above, 2 * below), pair)
    y = y.view(batch, above, n, n)
    u = matrix.view(3 * above, 5 * below) @ sums
    cpu_planes.spread_planes(u.view(3, above, batch, n).numpy(), y.numpy())
    return y


def planes_map(x: Tensor, weights: Tensor, plan: Plan, n: int) -> Tensor:
    """Return y of (B, C_in, n, n) as (B, C_out, n, n); no derivative is recorded."""
    x, weights = x.detach(), weights.detach()
    return _mixed(weights, *_sums(x, once=False, paired=True), _numbers(plan), n, turned=False)


def planes_gradients(
    g: Tensor, x: Tensor, weights: Tensor, plan: Plan, n: int, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of <g, y> with respect to x and to the weights, those that are needed."""
    from geomlib.kernels.diagrams import cpu_planes

    g, x, weights = g.detach(), x.detach(), weights.detach()
    (_, c_out, c_in), batch, numbers = weights.shape, len(x), _numbers(plan)
    pair, sums = _sums(g, once=False, paired=True)
    gx = _mixed(weights, pair, sums, numbers, n, turned=True) if needs[0] else None
    if not needs[1]:
        return gx, None
    # Total and trace of x at one position only, or the products of two of them would count n times.
    _, below = _sums(x, once=True, paired=False)
    products = torch.bmm(pair, x.reshape(batch, c_in, n * n).mT)
    gram = sums @ below.mT
    gw = empty(len(plan), c_out, c_in, dtype=x.dtype)
    cpu_planes.collect_weights(
        products.view(batch, 2, c_out, c_in).numpy(), gram.view(5, c_out, 5, c_in).numpy(), numbers.places, gw.numpy()
    )  # fmt: skip
    return gx, gw
