"""Training, validation and test sets as a Lightning data module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.train._lightning import pl
from geomlib.train.batching import Batch, Packer
from geomlib.train.loader import EpochLoader

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


class StructuresModule(pl.LightningDataModule):
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
        super().__init__()
        self.packers = {"train": Packer(train, cutoff, dtype=dtype)}
        if val is not None and len(val):
            self.packers["val"] = Packer(val, cutoff, dtype=dtype)
        self.batch_size, self.eval_batch_size, self.seed, self.pad_to = (
            batch_size,
            eval_batch_size,
            seed,
            pad_to,
        )

    def _loader(self, name: str, **options: Any) -> EpochLoader:
        place = {} if self.trainer is None else {
            "rank": self.trainer.global_rank,
            "world": self.trainer.world_size,
            "device": self.trainer.strategy.root_device,
        }  # fmt: skip
        return EpochLoader(self.packers[name], seed=self.seed, pad_to=self.pad_to, **options, **place)

    def train_dataloader(self) -> EpochLoader:
        """Return the shuffled training set."""
        return self._loader("train", batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        """Return the validation set."""
        return self._loader("val", batch_size=self.eval_batch_size) if "val" in self.packers else []

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch as it is: the loader has put it on the device."""
        return batch
