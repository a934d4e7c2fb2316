"""Where a computation in float64 is silently narrower: casts while it runs, and tables that were built in float32."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from geomlib.verify.target import Target
from geomlib.verify.values import Leaves, Tree

__all__ = ["Leak", "Leaks", "built_in_float32", "find_leaks", "narrowed_at_the_end", "watched", "widened"]

#: Relative change of a table's entries, a few units of float32, that shows whether they matter.
_SHAKE = 8.0 * 2.0**-24
#: Growth of the error under that change which makes the table its cause.
_GROWTH = 2.0
_HERE = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class Leak:
    """One tensor in a narrower type.

    Args:
        module: path of the module that was running, ``""`` for the target itself.
        kind: class of that module.
        op: operation that made it, or that first used it.
        shape: of the tensor.
        dtype: of the tensor.
        line: file and line of the user's code.
        made: whether it was made in the run; otherwise it came from outside.
        cast: whether it was made of a wider tensor.
        storage: where its numbers are.
    """

    module: str
    kind: str
    op: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    line: str
    made: bool
    cast: bool
    storage: int

    def __str__(self) -> str:
        where = f"{self.module} ({self.kind})" if self.module else self.kind
        what = f"{str(self.dtype).removeprefix('torch.')} tensor of shape {self.shape}"
        verb = f"{self.op} makes a {what}" if self.made else f"a {what} from outside enters {self.op}"
        return f"{where}: {verb}" + (f", {self.line}" if self.line else "")


@dataclass(frozen=True)
class Leaks:
    """What was found, and whether it explains the error.

    Args:
        texts: one line per place.
        explain: whether the error goes away without the narrowing, or grows with it.
        casts: whether it is the casts of the run that explain it.
    """

    texts: tuple[str, ...] = ()
    explain: bool = False
    casts: bool = False


def _narrow(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.element_size() < 8 and x.dim() > 0


class _Running:
    """The module that is running now."""

    def __init__(self, modules: dict[str, nn.Module]):
        self.stack: list[tuple[str, str]] = []
        self.handles: list[Any] = []
        for root, module in modules.items():
            for path, inner in module.named_modules():
                name = ".".join(part for part in (root, path) if part)
                self._follow(name, inner)

    def _follow(self, name: str, module: nn.Module) -> None:
        def enter(*_: Any) -> None:
            self.stack.append((name, type(module).__name__))

        def leave(*_: Any) -> None:
            self.stack.pop()

        try:
            self.handles.append(module.register_forward_pre_hook(enter))
            self.handles.append(module.register_forward_hook(leave, always_call=True))
        except (
            RuntimeError
        ):  # scripted modules take no hooks: their operations count for the module around them
            return

    def stop(self) -> None:
        for handle in self.handles:
            handle.remove()

    @property
    def now(self) -> tuple[str, str]:
        return self.stack[-1] if self.stack else ("", "the target")


class _Watch(TorchDispatchMode):
    """Records every place where a narrower tensor is made from wider ones, or comes in."""

    def __init__(self, running: _Running):
        super().__init__()
        self.running, self.found, self.made = running, list[Leak](), set[int]()
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [
            x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor) and x.is_floating_point()
        ]
        inputs = [x for x in given if _narrow(x)]
        cast = any(x.dim() > 0 for x in given)
        outputs = [x for x in tree_flatten(out)[0] if _narrow(x)]
        for x in inputs:
            if x.untyped_storage().data_ptr() not in self.made:
                self._record(func, x, made=False, cast=False)
        for x in outputs:
            if not inputs:
                self._record(func, x, made=True, cast=cast)
            self.made.add(x.untyped_storage().data_ptr())
            self.kept.append(x)  # else its memory, and so its address, could be used again
        return out

    def _record(self, func: Any, x: Tensor, *, made: bool, cast: bool) -> None:
        module, kind = self.running.now
        self.made.add(x.untyped_storage().data_ptr())
        self.kept.append(x)
        name = str(func).removesuffix(".default")
        storage = x.untyped_storage().data_ptr()
        self.found.append(Leak(module, kind, name, tuple(x.shape), x.dtype, _line(), made, cast, storage))


def _line() -> str:
    """Return file and line of the innermost frame of the user's code; nothing in a backward pass."""
    for frame in reversed(traceback.extract_stack()[:-2]):
        if frame.filename == __file__:
            continue
        if not frame.filename.startswith((_HERE, _TORCH, "<")):
            return f"{Path(frame.filename).name}:{frame.lineno}"
        if frame.filename.startswith(_HERE):
            return ""
    return ""


class _Widen(TorchDispatchMode):
    """Ignores casts to narrower types."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        dtype = named.get("dtype")
        if isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize < 8:
            named["dtype"] = torch.float64
        return func(*args, **named)


class _Shake(TorchDispatchMode):
    """Changes the last digits of narrow tensors that come in from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.kept = set[int](), list[Tensor]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def change(x: Any) -> Any:
            return _shaken(x) if _narrow(x) and x.untyped_storage().data_ptr() not in self.made else x

        out = func(*tree_map(change, args), **(kwargs or {}))
        for x in tree_flatten(out)[0]:
            if _narrow(x):
                self.made.add(x.untyped_storage().data_ptr())
                self.kept.append(x)
        return out


def widened() -> TorchDispatchMode:
    """Return the context in which casts to narrower types do nothing."""
    return _Widen()


def watched(target: Target, tree: Tree, *, gradients: bool | None = None) -> tuple[list[Leak], Leaves]:
    """Return where a float64 evaluation becomes narrower, in the order in which it happens, and its outputs."""
    running = _Running(target.modules)
    watch = _Watch(running)
    try:
        with _watching(target, lambda: watch):
            out = target.wide(tree, gradients=gradients)
    finally:
        running.stop()
    return watch.found, out


@contextmanager
def _watching(target: Target, watch: Callable[[], TorchDispatchMode]) -> Generator[None, None, None]:
    old = target.watch
    target.watch = watch
    try:
        yield
    finally:
        target.watch = old


def narrowed_at_the_end(found: Sequence[Leak], outputs: Leaves) -> bool:
    """Return whether nothing but the outputs themselves is cast to a narrower type."""
    ends = {x.untyped_storage().data_ptr() for x in outputs.values() if _narrow(x)}
    return bool(ends) and all(leak.storage in ends for leak in found if leak.cast)


def _digits(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return which non-zero entries have no more digits than a type holds."""
    return (x.to(dtype).to(x.dtype) == x) | (x == 0)


def built_in_float32(target: Target) -> dict[str, Tensor]:
    """Return the float64 tables that were built in float32 and cast: every entry fits float32, some not bfloat16.

    Tables of short numbers (0.5, 3.0) fit everything; trainable weights are no tables.
    """
    tables: dict[str, Tensor] = {f"constant {n}": x for n, x in target.constants.items()}
    for root, module in target.modules.items():
        prefix = f"{root}." if root else ""
        tables |= {f"buffer {prefix}{n}": x for n, x in module.named_buffers()}
        tables |= {f"parameter {prefix}{n}": p for n, p in module.named_parameters() if not p.requires_grad}
    return {
        n: x
        for n, x in tables.items()
        if x.dtype == torch.float64
        and x.numel()
        and bool(_digits(x, torch.float32).all())
        and not bool(_digits(x, torch.bfloat16).all())
    }


def _shaken(x: Tensor) -> Tensor:
    """Return the tensor with its long entries changed by a few units of float32."""
    signs = torch.arange(x.numel(), device=x.device).reshape(x.shape) * 7919 % 13 - 6
    changed = x.double() * (1.0 + _SHAKE * signs.double() / 4.0)
    return torch.where(_digits(x, torch.bfloat16), x, changed.to(x.dtype))


def find_leaks(target: Target, tree: Tree, error: Callable[[], float], allowed: float) -> Leaks:
    """Return what is narrower in a float64 evaluation, and whether that explains an error.

    The proof is an experiment: without the casts the error must go, or with other last digits of a table it must grow.

    Args:
        target: the callable.
        tree: inputs at which it is wrong.
        error: measures the relative error again.
        allowed: error that an exact function may have.
    """
    found, _ = watched(target, tree)
    before = error()
    casts = [leak for leak in found if leak.made]
    without = _measured(target, error, _Widen) if casts else None
    explained = without is not None and without <= allowed
    texts = [str(leak) for leak in found]
    guilty = explained or (without is not None and without != without)
    if len(casts) < len(found):
        guilty |= _measured(target, error, _Shake) >= _GROWTH * before
    for name, table in built_in_float32(target).items():
        kept = table.detach().clone()
        with torch.no_grad():
            table.copy_(_shaken(table))
        try:
            matters = error() >= _GROWTH * before
        finally:
            with torch.no_grad():
                table.copy_(kept)
        if matters:
            texts.append(
                f"{name} of shape {tuple(table.shape)} was built in float32 and cast: make it in float64"
            )
            guilty = True
    return Leaks(tuple(dict.fromkeys(texts)), guilty, explained)


def _measured(target: Target, error: Callable[[], float], watch: Callable[[], TorchDispatchMode]) -> float:
    """Return the error in a context, NaN where the target does not run in it."""
    try:
        with _watching(target, watch):
            return error()
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ):  # an operation that insists on the narrow type: no experiment
        return float("nan")
