"""An epoch of batches that can be continued from any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["EpochLoader", "Packs"]


class Packs(Protocol):
    """A set that can be cut into batches."""

    @property
    def block(self) -> int:
        """Samples that are worth being gathered at once."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batches(
        self, index: Tensor, batch_size: int, *, device: torch.device | str | None = None
    ) -> list[Any]:
        """Return the samples `index`, in that order, cut into batches."""
        ...


class EpochLoader:
    """Iterates over a set in batches; the order of epoch e depends on the seed and e alone.

    The position inside the epoch is part of :meth:`state_dict`, so a run continues with the very batch it
    would have seen next. With several processes each takes every `world`-th sample of the common order; in
    training the order is repeated a little so that all take the same number of steps.

    Args:
        packer: the data.
        batch_size: samples per batch and process.
        shuffle: draw a new order for each epoch.
        seed: of the orders.
        rank: this process.
        world: number of processes.
        device: where the batches go.
        pad_to: applied to every batch, for example to pad it to one of few sizes.

    Example:
        >>> from geomlib.datasets import Structures
        >>> from geomlib.train.batching import Packer
        >>> data = Structures(z=[1, 2, 3], pos=torch.zeros(3, 3), ptr=[0, 1, 2, 3])
        >>> [b.z.tolist() for b in EpochLoader(Packer(data, 3.0), batch_size=2)]
        [[1, 2], [3]]
    """

    def __init__(
        self,
        packer: Packs,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str | None = None,
        pad_to: Callable[[Any], Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InvalidInput(f"batch_size = {batch_size}, expected at least 1.")
        self.packer, self.batch_size, self.shuffle, self.seed = packer, int(batch_size), shuffle, int(seed)
        self.rank, self.world, self.device, self.pad_to = rank, world, device, pad_to
        self.epoch, self._position, self._start = 0, 0, 0
        self._block = max(1, packer.block // self.batch_size)
        self._kept: list[Any] | None = None

    batch_sampler = None  # the loop looks for it beside `sampler`

    @property
    def sampler(self) -> EpochLoader:
        """Itself: the training loop calls ``sampler.set_epoch`` before every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration runs."""
        self.epoch = int(epoch)

    def order(self, epoch: int) -> Tensor:
        """Return the samples of an epoch for this process, in order, (n,) int64."""
        n = len(self.packer)
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % (1 << 63))
            index = torch.randperm(n, generator=generator)
        else:
            index = torch.arange(n)
        if self.shuffle and n % self.world:
            index = torch.cat([index, index[: self.world - n % self.world]])
        return index[self.rank :: self.world]

    def __len__(self) -> int:
        n, extra = divmod(len(self.packer), self.world)
        mine = n + (extra > 0 if self.shuffle else self.rank < extra)
        return -(-mine // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        start, self._start = self._start, 0
        self._position = start
        for batch in self._batches(start):
            self._position += 1
            yield batch

    def _batches(self, start: int) -> Iterator[Any]:
        if self._kept is not None:
            yield from self._kept[start:]
            return
        index = self.order(self.epoch)[start * self.batch_size :]
        kept = []
        for part in index.split(self._block * self.batch_size):
            made = self.packer.batches(part, self.batch_size, device=self.device)
            made = made if self.pad_to is None else [self.pad_to(b) for b in made]
            yield from made
            kept += made
        if not self.shuffle and start == 0 and len(index) <= self._block * self.batch_size:
            self._kept = kept  # the same every time, and small

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and the number of batches it has yielded."""
        return {"epoch": self.epoch, "position": self._position, **self._identity()}

    def _identity(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "seed": self.seed, "length": len(self), "world": self.world}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            InvalidInput: the data, batch size, seed or number of processes differ.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InvalidInput(
                    f"resume: {name} was {state.get(name)} when the run was interrupted, now it is {value}. "
                    "An epoch can only be continued with the same data, batch size, seed and devices."
                )
        self.epoch = int(state["epoch"])
        self._start = int(state["position"])
