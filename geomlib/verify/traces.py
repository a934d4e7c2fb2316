"""What every submodule was given and what it returned, in the order of the calls."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.verify.values import leaves

__all__ = ["Seen", "Trace", "traced"]


@dataclass(frozen=True)
class Seen:
    """One tensor at the door of a submodule.

    Args:
        label: ``layers.0``, ``layers.0.mix#2 [1]``; inputs end in ``<- x``.
        module: dotted path of the module to blame if this tensor is the first to be wrong: the module that returned
            it, or the one that passed it on.
        kind: class of that module.
        value: a copy, detached.
        sources: positions in the trace of the inputs of the call that returned it; empty for an input.
        entering: whether it is an input.
    """

    label: str
    module: str
    kind: str
    value: Tensor
    sources: tuple[int, ...] = ()
    entering: bool = False


@dataclass
class Trace:
    """Tensors seen during the calls made since `clear`."""

    seen: list[Seen] = field(default_factory=list[Seen])
    _callers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _counts: dict[str, int] = field(default_factory=dict[str, int])
    # The tensors themselves are kept, so that the address of one is not given to another.
    _known: dict[int, tuple[int, Tensor, int]] = field(default_factory=dict[int, tuple[int, Tensor, int]])

    def clear(self) -> None:
        """Forget everything."""
        self.seen, self._callers, self._counts, self._known = [], [], {}, {}

    def call(self, path: str, kind: str, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with its inputs and outputs noted."""
        name = path if method == "forward" else f"{path}.{method}".lstrip(".")

        @functools.wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            label = name if count == 1 else f"{name}#{count}"
            given = {**{str(i): a for i, a in enumerate(args)}, **kwargs}
            caller = self._callers[-1] if self._callers else (path, kind)
            sources = [
                self._note(x, f"{label} <- {argument}", caller, (), entering=True)
                for argument, x in leaves(given).items()
            ]
            self._callers.append((path, kind))
            try:
                result = function(*args, **kwargs)
            finally:
                self._callers.pop()
            found = {"": result} if isinstance(result, Tensor) else leaves({"": result})
            known = tuple(s for s in sources if s is not None)
            for place, x in found.items():
                self._note(x, f"{label} [{place.lstrip('.')}]" if place else label, (path, kind), known)
            return result

        return noted

    def _note(
        self,
        x: Tensor,
        label: str,
        owner: tuple[str, str],
        sources: tuple[int, ...],
        *,
        entering: bool = False,
    ) -> int | None:
        if not (x.is_floating_point() or x.is_complex()) or not x.numel():
            return None
        before = self._known.get(id(x))
        if before is not None and before[1] is x and before[2] == _version(x) and entering:
            return before[0]
        value = x.detach().clone()
        value = torch.view_as_real(value) if value.is_complex() else value
        self.seen.append(Seen(label, *owner, value.double(), sources, entering))
        self._known[id(x)] = (len(self.seen) - 1, x, _version(x))
        return len(self.seen) - 1


def _version(x: Tensor) -> int:
    return -1 if x.is_inference() else x._version


def _methods(module: nn.Module) -> list[str]:
    """Return ``forward`` and the public methods that the author of the module wrote: they may be called instead."""
    if isinstance(module, torch.jit.ScriptModule):
        return []
    inherited = set(dir(nn.Module)) - {"forward"}
    own = [
        c for c in type(module).__mro__ if issubclass(c, nn.Module) and not c.__module__.startswith("torch.")
    ]
    names = {
        name
        for c in own
        for name, value in vars(c).items()
        if isinstance(value, FunctionType) and not name.startswith("_") and name not in inherited
    }
    return ["forward", *sorted(names - {"forward"})]


@contextmanager
def traced(modules: Mapping[str, nn.Module]) -> Generator[Trace]:
    """Watch every submodule inside the block; their behaviour is unchanged.

    The ``forward`` of the root, ``""``, is left to the caller: `Trace.call` notes what goes in and comes out.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    >>> with traced({"": net}) as trace:
    ...     _ = trace.call("", "net", "forward", net)(torch.ones(4, 2))
    >>> [s.label for s in trace.seen]
    [' <- 0', '0', '1', '']
    """
    trace, changed = Trace(), list[tuple[nn.Module, str]]()
    try:
        for prefix, root in modules.items():
            for path, module in root.named_modules(prefix=prefix):
                for method in _methods(module):
                    if method in module.__dict__ or (not path and method == "forward"):
                        continue
                    module.__dict__[method] = trace.call(
                        path, type(module).__name__, method, getattr(module, method)
                    )
                    changed.append((module, method))
        yield trace
    finally:
        for module, method in changed:
            module.__dict__.pop(method, None)
