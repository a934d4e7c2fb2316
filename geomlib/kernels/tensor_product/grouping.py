"""Edges grouped by node once per graph, however many layers and epochs read them."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomlib.kernels.tensor_product.plan import Rows

__all__ = ["edge_rows"]

#: Graphs kept; each is forgotten when its edge_index is.
_KEPT = 8


@dataclass(frozen=True, eq=False)
class _Known:
    owner: weakref.ref[Tensor]
    copy: Tensor
    rows: Rows


_known: OrderedDict[Hashable, _Known] = OrderedDict()
_lock = threading.Lock()


def edge_rows(edge_index: Tensor, num_in: int, num_out: int, *, shared_weights: bool) -> Rows:
    """Return edges, checked and grouped by receiver and by sender, from memory if this tensor was seen with these values.

    The values are compared, which costs a hundredth of the sorting: a version counter would miss changes through numpy.

    Args:
        edge_index: (2, E) with sources in row 0, on the CPU.
        num_in: number of sources.
        num_out: number of receivers.
        shared_weights: whether all edges have one row of weights.

    Raises:
        InvalidInput: an index out of range.
    """
    key = (id(edge_index), num_in, num_out, shared_weights)
    with _lock:
        found = _known.get(key)
    if found is not None and found.owner() is edge_index and _same(found.copy, edge_index):
        return found.rows
    source, target = edge_index.long()
    rows = Rows.edges(source, target, num_in, num_out, shared_weights=shared_weights)
    with _lock:
        _known[key] = _Known(
            weakref.ref(edge_index, lambda _: _forget(key)), edge_index.detach().clone(), rows
        )
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return rows


def _same(copy: Tensor, now: Tensor) -> bool:
    return copy.shape == now.shape and copy.dtype == now.dtype and torch.equal(copy, now)


def _forget(key: Any) -> None:
    _known.pop(key, None)
