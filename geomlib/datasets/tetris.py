"""Tetris: rigid four-point shapes that turn and drift at constant rates; the next frames from the last ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = ["SHAPES", "TETRIS", "make_tetris"]

#: The eight ways to glue four unit cubes, mirror images apart: (8, 4, 3).
SHAPES = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, -1, 0]],
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 1]],
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 0]],
    ],
    dtype=np.float64,
)
SHAPES.setflags(write=False)


def make_tetris(
    n: int,
    seed: int,
    *,
    frames_in: int = 4,
    frames_out: int = 4,
    spread: float = 1.0,
    speed: float = 0.25,
    max_angle: float = 0.5,
) -> dict[str, Tensor]:
    r"""Return trajectories of rigid shapes.

    .. math:: x_k(t) = c + t\, v + R(t\, \omega)\, R_0\, s_k, \qquad t = 0, 1, 2, \dots

    Shapes s are the eight tetrominoes of space, centred; :math:`R_0` is uniform; :math:`c \sim N(0, \text{spread}^2)`,
    :math:`v \sim N(0, \text{speed}^2)` per component; :math:`\omega` has a uniform direction and a length uniform in
    [0, max_angle] radians per frame. This definition is ours: the generator of arXiv 2302.06594 was not published.

    Args:
        n: number of trajectories.
        seed: of the generator.
        frames_in: frames that are given.
        frames_out: frames to predict.
        spread: of the first centre, in edges of a cube.
        speed: of the centre, in edges per frame.
        max_angle: largest turn, in radians per frame.

    Returns:
        ``pos`` (n, frames_in, 4, 3), ``future`` (n, frames_out, 4, 3), ``shape`` (n,), the number of the shape.

    Raises:
        InvalidInput: fewer than one frame, or negative scales.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> make_tetris(2, seed=0)["future"].shape
    torch.Size([2, 4, 4, 3])
    """
    if n < 0 or frames_in < 1 or frames_out < 1 or min(spread, speed, max_angle) < 0:
        raise InvalidInput(
            f"make_tetris: n={n}, frames_in={frames_in}, frames_out={frames_out}, spread={spread}, speed={speed}, "
            f"max_angle={max_angle}: expected at least one frame and no negative number."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    kind = rng.integers(len(SHAPES), size=n)
    centred = SHAPES - SHAPES.mean(1, keepdims=True)
    quaternion = rng.standard_normal((n, 4))
    body = np.einsum("nij,nkj->nki", _rotations(quaternion), centred[kind])
    centre, drift = spread * rng.standard_normal((n, 3)), speed * rng.standard_normal((n, 3))
    axis = rng.standard_normal((n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    rate = max_angle * rng.random(n)
    time = np.arange(frames_in + frames_out)
    half = rate[:, None] * time / 2
    turn = np.concatenate([np.cos(half)[..., None], np.sin(half)[..., None] * axis[:, None]], -1)
    pos = np.einsum("ntij,nkj->ntki", _rotations(turn), body)
    pos += (centre[:, None] + time[:, None] * drift[:, None])[:, :, None]
    found = torch.from_numpy(pos)
    return {
        "pos": found[:, :frames_in].contiguous(),
        "future": found[:, frames_in:].contiguous(),
        "shape": torch.from_numpy(kind.astype(np.int64)),
    }


def _rotations(q: np.ndarray) -> np.ndarray:  # (..., 4) -> (..., 3, 3)
    """Return the rotation matrices of quaternions (scalar first) of any length."""
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean square errors of the last frame, and of constant velocity of every point."""
    pos, future = test["pos"], test["future"]
    last = pos[:, -1:].expand_as(future)
    step = pos[:, -1:] - pos[:, -2:-1] if pos.shape[1] > 1 else torch.zeros_like(pos[:, -1:])
    ahead = torch.arange(1, future.shape[1] + 1, dtype=pos.dtype)[:, None, None]
    guesses = {"last frame": last, "constant velocity": last + ahead * step}
    return {name: float((guess - future).square().mean()) for name, guess in guesses.items()}


TETRIS = Task(
    name="tetris",
    title="four frames of a rigid four-point shape that turns and drifts, from the four before",
    make=make_tetris,
    inputs=("pos",),
    target="future",
    loss="mse",
    sizes=(4096, 1024, 1024),
    baselines=_baselines,
    source="our own definition, after arXiv 2302.06594",
)
