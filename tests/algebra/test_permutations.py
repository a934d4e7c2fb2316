"""Signs of assignments and the Levi-Civita symbol, beside sympy."""

from __future__ import annotations

import itertools

import pytest
import sympy
import torch

from geomlib.algebra.permutations import levi_civita, permutation_table


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_levi_civita_is_sympys(n: int) -> None:
    symbol = levi_civita(n)
    assert symbol.dtype == torch.float64
    for index in itertools.product(range(n), repeat=n):
        assert symbol[index] == int(sympy.LeviCivita(*index))


@pytest.mark.parametrize(("n", "t"), [(1, 1), (3, 0), (4, 1), (4, 2), (4, 3), (5, 3), (5, 5)])
def test_every_assignment_once_with_the_sign_of_its_completion(n: int, t: int) -> None:
    rows, signs = permutation_table(n, t)
    assert [tuple(row) for row in rows.tolist()] == list(itertools.permutations(range(n), t))
    for row, sign in zip(rows.tolist(), signs.tolist(), strict=True):
        rest = sorted(set(range(n)) - set(row))
        assert sign == int(sympy.LeviCivita(*row, *rest))
