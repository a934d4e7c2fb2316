"""Packed sets as a Lightning data module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from geomlib.train._lightning import pl
from geomlib.train.loader import EpochLoader, Packs

__all__ = ["PackedData"]


class PackedData(pl.LightningDataModule):
    """Serves batches of packed sets.

    Args:
        packers: "train" and, if there is one, "val".
        batch_size: samples per step and process.
        eval_batch_size: samples per validation step.
        seed: of the order of the training set.
        pad_to: applied to every batch.
    """

    def __init__(
        self,
        packers: Mapping[str, Packs],
        *,
        batch_size: int = 8,
        eval_batch_size: int = 64,
        seed: int = 0,
        pad_to: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.packers = dict(packers)
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

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch as it is: the loader has put it on the device."""
        return batch
