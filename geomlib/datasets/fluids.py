"""Flows on a periodic square, by pseudo-spectral solvers: smoke in an incompressible fluid, and shallow water."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = [
    "NAVIER_STOKES",
    "SHALLOW_WATER",
    "Grid",
    "make_navier_stokes",
    "make_shallow_water",
    "navier_stokes_steps",
    "shallow_water_steps",
]

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

#: Samples that are integrated together: enough to be quick, few enough to stay in the cache.
_CHUNK = 32


@dataclass(frozen=True)
class Grid:
    """Wave numbers of a periodic square of side 2 pi; axes are y, then x.

    Args:
        size: points along each side, even and at least 8.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 8 or self.size % 2:
            raise InvalidInput(f"Grid: size={self.size}: expected an even number, 8 or more.")

    @property
    def ky(self) -> Array:
        """Wave numbers of y, (size, 1)."""
        return np.asarray(np.fft.fftfreq(self.size, 1 / self.size), np.float64)[:, None]

    @property
    def kx(self) -> Array:
        """Wave numbers of x, (1, size / 2 + 1)."""
        return np.asarray(np.fft.rfftfreq(self.size, 1 / self.size), np.float64)[None, :]

    @property
    def square(self) -> Array:
        """The squared wave number."""
        return self.kx**2 + self.ky**2

    @property
    def kept(self) -> Array:
        """One for waves below two thirds of the largest: products of these do not fold back onto them."""
        limit = self.size / 3
        return ((np.abs(self.kx) < limit) & (np.abs(self.ky) < limit)).astype(np.float64)

    def forward(self, field: Array) -> Spectrum:  # (..., size, size)
        """Return the spectrum."""
        return np.fft.rfft2(field)

    def backward(self, spectrum: Spectrum) -> Array:
        """Return the field."""
        return np.fft.irfft2(spectrum, s=(self.size, self.size))

    def noise(self, rng: np.random.Generator, n: int, peak: float) -> Array:  # (n, size, size)
        r"""Return smooth random fields of mean 0 and mean square 1, with energy :math:`k^4 e^{-2 (k / k_p)^2}` per wave."""
        raw = self.forward(rng.standard_normal((n, self.size, self.size)))
        shape = self.square * np.exp(-self.square / peak**2) * self.kept
        field = self.backward(raw * shape)
        return field / np.sqrt((field**2).mean((1, 2), keepdims=True))


def _integrated(
    state: Spectrum, slope: Callable[[Spectrum], Spectrum], damping: Array, dt: float, steps: int
) -> Spectrum:
    r"""Return the solution of :math:`\dot z = f(z) - \lambda z` by Runge and Kutta's fourth order; the damping is exact."""
    half, full = np.exp(-damping * dt / 2), np.exp(-damping * dt)
    for _ in range(steps):
        a = slope(state)
        b = slope(half * (state + dt / 2 * a))
        c = slope(half * state + dt / 2 * b)
        d = slope(full * state + dt * half * c)
        state = full * (state + dt / 6 * a) + dt / 3 * half * (b + c) + dt / 6 * d
    return state


def velocity_of(grid: Grid, vorticity: Spectrum) -> tuple[Spectrum, Spectrum]:
    """Return the spectra of the velocities along x and y of an incompressible flow."""
    square = np.where(grid.square > 0, grid.square, 1)
    stream = vorticity / square
    return 1j * grid.ky * stream, -1j * grid.kx * stream


def navier_stokes_steps(
    grid: Grid, vorticity: Array, smoke: Array, *, dt: float, steps: int, viscosity: float, buoyancy: float
) -> tuple[Array, Array]:
    r"""Return vorticity and smoke after some steps of incompressible flow.

    .. math:: \partial_t \omega + u \cdot \nabla \omega = \nu \Delta \omega + \beta\, \partial_x s, \qquad
              \partial_t s + u \cdot \nabla s = \nu \Delta s

    Args:
        grid: of the fields.
        vorticity: (..., size, size), axes y and x.
        smoke: of the same shape; it rises along y.
        dt: step.
        steps: number of steps.
        viscosity: of both fields.
        buoyancy: of the smoke.

    >>> grid = Grid(8)
    >>> navier_stokes_steps(grid, np.ones((8, 8)), np.ones((8, 8)), dt=0.1, steps=1, viscosity=0.1, buoyancy=0)[1].mean()
    np.float64(1.0)
    """

    def slope(z: Spectrum) -> Spectrum:
        u, v = (grid.backward(w) for w in velocity_of(grid, z[0]))
        carried = [
            -grid.kept
            * grid.forward(u * grid.backward(1j * grid.kx * f) + v * grid.backward(1j * grid.ky * f))
            for f in z
        ]
        carried[0] = carried[0] + buoyancy * 1j * grid.kx * z[1]
        return np.stack(carried)

    start = grid.kept * np.stack([grid.forward(vorticity), grid.forward(smoke)])
    end = _integrated(start, slope, viscosity * grid.square, dt, steps)
    return grid.backward(end[0]), grid.backward(end[1])


def shallow_water_steps(
    grid: Grid, height: Array, u: Array, v: Array, *, dt: float, steps: int, gravity: float, viscosity: float
) -> tuple[Array, Array, Array]:
    r"""Return height and velocities after some steps of shallow water.

    .. math:: \partial_t h + \nabla \cdot (h u) = 0, \qquad
              \partial_t u + \omega\, u^\perp + \nabla (g h + \tfrac12 |u|^2) = \nu \Delta u

    Args:
        grid: of the fields.
        height: of the water, positive, (..., size, size), axes y and x.
        u: velocity along x.
        v: velocity along y.
        dt: step.
        steps: number of steps.
        gravity: g.
        viscosity: of the velocity.

    >>> grid = Grid(8)
    >>> still = np.zeros((8, 8))
    >>> shallow_water_steps(grid, still + 1, still, still, dt=0.1, steps=1, gravity=1, viscosity=0)[0].mean()
    np.float64(1.0)
    """

    def slope(z: Spectrum) -> Spectrum:
        h, a, b = (grid.backward(f) for f in z)
        curl = grid.backward(1j * (grid.kx * z[2] - grid.ky * z[1]))
        head = grid.forward(gravity * h + (a * a + b * b) / 2)
        rates = [
            -1j * (grid.kx * grid.forward(h * a) + grid.ky * grid.forward(h * b)),
            grid.forward(curl * b) - 1j * grid.kx * head,
            -grid.forward(curl * a) - 1j * grid.ky * head,
        ]
        return grid.kept * np.stack(rates)

    damping = viscosity * grid.square
    weights = np.stack([np.zeros_like(damping), damping, damping])
    weights = weights.reshape(3, *[1] * (height.ndim - 2), *damping.shape)
    start = grid.kept * np.stack([grid.forward(f) for f in (height, u, v)])
    h, a, b = _integrated(start, slope, weights, dt, steps)
    return grid.backward(h), grid.backward(a), grid.backward(b)


def _frames(
    fields: tuple[Array, ...],
    advance: Callable[..., tuple[Array, ...]],
    seen: Callable[..., Array],
    frames_in: int,
    frames_out: int,
) -> dict[str, Tensor]:
    """Return what is seen at equal times, chunk by chunk."""
    n = len(fields[0])
    found: list[Array] = []
    for first in range(0, n, _CHUNK):
        part = tuple(f[first : first + _CHUNK] for f in fields)
        frames = [seen(*part)]
        for _ in range(frames_in + frames_out - 1):
            part = advance(*part)
            frames.append(seen(*part))
        found.append(np.stack(frames, 1))
    size = fields[0].shape[-1]
    shape = (0, frames_in + frames_out, size, size, 3)
    whole = torch.from_numpy(np.concatenate(found) if found else np.zeros(shape))
    return {"fields": whole[:, :frames_in].contiguous(), "future": whole[:, frames_in:].contiguous()}


def _checked(what: str, n: int, **positive: float) -> None:
    if n < 0 or any(not v > 0 for v in positive.values()):
        raise InvalidInput(f"{what}: n={n}, {positive}: expected numbers above zero.")


def make_navier_stokes(
    n: int,
    seed: int,
    *,
    size: int = 32,
    frames_in: int = 2,
    frames_out: int = 1,
    interval: float = 0.5,
    viscosity: float = 5e-3,
    buoyancy: float = 0.5,
    substeps: int = 16,
) -> dict[str, Tensor]:
    """Return smoke carried by an incompressible flow; see :func:`navier_stokes_steps`.

    The flow starts as smooth noise of mean square velocity 1, the smoke as smooth noise around 1; waves have lengths near a
    third of the side, which is 2 pi.

    Args:
        n: number of flows.
        seed: of the generator.
        size: points along each side.
        frames_in: frames that are given.
        frames_out: frames to predict.
        interval: time between frames.
        viscosity: of velocity and smoke.
        buoyancy: of the smoke.
        substeps: steps of the solver between frames.

    Returns:
        ``fields`` (n, frames_in, size, size, 3) and ``future`` (n, frames_out, size, size, 3): smoke, velocity along
        x, along y; the axes of space are y, then x.

    Raises:
        InvalidInput: sizes that do not fit.

    >>> make_navier_stokes(1, seed=0, size=16)["fields"].shape
    torch.Size([1, 2, 16, 16, 3])
    """
    _checked(
        "make_navier_stokes",
        n,
        frames_in=frames_in,
        frames_out=frames_out,
        interval=interval,
        substeps=substeps,
    )
    grid = Grid(size)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    vorticity = grid.noise(rng, n, peak=3.0)
    speed = [grid.backward(w) for w in velocity_of(grid, grid.forward(vorticity))]
    vorticity = vorticity / np.sqrt((speed[0] ** 2 + speed[1] ** 2).mean((1, 2), keepdims=True))
    smoke = 1 + 0.5 * grid.noise(rng, n, peak=3.0)

    def advance(w: Array, s: Array) -> tuple[Array, ...]:
        return navier_stokes_steps(
            grid, w, s, dt=interval / substeps, steps=substeps, viscosity=viscosity, buoyancy=buoyancy
        )

    def seen(w: Array, s: Array) -> Array:
        u, v = velocity_of(grid, grid.forward(w))
        return np.stack([s, grid.backward(u), grid.backward(v)], -1)

    return _frames((vorticity, smoke), advance, seen, frames_in, frames_out)


def make_shallow_water(
    n: int,
    seed: int,
    *,
    size: int = 32,
    frames_in: int = 2,
    frames_out: int = 1,
    interval: float = 0.5,
    gravity: float = 1.0,
    viscosity: float = 5e-3,
    substeps: int = 16,
) -> dict[str, Tensor]:
    """Return shallow water that starts at rest with a wavy surface; see :func:`shallow_water_steps`.

    The height is 1 plus smooth noise of mean square 0.01; waves travel with a speed near 1 around a square of side 2 pi.

    Args:
        n: number of flows.
        seed: of the generator.
        size: points along each side.
        frames_in: frames that are given.
        frames_out: frames to predict.
        interval: time between frames.
        gravity: of the water.
        viscosity: of the velocity.
        substeps: steps of the solver between frames.

    Returns:
        ``fields`` (n, frames_in, size, size, 3) and ``future`` (n, frames_out, size, size, 3): height minus 1,
        velocity along x, along y; the axes of space are y, then x.

    Raises:
        InvalidInput: sizes that do not fit.

    >>> make_shallow_water(1, seed=0, size=16)["future"].shape
    torch.Size([1, 1, 16, 16, 3])
    """
    _checked(
        "make_shallow_water",
        n,
        frames_in=frames_in,
        frames_out=frames_out,
        interval=interval,
        substeps=substeps,
    )
    grid = Grid(size)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    height = 1 + 0.1 * grid.noise(rng, n, peak=3.0)

    def advance(h: Array, u: Array, v: Array) -> tuple[Array, ...]:
        return shallow_water_steps(
            grid, h, u, v, dt=interval / substeps, steps=substeps, gravity=gravity, viscosity=viscosity
        )

    def seen(h: Array, u: Array, v: Array) -> Array:
        return np.stack([h - 1, u, v], -1)

    still = np.zeros_like(height)
    return _frames((height, still, still), advance, seen, frames_in, frames_out)


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean square errors of the last frame, of a straight line through the last two, and of the mean."""
    fields, future = test["fields"], test["future"]
    ahead = torch.arange(1, future.shape[1] + 1, dtype=fields.dtype).view(-1, 1, 1, 1)
    last = fields[:, -1:].expand_as(future)
    guesses = {"last frame": last, "mean": train["future"].mean((0, 1, 2, 3)).expand_as(future)}
    if fields.shape[1] > 1:
        guesses["straight line"] = last + ahead * (fields[:, -1:] - fields[:, -2:-1])
    return {name: float((guess - future).square().mean()) for name, guess in guesses.items()}


NAVIER_STOKES = Task(
    name="navier_stokes",
    title="the next frame of smoke in an incompressible flow, from the two before",
    make=make_navier_stokes,
    inputs=("fields",),
    target="future",
    loss="mse",
    sizes=(256, 64, 64),
    baselines=_baselines,
    source="our own solver and definition; the papers' fluid data are files",
)

SHALLOW_WATER = Task(
    name="shallow_water",
    title="the next frame of shallow water, from the two before",
    make=make_shallow_water,
    inputs=("fields",),
    target="future",
    loss="mse",
    sizes=(256, 64, 64),
    baselines=_baselines,
    source="our own solver and definition; the papers' fluid data are files",
)
