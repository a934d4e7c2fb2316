"""A batch of structures under a potential: what every integrator needs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from geomlib.datasets.elements import SYMBOLS
from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.interop.constants import ACCELERATION, BOLTZMANN, masses_of
from geomlib.interop.ensemble import as_potential, cutoff_of, geometry_dtype
from geomlib.kernels.neighbors import VerletPairs

__all__ = ["MDSystem"]

# An atom that moves this far in one step is not integrated any more, Å.
_RUNAWAY = 1.0


class MDSystem:
    """A batch of structures with a potential."""

    def __init__(
        self,
        model: Any,
        structures: Structures,
        replicas: int,
        dtype: torch.dtype,
        device: torch.device,
        skin: float,
    ) -> None:
        if not len(structures) or int(structures.num_atoms.min()) == 0:
            raise InvalidInput("run_md: `structures` must hold at least one structure, each with atoms.")
        self.model, self.device = as_potential(model, dtype, device), device
        self.dtype = geometry_dtype(self.model, dtype)
        many = Structures.concatenate([structures] * replicas) if replicas > 1 else structures
        self.z, self.pos = many.z.to(device), many.pos.to(device, torch.float64)
        self.batch, self.graphs = many.batch.to(device), len(many)
        self.counts = many.num_atoms.to(device, torch.float64)
        self.masses = masses_of(self.z).unsqueeze(1)
        self.periodic = bool(many.pbc.any())
        self.cell, self.pbc = many.cell.to(device, torch.float64), many.pbc.to(device)
        self.charge = many.charge.to(device, dtype)
        self.symbols = [[SYMBOLS[z] for z in part] for part in self.z.split(many.num_atoms.tolist())]
        self.neighbors = VerletPairs(cutoff_of(self.model), skin)

    @property
    def searches(self) -> int:
        """How often the neighbour list was built."""
        return self.neighbors.searches

    def evaluate(self, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return energies (B,) and forces (N, 3) in float64."""
        cell, pbc = (self.cell, self.pbc) if self.periodic else (None, None)
        out = self.model(
            self.z,
            x.to(self.dtype),
            self.batch,
            pairs=self.neighbors(x, self.batch, cell, pbc),
            cell=None if cell is None else cell.to(self.dtype),
            pbc=pbc,
            charge=self.charge,
            num_graphs=self.graphs,
            forces=True,
        )
        energy, forces = out["energy"].detach().double(), out["forces"].detach().double()
        if not math.isfinite(float(energy.sum() + forces.sum())):
            self.blown_up(~torch.isfinite(forces).all(1), step, "its force is not finite")
        return energy, forces

    def refuse_runaway(self, v: Tensor, timestep: float, step: int) -> None:
        """Raise if an atom moves too far in one step."""
        far = (v * timestep).square().sum(1)
        if not float(far.max()) < _RUNAWAY**2:
            self.blown_up(~(far < _RUNAWAY**2), step, f"it moved more than {_RUNAWAY} Å in this step")

    def blown_up(self, bad: Tensor, step: int, what: str) -> None:
        """Raise, naming the first bad atom."""
        atom = int(bad.nonzero()[0]) if bool(bad.any()) else 0
        graph = int(self.batch[atom])
        local = atom - int((self.batch < graph).sum())
        raise InvalidInput(
            f"run_md: the simulation blew up at step {step}: replica {graph}, atom {local} "
            f"({self.symbols[graph][local]}): {what}. Use a smaller timestep, start from a relaxed "
            "structure, "
            "or train the model on such geometries."
        )

    def draw_velocities(self, temperature: float, generator: torch.Generator) -> Tensor:
        """Return a Maxwell-Boltzmann draw in Å/fs."""
        width = (BOLTZMANN * temperature * ACCELERATION / self.masses).sqrt()
        return width * torch.randn(
            self.pos.shape, generator=generator, dtype=torch.float64, device=self.device
        )

    def check_velocities(self, velocities: Tensor) -> Tensor:
        """Return the given velocities in float64 on the device."""
        if velocities.shape != self.pos.shape or not bool(torch.isfinite(velocities).all()):
            raise InvalidInput(
                f"run_md: `velocities` must be finite, {tuple(self.pos.shape)} for all replicas, in Å/fs; "
                f"got shape {tuple(velocities.shape)}."
            )
        return velocities.to(self.device, torch.float64)

    def total(self, values: Tensor) -> Tensor:  # (N, ...) -> (B, ...)
        """Sum over the atoms of each structure."""
        return values.new_zeros(self.graphs, *values.shape[1:]).index_add(0, self.batch, values)

    def without_momentum(self, v: Tensor) -> Tensor:
        """Take the total momentum of each structure out."""
        drift = self.total(self.masses * v) / self.total(self.masses)
        # A single atom at rest would have no temperature at all.
        drift = torch.where(self.counts.unsqueeze(1) > 1, drift, torch.zeros_like(drift))
        return v - drift[self.batch]

    def kinetic(self, v: Tensor) -> Tensor:
        """Return the kinetic energies (B,), eV."""
        return self.total((0.5 / ACCELERATION * self.masses * v * v).sum(1))

    def momentum(self, v: Tensor) -> Tensor:
        """Return the lengths of the total momenta (B,), u Å/fs."""
        return self.total(self.masses * v).norm(dim=1)

    def frame(self, x: Tensor, v: Tensor, forces: Tensor, energy: Tensor) -> tuple[Any, ...]:
        """Return what a trajectory frame holds."""
        atoms = (x, self.masses * v, forces)
        counts = self.counts.long().tolist()
        return (self.symbols, counts, *atoms, energy, self.cell, self.pbc, self.charge.double())
