"""Notes every operator and compiled loop that a function runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
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

    Intermediates are freed as in a plain call: of their memory only a weak reference is kept, which stops its name (the
    address of the storage object) from being given to another.

    Attributes:
        steps: the calls, in order.
        checks: functions to be run after a replay, with what they look at.
        nbytes: size of every storage.
        storages: the storages that must outlive the recording: those from outside, and constants.
        made: storages that a recorded step allocated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.checks: list[tuple[Callable[[Tensor], None], Slot]] = []
        self.nbytes: list[int] = []
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.made: set[int] = set()
        self._number: dict[int, int] = {}
        self._weak: list[StorageWeakRef] = []
        self._constant: set[int] = set()

    def __enter__(self) -> Tape:
        recording.start(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        recording.stop()

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
        fresh = len(self.nbytes)
        out = func(*args, **kwargs)
        results = tuple(self._slot(t) if isinstance(t, Tensor) else None for t in leaves(out))
        produced = {r.storage for r in results if r is not None}
        into = [noted[0][k] for k in written_positions if k < len(args)]
        into += [noted[1][n] for n in written_names if n in kwargs]
        written = {s.storage for s in leaves(into) if isinstance(s, Slot)}
        if not written and all(s < fresh for s in produced):
            return out  # a view
        reads = frozenset(s.storage for s in inputs)
        new = {s for s in produced if s >= fresh}
        self.made |= new
        self._keep(new, constant=name not in _EMPTY and not written and reads <= self._constant)
        self._release(written)
        if name not in _EMPTY:
            step = Step(func, *noted, None if written else results, reads, frozenset(written or produced))
            self.steps.append(step)
        return out

    def _keep(self, new: set[int], *, constant: bool) -> None:
        if constant:
            self._constant |= new
        else:
            for number in new:
                del self.storages[number]

    def _release(self, written: set[int]) -> None:
        """What is written to after it was made is no constant."""
        for number in written & self._constant:
            del self.storages[number]
        self._constant -= written

    def kernel(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Note the call of a compiled loop, which may read and write every array."""
        noted = tuple(self._array(a) if isinstance(a, np.ndarray) else a for a in args)
        touched = frozenset(a.storage for a in noted if isinstance(a, Slot))
        self._release(set(touched))
        self.steps.append(Step(function, noted, {}, None, touched, touched))

    def check(self, function: Callable[[Tensor], None], value: Tensor) -> None:
        """Note a check of a value."""
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
            number = self._number[storage._cdata] = len(self.nbytes)
            self.nbytes.append(storage.nbytes())
            self.storages[number] = storage
            self._weak.append(StorageWeakRef(storage))
        return Slot(number, t.dtype, tuple(t.shape), t.stride(), int(t.storage_offset()))

    def _array(self, array: np.ndarray) -> Any:
        """Return the slot of an array that is a view of a tensor; others are tables and stay as they are."""
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if not isinstance(owner, Tensor):
            return array
        size = array.itemsize
        offset = (array.__array_interface__["data"][0] - owner.data_ptr()) // size if array.size else 0
        base = self._slot(owner)
        stride = tuple(s // size for s in array.strides)
        return Slot(base.storage, owner.dtype, array.shape, stride, base.offset + offset, array=True)


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
