"""Training, validation and test sets for the training of potentials."""

from __future__ import annotations

from collections.abc import Callable

import torch

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.train.batching import Batch, Packer
from geomlib.train.packed_data import PackedData

__all__ = ["StructuresModule", "drop_large_forces"]


def drop_large_forces(structures: Structures, max_force: float) -> Structures:
    """Return the structures in which no force is longer than `max_force` (eV/Å).

    Raises:
        InvalidInput: there are no forces, or nothing is left.

    Example:
        >>> forces = [[0, 0, 1.0], [9.0, 0, 0]]
        >>> data = Structures(z=[1, 1], pos=torch.zeros(2, 3), ptr=[0, 1, 2], forces=forces)
        >>> len(drop_large_forces(data, 5.0))
        1
    """
    if structures.forces is None:
        raise InvalidInput("max_force is set, but the data has no forces.")
    bad = structures.forces.norm(dim=1) > max_force
    keep = torch.ones(len(structures), dtype=torch.bool)
    keep[structures.batch[bad]] = False
    if not bool(keep.any()):
        raise InvalidInput(f"max_force = {max_force} eV/Å leaves no structure of {len(structures)}.")
    return structures[keep]


class StructuresModule(PackedData):
    """Serves batches of packed structures.

    Args:
        train: training set.
        val: validation set.
        cutoff: of the neighbour pairs, Å.
        batch_size: structures per step and process.
        eval_batch_size: structures per validation step.
        seed: of the order of the training set.
        dtype: of force labels.
        pad_to: applied to every batch.
    """

    def __init__(
        self,
        train: Structures,
        val: Structures | None,
        cutoff: float,
        *,
        batch_size: int = 8,
        eval_batch_size: int = 64,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        pad_to: Callable[[Batch], Batch] | None = None,
    ) -> None:
        packers = {"train": Packer(train, cutoff, dtype=dtype)}
        if val is not None and len(val):
            packers["val"] = Packer(val, cutoff, dtype=dtype)
        super().__init__(
            packers, batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed, pad_to=pad_to
        )
