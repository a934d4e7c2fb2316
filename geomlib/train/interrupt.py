"""Ctrl-C, SIGTERM and SLURM's warning (SIGUSR1) as a request, answered at the end of a step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from geomlib.errors import GeomlibError

__all__ = ["StopRequest", "TrainingDiverged", "TrainingInterrupted", "stop_on_signals"]


class TrainingInterrupted(GeomlibError):
    """The run was asked to stop; its checkpoint is written."""


class TrainingDiverged(GeomlibError):
    """The loss is not finite any more."""


# Lightning would answer SIGUSR1 in the middle of a step, with a file of its own that it prefers ever after.
SIGNALS = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, n))


class StopRequest:
    """Remembers the first signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def listen(self) -> None:
        """Take the signals (again), if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a request inside the block; a second Ctrl-C interrupts at once.

    A step cut in the middle could not be continued exactly, so the run looks at the request between steps.
    """
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    request.listen()
    try:
        yield request
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous.items():
                signal.signal(number, handler)
