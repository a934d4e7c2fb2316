r"""A star and its planets, simulated: where they are a short time later."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.charged_nbody import baselines
from geomlib.datasets.tasks import Task

__all__ = ["GRAVITY_NBODY", "make_gravity_nbody"]

Array = np.ndarray[Any, Any]


def make_gravity_nbody(
    n: int, seed: int, planets: int = 3, time: float = 0.1, steps: int = 100, shift: float = 20.0
) -> dict[str, Tensor]:
    r"""Simulate planets that start on circles around a star, each in a plane of its own, all shifted together.

    .. math:: \ddot x_i = \sum_{j \ne i} m_j \frac{x_j - x_i}{|x_i - x_j|^3}

    Masses are log-uniform, 1 to 10 of the star and 0.01 to 0.1 of planets; radii uniform, 0.1 to 1; speeds those of a circle,
    plus normal noise of 0.01. Explicit Euler steps. Systems in which a body moved more than 2 are drawn again.

    Args:
        n: number of systems.
        seed: of the generator; the same seed gives the same samples.
        planets: in each system; the star is body 0.
        time: how long.
        steps: number of Euler steps.
        shift: deviation of the common shift.

    Returns:
        ``pos`` and ``vel`` (n, planets + 1, 3), ``charge`` (n, planets + 1), the masses, and ``target``, the positions at
        the end.

    Raises:
        InvalidInput: sizes below 1, or a time that is not positive.

    Source: the recipe of Brehmer, de Haan, Behrends and Cohen, *Geometric algebra transformer*, arXiv 2305.18415; the
    planes of the planets are ours.

    >>> {k: tuple(v.shape) for k, v in make_gravity_nbody(2, 0).items()}
    {'pos': (2, 4, 3), 'vel': (2, 4, 3), 'charge': (2, 4), 'target': (2, 4, 3)}
    """
    at_least_one("gravity_nbody", n=n, planets=planets, steps=steps, time_sign=int(time > 0))
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    kept: list[tuple[Array, ...]] = []
    while sum(len(part[0]) for part in kept) < n:
        mass, pos, vel = _draw(rng, n, planets, shift)
        end = _simulate(mass, pos, vel, time / steps, steps)
        calm = (np.linalg.norm(end - pos, axis=-1) <= 2).all(-1)
        kept.append((pos[calm], vel[calm], mass[calm], end[calm]))
    found = (torch.from_numpy(np.concatenate(parts)[:n]) for parts in zip(*kept, strict=True))
    return dict(zip(("pos", "vel", "charge", "target"), found, strict=True))


def _draw(rng: np.random.Generator, n: int, planets: int, shift: float) -> tuple[Array, Array, Array]:
    """Return masses, positions and velocities."""
    star = np.exp(rng.uniform(np.log(1), np.log(10), (n, 1)))
    small = np.exp(rng.uniform(np.log(0.01), np.log(0.1), (n, planets)))
    radius = rng.uniform(0.1, 1, (n, planets, 1))
    frame, _ = np.linalg.qr(rng.standard_normal((n, planets, 3, 2)))  # two orthonormal vectors
    angle = rng.uniform(0, 2 * np.pi, (n, planets, 1))
    out, along = frame[..., 0], frame[..., 1]
    pos = radius * (np.cos(angle) * out + np.sin(angle) * along)
    vel = np.sqrt(star[..., None] / radius) * (np.cos(angle) * along - np.sin(angle) * out)
    origin = np.zeros((n, 1, 3))
    pos = np.concatenate([origin, pos], 1) + shift * rng.standard_normal((n, 1, 3))
    vel = np.concatenate([origin, vel], 1)
    vel[:, 1:] += 0.01 * rng.standard_normal((n, planets, 3))
    return np.concatenate([star, small], 1), pos, vel


def _simulate(mass: Array, pos: Array, vel: Array, dt: float, steps: int) -> Array:
    """Return the positions after explicit Euler steps; the common shift is taken out, for the sake of precision."""
    origin = pos[:, :1]
    x, v = pos - origin, vel
    for _ in range(steps):
        gap = x[:, None] - x[:, :, None]  # from i (axis 1) to j (axis 2)
        square = (gap**2).sum(-1)
        square += np.eye(x.shape[1])  # the gap to oneself is zero: any divisor will do
        force = (mass[:, None, :, None] * gap / (square * np.sqrt(square))[..., None]).sum(2)
        x, v = x + dt * v, v + dt * force
    return x + origin


GRAVITY_NBODY = Task(
    name="gravity_nbody",
    title="positions of a star and three planets after a time of 0.1, from positions, velocities and masses",
    make=make_gravity_nbody,
    inputs=("pos", "vel", "charge"),
    target="target",
    sizes=(10000, 1000, 1000),
    baselines=baselines,
    source="the recipe of Brehmer, de Haan, Behrends and Cohen, arXiv 2305.18415",
)
