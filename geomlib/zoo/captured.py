"""Potentials evaluated by replaying a recording."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput
from geomlib.kernels.capture import Replay
from geomlib.kernels.edges import EdgeList
from geomlib.kernels.neighbors import HalfPairs, half_pairs
from geomlib.zoo.inputs import check_edges
from geomlib.zoo.padding import Padding
from geomlib.zoo.potential import Potential

__all__ = ["CapturedPotential", "captured_inputs", "evaluate_captured"]


class CapturedPotential(nn.Module):
    """A potential for inference whose operations are recorded once per size and then replayed.

    Called like the model, with the same results up to the rounding of sums; small systems run up to twice as fast,
    because Python and autograd are left out. Sizes are padded (:func:`~geomlib.kernels.capture.round_up`), so
    molecular dynamics or batches of mixed sizes need few recordings, each the price of a few calls. Where gradients
    of the results are asked for (``pos`` requires grad), with ``edge_index``, or on another device, the model itself is
    called.

    Args:
        model: a :class:`~geomlib.zoo.potential.Potential` on the CPU; its weights may change, in place.
        max_atoms: larger batches go to the model itself, which needs less memory while it records nothing.
        limit: number of recordings kept.

    Raises:
        InvalidInput: the model is not a Potential, or not on the CPU.

    >>> from geomlib import create_model
    >>> model = CapturedPotential(create_model("tensornet", channels=8, layers=1))
    >>> out = model(torch.tensor([8, 1]), torch.tensor([[0.0, 0, 0], [0, 0, 0.97]]))
    >>> sorted(out), out["forces"].shape
    (['atomic_energy', 'energy', 'forces'], torch.Size([2, 3]))
    """

    def __init__(self, model: Potential, *, max_atoms: int = 4096, limit: int = 32) -> None:
        super().__init__()
        if not isinstance(model, Potential):
            raise InvalidInput(
                f"CapturedPotential: expected a Potential such as TensorNet, got {type(model).__name__}."
            )
        if next(model.parameters()).device.type != "cpu":
            raise InvalidInput("CapturedPotential: the model must be on the CPU; a GPU has its own graphs.")
        self.model, self.max_atoms = model, max_atoms
        self.replay = Replay(self._evaluate, self._state, limit=limit)

    @property
    def cutoff(self) -> float:
        """Cutoff of the model, Å."""
        return self.model.cutoff

    @property
    def heads(self) -> tuple[str, ...]:
        """What the model returns besides energies and forces."""
        return tuple(getattr(self.model, "heads", ()))

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
        """Return what the model returns, without a graph; see :meth:`Potential.forward`.

        Raises:
            InvalidInput: as the model does.
        """
        differentiable = torch.is_grad_enabled() and isinstance(pos, Tensor) and pos.requires_grad
        small = isinstance(z, Tensor) and z.device.type == "cpu" and 0 < z.numel() <= self.max_atoms
        if differentiable or edge_index is not None or not small:
            with torch.set_grad_enabled(differentiable):
                return self.model(
                    z, pos, batch, edge_index=edge_index, shift=shift, pairs=pairs, cell=cell, pbc=pbc, charge=charge,
                    num_graphs=num_graphs, forces=forces, stress=stress,
                )  # fmt: skip
        size = self.model.checked_size(
            z, pos, batch, cell=cell, charge=charge, num_graphs=num_graphs, stress=stress
        )
        owners = torch.zeros_like(z) if batch is None else batch
        if cell is not None and cell.dim() == 2:
            cell = cell.expand(size, 3, 3)
        if pairs is None:
            pairs = half_pairs(pos.detach(), self.cutoff, batch, cell, pbc)
        elif self.model.validate:
            check_edges(EdgeList(pairs.i, pairs.j, pos.shape[0]), pairs.shift, batch, cell)
        inputs = captured_inputs(self.model, z, pos.detach(), owners, pairs, cell, charge, size)
        out = self.replay(inputs, key=(size, forces, stress, self.model.training))
        atoms = pos.shape[0]
        per_atom = ("atomic_energy", "forces")
        return {name: value[: atoms if name in per_atom else size].clone() for name, value in out.items()}

    def _state(self) -> Any:
        return itertools.chain(self.model.parameters(), self.model.buffers())

    def _evaluate(self, inputs: dict[str, Tensor], key: Any) -> dict[str, Tensor]:
        size, forces, stress, _ = key
        with torch.no_grad():
            return evaluate_captured(self.model, inputs, size + 1, forces=forces, stress=stress)


def captured_inputs(
    model: Potential,
    z: Tensor,
    pos: Tensor,
    batch: Tensor,
    pairs: HalfPairs,
    cell: Tensor | None,
    charge: Tensor | None,
    num_graphs: int,
) -> dict[str, Tensor]:
    """Return a padded batch, with one dummy structure at its end, as the tensors a recording reads."""
    pad = Padding(model.cutoff, z.shape[0], pairs.i.shape[0], num_graphs)
    more = pad.neighbors(pairs)
    species = pad.species(z)
    inputs = {"z": species, "pos": pad.positions(pos), "batch": pad.owners(batch)}
    inputs |= EdgeList(more.i, more.j, species.shape[0]).arrays(model.dtype)
    if cell is not None:
        inputs |= {"cell": pad.cells(cell), "offset": more.shift}
    if charge is not None:
        inputs["charge"] = pad.per_graph(charge, 0.0)
    return inputs


def evaluate_captured(
    model: Potential, inputs: dict[str, Tensor], num_graphs: int, *, forces: bool, stress: bool
) -> dict[str, Tensor]:
    """Evaluate a model on what :func:`captured_inputs` returned."""
    edges = EdgeList.from_arrays(inputs, inputs["z"].shape[0])
    return model.compute(
        inputs["z"], inputs["pos"], inputs["batch"], edges, inputs.get("offset"), cell=inputs.get("cell"),
        charge=inputs.get("charge"), num_graphs=num_graphs, forces=forces, stress=stress,
    )  # fmt: skip
