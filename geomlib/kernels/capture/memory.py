"""Place buffers of known lifetime into one arena."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["arrange"]

_ALIGN = 64


def arrange(lifetimes: Mapping[int, tuple[int, int, int]]) -> tuple[dict[int, int], int]:
    """Return byte offsets of buffers that may share memory when their lifetimes do not meet, and the total size.

    The largest buffer is placed first, each at the lowest offset that is free while it lives (greedy by size, as
    inference engines do).

    Args:
        lifetimes: ``{buffer: (bytes, first step, last step)}``.

    >>> arrange({0: (64, 0, 1), 1: (64, 1, 2), 2: (64, 2, 3)})
    ({0: 0, 1: 64, 2: 0}, 128)
    """
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    offsets: dict[int, int] = {}
    total = 0
    for name, (size, first, last) in sorted(lifetimes.items(), key=lambda kv: (-kv[1][0], kv[1][1])):
        size = -(-size // _ALIGN) * _ALIGN
        offset = 0
        for start, end, a, b in placed:  # sorted by offset
            if first <= b and a <= last and start < offset + size:
                offset = max(offset, end)
        offsets[name] = offset
        placed.append((offset, offset + size, first, last))
        placed.sort()
        total = max(total, offset + size)
    return offsets, total
