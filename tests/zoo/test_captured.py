"""Recorded potentials give what the potentials give."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.layers import radius_graph
from geomlib.zoo.captured import CapturedPotential


def clusters(sizes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pos = [2.0 * torch.rand(n, 3, generator=generator, dtype=dtype) * n ** (1 / 3) + 0.01 for n in sizes]
    z = torch.randint(1, 9, (sum(sizes),), generator=generator)
    return z, torch.cat(pos), torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def model(dtype=torch.float64, **options):
    torch.manual_seed(0)
    options = {"channels": 8, "layers": 2, "num_radial": 8, "max_z": 10, **options}
    return create_model("tensornet", **options).to(dtype).eval()


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_outputs_for_any_batch(dtype, group):
    plain = model(dtype, heads=("energy", "dipole", "polarizability"), group=group)
    replayed = CapturedPotential(plain)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    for k, sizes in enumerate([[5, 3], [1], [4, 4, 4], [9], [5, 3], [2, 6]]):
        z, pos, batch = clusters(sizes, dtype, seed=k)
        charge = torch.linspace(-1, 1, len(sizes), dtype=dtype)
        with torch.no_grad():
            expected = plain(z, pos, batch, charge=charge)
        found = replayed(z, pos, batch, charge=charge)
        assert set(expected) == set(found)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, **tolerance)
    assert replayed.replay.recordings <= 5


def test_periodic_with_stress():
    plain = model(cutoff=3.0)
    replayed = CapturedPotential(plain)
    z, pos, batch = clusters([4, 5])
    for scale in (1.0, 1.02, 0.98):
        cell = scale * torch.stack([4.0 * torch.eye(3), torch.eye(3) * 5.0 + 0.3]).double()
        options = {"cell": cell, "pbc": torch.tensor([[True] * 3, [True, True, False]]), "stress": True}
        with torch.no_grad():
            expected = plain(z, scale * pos, batch, **options)
        found = replayed(z, scale * pos, batch, **options)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-13)


def test_weights_may_change_and_move():
    plain = model()
    replayed = CapturedPotential(plain)
    z, pos, batch = clusters([6])
    replayed(z, pos, batch)
    with torch.no_grad():
        for p in plain.parameters():
            p.mul_(1.1)
    plain.set_reference({1: 2.0, 8: 3.0}, scale=2.0, shift=1.0)
    torch.testing.assert_close(replayed(z, pos, batch)["energy"], plain(z, pos, batch)["energy"].detach())
    plain.float().double()
    torch.testing.assert_close(replayed(z, pos, batch)["energy"], plain(z, pos, batch)["energy"].detach())


def test_results_are_not_overwritten_by_the_next_call():
    replayed = CapturedPotential(model())
    z, pos, batch = clusters([6])
    first = replayed(z, pos, batch)
    kept = {name: value.clone() for name, value in first.items()}
    replayed(z, pos + 0.1 * torch.randn_like(pos), batch)
    for name, value in kept.items():
        assert torch.equal(first[name], value)


def test_bad_input_is_refused_in_replays_too():
    replayed = CapturedPotential(model())
    z, pos, batch = clusters([6])
    replayed(z, pos, batch)
    for bad, words in ((float("nan"), "finite"), (float("inf"), "finite")):
        wrong = pos.clone()
        wrong[2, 1] = bad
        with pytest.raises(InvalidInput, match=words):
            replayed(z, wrong, batch)
    close = pos.clone()
    close[3] = close[2]
    with pytest.raises(InvalidInput, match="2 and 3"):
        replayed(z, close, batch)
    with pytest.raises(InvalidInput, match="z"):
        replayed(z + 100, pos, batch)
    replayed(z, pos, batch)


def test_many_shapes_keep_few_recordings():
    replayed = CapturedPotential(model(channels=4, layers=1), limit=3)
    for n in (1, 20, 40, 60, 80):
        z, pos, batch = clusters([n], seed=n)
        replayed(z, pos, batch)
    assert len(replayed.replay._programs) == 3


def test_large_and_empty_batches_go_to_the_model():
    replayed = CapturedPotential(model(), max_atoms=5)
    z, pos, batch = clusters([6])
    assert replayed(z, pos, batch)["forces"].shape == (6, 3) and replayed.replay.recordings == 0
    empty = replayed(z[:0], pos[:0], batch[:0], num_graphs=2)
    assert empty["energy"].shape == (2,) and replayed.replay.recordings == 0


def test_edges_and_gradients_go_to_the_model():
    plain = model()
    replayed = CapturedPotential(plain)
    z, pos, batch = clusters([6])
    edge_index, _ = radius_graph(pos, plain.cutoff)
    torch.testing.assert_close(
        replayed(z, pos, batch, edge_index=edge_index)["forces"], replayed(z, pos, batch)["forces"]
    )
    assert replayed.replay.recordings == 1
    x = pos.clone().requires_grad_()
    (force,) = torch.autograd.grad(-replayed(z, x, batch)["energy"].sum(), x)
    torch.testing.assert_close(force, replayed(z, pos, batch)["forces"])


def test_refusals():
    with pytest.raises(InvalidInput, match="Potential"):
        CapturedPotential(torch.nn.Linear(2, 2))
    replayed = CapturedPotential(model())
    with pytest.raises(InvalidInput, match="no `cell`"):
        replayed(*clusters([3])[:2], stress=True)
