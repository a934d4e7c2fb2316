"""What the autograd functions of this package share: the axis of vmap in front, forward-mode rules except in compiled code."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["fronted", "total", "variant"]


def fronted(info: Any, in_dims: Sequence[int | None], args: Sequence[Any]) -> list[Any]:
    """Return the arguments with the axis of vmap in front of every tensor; those without one get it by expansion.

    >>> from types import SimpleNamespace
    >>> fronted(SimpleNamespace(batch_size=3), (1, None), (torch.ones(2, 3), 5.0))[0].shape
    torch.Size([3, 2])
    """

    def moved(x: Any, dim: int | None) -> Any:
        if not isinstance(x, Tensor):
            return x
        return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

    return [moved(x, d) for x, d in zip(args, in_dims, strict=True)]


def total(parts: Sequence[Tensor]) -> Tensor | None:
    """Return the sum of tensors, None of none: a tangent that is absent.

    >>> total([torch.ones(1), torch.ones(1)]).tolist(), total([])
    ([2.0], None)
    """
    if not parts:
        return None
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


def variant(plain: type[Function], with_jvp: type[Function]) -> Callable[..., Any]:
    """Return ``apply`` of the function to use: torch.compile takes none with a forward-mode rule.

    >>> variant(Function, Function) == Function.apply
    True
    """
    return plain.apply if torch.compiler.is_compiling() else with_jvp.apply
