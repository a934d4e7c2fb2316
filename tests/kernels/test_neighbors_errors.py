"""Wrong input of a neighbour search is named, not answered."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.kernels.neighbors import half_pairs

POS = torch.zeros(3, 3, dtype=torch.float64)
NAN, INF = float("nan"), float("inf")


def replaced(x, index, value):
    x = x.clone()
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((replaced(POS, (1, 2), NAN), 3.0), "atom 1 is not finite"),
        ((replaced(POS, (2, 0), -INF), 3.0), "atom 2 is not finite"),
        ((POS.long(), 3.0), "`pos` must be a floating point"),
        ((POS[0], 3.0), r"shape \(N, 3\)"),
        ((POS[:, :2], 3.0), r"shape \(N, 3\)"),
        ((POS, 0.0), "`cutoff` must be a positive"),
        ((POS, -1.0), "`cutoff` must be a positive"),
        ((POS, NAN), "`cutoff` must be a positive"),
        ((POS, INF), "`cutoff` must be a positive"),
        ((POS, 3.0, torch.tensor([0, 0])), "`batch` has 2 entries but `pos` has 3 atoms"),
        ((POS, 3.0, torch.tensor([0, -1, 0])), "`batch` of atom 1 is -1"),
        ((POS, 3.0, torch.zeros(3)), "`batch` must be an integer"),
        ((POS, 3.0, None, torch.zeros(2, 3)), "`cell` must have shape"),
        ((POS, 3.0, torch.tensor([0, 1, 2]), torch.zeros(2, 3, 3)), "refers to structure 2"),
        ((POS, 3.0, None, replaced(torch.eye(3), (0, 0), NAN)), "`cell` of structure 0 is not finite"),
        ((POS, 3.0, None, torch.ones(3, 3)), "singular"),
        ((POS, 3.0, None, torch.zeros(3, 3), torch.tensor([True, False, False])), "singular"),
        ((POS, 3.0, None, torch.eye(3), torch.tensor([1, 1, 1])), "`pbc` must be boolean"),
        ((POS, 3.0, None, torch.eye(3), torch.tensor([True, True])), "`pbc` must be boolean"),
        ((POS, 3.0, None, None, torch.tensor([True, True, True])), "`cell` is None"),
        ((POS + 1e30, 3.0, None, torch.eye(3)), "lost to rounding"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "torch", "vesin"])
def test_bad_input_is_named(arguments, words, backend):
    with pytest.raises(InvalidInput, match=words):
        half_pairs(*arguments, backend=backend)


def test_unknown_backend_suggests_the_right_one():
    with pytest.raises(InvalidInput, match="Did you mean 'vesin'"):
        half_pairs(POS, 3.0, backend="vesine")


def test_bad_cell_of_one_structure_in_a_batch_is_located():
    cells = torch.eye(3).repeat(3, 1, 1)
    cells[2, 1] = cells[2, 0]
    with pytest.raises(InvalidInput, match="structure 2"):
        half_pairs(POS, 1.5, torch.arange(3), cells)


def test_a_cell_in_the_wrong_unit_is_refused_before_memory_ends():
    pos, cell = torch.zeros(2, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    batch = torch.tensor([0, 1])
    with pytest.raises(
        InvalidInput, match=r"structure 1 has 1 atoms in a `cell` of 1e-09 Å\^3: .*check the unit"
    ):
        half_pairs(pos, 5.0, batch, torch.stack([9 * cell, 1e-3 * cell]))
    with pytest.raises(InvalidInput, match="structure 0"):
        half_pairs(pos[:1], 5.0, cell=1e-200 * cell)
    assert len(half_pairs(pos[:1], 5.0, cell=0.3 * cell).i) > 5000  # small, but possible
