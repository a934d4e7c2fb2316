"""Times of several functions called in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from geomlib.errors import InvalidInput

__all__ = ["interleaved", "keep_memory", "ratios"]

#: Shortest CPU time of one sample: below it the clock and the loop weigh.
_SAMPLE = 2e-3
_WARM = 3


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int = 11) -> dict[str, list[float]]:
    """Return CPU seconds of one call, a list per function: A B C A B C ...

    Every function is called three times first, and so often per sample that a sample takes two milliseconds.

    Args:
        functions: by name; all do the same work.
        rounds: samples of each.

    Raises:
        InvalidInput: fewer than one round.

    >>> times = interleaved({"a": lambda: sum(range(2000)), "b": lambda: sum(range(40000))}, rounds=3)
    >>> ratios(times, "a")["b"] > 5
    True
    """
    if rounds < 1:
        raise InvalidInput(f"bench: {rounds} rounds, expected at least 1.")
    calls = {name: _calls(function) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(calls[name]):
                function()
            times[name].append((time.process_time() - start) / calls[name])
    return times


def _calls(function: Callable[[], Any]) -> int:
    for _ in range(_WARM):
        function()
    start = time.process_time()
    function()
    once = max(time.process_time() - start, 1e-7)
    return max(1, round(_SAMPLE / once))


def ratios(times: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """Return how many times longer than ``base`` each takes: the median over the rounds of the ratio in one round."""
    return {
        name: statistics.median(t / b for t, b in zip(column, times[base], strict=True))
        for name, column in times.items()
    }


def keep_memory() -> None:
    """Let glibc neither return freed memory nor map large blocks one by one; elsewhere, do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest it takes
