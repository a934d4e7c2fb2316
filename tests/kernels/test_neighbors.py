"""Neighbour lists against loops, ASE and known counts (acceptance A9)."""

from __future__ import annotations

import itertools
import resource

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib.kernels.neighbors import HalfPairs, half_pairs
from tests.kernels.oracles import directed, loop_neighbours, random_cell

KINDS = ("cubic", "triclinic", "thin", "tiny", "sheared", "left-handed", "rotated")
BACKENDS = ("auto", "torch", "vesin")


def same(a: HalfPairs, b: HalfPairs) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def is_canonical(pairs: HalfPairs) -> bool:
    rows = [
        (i, j, *s) for i, j, s in zip(pairs.i.tolist(), pairs.j.tolist(), pairs.shift.tolist(), strict=True)
    ]
    half = all(i < j or (i == j and s > [0, 0, 0]) for i, j, *s in rows)
    return half and rows == sorted(rows) and len(set(rows)) == len(rows)


def draw(seed: int):
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    cell = random_cell(rng, kind)
    cutoff = 2.5 if kind == "tiny" else rng.uniform(1.5, 4.0)
    n = int(rng.integers(1, 3 if kind in ("tiny", "thin") else 7))
    pos = rng.uniform(-0.2, 1.2, size=(n, 3)) @ cell
    if seed % 3 == 0:  # unwrapped
        pos += rng.integers(-3, 4, size=(n, 3)) @ cell
    pbc = rng.random(3) < (0.6 if seed % 2 else 1.1)
    return pos, cutoff, cell, pbc


@pytest.mark.parametrize("seed", range(210))
def test_random_cells_match_loops_over_images(seed):
    pos, cutoff, cell, pbc = draw(seed)
    expected = loop_neighbours(pos, cutoff, cell, pbc)
    tensors = torch.tensor(pos), cutoff, None, torch.tensor(cell)[None], torch.tensor(pbc)[None]
    for backend in BACKENDS:
        pairs = half_pairs(*tensors, backend=backend)
        assert is_canonical(pairs)
        assert directed(pairs) == expected, backend


@pytest.mark.parametrize("seed", range(0, 210, 3))
def test_random_cells_match_ase(seed):
    neighborlist = pytest.importorskip("ase.neighborlist")
    pos, cutoff, cell, pbc = draw(seed)
    i, j, s = neighborlist.primitive_neighbor_list("ijS", pbc, cell, pos, cutoff, self_interaction=False)
    expected = sorted(zip(i.tolist(), j.tolist(), map(tuple, s.tolist()), strict=True))
    pairs = half_pairs(torch.tensor(pos), cutoff, None, torch.tensor(cell), torch.tensor(pbc))
    found = sorted((i, j, tuple(s)) for i, j, *s in directed(pairs).elements())
    assert found == expected


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_batch_of_everything_equals_its_structures_one_by_one(backend):
    draws = [draw(seed) for seed in range(12)]
    cell = torch.stack([torch.tensor(d[2]) for d in draws])
    pbc = torch.stack([torch.tensor(d[3]) for d in draws])
    pbc[4] = False  # a molecule among crystals
    pos = torch.cat([torch.tensor(d[0]) for d in draws])
    batch = torch.repeat_interleave(torch.arange(12), torch.tensor([len(d[0]) for d in draws]))
    shuffle = torch.randperm(len(batch))
    for order in (torch.arange(len(batch)), shuffle):
        whole = half_pairs(pos[order], 2.5, batch[order], cell, pbc, backend=backend)
        assert is_canonical(whole)
        expected = set()
        for graph, (_, _, h, _) in enumerate(draws):
            atoms = (batch[order] == graph).nonzero().squeeze(1).tolist()
            one = loop_neighbours(pos[order][atoms].numpy(), 2.5, h, pbc[graph].tolist())
            expected |= {(atoms[i], atoms[j], *s) for i, j, *s in one}
        assert set(directed(whole)) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_known_copper_counts(backend):
    build = pytest.importorskip("ase.build")

    def count(atoms):
        pos, cell = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)
        return 2 * len(half_pairs(pos, 4.5, None, cell, backend=backend).i)

    cubic = build.bulk("Cu", cubic=True)
    assert count(cubic) == 168
    assert count(cubic * (2, 2, 2)) == 1344
    # fcc at 3.61 Å: 12 + 6 + 24 neighbours within 4.5 Å, for every atom of every cell.
    assert count(build.bulk("Cu") * (8, 8, 8)) == 512 * 42
    rotated = cubic * (5, 5, 5)
    rotated.set_cell(rotated.cell.array @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0], True)
    assert count(rotated) == 21_000


def test_primitive_and_supercell_give_the_same_distances():
    build = pytest.importorskip("ase.build")
    primitive = build.bulk("NaCl", "rocksalt", a=5.64)
    lengths = []
    for atoms in (primitive, primitive * (2, 2, 2)):
        pos, cell = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)
        i, j, s = half_pairs(pos, 6.0, None, cell)
        lengths.append((pos[j] - pos[i] + s.double() @ cell).norm(dim=1).sort().values)
    assert torch.allclose(lengths[0].repeat_interleave(8), lengths[1], rtol=0, atol=1e-12)


def test_slab_with_a_zero_vector_and_default_periodicity():
    cell = torch.tensor([[2.0, 0, 0], [0.3, 2.1, 0], [0, 0, 0]], dtype=torch.float64)
    pos = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 30.0]], dtype=torch.float64)
    expected = loop_neighbours(pos.numpy(), 3.0, cell.numpy(), (True, True, False))
    for backend in BACKENDS:
        assert directed(half_pairs(pos, 3.0, None, cell, backend=backend)) == expected
    whole = half_pairs(pos, 3.0, None, torch.zeros(3, 3))
    assert len(whole.i) == 0


def test_lattice_with_no_periodic_axis_is_a_molecule():
    pos = torch.tensor([[0.0, 0, 0], [49.5, 0, 0]])
    box = torch.eye(3) * 50
    assert len(half_pairs(pos, 2.0, None, box).i) == 1
    assert len(half_pairs(pos, 2.0, None, box, torch.tensor([False] * 3)).i) == 0


def test_molecules_batches_sorted_shuffled_with_gaps():
    generator = torch.Generator().manual_seed(3)
    sizes = [9, 1, 4, 0, 12, 2]
    batch = torch.repeat_interleave(torch.tensor([0, 1, 2, 3, 7, 9]), torch.tensor(sizes))
    pos = torch.rand(len(batch), 3, generator=generator, dtype=torch.float64) * 3
    for order in (torch.arange(len(batch)), torch.randperm(len(batch), generator=generator)):
        p, b = pos[order], batch[order]
        d = torch.cdist(p, p)
        i, j = torch.triu_indices(len(b), len(b), 1)
        keep = (b[i] == b[j]) & (d[i, j] < 2.0)
        for backend in BACKENDS:
            pairs = half_pairs(p, 2.0, b, backend=backend)
            assert torch.equal(torch.stack([pairs.i, pairs.j]), torch.stack([i[keep], j[keep]]))
            assert pairs.shift.shape == (len(pairs.i), 3) and not pairs.shift.any()
            assert all(x.dtype == torch.int64 for x in pairs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_and_empty(backend):
    none = torch.zeros(0, 3)
    empty = torch.zeros(0, dtype=torch.int64)
    for pairs in (
        half_pairs(none, 3.0, backend=backend),
        half_pairs(none, 3.0, empty, torch.eye(3).expand(4, 3, 3), backend=backend),
        half_pairs(torch.zeros(1, 3), 3.0, backend=backend),
        half_pairs(torch.zeros(3, 3), 3.0, torch.tensor([0, 4, 9]), backend=backend),
    ):
        assert [tuple(x.shape) for x in pairs] == [(0,), (0,), (0, 3)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_coincident_atoms_are_a_pair(backend):
    pos = torch.tensor([[1.0, 2, 3], [1, 2, 3], [1, 2, 3 + 1e-20]], dtype=torch.float64)
    assert len(half_pairs(pos, 1.0, backend=backend).i) == 3
    assert len(half_pairs(pos, 1.0, None, torch.eye(3) * 5, backend=backend).i) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_cutoff_is_exclusive(backend):
    pos = torch.tensor([[0.0, 0, 0], [2.0, 0, 0]], dtype=torch.float64)
    cell = torch.eye(3, dtype=torch.float64) * 8
    for extra in ((), (None, cell)):
        assert len(half_pairs(pos, 2.0, *extra, backend=backend).i) == 0
        assert len(half_pairs(pos, float(np.nextafter(2.0, 3)), *extra, backend=backend).i) == 1


def test_atoms_very_far_apart_do_not_stop_the_process():
    # vesin alone dies of a floating point exception here.
    pos = torch.tensor([[0.0, 0, 0], [1e9, 0, 0], [1.0, 0, 0]], dtype=torch.float64)
    for backend, box in itertools.product(BACKENDS, (None, torch.diag(torch.tensor([2e9, 10, 10])).double())):
        pairs = half_pairs(pos, 4.5, None, box, backend=backend)
        assert [(0, 2)] == [(i, j) for i, j in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True) if i != j]


def test_positions_shifted_by_a_million():
    pos, _, cell, _ = draw(1)
    moved = torch.tensor(pos) + 1e6
    for backend in BACKENDS:
        a = half_pairs(torch.tensor(pos), 3.0, None, torch.tensor(cell), backend=backend)
        b = half_pairs(moved, 3.0, None, torch.tensor(cell), backend=backend)
        assert same(a, b)


def test_float32_and_strided_input():
    pos, cutoff, cell, _ = draw(6)
    single, h = torch.tensor(pos, dtype=torch.float32), torch.tensor(cell, dtype=torch.float32)
    wide = torch.stack([single, single], dim=-1)[..., 0]
    assert not wide.is_contiguous() or len(pos) == 1
    for backend in BACKENDS:
        expected = half_pairs(single.double(), cutoff, None, h.double(), backend="torch")
        assert same(half_pairs(wide, cutoff, None, h, backend=backend), expected)
        assert not half_pairs(single.requires_grad_(), cutoff, None, h, backend=backend).i.requires_grad


def test_five_thousand_atoms_within_the_cutoff():
    pos = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pairs = half_pairs(pos, 4.5)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(pairs.i) == 5000 * 4999 // 2
    assert bool((pairs.i < pairs.j).all())
    assert grown < 1.5e6  # KiB; the result itself is 0.5 GB


def test_large_sparse_molecule_uses_slices_and_cells_alike():
    pos = torch.rand(2500, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 60
    assert same(half_pairs(pos, 4.0, backend="torch"), half_pairs(pos, 4.0, backend="vesin"))
    batch = torch.arange(2500) % 3
    assert same(half_pairs(pos, 4.0, batch, backend="torch"), half_pairs(pos, 4.0, batch, backend="vesin"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 6),
    cutoff=st.floats(0.5, 3.5),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    stretch=st.floats(0.4, 3.0),
)
def test_backends_agree_and_follow_relabelling(seed, n, cutoff, pbc, stretch):
    rng = np.random.default_rng(seed)
    cell = torch.tensor(random_cell(rng, "triclinic") * stretch)
    pos = torch.tensor(rng.normal(size=(n, 3)) * 4)
    periodic = torch.tensor(pbc)
    reference = half_pairs(pos, cutoff, None, cell, periodic, backend="torch")
    assert same(reference, half_pairs(pos, cutoff, None, cell, periodic, backend="vesin"))
    order = torch.tensor(rng.permutation(n))
    moved = directed(half_pairs(pos[order], cutoff, None, cell, periodic))
    back = {(int(order[i]), int(order[j]), *s) for i, j, *s in moved}
    assert back == set(directed(reference))
