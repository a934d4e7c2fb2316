"""Notes every operator and compiled loop that a function runs."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from geomlib.errors import GeomlibError
from geomlib.kernels import recording

__all__ = ["CaptureError", "Slot", "Step", "Tape", "leaves", "replaced"]

#: Operators that leave new memory as it is.
_EMPTY = {
    "aten::empty",
    "aten::empty_like",
    "aten::new_empty",
    "aten::empty_strided",
    "aten::new_empty_strided",
}
_READS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal"}
_BY_INDEX = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


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
        name, refusal, written_positions, written_names = _traits(func)
        if refusal and not (
            name in _BY_INDEX and all(t.dtype != torch.bool for t in args[1] if t is not None)
        ):
            raise CaptureError(refusal)
        inputs: list[Slot] = []

        def slot(t: Tensor) -> Slot:
            inputs.append(self._slot(t))
            return inputs[-1]

        noted = replaced(Tensor, slot, args), {k: replaced(Tensor, slot, v) for k, v in kwargs.items()}
        fresh = len(self.storages)
        out = func(*args, **kwargs)
        self._kept += [args, kwargs, out]
        results = tuple(self._slot(t) if isinstance(t, Tensor) else None for t in leaves(out))
        produced = {r.storage for r in results if r is not None}
        into = [noted[0][k] for k in written_positions if k < len(args)] + [
            noted[1][n] for n in written_names if n in kwargs
        ]
        written = {s.storage for s in leaves(into) if isinstance(s, Slot)}
        if not written and all(s < fresh for s in produced):
            return out  # a view
        self.made |= {s for s in produced if s >= fresh}
        if name not in _EMPTY:
            reads = frozenset(s.storage for s in inputs)
            step = Step(func, *noted, None if written else results, reads, frozenset(written or produced))
            self._calls.append(step)
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
        return replaced(Tensor, self._slot, tensors)

    def _slot(self, t: Tensor) -> Slot:
        if t.device.type != "cpu" or t.layout is not torch.strided:
            raise CaptureError(f"only dense CPU tensors can be replayed, got {t.layout} on {t.device}.")
        storage = t.untyped_storage()
        number = self._number.get(storage._cdata)
        if number is None:
            number = self._number[storage._cdata] = len(self.storages)
            self.storages.append(storage)
        return Slot(number, t.dtype, tuple(t.shape), t.stride(), int(t.storage_offset()))

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


def replaced(kind: type, function: Callable[[Any], Any], tree: Any) -> Any:
    """Return a structure of tuples, lists and dicts with ``function`` applied to its leaves of a type."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (tuple, list)):
        parts = [replaced(kind, function, t) for t in tree]
        return tuple(parts) if isinstance(tree, tuple) else parts
    if isinstance(tree, dict):
        return {k: replaced(kind, function, v) for k, v in tree.items()}
    return tree


def leaves(tree: Any) -> list[Any]:
    """Return the leaves of a structure of tuples, lists and dicts.

    >>> leaves({"a": 1, "b": (2, [3])})
    [1, 2, 3]
    """
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (tuple, list)):
        return [leaf for t in tree for leaf in leaves(t)]
    return [tree]


@functools.cache
def _traits(func: Any) -> tuple[str, str, tuple[int, ...], tuple[str, ...]]:
    """Return the name, why it cannot be recorded (or ""), and the arguments written to, by position and by name."""
    schema = func._schema
    short, refusal = schema.name.removeprefix("aten::"), ""
    if schema.name in _READS or torch.Tag.dynamic_output_shape in func.tags or schema.name in _BY_INDEX:
        refusal = f"{short}: the computation reads a value, so what it does next is not fixed."
    elif torch.Tag.nondeterministic_seeded in func.tags:
        refusal = f"{short}: a replay cannot draw new random numbers."
    written = [
        (k, a) for k, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write
    ]
    positions = tuple(k for k, a in written if not a.kwarg_only)
    return schema.name, refusal, positions, tuple(a.name for _, a in written)
