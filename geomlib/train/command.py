"""`geomlib train`."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `geomlib train` with the given arguments; return the exit status."""
    from geomlib.train.parser import parse_train

    if not argv:
        argv = ["--help"]
    parsed = parse_train(argv)
    from geomlib.train.interrupt import TrainingInterrupted
    from geomlib.train.run import train

    try:
        train(parsed)
    except TrainingInterrupted as stop:
        if not int(os.environ.get("LOCAL_RANK", 0)):
            print(f"\n{stop}", file=sys.stderr)
        return 130
    return 0
