"""Copies of a callable in another precision: modules, methods, partials, and functions that close over modules."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false
from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput

__all__ = ["Converted", "in_float32", "in_float64"]


class Converted:
    """A callable in which every module and every float32 constant has been exchanged.

    Args:
        function: what to copy; it is left as it is.
        module: gives the new module for an old one.
        tensor: gives the new tensor for a constant that the function closes over.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        module: Callable[[nn.Module], nn.Module],
        tensor: Callable[[Tensor], Tensor] = lambda x: x,
    ):
        self._module, self._tensor = module, tensor
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []
        #: Modules found, by the name under which the function knows them; ``""`` is the function itself.
        self.modules: dict[str, nn.Module] = {}
        #: Constant tensors found outside modules, by name.
        self.constants: dict[str, Tensor] = {}
        self.function: Callable[..., Any] = self._convert(function, "")

    def _convert(self, value: Any, name: str, depth: int = 0) -> Any:
        if id(value) not in self._made:
            self._kept.append(value)
            self._made[id(value)] = self._new(value, name, depth)
        return self._made[id(value)]

    def _new(self, value: Any, name: str, depth: int) -> Any:
        if isinstance(value, nn.Module):
            self.modules[name] = self._module(value)
            return self.modules[name]
        if isinstance(value, Tensor):
            changed = self._tensor(value) if value.is_floating_point() else value
            self.constants[name] = changed
            return changed
        if depth > 3:
            return value
        if isinstance(value, types.MethodType):
            owner = self._convert(value.__self__, name, depth + 1)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if isinstance(value, functools.partial):
            arguments = [self._convert(x, f"{name}[{i}]", depth + 1) for i, x in enumerate(value.args)]
            named = {k: self._convert(x, k, depth + 1) for k, x in value.keywords.items()}
            return functools.partial(self._convert(value.func, name, depth + 1), *arguments, **named)
        if isinstance(value, types.FunctionType):
            return self._function(value, depth)
        if depth <= 1 and callable(value) and hasattr(value, "__dict__") and not isinstance(value, type):
            return self._object(value, depth)
        return value

    def _function(self, function: types.FunctionType, depth: int) -> Any:
        code, changed = function.__code__, False
        cells: list[types.CellType] = []
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                old = cell.cell_contents
            except ValueError:  # not assigned yet: a function that refers to itself
                cells.append(cell)
                continue
            new = old if old is function else self._convert(old, name, depth + 1)
            changed |= new is not old
            cells.append(cell if new is old else types.CellType(new))
        names = {n: function.__globals__[n] for n in code.co_names if n in function.__globals__}
        found = {n: v for n, v in names.items() if _is_held(v) or _local(v, function)}
        replaced = {n: self._convert(v, n, depth + 1) for n, v in found.items() if v is not function}
        replaced = {n: v for n, v in replaced.items() if v is not names[n]}
        defaults = tuple(
            self._convert(v, n, depth + 1) if _is_held(v) else v
            for n, v in zip(
                code.co_varnames[: code.co_argcount][::-1], (function.__defaults__ or ())[::-1], strict=False
            )
        )[::-1]
        changed |= any(a is not b for a, b in zip(defaults, function.__defaults__ or (), strict=True))
        if not changed and not replaced:
            return function
        made = types.FunctionType(
            code, {**function.__globals__, **replaced}, function.__name__, defaults or None, tuple(cells)
        )
        made.__kwdefaults__ = function.__kwdefaults__
        return made

    def _object(self, value: Any, depth: int) -> Any:
        held = {n: v for n, v in vars(value).items() if _is_held(v)}
        replaced = {n: self._convert(v, n, depth + 1) for n, v in held.items()}
        if all(replaced[n] is v for n, v in held.items()):
            return value
        made = copy.copy(value)
        vars(made).update(replaced)
        return made


def _is_held(value: Any) -> bool:
    """Return whether a value is what gets exchanged."""
    return isinstance(value, (nn.Module, Tensor))


def _local(value: Any, function: types.FunctionType) -> bool:
    """Return whether a global of a function is another function of the same file, which may use modules too."""
    return isinstance(value, types.FunctionType) and value.__module__ == function.__module__


def in_float64(function: Callable[..., Any]) -> Converted:
    """Return a float64 copy; parameters become numbers that float32 can hold, buffers are left to the module."""

    def module(old: nn.Module) -> nn.Module:
        try:
            wide = copy.deepcopy(old).double().eval()
        except RuntimeError as error:
            raise InvalidInput(
                f"verify: {type(old).__name__} cannot be copied ({str(error).splitlines()[0]}). Clear tensors that "
                "it keeps from an earlier call, or pass a fresh instance."
            ) from None
        with torch.no_grad():
            for parameter in wide.parameters():
                if parameter.is_floating_point():
                    parameter.copy_(parameter.float().double())
        return wide

    return Converted(function, module, lambda x: x.detach().double() if x.dtype == torch.float32 else x)


def in_float32(wide: Converted) -> Converted:
    """Return a float32 copy of a float64 copy: the same parameters, tables made anew by the module."""
    return Converted(
        wide.function,
        lambda m: copy.deepcopy(m).float().eval(),
        lambda x: x.float() if x.dtype == torch.float64 else x,
    )
