"""`geomlib train`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `geomlib train` with the given arguments; return the exit status."""
    from geomlib.train.parser import parse_train

    if not argv:
        argv = ["--help"]
    parsed = parse_train(argv)
    from geomlib.train.interrupt import TrainingInterrupted
    from geomlib.train.restart import is_main
    from geomlib.train.run import train

    try:
        train(parsed)
    except TrainingInterrupted as stop:
        if is_main():
            print(f"\n{stop}", file=sys.stderr)
        return 130
    return 0
