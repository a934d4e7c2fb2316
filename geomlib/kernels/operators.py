"""What operators of ``torch.library`` that are written in Python have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["autograd_inside", "leaves", "placed"]


@contextlib.contextmanager
def autograd_inside() -> Iterator[None]:
    """Make autograd work inside an operator, from where it is shut out."""
    key = torch._C.DispatchKey
    off = torch._C._dispatch_tls_local_exclude_set()
    for functionality in (key.AutogradFunctionality, key.ADInplaceOrView):
        off = off - torch._C.DispatchKeySet(functionality)
    with (
        torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), off),
        torch.enable_grad(),
    ):
        yield


def leaves(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the tensors as beginnings of a graph of their own."""
    return tuple(t.detach().requires_grad_() for t in tensors)


def placed(found: Sequence[Tensor | None], like: Tensor) -> tuple[Tensor, ...]:
    """Return tensors of their own memory, as an operator has to; an empty one where nothing was asked for."""
    return tuple(like.new_empty(0) if t is None else t.contiguous() for t in found)
