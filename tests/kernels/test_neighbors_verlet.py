"""The kept list equals a fresh one, whatever happens between two calls."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.kernels.neighbors import VerletPairs, half_pairs


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("periodic", [False, True])
def test_equals_a_fresh_list_along_a_walk(periodic):
    generator = torch.Generator().manual_seed(1)
    pos = torch.rand(40, 3, generator=generator, dtype=torch.float64) * 8
    batch = torch.arange(40) % 2
    cell = (torch.eye(3, dtype=torch.float64) * 5).repeat(2, 1, 1) if periodic else None
    kept = VerletPairs(3.0, skin=0.6)
    for _ in range(60):
        pos += torch.randn(40, 3, generator=generator, dtype=torch.float64) * 0.02  # in place, on purpose
        assert same(kept(pos, batch, cell), half_pairs(pos, 3.0, batch, cell))
    assert 2 < kept.searches < 30


def test_a_list_kept_too_long_would_be_noticed():
    # The same walk with a skin that pretends atoms never move far must differ: the test above can fail.
    pos = torch.rand(40, 3, dtype=torch.float64) * 8
    kept = VerletPairs(3.0, skin=0.6)
    kept(pos)
    kept._still_holds = lambda old, now: True
    pos = torch.rand(40, 3, dtype=torch.float64) * 8
    assert not same(kept(pos), half_pairs(pos, 3.0))


def test_changes_of_cell_periodicity_batch_and_size_start_a_new_search():
    pos = torch.rand(12, 3, dtype=torch.float64) * 4
    batch = torch.arange(12) % 2
    cell = (torch.eye(3, dtype=torch.float64) * 4).repeat(2, 1, 1)
    full, slab = torch.ones(2, 3, dtype=torch.bool), torch.tensor([[True, True, False]] * 2)
    kept = VerletPairs(2.5, skin=1.0)
    calls = [
        (pos, batch, cell, full), (pos, batch, cell * 1.01, full), (pos, batch, cell * 1.01, slab),
        (pos, 1 - batch, cell * 1.01, slab), (pos, None, None, None), (pos[:8], None, None, None),
        (pos[:8], batch[:8], None, None), (pos[:0], None, None, None), (pos, batch, cell, None),
    ]  # fmt: skip
    for n, call in enumerate(calls, start=1):
        assert same(kept(*call), half_pairs(call[0], 2.5, *call[1:]))
        assert kept.searches == n
    kept(*calls[-1])
    assert kept.searches == len(calls)


def test_wrapping_an_atom_starts_a_new_search():
    cell = torch.eye(3, dtype=torch.float64) * 4
    pos = torch.rand(6, 3, dtype=torch.float64) * 4
    kept = VerletPairs(2.5, skin=1.0)
    kept(pos, None, cell)
    pos[2, 0] += 4
    assert same(kept(pos, None, cell), half_pairs(pos, 2.5, None, cell))


def test_bad_skin_and_bad_positions():
    with pytest.raises(InvalidInput, match="`skin`"):
        VerletPairs(3.0, skin=-0.1)
    kept = VerletPairs(3.0)
    kept(torch.zeros(2, 3))
    with pytest.raises(InvalidInput, match="atom 1 is not finite"):
        kept(torch.tensor([[0.0, 0, 0], [float("nan"), 0, 0]]))
