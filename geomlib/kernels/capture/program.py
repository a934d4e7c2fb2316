"""Turn a tape into calls on fixed memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from geomlib.kernels.capture.memory import arrange
from geomlib.kernels.capture.tape import Slot, Step, Tape, leaves, replaced

__all__ = ["Program", "capture"]


def capture(function: Callable[[], Any]) -> Program:
    """Run ``function`` once and return a program that repeats it.

    The function reads tensors that it closes over (inputs whose values the caller replaces in place, parameters) and
    returns a structure of tensors. Its operations, shapes and Python branches must not depend on values. Gradients
    taken inside (``torch.autograd.grad``) are part of the recording; nothing outside can differentiate the result.
    Values read through ``numpy()`` or ``tolist()`` go unnoticed and stay as they were while recording.

    Raises:
        CaptureError: a value is read, random numbers are drawn, or a tensor is not on the CPU.

    >>> x = torch.ones(3)
    >>> program = capture(lambda: (2 * x).sum())
    >>> _ = x.fill_(5.0)
    >>> program()
    tensor(30.)
    """
    with Tape() as tape:
        outputs = function()
    return Program(tape, outputs)


class Program:
    """A recorded computation; calling it repeats the operations and returns the same output tensors, overwritten.

    Attributes:
        outputs: what the function returned, as tensors that every call overwrites; undefined before the first.
        num_calls: operators and compiled loops per replay.
        arena_bytes: memory of all intermediates.
    """

    def __init__(self, tape: Tape, outputs: Any) -> None:
        result = tape.slots(outputs)
        pinned = {s.storage for s in _slots(result)} | {s.storage for _, s in tape.checks}
        live, constant = _needed(tape, pinned)
        last = len(live)
        spans: dict[int, tuple[int, int, int]] = {}
        for k, step in enumerate(live):
            for s in (step.reads | step.writes) & tape.made - constant:
                size, first, _ = spans.get(s, (tape.nbytes[s], k, k))
                spans[s] = size, first, last if s in pinned else k
        offsets, self.arena_bytes = arrange(spans)
        arena = torch.empty(self.arena_bytes, dtype=torch.uint8).untyped_storage()
        memory = {s: (arena, offset) for s, offset in offsets.items()}
        # Memory from outside the recording, and constants, stay where they are.
        for s, storage in tape.storages.items():
            memory.setdefault(s, (storage, 0))
        bind = functools.partial(_bind, memory, {})
        self._calls = [_call(step, bind) for step in live]
        self._checks = [partial(function, bind(slot)) for function, slot in tape.checks]
        self.outputs = replaced(Slot, bind, result)
        self.num_calls = len(self._calls)

    def __call__(self) -> Any:
        """Replay, make the deferred checks, return :attr:`outputs`."""
        with torch.no_grad():
            for call in self._calls:
                call()
        for check in self._checks:
            check()
        return self.outputs


def _slots(tree: Any) -> list[Slot]:
    return [s for s in leaves(tree) if isinstance(s, Slot)]


def _needed(tape: Tape, pinned: set[int]) -> tuple[list[Step], set[int]]:
    """Return the steps to replay and the storages whose values never change."""
    constant = tape.made & tape.storages.keys()
    changing = [step for step in tape.steps if step.results is None or not step.writes <= constant]
    needed, live = set(pinned), []
    for step in reversed(changing):
        if step.writes & needed or step.writes - tape.made:
            needed |= step.reads | step.writes
            live.append(step)
    return live[::-1], constant


def _bind(memory: dict[int, tuple[torch.UntypedStorage, int]], made: dict[Slot, Any], slot: Slot) -> Any:
    """Return the tensor or array at a slot, one object for equal slots."""
    if slot not in made:
        storage, offset = memory[slot.storage]
        start = offset // torch.empty((), dtype=slot.dtype).element_size() + slot.offset
        tensor = torch.empty(0, dtype=slot.dtype).set_(storage, start, slot.size, slot.stride)
        made[slot] = tensor.numpy() if slot.array else tensor
    return made[slot]


def _call(step: Step, bind: Callable[[Slot], Any]) -> Callable[[], Any]:
    args = replaced(Slot, bind, list(step.args))
    kwargs = replaced(Slot, bind, step.kwargs)
    if step.results is None:
        return partial(getattr(step.function, "_op", step.function), *args, **kwargs)
    results = [None if r is None else bind(r) for r in step.results]
    name, target = step.function._schema.name, results[0]
    if name in _FILLS and target is not None:
        return partial(target.fill_, _FILLS[name])
    if name in _COPIES and target is not None:
        return partial(target.copy_, args[0])
    variant = _out_variant(step.function)
    if variant is not None and None not in step.results:
        overload, names = variant
        return partial(overload._op, *args, **kwargs, **dict(zip(names, results, strict=True)))
    return partial(_copying, step.function, args, kwargs, results)


_FILLS = {
    **dict.fromkeys(("aten::zeros", "aten::zeros_like", "aten::new_zeros"), 0.0),
    **dict.fromkeys(("aten::ones", "aten::ones_like", "aten::new_ones"), 1.0),
}
_COPIES = {"aten::clone", "aten::_to_copy"}


def _copying(function: Callable[..., Any], args: Any, kwargs: Any, results: list[Tensor | None]) -> None:
    found = function(*args, **kwargs)
    for target, value in zip(results, leaves(found), strict=True):
        if target is not None:
            target.copy_(value)


@functools.cache
def _out_variant(function: Any) -> tuple[Any, tuple[str, ...]] | None:
    """Return the overload that writes into given tensors, and the names of these arguments."""
    wanted = [(a.name, str(a.type)) for a in function._schema.arguments]
    returns = len(function._schema.returns)
    packet = function.overloadpacket
    for name in packet.overloads():
        overload = getattr(packet, name)
        arguments = overload._schema.arguments
        outs = tuple(a.name for a in arguments if a.is_out)
        if len(outs) == returns and [(a.name, str(a.type)) for a in arguments if not a.is_out] == wanted:
            return overload, outs
    return None
