r"""A basis of a Clifford algebra in which products have few terms, from commuting blades that square to one.

Let :math:`s_1, \dots, s_k` be such blades, independent and as many as there are. With
:math:`P_\chi = \prod_i (1 + \chi_i s_i)/2`, the elements :math:`E_{c\chi} = e_c P_\chi`, c from the cosets of their span, are
a basis in which

.. math:: E_{c\chi}\, E_{d\psi} = [\chi = \psi\, \omega_d]\; \mathrm{sgn}(c, d)\; E_{c + d, \psi}, \qquad
          e_d\, s_i = \omega_{d,i}\, s_i\, e_d,

has :math:`4^n / 2^k` terms instead of :math:`4^n`, and a Walsh-Hadamard transform of every coset leads to it. Null generators
need no special care: their products vanish in the sign.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import xor
from typing import Any

import numpy as np

from geomlib.algebra.clifford.blades import blade_masks, signs_of

__all__ = ["Frame", "frame", "sign_of_masks"]

Metric = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    r"""The basis :math:`E_{c\chi}` of an algebra.

    Attributes:
        stages: rows (a, b, p, m), one per butterfly, in order: components p and m become the sum and the difference of
            components a and b.
        entry: rows (o, i, k) of products of elements of the basis that are not zero.
        sign: of every entry.
        count: the number of commuting blades, k.
        place: the component that holds :math:`E_{c\chi}`, (cosets, 2^k).
        blade_sign: the sign of the blade there in :math:`e_c s_\chi`, (cosets, 2^k).
        twist: number of :math:`\omega_c` for every coset.
        cosets: the blades c.
    """

    stages: np.ndarray[Any, Any]
    entry: np.ndarray[Any, Any]
    sign: np.ndarray[Any, Any]
    count: int
    place: np.ndarray[Any, Any]
    blade_sign: np.ndarray[Any, Any]
    twist: np.ndarray[Any, Any]
    cosets: np.ndarray[Any, Any]


def _commuting(metric: Metric) -> tuple[list[int], list[int]]:
    """Return independent commuting blades that square to one, as masks, and a bit of each that no other one has."""
    n, sign = len(metric), sign_of_masks(metric)
    chosen: list[int] = []
    pivots: list[int] = []
    for mask in range(1, 2**n):
        rest = mask
        for s, p in zip(chosen, pivots, strict=True):
            rest = rest ^ s if rest >> p & 1 else rest
        if not rest or sign[rest, rest] != 1 or any(sign[rest, s] != sign[s, rest] for s in chosen):
            continue
        pivot = rest.bit_length() - 1
        chosen = [s ^ rest if s >> pivot & 1 else s for s in chosen]
        chosen.append(rest)
        pivots.append(pivot)
    return chosen, pivots


@lru_cache(maxsize=32)
def sign_of_masks(metric: Metric) -> np.ndarray[Any, Any]:
    """Return the signs of products of blades by their masks."""
    where = np.argsort(blade_masks(len(metric)))
    return signs_of(metric)[np.ix_(where, where)]


@lru_cache(maxsize=32)
def frame(metric: Metric) -> Frame:
    """Return the basis in which products have the fewest terms.

    >>> [len(frame((1,) * n).sign) for n in (2, 3, 5, 8)]
    [8, 32, 256, 4096]
    """
    n, sign = len(metric), sign_of_masks(metric)
    number = np.argsort(blade_masks(n))  # of a mask
    chosen, pivots = _commuting(metric)
    cosets = np.array([m for m in range(2**n) if not any(m >> p & 1 for p in pivots)])
    characters = list(itertools.product((0, 1), repeat=len(chosen)))
    spans = np.array(
        [reduce(xor, (s for s, bit in zip(chosen, c, strict=True) if bit), 0) for c in characters]
    )
    stages: list[tuple[int, int, int, int]] = []
    for step, (s, pivot) in enumerate(zip(chosen, pivots, strict=True)):
        for q in (m for m in range(2**n) if not m >> pivot & 1):
            first = q  # the blade that this component has stood for since the stages before
            for t, p in zip(chosen[:step], pivots[:step], strict=True):
                first = first ^ t if q >> p & 1 else first
            a, b = int(number[q]), int(number[q ^ s])
            stages.append((a, b, a, b) if sign[first, s] > 0 else (a, b, b, a))
    # e_c s_1 s_2 ... is a blade up to a sign
    blade_sign = np.ones((len(cosets), len(characters)), dtype=np.int64)
    for (row, c), (column, character) in itertools.product(enumerate(cosets), enumerate(characters)):
        mask = int(c)
        for s, bit in zip(chosen, character, strict=True):
            if bit:
                blade_sign[row, column] *= sign[mask, s]
                mask ^= s
    bits = [1 << (len(chosen) - 1 - i) for i in range(len(chosen))]
    twist = np.array(
        [sum(b for s, b in zip(chosen, bits, strict=True) if _anticommute(s, int(c))) for c in cosets]
    )
    place = number[cosets[:, None] ^ spans[None, :]]
    c, d, psi = (
        t.ravel()
        for t in np.meshgrid(*(range(k) for k in (len(cosets), len(cosets), len(spans))), indexing="ij")
    )
    row_of = {int(m): r for r, m in enumerate(cosets)}
    out = np.array([[row_of[int(a ^ b)] for b in cosets] for a in cosets])
    entry = np.stack([place[out[c, d], psi], place[c, psi ^ twist[d]], place[d, psi]], 1)
    signs = sign[np.ix_(cosets, cosets)][c, d]
    kept = signs != 0
    return Frame(
        np.array(stages, np.int64).reshape(-1, 4), entry[kept], signs[kept], len(chosen), place, blade_sign, twist, cosets
    )  # fmt: skip


def _anticommute(a: int, b: int) -> bool:
    return (a.bit_count() * b.bit_count() - (a & b).bit_count()) % 2 == 1
