"""Batches hold what a loop over structures would put into them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput, create_model
from geomlib.datasets import Structures
from geomlib.kernels.neighbors import half_pairs
from geomlib.train.batching import Packer
from geomlib.train.loader import EpochLoader
from tests.train.common import TINY, springs


def by_hand(data, index, cutoff):
    """One batch, structure by structure, with pairs found for each alone."""
    out = {k: [] for k in ("z", "pos", "batch", "forces", "energy", "i", "j", "shift")}
    first = 0
    for b, k in enumerate(index):
        one = data[int(k)]
        periodic = bool(one.pbc.any())
        pairs = half_pairs(
            one.pos, cutoff, None, one.cell[0] if periodic else None, one.pbc[0] if periodic else None
        )
        for name in ("z", "pos", "forces", "energy"):
            out[name].append(getattr(one, name))
        out["batch"].append(torch.full_like(one.z, b))
        out["i"].append(pairs.i + first)
        out["j"].append(pairs.j + first)
        out["shift"].append(pairs.shift)
        first += one.z.numel()
    return {k: torch.cat(v) for k, v in out.items()}


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("periodic", [False, True])
def test_batches_equal_a_loop_over_structures(store, periodic):
    data = springs(23, periodic=periodic)
    cutoff = 5.0 if periodic else 1.6
    packer = Packer(data, cutoff, dtype=torch.float64, store_pairs=store)
    index = torch.randperm(23)[:17]
    batches = packer.batches(index, 5)
    assert [b.num_graphs for b in batches] == [5, 5, 5, 2]
    for batch, part in zip(batches, index.split(5), strict=True):
        hand = by_hand(data, part, cutoff)
        for name in ("z", "pos", "batch", "forces", "energy"):
            assert torch.equal(getattr(batch, name), hand[name]), name
        assert torch.equal(batch.pairs.i, hand["i"]) and torch.equal(batch.pairs.j, hand["j"])
        assert torch.equal(batch.pairs.shift, hand["shift"])
        assert torch.equal(batch.index, part)
        assert (batch.cell is not None) == periodic and batch.charge is None


def test_a_model_sees_the_same_structures_alone_and_in_a_batch():
    data = springs(9)
    model = create_model("tensornet", **TINY).double()
    (batch,) = Packer(data, model.cutoff).batches(torch.arange(9), 9)
    together = model(**batch.inputs())
    for k in range(9):
        alone = model(data[k].z, data[k].pos)
        assert torch.allclose(alone["energy"], together["energy"][k : k + 1], rtol=1e-12)
        rows = slice(int(data.ptr[k]), int(data.ptr[k + 1]))
        assert torch.allclose(alone["forces"], together["forces"][rows], rtol=1e-10, atol=1e-12)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(count=st.integers(1, 30), size=st.integers(1, 9), world=st.integers(1, 4), shuffle=st.booleans())
def test_every_structure_is_seen_once_by_all_processes_together(count, size, world, shuffle):
    packer = Packer(springs(count), 1.0)
    loaders = [EpochLoader(packer, size, shuffle=shuffle, rank=r, world=world) for r in range(world)]
    seen = [[int(i) for b in loader for i in b.index] for loader in loaders]
    assert [len(list(loader)) for loader in loaders] == [len(loader) for loader in loaders]
    everything = [i for part in seen for i in part]
    assert set(everything) == set(range(count))
    if shuffle:
        assert len({len(s) for s in seen}) == 1 and len(everything) < count + world
    else:
        assert len(everything) == count


def test_the_order_depends_on_seed_and_epoch_only():
    packer = Packer(springs(30), 1.0)
    a, b, c = (EpochLoader(packer, 4, shuffle=True, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.order(3), b.order(3)) and not torch.equal(a.order(3), a.order(4))
    assert not torch.equal(a.order(3), c.order(3))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a.set_epoch(3)
    list(a)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stop", range(8))
def test_an_epoch_continues_with_the_next_batch(stop):
    packer = Packer(springs(30), 1.0)
    whole = EpochLoader(packer, 4, shuffle=True)
    whole.set_epoch(2)
    expected = [b.index.tolist() for b in whole]
    cut = EpochLoader(packer, 4, shuffle=True)
    cut.set_epoch(2)
    iterator = iter(cut)
    seen = [next(iterator).index.tolist() for _ in range(stop)]
    again = EpochLoader(packer, 4, shuffle=True)
    again.load_state_dict(cut.state_dict())
    seen += [b.index.tolist() for b in again]
    assert seen == expected
    again.set_epoch(3)
    assert len(list(again)) == len(again) == 8


def test_blocks_and_kept_batches_change_nothing(monkeypatch):
    packer = Packer(springs(30), 1.0)
    expected = [b.z.tolist() for b in EpochLoader(packer, 4)]
    monkeypatch.setattr("geomlib.train.batching._BLOCK_ATOMS", 1)
    assert [b.z.tolist() for b in EpochLoader(packer, 4)] == expected
    monkeypatch.undo()
    loader = EpochLoader(packer, 4)
    assert [[b.z.tolist() for b in loader] for _ in range(2)] == [expected, expected]


def test_pad_to_is_applied_to_every_batch():
    seen = []
    loader = EpochLoader(Packer(springs(6), 1.0), 4, pad_to=lambda b: seen.append(b.num_graphs) or b)
    assert len(list(loader)) == 2 and seen == [4, 2]


def test_charges_travel(tmp_path):
    data = Structures(z=[1, 1, 8], pos=torch.zeros(3, 3), ptr=[0, 1, 2, 3], charge=[0.0, 1.0, -2.0])
    (batch,) = Packer(data, 1.0).batches(torch.tensor([2, 0]), 4)
    assert batch.charge.tolist() == [-2.0, 0.0]


def test_nothing_to_pack_is_refused():
    with pytest.raises(InvalidInput, match="no structures"):
        Packer(springs(3)[[]], 1.0)
    with pytest.raises(InvalidInput, match="batch_size"):
        EpochLoader(Packer(springs(3), 1.0), 0)
