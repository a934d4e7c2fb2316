r"""Charged particles that attract and repel each other, simulated: where they are one unit of time later."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.tasks import Task

__all__ = ["CHARGED_NBODY", "baselines", "make_charged_nbody"]

Array = np.ndarray[Any, Any]

#: Time step, steps between saved frames, and the bound on every component of a force.
_DT, _EVERY, _CLIP = 1e-3, 100, 100.0
#: Simulations at a time: their pairs stay in the cache.
_CHUNK = 512


def make_charged_nbody(
    n: int, seed: int, particles: int = 5, start: int = 30, end: int = 40
) -> dict[str, Tensor]:
    r"""Simulate charges of plus or minus one in empty space.

    .. math:: \ddot x_i = \sum_{j \ne i} q_i q_j \frac{x_i - x_j}{|x_i - x_j|^3}

    Positions are standard normal, velocities have the length 1/2. Every component of a force is clipped at 100, which on
    rare frames breaks the symmetry under rotations. Symplectic Euler steps of 0.001, velocities first; frame k is after
    100 (k + 1) of them.

    Args:
        n: number of simulations.
        seed: of the generator; the same seed gives the same samples.
        particles: in each simulation.
        start: the frame that is given.
        end: the frame that is asked for.

    Returns:
        ``pos`` and ``vel`` (n, particles, 3) and ``charge`` (n, particles) at the start, ``target`` the positions at the end.

    Raises:
        InvalidInput: no simulations, fewer than one particle, or frames out of order.

    Source: the recipe of Satorras, Hoogeboom and Welling, *E(n) equivariant graph neural networks*, arXiv 2102.09844.

    >>> {k: tuple(v.shape) for k, v in make_charged_nbody(2, 0, start=0, end=1).items()}
    {'pos': (2, 5, 3), 'vel': (2, 5, 3), 'charge': (2, 5), 'target': (2, 5, 3)}
    """
    at_least_one(
        "charged_nbody", n=n, particles=particles, end_minus_start=end - start, start_plus_one=start + 1
    )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    charge = rng.choice([-1.0, 1.0], (n, particles))
    pos = rng.standard_normal((n, particles, 3))
    vel = rng.standard_normal((n, particles, 3))
    vel *= 0.5 / np.linalg.norm(vel, axis=-1, keepdims=True)
    found = np.empty((3, n, particles, 3))
    for a in range(0, n, _CHUNK):
        part = slice(a, a + _CHUNK)
        found[:, part] = _simulate(pos[part], vel[part], charge[part], start, end)
    pos, vel, target = (torch.from_numpy(x) for x in found)
    return {"pos": pos, "vel": vel, "charge": torch.from_numpy(charge), "target": target}


def _simulate(pos: Array, vel: Array, charge: Array, start: int, end: int) -> tuple[Array, Array, Array]:
    """Return positions and velocities of frame ``start``, and the positions of frame ``end``."""
    forces = _Forces(charge)
    x, v = (np.ascontiguousarray(a.transpose(1, 2, 0)) for a in (pos, vel))  # (particles, 3, simulations)
    v += _DT * forces(x)
    x0 = v0 = x
    for step in range(1, _EVERY * (end + 1) + 1):
        x += _DT * v
        if step == _EVERY * (start + 1):
            x0, v0 = x.copy(), v.copy()
        v += _DT * forces(x)
    first, second, last = (a.transpose(2, 0, 1) for a in (x0, v0, x))
    return first, second, last


class _Forces:
    """Forces on all particles of many simulations, (particles, 3, simulations), from every pair once."""

    def __init__(self, charge: Array) -> None:
        count = charge.shape[1]
        pairs = np.array(list(combinations(range(count), 2)), dtype=int).reshape(-1, 2)
        self.i, self.j = pairs.T
        self.strength = (charge[:, self.i] * charge[:, self.j]).T.copy()  # (pairs, simulations)
        self.incidence = np.zeros((count, len(pairs)))
        self.incidence[self.i, np.arange(len(pairs))] = 1
        self.incidence[self.j, np.arange(len(pairs))] = -1

    def __call__(self, x: Array) -> Array:
        gap = x[self.i] - x[self.j]
        square = gap[:, 0] ** 2 + gap[:, 1] ** 2 + gap[:, 2] ** 2
        gap *= (self.strength / (square * np.sqrt(square)))[:, None]
        total = (self.incidence @ gap.reshape(len(gap), x[0].size)).reshape(x.shape)
        return np.clip(total, -_CLIP, _CLIP, out=total)


def baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean square error of positions that stay, and of a straight line whose time is fitted to the training set."""
    moved = train["target"] - train["pos"]
    time = (moved * train["vel"]).sum() / train["vel"].square().sum()
    guesses = {"static": test["pos"], "linear": test["pos"] + time * test["vel"]}
    return {k: float((test["target"] - g).square().mean()) for k, g in guesses.items()}


CHARGED_NBODY = Task(
    name="charged_nbody",
    title="positions of five charges one unit of time later, from positions, velocities and charges",
    make=make_charged_nbody,
    inputs=("pos", "vel", "charge"),
    target="target",
    sizes=(3000, 2000, 2000),
    baselines=baselines,
    source="the recipe of Satorras, Hoogeboom and Welling, arXiv 2102.09844",
)
