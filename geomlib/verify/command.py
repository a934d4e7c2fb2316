"""``geomlib verify``: the table of everything registered, or one object of the user's."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomlib.errors import InvalidInput
from geomlib.verify.naming import load, spelled, types_of

if TYPE_CHECKING:
    from geomlib.verify.report import Report
    from geomlib.verify.walk import Subject

__all__ = ["main"]

#: Exit codes: all promises hold, one does not, the command or the user's file is wrong, nothing was tested.
OK, FAILED, USAGE, NOTHING = 0, 1, 2, 3
_TRIALS = 24
_HEAD = ("name", "group", "fields", "e64", "ratio to round-off", "CPU time", "verdict")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomlib verify",
        description="Prove that layers and models have the symmetry they declare.",
        epilog="Exit codes: 0 all hold, 1 a promise is broken, 2 wrong usage or a file that fails, 3 nothing was tested.",
    )
    add = parser.add_argument
    add("target", nargs="?", help="FILE.py:OBJECT, a module instance, class or function")
    add("--all", action="store_true", help="test every registered layer and model")
    add("--group", help="for example 'E(3)*S_n' or E3xSn; by default what the object declares")
    add(
        "--in", dest="inputs", action="append", default=[], metavar="[NAME:]TYPE",
        help="type of an argument, for example pos:node:point; without names, of the positional ones in order",
    )  # fmt: skip
    add(
        "--out", dest="outputs", action="append", default=[], metavar="[NAME:]TYPE",
        help="type of an output; several without names for a tuple",
    )  # fmt: skip
    add("--trials", type=int, default=_TRIALS, help=f"random group elements (default {_TRIALS})")
    add("--seed", type=int, default=0, help="seed of every random choice, weights included (default 0)")
    add("--trial", type=int, help="repeat this trial alone, from the replay line of a report")
    add("--gradients", action=argparse.BooleanOptionalAction, default=True, help="test the gradients too")
    add("--stress", action=argparse.BooleanOptionalAction, default=True, help="test special inputs too")
    add("--html", type=Path, metavar="FILE", help="write the report, or all of them, as one page")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON, or a list of all of them")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return OK if stop.code in (0, None) else USAGE
    try:
        _consistent(arguments, parser)
        return _all(arguments) if arguments.all else _one(arguments)
    except InvalidInput as error:
        print(f"geomlib verify: {error}", file=sys.stderr)
        return USAGE


def _consistent(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if arguments.all == (arguments.target is not None):
        parser.print_usage(sys.stderr)
        raise InvalidInput("give either --all or FILE.py:OBJECT.")
    lost = [o for o in ("group", "inputs", "outputs", "trial") if getattr(arguments, o) not in (None, [])]
    if arguments.all and lost:
        names = {"inputs": "in", "outputs": "out"}
        raise InvalidInput(
            f"--{names.get(lost[0], lost[0])} is for one object; --all takes what each one declares."
        )
    from geomlib.verify.serial import check_folder

    for option in ("html", "json"):
        if getattr(arguments, option) is not None:
            check_folder(getattr(arguments, option), f"--{option}")


def _all(arguments: argparse.Namespace) -> int:
    from geomlib.verify.serial import SCHEMA_VERSION, as_dict
    from geomlib.verify.text import aligned
    from geomlib.verify.walk import subjects

    rows: list[tuple[str, ...]] = [_HEAD]
    notes: list[str] = []
    reports: list[dict[str, Any]] = []
    for subject in subjects():
        _progress(subject.name)
        start = time.process_time()
        report, failure = _attempt(subject, arguments)
        seconds = time.process_time() - start
        rows.append(_row(subject.name, report, seconds))
        if report is not None:
            reports.append({**as_dict(report), "target": subject.name, "seconds": round(seconds, 3)})
        if report is None or not report.ok:
            notes.append(failure or str(report))
    _progress("")
    for cells in aligned(rows):
        print("  ".join(cells).rstrip())
    for note in notes:
        print(f"\n{note}")
    _write(arguments, reports, {"schema_version": SCHEMA_VERSION, "ok": not notes, "reports": reports})
    if len(rows) == 1:
        print("geomlib verify: no layer or model is registered.", file=sys.stderr)
        return NOTHING
    return FAILED if notes else OK


def _attempt(subject: Subject, arguments: argparse.Namespace) -> tuple[Report | None, str]:
    """Return the report, or nothing and the traceback: one broken layer must not hide the others."""
    from geomlib.verify.checking import check

    try:
        module, _, _ = subject.build(arguments.seed)
        return check(module, **_options(arguments)), ""
    except Exception:  # whatever a layer raises is a finding about that layer, and is printed
        return None, f"ERROR  {subject.name}\n{traceback.format_exc()}"


def _row(name: str, report: Report | None, seconds: float) -> tuple[str, ...]:
    took = f"{seconds:.1f} s"
    if report is None:
        return name, "", "", "", "", took, "ERROR"
    numbers = str(len(report.fields)), f"{report.e64:.1e}", f"{report.ratio:.2g}"
    return name, report.group, *numbers, took, report.verdict


def _progress(name: str) -> None:
    """Show on a terminal what is being tested."""
    if sys.stderr.isatty():
        print(f"\r\033[K{name}", end="", file=sys.stderr, flush=True)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("trials", "seed", "gradients", "stress")}


def _one(arguments: argparse.Namespace) -> int:
    from geomlib.verify.checking import check
    from geomlib.verify.serial import as_dict
    from geomlib.verify.state import preserved_state, reseed

    group = None if arguments.group is None else spelled(arguments.group)
    inputs, outputs = types_of(arguments.inputs, "0"), types_of(arguments.outputs, "out")

    def run() -> Report:
        with preserved_state():
            reseed(arguments.seed)  # the weights that the file draws are part of what is replayed
            target = load(arguments.target)
        options = _options(arguments) | ({} if arguments.trial is None else {"trial": arguments.trial})
        told = outputs["out"] if set(outputs) == {"out"} else _tuple(outputs)
        return check(target, group, inputs or None, told or None, **options)

    report = _guarded(run)
    if report is None:
        return USAGE
    report = _worded(report, arguments)
    print(report)
    _write(arguments, [as_dict(report)], as_dict(report))
    if not report.fields:
        return NOTHING
    return OK if report.ok else FAILED


def _tuple(outputs: dict[str, str]) -> Any:
    return tuple(outputs.values()) if all(name.isdigit() for name in outputs) else outputs


def _guarded(run: Callable[[], Report]) -> Report | None:
    """Return the report; what the user's code raises is shown whole, and is not taken for a broken symmetry."""
    try:
        return run()
    except InvalidInput:
        raise
    except Exception:
        traceback.print_exc()
        print(
            "geomlib verify: the file or the object in it raised the error above; nothing was judged.",
            file=sys.stderr,
        )
        return None


def _worded(report: Report, arguments: argparse.Namespace) -> Report:
    """Return the report with the replay line of this command."""
    from dataclasses import replace

    words = ["geomlib", "verify", arguments.target]
    if arguments.group is not None:
        words += ["--group", arguments.group]
    for option, entries in (("--in", arguments.inputs), ("--out", arguments.outputs)):
        words += [word for entry in entries for word in (option, entry)]
    words += ["--trials", str(arguments.trials)] if arguments.trials != _TRIALS else []
    words += [f"--no-{name}" for name in ("gradients", "stress") if not getattr(arguments, name)]
    words += ["--seed", str(report.seed)]
    number = getattr(report.replay, "trial", None)
    words += ["--trial", str(number)] if number is not None else []
    return replace(report, replay=report.replay.worded(shlex.join(words)))


def _write(arguments: argparse.Namespace, reports: list[dict[str, Any]], table: dict[str, Any]) -> None:
    from geomlib.verify.serial import to_text, write

    if arguments.json is not None:
        write(arguments.json, to_text(table), "--json")
    if arguments.html is not None:
        from geomlib.verify.html import page

        title = (
            "Equivariance of geomlib" if arguments.all else f"{reports[0]['target']}: {reports[0]['verdict']}"
        )
        write(arguments.html, page(reports, title), "--html")
