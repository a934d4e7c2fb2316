"""Generated problems of physics and geometry: oracles, statistics of the papers, trivial scores, seeds."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput, MissingDependency
from geomlib.datasets import hulls
from geomlib.datasets.charged_nbody import baselines, make_charged_nbody
from geomlib.datasets.gravity_nbody import make_gravity_nbody
from geomlib.datasets.hulls import hull_volumes, make_hull5, make_hull5_8
from geomlib.datasets.o3_volume import make_o3_volume
from geomlib.datasets.o5_regression import make_o5_regression
from geomlib.datasets.tasks import load_task, make_task

SMALL = {
    "charged_nbody": {"start": 0, "end": 1}, "gravity_nbody": {}, "hull5": {}, "hull5_8": {}, "o3_volume": {},
    "o5_regression": {},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_seeds_splits_shapes_and_types(name):
    """The same seed gives the same samples; the sets differ, and do not depend on each other's sizes."""
    task, options = load_task(name), SMALL[name]
    a, b = (make_task(name, sizes=(4, 3, 5), seed=7, **options) for _ in range(2))
    for split in a:
        for key, value in a[split].tensors.items():
            assert torch.equal(value, b[split].tensors[key]) and value.dtype == torch.float64
            assert bool(torch.isfinite(value).all())
    assert {k: len(v) for k, v in a.items()} == {"train": 4, "val": 3, "test": 5}
    assert set(a["train"].tensors) == {*task.inputs, task.target}
    other = make_task(name, sizes=(2, 0, 5), seed=7, **options)
    assert torch.equal(other["test"].tensors["pos"], a["test"].tensors["pos"])
    rows = torch.cat([s.tensors["pos"].flatten(1) for s in a.values()])
    assert len(rows.unique(dim=0)) == 12
    assert not torch.equal(
        make_task(name, sizes=(4, 0, 0), seed=8, **options)["train"].tensors["pos"], a["train"].tensors["pos"]
    )
    scores = task.baselines(a["train"].tensors, a["test"].tensors)
    assert scores and all(math.isfinite(s) for s in scores.values())


@pytest.mark.parametrize("name", SMALL)
def test_bad_sizes(name):
    with pytest.raises(InvalidInput, match="n=0"):
        load_task(name).make(0, 0)


def pushed(x, q):
    """Forces of one simulation, pair by pair."""
    force = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                force[i] += q[i] * q[j] * (x[i] - x[j]) / np.linalg.norm(x[i] - x[j]) ** 3
    return force.clip(-100, 100)


@pytest.mark.parametrize("particles", [1, 3])
def test_charged_nbody_step_by_step(particles):
    """Two frames from the first one, in loops; the velocity of a frame is the one before its kick."""
    d = {k: v[1].numpy() for k, v in make_charged_nbody(3, 5, particles, start=0, end=2).items()}
    x, v = d["pos"].copy(), d["vel"] + 1e-3 * pushed(d["pos"], d["charge"])
    for _ in range(200):
        x = x + 1e-3 * v
        v = v + 1e-3 * pushed(x, d["charge"])
    np.testing.assert_allclose(d["target"], x, rtol=0, atol=1e-9)


def test_charged_nbody_starts_as_the_recipe_says():
    """Particles that hardly move yet: standard normal positions, speeds near 1/2, both charges."""
    d = make_charged_nbody(400, 0, start=0, end=1)
    assert set(d["charge"].unique().tolist()) == {-1.0, 1.0}
    assert abs(float(d["charge"].mean())) < 0.1
    assert float(d["vel"].norm(dim=-1).median()) == pytest.approx(0.5, abs=0.05)
    assert float((d["pos"] - 0.1 * d["vel"]).var()) == pytest.approx(1, abs=0.08)


def test_trivial_scores_of_charged_nbody():
    """Whoever stays scores 0.274, whoever goes straight on 0.0824, measured on thousands of simulations."""
    d = make_charged_nbody(500, 1)
    scores = baselines(d, d)
    assert scores["static"] == pytest.approx(0.274, abs=0.03)
    assert scores["linear"] == pytest.approx(0.0824, abs=0.02)


@pytest.mark.slow
def test_trivial_scores_of_charged_nbody_on_thousands():
    d = make_charged_nbody(4000, 2)
    scores = baselines(d, d)
    assert scores["static"] == pytest.approx(0.274, abs=0.008)
    assert scores["linear"] == pytest.approx(0.0824, abs=0.006)


def test_gravity_conserves_momentum_and_nearly_closes_circles():
    """Momentum is exact for the equations, so also for Euler steps; a quiet planet keeps its distance."""
    d = make_gravity_nbody(200, 0)
    m = d["charge"][..., None]
    drift = ((d["target"] - d["pos"]) * m).sum(1) - 0.1 * (d["vel"] * m).sum(1)
    assert float(drift.abs().max()) < 1e-10
    assert 1 <= float(d["charge"][:, 0].min()) and float(d["charge"][:, 0].max()) <= 10
    assert 0.01 <= float(d["charge"][:, 1:].min()) and float(d["charge"][:, 1:].max()) <= 0.1
    assert float((d["target"] - d["pos"]).norm(dim=-1).max()) <= 2
    radius = (d["pos"] - d["pos"][:, :1]).norm(dim=-1)[:, 1:]
    assert 0.1 <= float(radius.min()) and float(radius.max()) <= 1
    speed = d["vel"][:, 1:].norm(dim=-1) - (d["charge"][:, :1] / radius).sqrt()
    assert float(speed.abs().max()) < 0.05
    fine = make_gravity_nbody(50, 3, planets=1, steps=4000, shift=0.0)
    before, after = (fine[k][:, 1] - fine[k][:, 0] for k in ("pos", "target"))
    far = before.norm(dim=-1) > 0.5
    ratio = after.norm(dim=-1) / before.norm(dim=-1)
    assert float((ratio[far] - 1).abs().max()) < 0.1  # a circle, up to the planet's own mass
    assert float(d["pos"].mean(1).std()) == pytest.approx(20, rel=0.15)


def volume_by_facets(x):
    """Sum of cones from the centre over all subsets that have every other point on one side."""
    n, d = x.shape
    centre, total = x.mean(0), 0.0
    for facet in combinations(range(n), d):
        corner = x[list(facet)]
        normal = np.linalg.svd(corner[1:] - corner[0])[2][-1]
        side = (x - corner[0]) @ normal
        others = np.delete(side, facet)
        if (others > 0).all() or (others < 0).all():
            total += abs(np.linalg.det(corner - centre)) / math.factorial(d)
    return total


def test_hull_volumes_by_enumeration_of_facets():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 5))
    np.testing.assert_allclose(hull_volumes(x), [volume_by_facets(p) for p in x], rtol=1e-10)
    simplex = rng.standard_normal((3, 5, 4))
    edges = simplex[:, 1:] - simplex[:, :1]
    np.testing.assert_allclose(hull_volumes(simplex), abs(np.linalg.det(edges)) / 24, rtol=1e-10)


def test_statistics_of_hulls():
    """Mean 11.48 and variance 27.4 for 16 points, 0.988 and 0.691 for 8."""
    volume = make_hull5(2000, 0)["volume"]
    assert float(volume.mean()) == pytest.approx(11.48, abs=0.4)
    assert float(volume.var()) == pytest.approx(27.4, rel=0.2)
    volume = make_hull5_8(4000, 1)["volume"]
    assert float(volume.mean()) == pytest.approx(0.988, abs=0.05)
    assert float(volume.var()) == pytest.approx(0.691, rel=0.25)


def test_hulls_misuse(monkeypatch):
    with pytest.raises(InvalidInput, match="points=5"):
        make_hull5(1, 0, points=5)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(hulls.importlib, "import_module", missing)
    with pytest.raises(MissingDependency, match="pip install scipy"):
        make_hull5(1, 0)


def test_signed_volume_is_a_pseudoscalar_of_variance_six_hundredths():
    d = make_o3_volume(20000, 0)
    x = d["pos"]
    triple = (torch.linalg.cross(x[:, 0], x[:, 1]) * x[:, 2]).sum(-1) / 10
    torch.testing.assert_close(d["volume"], triple, rtol=1e-10, atol=1e-12)
    assert float(d["volume"].var()) == pytest.approx(0.060, rel=0.1)
    assert abs(float(d["volume"].mean())) < 0.01


def test_o5_regression_is_the_formula_with_deviation_six():
    d = make_o5_regression(20000, 0)
    one, two = d["pos"][:, 0], d["pos"][:, 1]
    cosine = torch.nn.functional.cosine_similarity(one, two, dim=-1)
    want = one.norm(dim=-1).sin() - two.norm(dim=-1) ** 3 / 2 + cosine
    torch.testing.assert_close(d["y"], want, rtol=1e-12, atol=1e-12)
    assert float(d["y"].std()) == pytest.approx(6.2, abs=0.2)
    assert d["pos"].square().mean((0, 2)).sqrt().tolist() == pytest.approx([1, 1], abs=0.01)
