"""Signed permutations against the octahedral group and by counting; Kronecker products against their factors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from geomlib.algebra.groups import SignedPermutations, parse_group, stratified
from tests.algebra._groups import gen


def _set(elements) -> set[tuple[float, ...]]:
    return {tuple((g.linear + 0.0).flatten().round().tolist()) for g in elements}


def test_three_axes_are_the_octahedral_group() -> None:
    ours, theirs = parse_group("B(3)").elements(), parse_group("O_h").elements()
    assert ours is not None and theirs is not None and _set(ours) == _set(theirs) and len(_set(ours)) == 48


@pytest.mark.parametrize("n", [1, 2, 4])
def test_generators_reach_every_element(n: int) -> None:
    group = SignedPermutations(n)
    steps = [g.linear for g in group.discrete(gen())]
    found, queue = {}, [torch.eye(n).double()]
    while queue:
        a = queue.pop()
        key = tuple((a + 0.0).flatten().tolist())
        if key not in found:
            found[key] = a
            queue += [s @ a for s in steps]
    assert len(found) == group.order == 2**n * math.factorial(n)
    listed = group.elements()
    assert listed is None if n == 4 else _set(listed) == set(found)


def test_samples_are_uniform() -> None:
    group, g = SignedPermutations(2), gen(3)
    drawn = [
        tuple(group.sample(c, g).linear.flatten().tolist()) for _ in range(2000) for c in group.components()
    ]
    counts = np.array(list({k: drawn.count(k) for k in set(drawn)}.values()))
    assert (
        len(counts) == 8 and float(((counts - 500) ** 2 / 500).sum()) < 24.3
    )  # chi square, 7 degrees, p = 0.001


def test_kronecker_elements_are_products_of_elements() -> None:
    group = parse_group("Kron(A_4, O(1,3))")
    assert group.sizes == (4, 4) and len(group.components()) == 4
    eta = torch.diag(torch.tensor([1.0, -1.0, -1.0, -1.0])).double()
    for g in stratified(group, 12, gen(1)):
        blocks = g.linear.reshape(4, 4, 4, 4).movedim(2, 1)  # (i, j, a, b)
        where = blocks.abs().amax((2, 3)) > 0
        assert where.sum(0).tolist() == where.sum(1).tolist() == [1] * 4  # a permutation of the blocks
        inner = blocks[where]
        assert torch.equal(inner, inner[:1].expand_as(inner))
        torch.testing.assert_close(inner[0].T @ eta @ inner[0], eta, rtol=0, atol=1e-12)
        assert float(torch.linalg.det(where.double())) == 1.0


def test_kronecker_of_permutations_moves_pairs_of_indices() -> None:
    group = parse_group("Kron(S_3, S_2)")
    seen = _set(stratified(group, 400, gen(2)))
    wanted = set()
    for p, q in itertools.product(itertools.permutations(range(3)), itertools.permutations(range(2))):
        a = torch.zeros(6, 6)
        for i, b in itertools.product(range(3), range(2)):
            a[p[i] * 2 + q[b], i * 2 + b] = 1.0
        wanted.add(tuple(a.flatten().tolist()))
    assert seen == wanted
