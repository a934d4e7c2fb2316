"""``geomlib verify``: the table of everything registered, or one object of the user's."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.verify.report import Report

__all__ = ["main"]

#: Exit codes: all promises hold, one does not, the command is wrong, nothing was tested.
OK, FAILED, USAGE, NOTHING = 0, 1, 2, 3
_SCOPES = ("node", "edge", "graph", "cell")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomlib verify",
        description="Prove that layers and models have the symmetry they declare.",
        epilog="Exit codes: 0 all hold, 1 a promise is broken, 2 wrong usage, 3 nothing was tested.",
    )
    parser.add_argument("target", nargs="?", help="FILE.py:OBJECT, a module instance, class or function")
    parser.add_argument("--all", action="store_true", help="test every registered layer and model")
    parser.add_argument("--group", help="for example 'E(3)*S_n'; by default what the object declares")
    parser.add_argument(
        "--in", dest="inputs", action="append", default=[], metavar="[NAME:]TYPE",
        help="type of an argument, for example pos:node:point; without a name, of the only positional one",
    )  # fmt: skip
    parser.add_argument(
        "--out", dest="outputs", action="append", default=[], metavar="[NAME:]TYPE", help="type of an output"
    )
    parser.add_argument("--trials", type=int, default=24, help="random group elements (default 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument(
        "--gradients", action=argparse.BooleanOptionalAction, default=True, help="test the gradients too"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the report of FILE.py:OBJECT as JSON"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return OK if stop.code in (0, None) else USAGE
    if arguments.all == (arguments.target is not None):
        parser.print_usage(sys.stderr)
        print("geomlib verify: give either --all or FILE.py:OBJECT.", file=sys.stderr)
        return USAGE
    try:
        return _all(arguments) if arguments.all else _one(arguments)
    except InvalidInput as error:
        print(f"geomlib verify: {error}", file=sys.stderr)
        return USAGE


def _all(arguments: argparse.Namespace) -> int:
    from geomlib.verify.checking import check
    from geomlib.verify.walk import subjects

    rows: list[tuple[str, ...]] = [("name", "group", "fields", "e64", "ratio to round-off", "verdict")]
    failed: list[Report] = []
    for subject in subjects():
        module, _, declared = subject.build(arguments.seed)
        report = check(module, trials=arguments.trials, seed=arguments.seed, gradients=arguments.gradients)
        fields = str(len(report.fields))
        rows.append(
            (subject.name, declared.group, fields, f"{report.e64:.1e}", f"{report.ratio:.2g}", report.verdict)
        )
        if not report.ok:
            failed.append(report)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for report in failed:
        print(f"\n{report}")
    if len(rows) == 1:
        print("geomlib verify: no layer or model is registered.", file=sys.stderr)
        return NOTHING
    return FAILED if failed else OK


def _one(arguments: argparse.Namespace) -> int:
    from geomlib.verify.checking import check

    target = _load(arguments.target)
    inputs, outputs = _types(arguments.inputs, "0"), _types(arguments.outputs, "out")
    report = check(
        target,
        arguments.group,
        inputs or None,
        (outputs["out"] if set(outputs) == {"out"} else outputs) or None,
        trials=arguments.trials,
        seed=arguments.seed,
        gradients=arguments.gradients,
    )
    print(report)
    if arguments.json is not None:
        arguments.json.write_text(report.to_json() + "\n")
    if not report.fields:
        return NOTHING
    return OK if report.ok else FAILED


def _types(entries: Sequence[str], unnamed: str) -> dict[str, str]:
    """Return types by name; ``node:vector`` has a scope but no name."""
    found: dict[str, str] = {}
    for entry in entries:
        name, colon, rest = entry.partition(":")
        named = colon and name not in _SCOPES
        found[name if named else unnamed] = rest if named else entry
    return found


def _load(text: str) -> Any:
    """Return the object named ``FILE.py:OBJECT``, an instance where it is a class."""
    path, colon, name = text.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InvalidInput(f"target {text!r}: expected FILE.py:OBJECT, for example mylayers.py:MyLayer.")
    file = Path(path)
    if not file.is_file():
        raise InvalidInput(f"target {text!r}: no file {path!r} in {Path.cwd()}.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"target {text!r}: {path!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    found = getattr(module, name, None)
    if found is None:
        public = [n for n in vars(module) if not n.startswith("_")]
        raise InvalidInput(f"target {text!r}: {path} has no {name!r}. It defines {', '.join(public)}.")
    return _instance(found)


def _instance(found: Any) -> Any:
    if not isinstance(found, type):
        return found
    example = getattr(found, "example", None)
    if callable(example):
        import torch

        made: Any = example(torch.Generator().manual_seed(0))
        return made[0]
    try:
        return found()
    except TypeError as error:
        raise InvalidInput(
            f"{found.__name__} needs arguments ({error}). Name an instance, or give it an `example`."
        ) from None
