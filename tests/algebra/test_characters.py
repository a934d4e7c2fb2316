"""Characters of S_n: known tables, orthogonality, dimensions by hooks, the regular and the natural representation."""

from __future__ import annotations

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from geomlib.algebra.groups.characters import (
    character_table,
    class_size,
    cycle_type,
    murnaghan_nakayama,
    partitions,
)
from geomlib.errors import InvalidInput

#: Classes 5, 41, 32, 311, 221, 2111, 1^5 (James and Liebeck, S_5).
S5 = [
    [1, 1, 1, 1, 1, 1, 1],
    [-1, 0, -1, 1, 0, 2, 4],
    [0, -1, 1, -1, 1, 1, 5],
    [1, 0, 0, 0, -2, 0, 6],
    [0, 1, -1, -1, 1, -1, 5],
    [-1, 0, 1, 1, 0, -2, 4],
    [1, -1, -1, 1, 1, -1, 1],
]


def test_known_tables():
    assert character_table(4).tolist() == [
        [1, 1, 1, 1, 1], [-1, 0, -1, 1, 3], [0, -1, 2, 0, 2], [1, 0, -1, -1, 3], [-1, 1, 1, -1, 1],
    ]  # fmt: skip
    assert character_table(5).tolist() == S5


@pytest.mark.parametrize("n", range(1, 9))
def test_orthogonality(n):
    table = character_table(n).double()
    sizes = torch.tensor([class_size(c) for c in partitions(n)], dtype=torch.float64)
    assert int(sizes.sum()) == math.factorial(n)
    eye = torch.eye(len(sizes), dtype=torch.float64)
    assert torch.equal(table * sizes @ table.T, math.factorial(n) * eye)
    assert torch.equal(table.T @ table * sizes, math.factorial(n) * eye)


def hooks(shape):
    columns = [sum(p > k for p in shape) for k in range(shape[0])]
    arms = [p - j + columns[j] - i - 1 for i, p in enumerate(shape) for j in range(p)]
    return math.factorial(sum(shape)) // math.prod(arms)


def test_dimensions_are_those_of_the_hook_formula():
    for shape in partitions(12):
        assert murnaghan_nakayama(shape, (1,) * 12) == hooks(shape)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.permutations(range(7)))
def test_the_natural_representation_and_the_sign(p):
    cycles = cycle_type(p)
    fixed = sum(k == image for k, image in enumerate(p))
    assert murnaghan_nakayama((7,), cycles) + murnaghan_nakayama((6, 1), cycles) == fixed
    inversions = sum(a > b for a, b in itertools.combinations(p, 2))
    assert murnaghan_nakayama((1,) * 7, cycles) == (-1) ** inversions
    pairs = sum(sorted((p[a], p[b])) == [a, b] for a, b in itertools.combinations(range(7), 2))
    assert sum(murnaghan_nakayama(s, cycles) for s in ((7,), (6, 1), (5, 2))) == pairs


def test_wrong_input():
    with pytest.raises(InvalidInput, match="same number"):
        murnaghan_nakayama((2, 1), (2, 2))
    with pytest.raises(InvalidInput, match="not increasing"):
        murnaghan_nakayama((1, 2), (3,))
    with pytest.raises(InvalidInput, match="positive parts"):
        murnaghan_nakayama((3,), (3, 0))
    with pytest.raises(InvalidInput, match=r"1\.\.20"):
        character_table(21)
