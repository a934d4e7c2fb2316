r"""Two masses on springs under gravity, which is hardly predictable for long; and how far rollouts go astray."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = [
    "DOUBLE_SPRING_PENDULUM",
    "make_double_spring_pendulum",
    "pendulum_energy",
    "rollout_error",
]

Array = NDArray[np.float64]
#: Steps of the integrator in a unit of time; the energy of a run of 30 units changes by less than 1e-6.
_STEPS = 25


def pendulum_energy(state: Tensor) -> Tensor:  # (..., 4, 3) -> (...)
    r"""Return the energy of the double spring pendulum.

    .. math:: H = \tfrac12 |p_1|^2 + \tfrac12 |p_2|^2 + \tfrac12 (|x_1| - 1)^2 + (|x_1 - x_2| - 1)^2 + x_{1z} + x_{2z}

    Args:
        state: x1, x2, p1, p2 as rows. The second spring is twice as strong, as in the reference.

    Raises:
        InvalidInput: another shape.

    >>> pendulum_energy(torch.tensor([[0.0, 0, -1], [0, 0, -2], [0, 0, 0], [0, 0, 0]])).item()
    -3.0
    """
    if state.dim() < 2 or state.shape[-2:] != (4, 3):
        raise InvalidInput(f"pendulum_energy: state {tuple(state.shape)}, expected (..., 4, 3).")
    x1, x2, p1, p2 = state.unbind(-2)
    springs = 0.5 * (x1.norm(dim=-1) - 1) ** 2 + ((x1 - x2).norm(dim=-1) - 1) ** 2
    return 0.5 * (p1.square().sum(-1) + p2.square().sum(-1)) + springs + x1[..., 2] + x2[..., 2]


def _kicks(order: int) -> list[float]:
    """Return the lengths of the leapfrog steps that together make one of this even order.

    Each order is three of the one below, the middle one backwards (Yoshida, 1990).
    """
    if order == 2:
        return [1.0]
    outer = 1 / (2 - 2 ** (1 / (order - 1)))
    inner = _kicks(order - 2)
    return [f * k for f in (outer, 1 - 2 * outer, outer) for k in inner]


def _integrate(x: Array, p: Array, dt: float, frames: int, steps: int) -> Array:  # (frames, n, 4, 3)
    """Return the states at 0, dt, 2 dt, ..., by symplectic steps of order six.

    The coordinates are both springs, x1 and x1 - x2, and their velocities, each (2, 3, n): a step is few array operations.
    """
    kick = np.array(_kicks(6)) * dt / steps
    drift = 0.5 * np.concatenate([kick, [0.0]]) + 0.5 * np.concatenate([[0.0], kick])
    springs = np.array([[1.0, 0.0], [1.0, -1.0]])
    pull = springs @ springs.T  # how the tension of each spring moves both springs
    w, v = (np.ascontiguousarray(np.einsum("ab,nbd->adn", springs, a)) for a in (x, p))
    stiffness, fall = np.array([[1.0], [2.0]]), np.zeros((2, 3, 1))
    fall[0, 2] = -1.0
    found = np.empty((frames, len(x), 4, 3))
    for frame in range(frames):
        if frame:
            for _ in range(steps):
                w += drift[0] * v
                for h, d in zip(kick, drift[1:], strict=True):
                    length = np.sqrt((w * w).sum(1))
                    # No direction at length zero: the force is then zero, and not NaN.
                    tension = stiffness / np.maximum(length, 1e-300) - stiffness
                    force = (tension[:, None] * w).reshape(2, -1)
                    v += h * ((pull @ force).reshape(v.shape) + fall)
                    w += d * v
        for k, a in ((0, w), (2, v)):
            found[frame, :, k], found[frame, :, k + 1] = a[0].T, (a[0] - a[1]).T
    return found


def make_double_spring_pendulum(
    n: int, seed: int, points: int = 5, start: int | None = None, dt: float = 0.2, duration: float = 30.0
) -> dict[str, Tensor]:
    r"""Integrate double spring pendulums from random starts, and cut one piece out of each run.

    .. math:: x_1 = (0, 0, -\tfrac32) + 0.2\,g_1, \quad x_2 = (0, 0, -3) + 0.2\,g_2, \quad p = 0.4\,g

    with standard normal g. Masses, springs, lengths and gravity are 1; see :func:`pendulum_energy`.

    Args:
        n: number of runs.
        seed: of the generator; the same seed gives the same samples.
        points: of a piece.
        start: number of its first point; drawn for each run if not given.
        dt: time between points.
        duration: of the runs out of which pieces are drawn.

    Returns:
        ``state`` (n, 4, 3), rows x1, x2, p1, p2 at the first point, ``gravity`` (n, 3), where gravity pulls, and
        ``later`` (n, points - 1, 4, 3), the states at the other points.

    Raises:
        InvalidInput: a size below 1, fewer than two points, or a piece longer than the run.

    Source: Finzi, Welling and Wilson, *A practical method for constructing equivariant multilayer perceptrons for
    arbitrary matrix groups*, arXiv 2104.09459.

    >>> {k: tuple(v.shape) for k, v in make_double_spring_pendulum(2, 0, start=0).items()}
    {'state': (2, 4, 3), 'gravity': (2, 3), 'later': (2, 4, 4, 3)}
    """
    at_least_one("double_spring_pendulum", n=n)
    if not dt > 0 or not np.isfinite(dt):
        raise InvalidInput(f"double_spring_pendulum: dt={dt}, expected a positive number.")
    frames = round(duration / dt) + 1
    last = frames - points
    if points < 2 or last < 0 or (start is not None and not 0 <= start <= last):
        raise InvalidInput(
            f"double_spring_pendulum: points={points}, start={start}: expected 2 points or more within the "
            f"{frames} points of duration={duration:g}."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    noise = rng.standard_normal((n, 4, 3))
    rest = np.array([[0, 0, -1.5], [0, 0, -3.0]])
    first = rng.integers(0, last + 1, n) if start is None else np.full(n, start)
    steps = max(1, round(_STEPS * dt))
    runs = _integrate(rest + 0.2 * noise[:, :2], 0.4 * noise[:, 2:], dt, int(first.max()) + points, steps)
    chosen = torch.from_numpy(runs[first[:, None] + np.arange(points), np.arange(n)[:, None]])
    gravity = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).repeat(n, 1)
    return {"state": chosen[:, 0].contiguous(), "gravity": gravity, "later": chosen[:, 1:].contiguous()}


def rollout_error(found: Tensor, true: Tensor) -> Tensor:  # (..., T, D), (..., T, D) -> ()
    r"""Return the geometric mean over time of the relative error of a rollout, between 1e-7 and 1; the mean over runs.

    .. math:: \exp \frac1T \sum_t \log \max\left(\frac{|a_t - b_t|}{|a_t| + |b_t|}, 10^{-7}\right)

    Args:
        found: states, flat, with the time as the axis before the last.
        true: likewise.

    Raises:
        InvalidInput: shapes that differ.

    Source: Finzi, Welling and Wilson, arXiv 2104.09459.

    >>> round(rollout_error(torch.full((5, 12), 1.01), torch.full((5, 12), 0.99)).item(), 4)
    0.01
    """
    if found.shape != true.shape or found.dim() < 2:
        raise InvalidInput(
            f"rollout_error: found {tuple(found.shape)}, true {tuple(true.shape)}: expected one shape (..., T, D)."
        )
    size = torch.linalg.vector_norm
    error = size(found - true, dim=-1) / (size(found, dim=-1) + size(true, dim=-1))
    # A rollout that has left all bounds is as wrong as can be.
    return error.nan_to_num(1.0, 1.0).clamp(min=1e-7).log().mean(-1).exp().mean()


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean square errors of standing still, and of going straight on."""
    del train
    state, later = test["state"], test["later"]
    times = torch.arange(1, later.shape[1] + 1, dtype=later.dtype) * 0.2
    moved = state[:, None].repeat(1, later.shape[1], 1, 1)
    still = float((moved - later).square().mean())
    moved[:, :, :2] += times[:, None, None] * state[:, None, 2:]
    return {"static": still, "constant velocity": float((moved - later).square().mean())}


DOUBLE_SPRING_PENDULUM = Task(
    name="double_spring_pendulum",
    title="the next four states of a double spring pendulum, 0.2 apart",
    make=make_double_spring_pendulum,
    inputs=("state", "gravity"),
    target="later",
    sizes=(500, 100, 500),
    baselines=_baselines,
    source="Finzi, Welling and Wilson, arXiv 2104.09459",
)
