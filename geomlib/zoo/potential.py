r"""What every interatomic potential shares: bonds from positions, forces and stress from the energy, references.

A potential computes one energy per atom from :class:`~geomlib.layers.bonds.Bonds`; this class does the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.differentiable import skip_parameter_gradients
from geomlib.kernels.edges import EdgeList
from geomlib.kernels.neighbors import HalfPairs, half_pairs
from geomlib.layers._constants import Float64Buffers
from geomlib.layers.bonds import Bonds
from geomlib.zoo.inputs import check_edges, check_inputs, check_volume

__all__ = ["Potential"]


class Potential(Float64Buffers):
    r"""Base class of interatomic potentials.

    .. math:: E = \sum_i \left(s\, e_i + E^0_{z_i}\right) + E^0, \quad F = -\frac{\partial E}{\partial x}, \quad
              \sigma = \frac1V \frac{\partial E}{\partial \varepsilon}

    Subclasses implement :meth:`evaluate`. Energies are float64 whatever the type of the weights, because references of
    1e4 eV leave no digits in float32.

    Args:
        cutoff: in Å.
        max_z: species are atomic numbers below this.
        validate: check inputs (finite, in range, matching); costs a few percent of a forward pass.
    """

    scale: Tensor
    shift: Tensor
    atomic_reference: Tensor

    def __init__(self, cutoff: float, max_z: int, *, validate: bool = True) -> None:
        super().__init__()
        self.cutoff, self.max_z, self.validate = float(cutoff), int(max_z), validate
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))
        self.register_buffer("atomic_reference", torch.zeros(max_z, dtype=torch.float64))

    def evaluate(self, z: Tensor, bonds: Bonds, charge: Tensor) -> dict[str, Tensor]:
        """Return per-atom outputs, among them ``"energy"`` (N,); ``charge`` (N,) is the total charge of the structure.

        Outputs of rank 1, 2 and 3 are summed over the atoms of each structure.
        """
        raise NotImplementedError

    def set_reference(
        self, atomic_energies: dict[int, float] | None = None, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        """Set the energies of isolated atoms (eV), the unit of the learned part (eV) and a constant (eV).

        Raises:
            InvalidInput: a species outside the table.
        """
        self.atomic_reference.zero_()
        for z, energy in (atomic_energies or {}).items():
            if not 0 <= int(z) < self.max_z:
                raise InvalidInput(
                    f"atomic_energies: species {z} is outside 0..{self.max_z - 1} of this model."
                )
            self.atomic_reference[int(z)] = float(energy)
        self.scale.fill_(float(scale))
        self.shift.fill_(float(shift))

    @full_precision
    def forward(
        self,
        z: Tensor,  # (N,)
        pos: Tensor,  # (N, 3)
        batch: Tensor | None = None,  # (N,)
        *,
        edge_index: Tensor | None = None,  # (2, E)
        shift: Tensor | None = None,  # (E, 3)
        pairs: HalfPairs | None = None,
        cell: Tensor | None = None,  # (B, 3, 3)
        pbc: Tensor | None = None,  # (B, 3)
        charge: Tensor | None = None,  # (B,)
        num_graphs: int | None = None,
        forces: bool = True,
        stress: bool = False,
    ) -> dict[str, Tensor]:
        r"""Return energies and, if asked, forces and stress of a batch of structures.

        Args:
            z: atomic numbers, (N,) int64.
            pos: positions, (N, 3) Å, in float32 or float64 (bond vectors are formed in the type given).
            batch: structure of each atom, (N,), in any order, gaps allowed; one structure if absent.
            edge_index: directed edges (source, target) without self loops; found by the model if absent.
            shift: integer cell shifts of these edges, as :func:`geomlib.layers.radius_graph` returns them.
            pairs: the neighbour list as half pairs, instead of ``edge_index``.
            cell: lattice vectors as rows, (B, 3, 3) or (3, 3), Å.
            pbc: periodic directions, (B, 3) or (3,).
            charge: total charge of each structure, (B,), e; 0 if absent.
            num_graphs: number of structures B, if trailing ones may be empty.
            forces: return forces; works under ``torch.no_grad()`` too.
            stress: return the stress of periodic structures.

        Returns:
            ``energy`` (B,) eV in float64, ``atomic_energy`` (N,) eV, ``forces`` (N, 3) eV/Å, ``stress`` (B, 3, 3) eV/Å³
            (ASE's sign), and one entry per further head. In training mode forces and stress carry a graph to the
            weights; if ``pos`` requires grad they are differentiable with respect to it.

        Raises:
            InvalidInput: inputs that do not fit together, are not finite, or are outside what the model knows.
        """
        size = self.checked_size(
            z, pos, batch, cell=cell, charge=charge, num_graphs=num_graphs, stress=stress
        )
        given = edge_index is not None or pairs is not None
        if edge_index is not None and pairs is not None:
            raise InvalidInput("edge_index and pairs: give one of them, not both.")
        one = batch is None
        if batch is None:
            batch = torch.zeros_like(z)
        if cell is not None and cell.dim() == 2:
            cell = cell.expand(size, 3, 3)
        edges, offset = self._edges(pos, batch, edge_index, shift, pairs, cell, pbc)
        if self.validate and given:
            check_edges(edges, offset, None if one else batch, cell)
        return self.compute(
            z,
            pos,
            batch,
            edges,
            offset,
            cell=cell,
            charge=charge,
            num_graphs=size,
            forces=forces,
            stress=stress,
        )

    def compute(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor,
        edges: EdgeList,
        offset: Tensor | None = None,
        *,
        cell: Tensor | None = None,
        charge: Tensor | None = None,
        num_graphs: int,
        forces: bool = True,
        stress: bool = False,
    ) -> dict[str, Tensor]:
        """Return what :meth:`forward` does, from edges prepared by the caller and without checks of the inputs.

        ``offset`` holds the cell shift of the second atom of each pair, (P, 3).
        """
        vec = pos[edges.j] - pos[edges.i]
        if cell is not None and offset is not None:
            vec = vec + torch.einsum("pk,pkl->pl", offset.to(pos.dtype), cell.to(pos.dtype)[batch[edges.i]])
        vec = vec.to(self.dtype)
        track = torch.is_grad_enabled()
        leaf = not vec.requires_grad
        differentiate = forces or stress
        with torch.enable_grad() if differentiate else torch.set_grad_enabled(track):
            if leaf and differentiate:
                vec = vec.requires_grad_()
            bonds = Bonds(edges, vec, second_order=not leaf, track_parameters=track, batch=batch)
            q = vec.new_zeros(z.shape[0]) if charge is None else charge.to(vec.dtype)[batch]
            atoms = self.evaluate(z, bonds, q)
            energy = atoms.pop("energy")
            out = self._energies(z, energy, batch, num_graphs)
            for name, value in atoms.items():
                out[name] = value.new_zeros(num_graphs, *value.shape[1:]).index_add(0, batch, value)
            if differentiate:
                create = track and (self.training or not leaf)
                out |= self._derivatives(energy, bonds, batch, cell, num_graphs, forces, stress, create)
        return out if track else {name: value.detach() for name, value in out.items()}

    def checked_size(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None,
        *,
        cell: Tensor | None,
        charge: Tensor | None,
        num_graphs: int | None,
        stress: bool,
    ) -> int:
        """Check what :meth:`forward` was given, unless ``validate`` is off, and return the number of structures.

        Raises:
            InvalidInput: names the argument, the structure and the atom.
        """
        if self.validate:
            size = check_inputs(z, pos, batch, cell, charge, self.max_z, num_graphs)
        elif num_graphs is not None:
            size = num_graphs
        else:
            size = 1 if batch is None else (int(batch.max()) + 1 if batch.numel() else 0)
        if stress and cell is None:
            raise InvalidInput("stress: asked for, but no `cell` was given. A molecule has no volume.")
        if stress and cell is not None and self.validate:
            check_volume(cell)
        return size

    def _edges(
        self,
        pos: Tensor,
        batch: Tensor,
        edge_index: Tensor | None,
        shift: Tensor | None,
        pairs: HalfPairs | None,
        cell: Tensor | None,
        pbc: Tensor | None,
    ) -> tuple[EdgeList, Tensor | None]:
        """Return the edges and the cell shift of the second atom of each pair."""
        nodes = pos.shape[0]
        if edge_index is not None:
            edges = EdgeList.from_edge_index(edge_index, nodes, loops=True)
            return edges, None if shift is None else -shift
        if pairs is None:
            pairs = half_pairs(pos.detach(), self.cutoff, batch, cell, pbc)
        return EdgeList(pairs.i, pairs.j, nodes), pairs.shift

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    def _energies(self, z: Tensor, energy: Tensor, batch: Tensor, size: int) -> dict[str, Tensor]:
        atomic = energy.double() * self.scale + self.atomic_reference[z]
        total = atomic.new_zeros(size).index_add(0, batch, atomic) + self.shift
        return {"energy": total, "atomic_energy": atomic}

    def _derivatives(
        self,
        energy: Tensor,
        bonds: Bonds,
        batch: Tensor,
        cell: Tensor | None,
        size: int,
        forces: bool,
        stress: bool,
        create_graph: bool,
    ) -> dict[str, Tensor]:
        vec, edges, retain = bonds.vec, bonds.edges, create_graph or bonds.track_parameters
        if energy.requires_grad and vec.numel():
            with skip_parameter_gradients():
                (pull,) = torch.autograd.grad(
                    energy.sum(), vec, create_graph=create_graph, retain_graph=retain
                )
        else:
            pull = torch.zeros_like(vec)
        pull = pull * self.scale.to(pull.dtype)
        out: dict[str, Tensor] = {}
        if forces:
            zero = pull.new_zeros(energy.shape[0], 3)
            out["forces"] = zero.index_add(0, edges.i, pull).index_add(0, edges.j, -pull)
        if stress and cell is not None:
            virial = 0.5 * (vec[:, :, None] * pull[:, None, :] + pull[:, :, None] * vec[:, None, :])
            volume = torch.linalg.det(cell.to(pull.dtype)).abs()
            total = pull.new_zeros(size, 3, 3).index_add(0, batch[edges.i], virial)
            out["stress"] = total / volume[:, None, None]
        return out

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again, as JSON-able values."""
        raise NotImplementedError
