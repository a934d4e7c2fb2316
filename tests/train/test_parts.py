"""Losses, references, schedule and weight average, each against a plain computation."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets import Structures
from geomlib.train.batching import Packer
from geomlib.train.data import drop_large_forces
from geomlib.train.ema import WeightAverage
from geomlib.train.losses import LossWeights, check_labels, metrics_from_sums, training_loss
from geomlib.train.references import fit_reference
from geomlib.train.run_module import RunModule
from geomlib.train.schedule import Schedule
from tests.train.common import springs


def batch_and_output(periodic=True):
    data = springs(7, periodic=periodic)
    (batch,) = Packer(data, 4.0, dtype=torch.float64).batches(torch.arange(7), 7)
    noise = {k: torch.randn_like(getattr(batch, k)) for k in ("energy", "forces", "stress")}
    return (
        batch,
        {k: getattr(batch, k) + v for k, v in noise.items()},
        {k: v.numpy() for k, v in noise.items()},
    )


def test_loss_and_errors_against_numpy():
    batch, out, d = batch_and_output()
    loss, sums = training_loss(out, batch, LossWeights(0.3, 0.5, 0.2))
    n = batch.num_atoms.numpy()
    expected = (
        0.3 * np.mean(d["energy"] ** 2) + 0.5 * np.mean(d["forces"] ** 2) + 0.2 * np.mean(d["stress"] ** 2)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    found = metrics_from_sums(sums)
    for letter, name in (("E", "energy"), ("F", "forces"), ("S", "stress")):
        assert found[f"{letter}_mae"] == pytest.approx(1000 * np.abs(d[name]).mean(), rel=1e-12)
        assert found[f"{letter}_rmse"] == pytest.approx(1000 * np.sqrt((d[name] ** 2).mean()), rel=1e-12)
    assert found["E_mae_atom"] == pytest.approx(1000 * np.mean(np.abs(d["energy"]) / n), rel=1e-12)
    assert found["loss"] == pytest.approx(expected, rel=1e-12)
    loss, _ = training_loss(out, batch, LossWeights(1.0, 0.0, per_atom=True))
    assert float(loss) == pytest.approx(np.mean((d["energy"] / n) ** 2), rel=1e-12)


def test_masked_labels_count_for_nothing():
    batch, out, d = batch_and_output()
    energy, forces = batch.energy.clone(), batch.forces.clone()
    energy[2] = math.nan
    forces[4:9] = math.nan
    masked = replace(batch, energy=energy, forces=forces, masked=True)
    out = {k: v.clone().requires_grad_() for k, v in out.items()}
    loss, sums = training_loss(out, masked, LossWeights(0.5, 0.5))
    e, f = np.delete(d["energy"], 2), np.delete(d["forces"], slice(4, 9), axis=0)
    assert float(loss.detach()) == pytest.approx(0.5 * np.mean(e**2) + 0.5 * np.mean(f**2), rel=1e-12)
    assert metrics_from_sums(sums)["F_mae"] == pytest.approx(1000 * np.abs(f).mean(), rel=1e-12)
    loss.backward()
    assert torch.isfinite(out["energy"].grad).all() and out["energy"].grad[2] == 0
    assert (out["forces"].grad[4:9] == 0).all()


def test_labels_that_would_broadcast_are_refused():
    batch, out, _ = batch_and_output()
    for name in ("energy", "forces"):
        wrong = {**out, name: out[name][..., None]}
        with pytest.raises(InvalidInput, match=f"{name}: the model returns shape"):
            check_labels(batch, wrong, LossWeights())
    check_labels(batch, out, LossWeights())
    with pytest.raises(InvalidInput, match="data has no stress"):
        check_labels(replace(batch, stress=None), out, LossWeights(stress=1.0))
    with pytest.raises(InvalidInput, match="model output has no forces"):
        check_labels(batch, {"energy": out["energy"]}, LossWeights())
    with pytest.raises(InvalidInput, match="empty"):
        training_loss(out, batch, LossWeights(0, 0, 0))


def test_an_empty_loss_of_structures_without_labels_is_an_error_not_zero():
    batch, out, _ = batch_and_output()
    with pytest.raises(InvalidInput, match="empty"):
        training_loss(out, replace(batch, energy=None, forces=None, stress=None), LossWeights())


def test_reference_energies_recover_the_elements():
    data = springs(60)
    true = {1: -13.6, 6: -1029.5, 8: -2041.8}
    energy = torch.tensor([sum(true[int(z)] for z in one.z) for one in data], dtype=torch.float64)
    data = replace(data, energy=energy)
    found = fit_reference(data)
    assert found.unique and found.scale == 1.0  # nothing remains to measure a unit with
    for z, e in true.items():
        assert found.atomic_energies[z] == pytest.approx(e, abs=1e-9)


def test_reference_is_the_least_squares_solution():
    data = springs(60)
    counts = np.array([[int((one.z == z).sum()) for z in data.elements] for one in data], dtype=float)
    expected, *_ = np.linalg.lstsq(counts, data.energy.numpy(), rcond=None)
    found = fit_reference(data)
    assert np.allclose(list(found.atomic_energies.values()), expected, rtol=1e-10)
    assert found.residual == pytest.approx((data.energy.numpy() - counts @ expected).std(), rel=1e-9)
    assert found.scale == found.residual


def test_one_composition_keeps_size_consistency_and_float64():
    n = 50
    energy = -4000.123456789 + 0.1 * torch.randn(n, dtype=torch.float64)
    data = Structures(
        z=torch.tensor([6, 6, 8, 1, 1, 1]).repeat(n),
        pos=torch.randn(6 * n, 3),
        ptr=torch.arange(n + 1) * 6,
        energy=energy,
    )
    found = fit_reference(data)
    assert not found.unique and found.shift == 0
    total = sum(found.atomic_energies[z] for z in (6, 6, 8, 1, 1, 1))
    assert total == pytest.approx(float(energy.mean()), abs=1e-9)
    assert found.scale == pytest.approx(float(energy.numpy().std()), rel=1e-9)
    mean = fit_reference(data, "mean")
    assert mean.shift == pytest.approx(float(energy.mean()), abs=1e-9) and not mean.atomic_energies


def test_reference_options():
    data = springs(20)
    rms = float(data.forces.square().mean().sqrt())
    assert fit_reference(data, scale="forces").scale == pytest.approx(rms)
    assert fit_reference(data, scale=2.5).scale == 2.5 and fit_reference(data, scale="none").scale == 1.0
    assert fit_reference(data, "none").atomic_energies == {}
    one = springs(1)
    assert fit_reference(one).scale == 1.0
    masked = replace(data, energy=torch.where(torch.arange(20) == 3, math.nan, data.energy))
    assert math.isfinite(fit_reference(masked).residual)
    with pytest.raises(InvalidInput, match="energies = 'element'"):
        fit_reference(data, "element")
    with pytest.raises(InvalidInput, match="scale = 'force'"):
        fit_reference(data, scale="force")
    with pytest.raises(InvalidInput, match="no energies"):
        fit_reference(replace(data, energy=None))


def test_cosine_schedule():
    s = Schedule("cosine", lr=2e-3, warmup=100, total=1100, floor=0.01)
    assert s.rate(0) == pytest.approx(2e-5) and s.rate(99) == pytest.approx(2e-3)
    assert s.rate(600) == pytest.approx(1e-3) and s.rate(5000) == pytest.approx(2e-5)
    rates = [s.rate(t) for t in range(100, 1101)]
    assert all(a >= b for a, b in pairwise(rates))


def test_plateau_schedule_equals_torch():
    parameter = torch.nn.Parameter(torch.zeros(()))
    torch_optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        torch_optimizer, factor=0.5, patience=2, threshold=0.0
    )
    ours = Schedule("plateau", lr=1.0, patience=2, factor=0.5)
    losses = [5, 4, 4, 4, 4, 3, 3.5, 3.2, 3.1, 3.4, 3.3, 3.3, 3.3, 2.9, 2.9]
    for step, loss in enumerate(losses):
        oracle.step(loss)
        ours.report(loss)
        assert ours.rate(step) == torch_optimizer.param_groups[0]["lr"], step
    again = Schedule("plateau", lr=1.0, patience=2, factor=0.5)
    again.load_state_dict(ours.state_dict())
    assert again.rate(99) == ours.rate(99)


def test_schedule_refuses_nonsense():
    with pytest.raises(InvalidInput, match="cosin"):
        Schedule("cosin")
    with pytest.raises(InvalidInput, match="positive"):
        Schedule(lr=-1.0)


def test_weight_average_against_a_loop():
    layer = torch.nn.Linear(3, 2)
    average = WeightAverage(layer.parameters(), 0.9)
    expected = layer.weight.detach().clone().double()
    for step in range(20):
        with torch.no_grad():
            layer.weight.add_(torch.randn_like(layer.weight))
        average.update()
        d = min(0.9, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * layer.weight.detach().double()
    raw = layer.weight.detach().clone()
    with average.active(), average.active():
        assert torch.allclose(layer.weight.double(), expected, atol=1e-5)
        state = average.state_dict()
    assert torch.equal(layer.weight, raw)
    assert all(
        torch.equal(a, b) for a, b in zip(state["values"], average.state_dict()["values"], strict=True)
    )


def test_large_forces_are_dropped():
    data = springs(20)
    limit = float(data.forces.norm(dim=1).max()) * 0.99
    kept = drop_large_forces(data, limit)
    assert 0 < len(kept) < 20 and float(kept.forces.norm(dim=1).max()) <= limit
    with pytest.raises(InvalidInput, match="leaves no structure"):
        drop_large_forces(data, 1e-9)
    with pytest.raises(InvalidInput, match="no forces"):
        drop_large_forces(replace(data, forces=None), 1.0)


def test_force_labels_alone_are_enough():
    data = replace(springs(20), energy=None)
    assert fit_reference(data, "none", "forces").atomic_energies == {}


def test_adam_adds_the_decay_to_the_gradient_and_adamw_does_not():
    """Where the loss has no gradient, Adam with decay steps by the rate, AdamW by rate times decay times weight."""
    moved = {}
    for name in ("adam", "adamw"):
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(model.weight)
        module = RunModule(model, Schedule(lr=0.1), weight_decay=0.01, optimizer=name)
        (0.0 * model(torch.ones(1, 1))).sum().backward()
        module.configure_optimizers().step()
        moved[name] = 1.0 - model.weight.item()
    assert moved["adam"] == pytest.approx(0.1, rel=1e-4) and moved["adamw"] == pytest.approx(0.001, rel=1e-4)
