"""The place where a recorder announces itself, so that kernels and checks know that they are being recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

__all__ = ["Recorder", "active", "deferred", "start", "stop"]


class Recorder(Protocol):
    """What listens to kernel calls and to checks that read values."""

    def kernel(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Note the call of a compiled loop."""

    def check(self, function: Callable[[Tensor], None], value: Tensor) -> None:
        """Note a check to be made after every replay."""


_recorder: Recorder | None = None


def active() -> Recorder | None:
    """Return the recorder at work, if there is one."""
    return _recorder


def start(recorder: Recorder) -> None:
    """Send every kernel call to ``recorder``.

    Raises:
        RuntimeError: another recording is running.
    """
    global _recorder
    if _recorder is not None:
        raise RuntimeError("a recording is already running in this process; recordings do not nest")
    _recorder = recorder


def stop() -> None:
    """End the recording."""
    global _recorder
    _recorder = None


def deferred(check: Callable[[Tensor], None], value: Tensor) -> None:
    """Run a check that reads ``value``: now, or, while a recording runs, after every replay."""
    if _recorder is None:
        check(value)
    else:
        _recorder.check(check, value)
