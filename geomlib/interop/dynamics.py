"""Molecular dynamics in torch: velocity Verlet and Langevin, many replicas in one batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.interop.constants import ACCELERATION, BOLTZMANN
from geomlib.interop.ensemble import as_dtype
from geomlib.interop.md_system import MDSystem
from geomlib.interop.trajectory import LogWriter, TrajectoryWriter

__all__ = ["MDResult", "run_md"]


@dataclass(frozen=True)
class MDResult:
    """What a simulation of B structures with N atoms in all left behind; T rows were logged.

    Shapes:
        - step (T,) int64, time_fs (T,); potential, kinetic, temperature (T, B) in eV and K
        - momentum (T, B): length of the total momentum, u Å/fs
        - pos, velocities, forces (N, 3) at the end: Å, Å/fs, eV/Å; num_atoms (B,)
        - neighbor_searches: how often the neighbour list was built
    """

    step: Tensor
    time_fs: Tensor
    potential: Tensor
    kinetic: Tensor
    temperature: Tensor
    momentum: Tensor
    pos: Tensor
    velocities: Tensor
    forces: Tensor
    num_atoms: Tensor
    neighbor_searches: int

    @property
    def total(self) -> Tensor:
        """Potential plus kinetic energy, (T, B), eV."""
        return self.potential + self.kinetic

    def summary(self) -> list[dict[str, float]]:
        """Return per structure the drift and fluctuation of the total energy and the mean temperature.

        The drift is the slope of a least-squares line through the total energy, per atom and ps; the
        fluctuation is the root mean square distance from that line, per atom. Both in meV; only NVE conserves
        the total energy, so only there do they judge the integration.
        """
        rows = []
        time = self.time_fs - self.time_fs.mean()
        spread = float((time * time).sum())
        for b, n in enumerate(self.num_atoms.tolist()):
            energy = (self.total[:, b] - self.total[0, b]) * (1e3 / max(n, 1))
            energy = energy - energy.mean()
            slope = float((time * energy).sum()) / spread if spread > 0 else 0.0
            rows.append(
                {
                    "replica": float(b),
                    "drift_meV_per_atom_per_ps": slope * 1e3,
                    "fluctuation_meV_per_atom": float((energy - slope * time).square().mean().sqrt()),
                    "mean_temperature_K": float(self.temperature[:, b].mean()),
                    "max_momentum": float(self.momentum[:, b].max()),
                }
            )
        return rows


def run_md(
    model: nn.Module | list[nn.Module],
    structures: Structures,
    *,
    steps: int,
    timestep: float = 0.5,
    ensemble: str = "nve",
    temperature: float = 300.0,
    friction: float = 0.01,
    replicas: int = 1,
    velocities: Tensor | None = None,  # (N, 3)
    remove_momentum: bool | None = None,
    seed: int = 0,
    dtype: str | torch.dtype = "float64",
    device: str | torch.device = "cpu",
    skin: float = 0.5,
    log_every: int = 10,
    log: str | Path | None = None,
    trajectory_every: int = 10,
    trajectory: str | Path | None = None,
    on_step: Callable[[int], Any] | None = None,
) -> MDResult:
    r"""Integrate Newton's or Langevin's equations of motion for a batch of structures.

    NVE is velocity Verlet. Langevin is the BAOAB splitting,

    .. math:: v \leftarrow e^{-\gamma \Delta t} v + \sqrt{(1 - e^{-2\gamma \Delta t})\, k_B T / m}\;\xi

    between two half drifts, with one force evaluation per step in both. Positions and velocities are float64,
    whatever the precision of the model. The start is a Maxwell-Boltzmann draw at ``temperature``.

    **Degrees of freedom.** Removing the total momentum takes three, and NVE conserves it, so there the
    temperature counts 3n - 3 (a single atom keeps its three). Langevin noise moves the centre of mass too:
    nothing is removed and 3n count.

    Args:
        model: a model with an attribute ``cutoff``, or a list of them (their mean force is followed).
        structures: where to start; cells stay fixed. All of them run side by side in one batch.
        steps: number of time steps, 0 evaluates the start.
        timestep: fs.
        ensemble: "nve" or "langevin".
        temperature: K, of the start and of the Langevin bath.
        friction: 1/fs, Langevin only.
        replicas: independent copies of every structure; replica r of structure b is number r B + b.
        velocities: start velocities in Å/fs for all replicas (N, 3), instead of a draw; used as they are.
        remove_momentum: take the total momentum out of the drawn velocities; by default in NVE only.
        seed: of the start and of the noise; the same seed gives the same trajectory.
        dtype: "float64" or "float32", precision of the model.
        device: where to compute.
        skin: Å, of the neighbour list.
        log_every: steps between rows of the log, which always has the first and the last step.
        log: CSV file to write.
        trajectory_every: steps between frames.
        trajectory: extended XYZ file to write.
        on_step: called with the number of the step after each, for progress bars.

    Returns:
        MDResult: the logged energies and the last state, from which another run can go on.

    Raises:
        InvalidInput: an argument out of range, or the simulation blew up (the message says at which step).

    Source: Leimkuhler and Matthews, *Rational construction of stochastic numerical methods for molecular
    sampling*, arXiv 1203.5428 (BAOAB).

    Example:
        >>> import geomlib
        >>> from geomlib.datasets import Structures
        >>> water = Structures(z=[8, 1, 1], pos=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], ptr=[0, 3])
        >>> model = geomlib.create_model("tensornet", channels=4, layers=1)
        >>> run_md(model, water, steps=4, log_every=2, replicas=2).total.shape
        torch.Size([3, 2])
    """
    _check(steps, timestep, ensemble, temperature, friction, replicas, log_every, trajectory_every)
    system = MDSystem(model, structures, replicas, as_dtype(dtype, "run_md"), torch.device(device), skin)
    noise = torch.Generator(device=system.device).manual_seed(seed)
    removes = ensemble == "nve" if remove_momentum is None else remove_momentum
    dof = 3.0 * system.counts
    if velocities is None:
        v = system.draw_velocities(temperature, noise)
        if removes:
            v = system.without_momentum(v)
            if ensemble == "nve":
                dof = torch.where(system.counts > 1, dof - 3.0, dof)
    else:
        v = system.check_velocities(velocities)
    kick = 0.5 * timestep * ACCELERATION / system.masses
    decay = math.exp(-friction * timestep)
    spread = (BOLTZMANN * temperature * ACCELERATION * (1.0 - decay**2) / system.masses).sqrt()
    logged: list[int] = []
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    x = system.pos
    with contextlib.ExitStack() as files, torch.no_grad():
        # Before any file is opened: a structure the model refuses leaves nothing behind.
        energy, forces = system.evaluate(x, 0)
        csv = None if log is None else files.enter_context(LogWriter(log))
        frames = None if trajectory is None else files.enter_context(TrajectoryWriter(trajectory))
        for step in range(steps + 1):
            if step:
                v = v + kick * forces
                if ensemble == "nve":
                    x = x + timestep * v
                else:
                    x = x + 0.5 * timestep * v
                    v = decay * v + spread * torch.randn(
                        v.shape, generator=noise, dtype=v.dtype, device=v.device
                    )
                    x = x + 0.5 * timestep * v
                system.refuse_runaway(v, timestep, step)
                energy, forces = system.evaluate(x, step)
                v = v + kick * forces
            if step % log_every == 0 or step == steps:
                kinetic, momentum = system.kinetic(v), system.momentum(v)
                kelvin = 2.0 * kinetic / (dof.clamp(min=1.0) * BOLTZMANN)
                logged.append(step)
                rows.append((energy, kinetic, kelvin, momentum))
                if csv is not None:
                    csv.write(step, step * timestep, energy, kinetic, kelvin)
            if frames is not None and (step % trajectory_every == 0 or step == steps):
                frames.write(step, step * timestep, *system.frame(x, v, forces, energy))
            if step and on_step is not None:
                on_step(step)
    at = torch.tensor(logged)
    potential, kinetic, kelvin, momentum = (torch.stack(column).cpu() for column in zip(*rows, strict=True))
    return MDResult(
        step=at,
        time_fs=at.double() * timestep,
        potential=potential,
        kinetic=kinetic,
        temperature=kelvin,
        momentum=momentum,
        pos=x.cpu(),
        velocities=v.cpu(),
        forces=forces.cpu(),
        num_atoms=system.counts.cpu().long(),
        neighbor_searches=system.searches,
    )


def _check(
    steps: int,
    timestep: float,
    ensemble: str,
    temperature: float,
    friction: float,
    replicas: int,
    log_every: int,
    trajectory_every: int,
) -> None:
    if ensemble not in ("nve", "langevin"):
        raise InvalidInput(f"run_md: `ensemble` is {ensemble!r}, expected 'nve' or 'langevin'.")
    counts = {"steps": (steps, 0), "replicas": (replicas, 1), "log_every": (log_every, 1)}
    counts["trajectory_every"] = (trajectory_every, 1)
    for name, (value, least) in counts.items():
        if not isinstance(value, int) or value < least:
            raise InvalidInput(f"run_md: `{name}` is {value!r}, expected a whole number >= {least}.")
    for name, value in (("temperature", temperature), ("friction", friction)):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"run_md: `{name}` is {value}, expected a finite number >= 0.")
    if not (math.isfinite(timestep) and timestep != 0):
        raise InvalidInput(f"run_md: `timestep` is {timestep} fs, expected a finite number, not 0.")
    if ensemble == "langevin" and timestep < 0:
        raise InvalidInput("run_md: a negative `timestep` runs backwards, which only 'nve' can.")
