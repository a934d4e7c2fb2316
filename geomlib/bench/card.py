"""Times on a CUDA card."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["PASSES", "by_autograd", "copy_speed", "file_name", "milliseconds"]

PASSES = ("forward", "backward", "double backward")


def milliseconds(run: Callable[[], Any], repeats: int, calls: int = 10) -> float:
    """Return the median time of a call on the card."""
    for _ in range(3):
        run()
    found: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) / calls)
    return statistics.median(found)


def copy_speed() -> float:
    """Return the card's copy bandwidth in TB/s, bytes read and written."""
    source = torch.empty(1 << 30, device="cuda")
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / milliseconds(lambda: target.copy_(source), 5) / 1e9


def file_name(stem: str, card: str) -> str:
    """Return where results of a card go.

    >>> file_name("products_cuda", "NVIDIA H200")
    'products_cuda_nvidia_h200.json'
    """
    return f"{stem}_{re.sub(r'[^a-z0-9]+', '_', card.lower()).strip('_')}.json"


def by_autograd(product: Callable[..., Tensor], leaves: list[Tensor]) -> dict[str, Callable[[], Any]]:
    """Return the three passes of a function of tensors."""
    out = product(*leaves)
    g = torch.randn_like(out).requires_grad_()
    first = torch.autograd.grad(out, leaves, g, create_graph=True)
    tangents = [torch.randn_like(t) for t in leaves]
    return {
        "forward": lambda: product(*(t.detach() for t in leaves)),
        "backward": lambda: torch.autograd.grad(out, leaves, g.detach(), retain_graph=True),
        "double backward": lambda: torch.autograd.grad(first, [g, *leaves], tangents, retain_graph=True),
    }
