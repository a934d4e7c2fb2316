"""Products of contiguous members of a tuple, and what geometric attention takes from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.clifford.components import (
    Components,
    divided,
    dual,
    grade_norm,
    product,
    total_norm,
)

__all__ = [
    "MODES",
    "SubProducts",
    "covariant_count",
    "covariants_reflect",
    "invariant_dim",
    "invariants_reflect",
    "runs",
]

MODES = ("single", "partial", "full")


def runs(rank: int, mode: str) -> list[tuple[int, int]]:
    """Return the contiguous runs of members as (start, length): of every start, the longest first."""
    starts = range(rank) if mode == "full" else range(1)
    lengths = {s: [rank] if mode == "single" else range(rank - s, 0, -1) for s in starts}
    return [(s, k) for s in starts for k in lengths[s]]


@dataclass(frozen=True)
class SubProducts:
    """Which products are taken, of vectors or of multivectors.

    Args:
        rank: members of a tuple.
        multivector: whether the members are multivectors.
        normalized: append copies divided by their length.
    """

    rank: int
    multivector: bool
    normalized: bool

    def components(self, members: Sequence[Tensor]) -> list[dict[int, Tensor]]:
        """Return the members blade by blade."""
        first = 0 if self.multivector else 1
        return [dict(enumerate(x.unbind(-1), first)) for x in members]

    def products(
        self, members: Sequence[Components], wanted: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], Components]:
        """Return the wanted products; a longer one is made from the one before it."""
        found: dict[tuple[int, int], Components] = {}
        for start in sorted({s for s, _ in wanted}):
            whole = found[start, 1] = members[start]
            for k in range(2, max(k for s, k in wanted if s == start) + 1):
                whole = found[start, k] = product(whole, members[start + k - 1])
        return found

    def invariants(
        self, products: Sequence[Components], terms: Sequence[Components], shape: Sequence[int]
    ) -> Tensor:  # (tuples, invariants)
        """Return the lengths of the parts, signed where a part is one number, of products, copies and terms."""
        parts = [self._invariants(p) for p in products]
        if self.normalized:
            for p, own in zip(products, tuple(parts), strict=True):
                inverse = total_norm(p).clamp(min=1e-7).reciprocal()
                parts.append([x * inverse for x in own])
        parts += [self._invariants(p) for p in terms]
        found = torch.stack([x.expand(shape) for part in parts for x in part], -1)
        # Networks square what they get: more than this would overflow there.
        limit = torch.finfo(found.dtype).max ** 0.5 * 2.0**-10
        return found.clamp(-limit, limit) if limit > 1e6 else found

    def _invariants(self, p: Components) -> list[Tensor]:
        if self.multivector:
            return [p[0], grade_norm(p, 1), grade_norm(p, 2), p[7]]
        if 0 in p:
            return [p[0], grade_norm(p, 2)]
        return [grade_norm(p, 1), p[7]] if 7 in p else [grade_norm(p, 1)]

    def covariants(self, found: Sequence[Components], terms: Sequence[Components]) -> list[list[Tensor]]:
        """Return the coefficients of the vector, or of the multivector, of products, copies and terms."""
        copies = [divided(p, total_norm(p).clamp(min=1e-7)) for p in found] if self.normalized else []
        return [self._covariants(p) for p in (*found, *copies, *terms)]

    def _covariants(self, p: Components) -> list[Tensor]:
        if self.multivector:
            return [p[i] for i in range(8)]
        vector = dual(p, -1) if 0 in p else p
        return [vector[i] for i in (1, 2, 3)]

    def linear_terms(
        self, kernels: Tensor, found: Sequence[Components]
    ) -> list[dict[int, Tensor]]:  # (terms, products, 2 or 4, 2)
        """Return sums of the products and their duals, with signs chosen by a softmax."""
        chosen = kernels.softmax(-1)[..., 1]
        plain, turned = chosen[..., 0] - chosen[..., 1], None
        if self.multivector:
            turned = chosen[..., 2] - chosen[..., 3]
        else:
            found = [self._same_parity(p) for p in found]
        terms: list[dict[int, Tensor]] = []
        for t in range(kernels.shape[0]):
            total: dict[int, Tensor] = {}
            for n, p in enumerate(found):
                total = _plus(total, p, plain[t, n])
                if turned is not None:
                    total = _plus(total, dual(p), turned[t, n])
            terms.append(total)
        return terms

    def _same_parity(self, p: Components) -> Components:
        """Return a product of vectors with the parity of the whole tuple, all four blades stored."""
        if 0 not in p and 7 not in p:
            p = {**p, 7: torch.zeros_like(p[1])}
        if (0 in p) == (self.rank % 2 == 0):
            return p
        return dual(p, -1 if 0 in p else 1)


def _plus(total: dict[int, Tensor], p: Components, factor: Tensor) -> dict[int, Tensor]:
    return {i: factor * x if i not in total else total[i] + factor * x for i, x in p.items()}


def invariant_dim(
    rank: int,
    mode: str = "single",
    *,
    multivector: bool = False,
    normalized: bool = False,
    linear_terms: int = 0,
) -> int:
    """Return the number of invariants, the input size of a value network.

    >>> [invariant_dim(3, mode) for mode in ("single", "partial", "full")]
    [2, 5, 9]
    """
    each = [4 if multivector else min(k, 2) for _, k in runs(rank, mode)]
    return sum(each) * (2 if normalized else 1) + linear_terms * (4 if multivector else 2)


def covariant_count(rank: int, mode: str, normalized: bool, linear_terms: int) -> int:
    """Return the number of vectors or multivectors that are added up."""
    return len(runs(rank, mode)) * (2 if normalized else 1) + linear_terms


def invariants_reflect(rank: int, mode: str, *, linear: str | None, evenly: bool) -> bool:
    """Return whether sums of values made of the invariants of products of vectors are the same after a reflection.

    A product of three vectors has a trivector, which changes its sign. It does so too where the last two of three members
    change places: sums over tuples that tell these apart by nothing else are blind to the sign.
    """
    if rank < 3:  # the dual of a vector is at right angles to its products with others
        return True
    if linear is not None and linear != "single":
        return False
    if all(k % 2 == 0 or k == 1 for _, k in runs(rank, mode)):
        return True
    return mode == "single" and rank == 3 and evenly


def covariants_reflect(
    rank: int, mode: str, covariant_mode: str, *, linear: str | None, evenly: bool, reduce: bool
) -> str | None:
    """Return the type of sums of covariants of products of vectors under O(3), None where it has none.

    Products of odd length give vectors and those of even length, by their duals, pseudovectors. Where weights only change
    by the sign of a trivector when a tuple is reversed, sums over all tuples cancel what is not a vector.
    """
    if evenly and reduce and mode == "single" and linear in (None, "single"):
        return "vector"
    signed = any(k % 2 and k > 1 for _, k in runs(rank, mode))
    if signed or not invariants_reflect(rank, mode, linear=linear, evenly=evenly):
        return None
    lengths = {k for _, k in runs(rank, covariant_mode)}
    if linear is not None:
        lengths |= {rank} if linear == "single" else {1, rank}
    parities = {k % 2 for k in lengths}
    if len(parities) > 1:
        return None
    return "vector" if parities == {1} else "pseudovector"
