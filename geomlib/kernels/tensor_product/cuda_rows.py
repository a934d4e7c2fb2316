"""Edges grouped by node where the tensors are, without asking the card anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.cuda.interpret import Lists
from geomlib.kernels.tensor_product.plan import Rows

__all__ = ["DeviceRows"]


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """Which rows meet, as tensors: by receiving node, and by node read.

    Args:
        by_target: ``other`` is the row of features that an edge reads.
        by_source: ``other`` is the row that it adds to.
        num_in: rows of features.
        num_out: rows of the output.
    """

    by_target: Lists
    by_source: Lists
    num_in: int
    num_out: int

    @staticmethod
    def pairwise(rows: int, device: torch.device) -> DeviceRows:
        """Return row b with row b."""
        start = torch.arange(rows + 1, device=device)
        each = start[:-1]
        lists = Lists(start, each, each)
        return DeviceRows(lists, lists, rows, rows)

    @staticmethod
    def edges(
        sender: Tensor, receiver: Tensor, num_in: int, num_out: int, *, checked: bool = False
    ) -> DeviceRows:
        """Return the edges of a graph, in any order; ``checked`` promises that all are in range: then nothing waits.

        Raises:
            InvalidInput: an index out of range.
        """
        for name, index, count in (("sender", sender, num_in), ("receiver", receiver, num_out)):
            if not checked and index.numel() and not bool(((index >= 0) & (index < count)).all()):
                raise InvalidInput(
                    f"{name}: node {int(index.min())}..{int(index.max())} found, but there are {count} nodes."
                )
        by_target = _grouped(receiver.long(), sender.long(), num_out)
        by_source = _grouped(sender.long(), receiver.long(), num_in)
        return DeviceRows(by_target, by_source, num_in, num_out)

    @staticmethod
    def of(rows: Rows, num_in: int, device: torch.device) -> DeviceRows:
        """Move what was grouped on a CPU."""

        def lists(*arrays: np.ndarray) -> Lists:
            start, other, edge = (torch.from_numpy(a).to(device) for a in arrays)
            return Lists(start, other, edge)

        by_target = lists(rows.start, rows.a_row, rows.e_row)
        return DeviceRows(by_target, lists(rows.start_t, rows.n_row_t, rows.e_row_t), num_in, rows.num_out)

    @property
    def target(self) -> Tensor:
        """The output row of every edge, in the order of ``by_target``."""
        start = self.by_target.start
        places = torch.arange(self.by_target.edge.shape[0], device=start.device)
        return torch.searchsorted(start, places, right=True) - 1


def _grouped(owner: Tensor, other: Tensor, count: int) -> Lists:
    sorted_owner, order = owner.sort(stable=True)
    start = torch.searchsorted(sorted_owner, torch.arange(count + 1, device=owner.device))
    return Lists(start, other[order], order)
