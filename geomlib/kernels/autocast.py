"""Full precision inside autocast: products and norms of low precision would be neither exact nor equivariant."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["full_precision", "no_autocast"]

P = ParamSpec("P")
R = TypeVar("R")
_HALF = (torch.float16, torch.bfloat16)


def no_autocast(device: str) -> Any:
    """Return a context in which operators on this type of device keep the types of their inputs."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def full_precision(forward: Callable[P, R]) -> Callable[P, R]:
    """Decorate a layer's ``forward``: inside autocast it runs in the type of its weights.

    Half-precision inputs, which the layers before it leave under autocast, are cast up; outside autocast nothing changes.

    >>> class Double(nn.Module):
    ...     @full_precision
    ...     def forward(self, x):
    ...         return x @ x
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     Double()(torch.ones(2, 2)).dtype, (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    (torch.float32, torch.bfloat16)
    """

    @functools.wraps(forward)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((v.device.type for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), "cpu")
        if not torch.is_autocast_enabled(device):
            return forward(*args, **kwargs)
        layer: Any = args[0]
        weight = next(layer.parameters(), None) if isinstance(layer, nn.Module) else None
        dtype = torch.float32 if weight is None else weight.dtype
        with torch.autocast(device, enabled=False):
            raised = [_raised(v, dtype) for v in args]
            named = {k: _raised(v, dtype) for k, v in kwargs.items()}
            return forward(*raised, **named)  # type: ignore[arg-type]

    # torch.compile keeps few versions of a code object: every layer has one of its own.
    inner.__code__ = inner.__code__.replace(co_name=forward.__name__)  # type: ignore[attr-defined]
    return inner


def _raised(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype in _HALF else value
