"""Notes every operator and compiled loop that a function runs."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from geomlib.errors import GeomlibError
from geomlib.kernels import recording

__all__ = ["CaptureError", "Slot", "Step", "Tape"]

#: Operators that leave new memory as it is.
_EMPTY = {"aten::empty", "aten::empty_like", "aten::new_empty", "aten::empty_strided", "aten::new_empty_strided"}
_READS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal", "aten::nonzero"}


class CaptureError(GeomlibError, RuntimeError):
    """A computation cannot be replayed: what it does depends on values, or it draws random numbers."""


@dataclass(frozen=True)
class Slot:
    """A tensor, or an array, as a view of some memory: storage number, offset, shape and strides in elements."""

    storage: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    array: bool = False


@dataclass(frozen=True)
class Step:
    """One call: ``results`` receive fresh memory, None for a call that writes into its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Slot | None, ...] | None
    reads: frozenset[int]
    writes: frozenset[int]


class Tape(TorchDispatchMode):
    """Records operators as a dispatch mode and compiled loops through :mod:`geomlib.kernels.recording`.

    Every tensor seen is kept alive until the recording ends, so that an address names one tensor only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.checks: list[tuple[Callable[[Tensor], None], Slot]] = []
        self.storages: list[torch.UntypedStorage] = []
        self.made: set[int] = set()  # storages allocated by a recorded step
        self._number: dict[int, int] = {}
        self._kept: list[Any] = []
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]] | Step] = []

    def __enter__(self) -> Tape:
        recording.start(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        recording.stop()
        if error[0] is None:
            self._resolve()

    # -- what is heard

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in _READS:
            raise CaptureError(
                f"{name.removeprefix('aten::')}: the computation reads a value, so what it does next is not fixed."
            )
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise CaptureError(f"{name.removeprefix('aten::')}: a replay cannot draw new random numbers.")
        inputs = [self._slot(t) for t in _tensors((args, kwargs))]
        out = func(*args, **kwargs)
        self._kept += [args, kwargs, out]
        written = {
            self._slot(t).storage
            for spec, value in _arguments(func, args, kwargs)
            if spec.alias_info is not None and spec.alias_info.is_write
            for t in _tensors(value)
        }
        fresh = len(self.storages)
        results = tuple(self._slot(t) if isinstance(t, Tensor) else None for t in tree_flatten(out)[0])
        produced = {r.storage for r in results if r is not None}
        if not written and all(s < fresh for s in produced):
            return out  # a view
        self.made |= {s for s in produced if s >= fresh}
        if name in _EMPTY:
            return out
        self._calls.append(
            Step(
                func,
                tuple(tree_map_only(Tensor, self._slot, list(args))),
                tree_map_only(Tensor, self._slot, kwargs),
                None if written else results,
                frozenset(s.storage for s in inputs),
                frozenset(written or produced),
            )
        )
        return out

    def kernel(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Note the call of a compiled loop, whose arrays are matched to tensors when the recording ends."""
        self._kept.append(args)
        self._calls.append((function, args))

    def check(self, function: Callable[[Tensor], None], value: Tensor) -> None:
        """Note a check of a value."""
        self._kept.append(value)
        self.checks.append((function, self._slot(value)))

    def slots(self, tensors: Any) -> Any:
        """Return a structure of tensors as one of slots."""
        return tree_map_only(Tensor, self._slot, tensors)

    def _slot(self, t: Tensor) -> Slot:
        if t.device.type != "cpu" or t.layout is not torch.strided:
            raise CaptureError(f"only dense CPU tensors can be replayed, got {t.layout} on {t.device}.")
        storage = t.untyped_storage()
        number = self._number.get(storage._cdata)
        if number is None:
            number = self._number[storage._cdata] = len(self.storages)
            self.storages.append(storage)
        return Slot(number, t.dtype, tuple(t.shape), t.stride(), t.storage_offset())

    # -- arrays are views of the memory of tensors

    def _resolve(self) -> None:
        where = sorted((s.data_ptr(), n) for n, s in enumerate(self.storages) if s.nbytes())
        starts = [a for a, _ in where]

        def slot(array: np.ndarray) -> Any:
            address = array.__array_interface__["data"][0]
            k = bisect.bisect_right(starts, address) - 1
            if k < 0 or not array.size:
                return array
            storage = where[k][1]
            if address >= starts[k] + self.storages[storage].nbytes():
                return array  # not torch's: a table, or an edge list
            size = array.itemsize
            stride = tuple(s // size for s in array.strides)
            dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
            return Slot(storage, dtype, array.shape, stride, (address - starts[k]) // size, array=True)

        for call in self._calls:
            if isinstance(call, Step):
                self.steps.append(call)
                continue
            args = tuple(slot(a) if isinstance(a, np.ndarray) else a for a in call[1])
            touched = frozenset(a.storage for a in args if isinstance(a, Slot))
            self.steps.append(Step(call[0], args, {}, None, touched, touched))
        self._calls.clear()


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in tree_flatten(tree)[0] if isinstance(t, Tensor)]


def _arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Pair the schema's arguments with the values given."""
    specs = func._schema.arguments
    named = [(spec, kwargs[spec.name]) for spec in specs if spec.name in kwargs]
    return [*zip(specs, args, strict=False), *named]
