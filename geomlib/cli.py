"""The command `geomlib`: a table of subcommands, each imported when it is called."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from typing import Any

from geomlib._version import __version__
from geomlib.errors import GeomlibError

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("geomlib.train.command", "train a model: geomlib train tensornet --data ethanol"),
    "evaluate": ("geomlib.train.evaluation", "errors of a trained model on a data set"),
    "bench": ("geomlib.bench.command", "time our operations beside those of other libraries"),
    "md": ("geomlib.interop.md_command", "molecular dynamics with a trained model"),
    "verify": ("geomlib.verify.command", "prove the symmetry of layers and models"),
    "data": ("geomlib.datasets.command", "make data sets, and say what a file holds"),
    "list": ("geomlib.listing", "models, layers and data sets"),
    "doctor": ("geomlib.doctor", "versions, backends, and what may be wrong here"),
}
"""Name, module with ``main(argv) -> int``, and one line of help."""


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"usage: geomlib COMMAND [options]    (version {__version__})", ""]
    lines += [f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "geomlib COMMAND --help explains one. --debug shows the whole traceback of an error."]
    return "\n".join(lines)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning without the line of code it came from."""
    print(f"{category.__name__}: {message}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; return its exit status.

    0: done, 1: a check failed, 2: wrong input (one message, no traceback), 130: interrupted.

    Example:
        >>> main(["--version"])
        geomlib 0.1.0
        0
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        print(f"geomlib {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        near = difflib.get_close_matches(argv[0], COMMANDS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        print(f"geomlib: unknown command {argv[0]!r}.{hint} Known: {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    except GeomlibError as error:
        if debug:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `geomlib list | head`: the reader has what it wanted.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
