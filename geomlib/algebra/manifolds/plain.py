"""Whether a function may take a path written for eager reverse mode alone."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from torch.autograd import forward_ad

from geomlib.algebra.manifolds.checks import values_known

__all__ = ["plain_reverse"]


def plain_reverse() -> bool:
    """Return whether nothing but eager evaluation and reverse mode is going on: no trace, no transform, no forward mode.

    >>> plain_reverse()
    True
    >>> import torch
    >>> torch.func.vmap(lambda x: x * plain_reverse())(torch.ones(2)).tolist()
    [0.0, 0.0]
    """
    return values_known() and forward_ad._current_level < 0
