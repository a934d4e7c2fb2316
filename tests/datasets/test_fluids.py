"""Flows: exact solutions, what is conserved, order of accuracy, and the tasks made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.fluids import (
    NAVIER_STOKES,
    SHALLOW_WATER,
    Grid,
    make_navier_stokes,
    make_shallow_water,
    navier_stokes_steps,
    shallow_water_steps,
    velocity_of,
)
from geomlib.datasets.tasks import list_tasks, load_task

GRID = Grid(32)
Y, X = np.meshgrid(*[2 * np.pi * np.arange(32) / 32] * 2, indexing="ij")


def velocity(w):
    return [GRID.backward(f) for f in velocity_of(GRID, GRID.forward(w))]


def rough(seed=0):
    return GRID.noise(np.random.default_rng(seed), 2, 3.0)


def test_taylor_green_decays_exactly():
    """The vortex of Taylor and Green keeps its shape and loses energy at a known rate."""
    k, nu, t = 2, 0.05, 1.5
    u, v = np.cos(k * X) * np.sin(k * Y), -np.sin(k * X) * np.cos(k * Y)
    w = -2 * k * np.cos(k * X) * np.cos(k * Y)
    assert np.abs(np.array(velocity(w)) - [u, v]).max() < 1e-13
    later, smoke = navier_stokes_steps(
        GRID, w, np.ones_like(w), dt=t / 30, steps=30, viscosity=nu, buoyancy=0
    )
    assert np.abs(later - w * np.exp(-2 * nu * k * k * t)).max() < 1e-12
    assert np.abs(smoke - 1).max() < 1e-13


def test_a_travelling_vortex():
    """In a frame that moves along, Taylor and Green's vortex is the same; the mean velocity stays outside the vorticity."""
    w = rough()
    moved = np.roll(w, (3, 5), (1, 2))
    a = navier_stokes_steps(GRID, w, w, dt=0.02, steps=5, viscosity=0.01, buoyancy=0.3)
    b = navier_stokes_steps(GRID, moved, moved, dt=0.02, steps=5, viscosity=0.01, buoyancy=0.3)
    assert all(np.abs(np.roll(x, (3, 5), (1, 2)) - y).max() < 1e-12 for x, y in zip(a, b, strict=True))


def test_an_ideal_flow_conserves():
    """Without viscosity: energy, enstrophy, total and squared smoke, up to the order of the steps."""

    def invariants(w, s):
        u, v = velocity(w)
        return np.array([(u * u + v * v).mean(), (w * w).mean(), s.mean(), (s * s).mean()])

    w, s = rough(), 1 + rough(1)
    lost = []
    for steps in (40, 80):
        end = navier_stokes_steps(GRID, w, s, dt=1 / steps, steps=steps, viscosity=0, buoyancy=0)
        lost.append(np.abs(invariants(*end) / invariants(w, s) - 1))
    # The filter takes nothing from the start, whose waves are all kept.
    assert lost[1].max() < 2e-5 and lost[1][2] < 1e-14
    assert (lost[0][[0, 1, 3]] > 8 * lost[1][[0, 1, 3]]).all()  # fourth order, dissipation fifth


def test_steps_are_of_fourth_order():
    w, s = rough(2), rough(3)

    def run(steps):
        return np.array(
            navier_stokes_steps(GRID, w, s, dt=0.5 / steps, steps=steps, viscosity=0.02, buoyancy=0.4)
        )

    exact = run(160)
    coarse, fine = (np.abs(run(n) - exact).max() for n in (10, 20))
    assert 12 < coarse / fine < 20


def test_buoyancy_lifts():
    """Warm smoke on a column rises along y, and the curl of the force is the one of the equation."""
    s = np.cos(X)
    w, _ = navier_stokes_steps(GRID, 0 * s, s, dt=1e-3, steps=1, viscosity=0, buoyancy=2.0)
    assert np.abs(w / 1e-3 + 2 * np.sin(X)).max() < 1e-5
    assert velocity(w)[1][0, 0] > 0


def test_shallow_water_conserves():
    h, u, v = 1 + 0.1 * rough(), 0.2 * rough(1), 0.2 * rough(2)

    def totals(h, u, v):
        curl = GRID.backward(1j * (GRID.kx * GRID.forward(v) - GRID.ky * GRID.forward(u)))
        return np.array([h.mean(), (h * (u * u + v * v) / 2 + h * h / 2).mean(), curl.mean()])

    lost = []
    for steps in (20, 40):
        end = shallow_water_steps(GRID, h, u, v, dt=1 / steps, steps=steps, gravity=1, viscosity=0)
        lost.append(np.abs(totals(*end) - totals(h, u, v)))
    assert lost[1][0] < 1e-14 and lost[1][2] < 1e-14
    assert lost[1][1] < 1e-5


def test_small_waves_travel_at_their_speed():
    a, k, gravity, t = 1e-6, 3, 2.0, 0.7
    speed = np.sqrt(gravity)

    def wave(s):
        return a * np.cos(k * (X - speed * s))

    h, u, v = shallow_water_steps(
        GRID, 1 + wave(0), speed * wave(0), 0 * X, dt=t / 40, steps=40, gravity=gravity, viscosity=0
    )
    assert np.abs(h - 1 - wave(t)).max() < 1e-4 * a and np.abs(u - speed * wave(t)).max() < 1e-4 * a
    assert np.abs(v).max() < 1e-15


def test_shear_decays_with_viscosity():
    u = np.sin(2 * Y)
    h, u2, v = shallow_water_steps(GRID, 1 + 0 * u, u, 0 * u, dt=0.01, steps=50, gravity=1, viscosity=0.1)
    assert np.abs(u2 - u * np.exp(-0.1 * 4 * 0.5)).max() < 1e-12 and np.abs(v).max() < 1e-14
    assert np.abs(h - 1).max() < 1e-12  # no pressure gradient along the shear


@pytest.mark.parametrize("make", [make_navier_stokes, make_shallow_water])
def test_samples(make):
    one = make(5, 3, size=16, frames_in=2, frames_out=2, substeps=4)
    again = make(5, 3, size=16, frames_in=2, frames_out=2, substeps=4)
    other = make(5, 4, size=16, frames_in=2, frames_out=2, substeps=4)
    assert one["fields"].shape == one["future"].shape == (5, 2, 16, 16, 3)
    assert all(torch.equal(one[k], again[k]) and not torch.equal(one[k], other[k]) for k in one)
    assert all(v.dtype == torch.float64 and bool(torch.isfinite(v).all()) for v in one.values())
    assert make(0, 0, size=16)["fields"].shape == (0, 2, 16, 16, 3)
    for bad in ({"size": 7}, {"size": 6}, {"interval": 0.0}, {"frames_in": 0}, {"substeps": 0}):
        with pytest.raises(InvalidInput):
            make(1, 0, **bad)


def test_the_flow_is_incompressible_and_starts_with_speed_one():
    data = make_navier_stokes(3, 0)
    u, v = (data["fields"][..., c].numpy() for c in (1, 2))
    divergence = GRID.backward(1j * (GRID.kx * GRID.forward(u) + GRID.ky * GRID.forward(v)))
    assert np.abs(divergence).max() < 1e-12
    assert np.abs((u[:, 0] ** 2 + v[:, 0] ** 2).mean((1, 2)) - 1).max() < 1e-12
    s = data["fields"][..., 0]
    torch.testing.assert_close(s.mean((2, 3)), torch.ones(3, 2, dtype=torch.float64))


def test_twice_the_steps_change_little():
    a, b = (make_navier_stokes(2, 1, substeps=n)["future"] for n in (16, 32))
    assert float((a - b).abs().max()) < 1e-3
    a, b = (make_shallow_water(2, 1, substeps=n)["future"] for n in (16, 32))
    assert float((a - b).abs().max()) < 1e-4


@pytest.mark.parametrize("task", [NAVIER_STOKES, SHALLOW_WATER])
def test_tasks(task):
    assert task.name in list_tasks() and load_task(task.name) is task
    train, test = (task.make(4, s, size=16) for s in (0, 1))
    scores = task.baselines(train, test)
    assert set(scores) == {"last frame", "straight line", "mean"}
    error = (test["fields"][:, -1:] - test["future"]).square().mean()
    assert scores["last frame"] == pytest.approx(float(error), rel=1e-12)
