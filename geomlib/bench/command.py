"""The command `geomlib bench`."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from geomlib.bench.cases import TASKS
from geomlib.bench.results import Row, machine, measure, table
from geomlib.bench.suites import GROUPS, cases
from geomlib.errors import InvalidInput
from geomlib.files import write_atomic

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomlib bench",
        description="Our operations beside those of other installed libraries, in one process, called in turn.",
        epilog="Figures are CPU times. Others' columns say how many times longer they take than geomlib. "
        "Peers: pip install e3nn cuequivariance-torch sphericart-torch",
    )
    add = parser.add_argument
    add("suite", choices=("products",), help="products: tensor products, convolutions, harmonics")
    add("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="kinds of operations (default all)")
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="passes (default all)")
    add("--rows", type=int, default=1000, help="edges or vectors (default 1000)")
    add("--rounds", type=int, default=11, help="samples of each, in turn (default 11)")
    add("--threads", type=int, default=1, help="threads of torch (default 1)")
    add("--out", type=Path, metavar="FILE.json", help="write the rows, the machine and the versions")
    add("--plot", type=Path, metavar="FILE.png", help="write a bar chart")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write what was asked for; return 0."""
    options = _parser().parse_args(argv)
    for name in ("rows", "rounds", "threads"):
        if getattr(options, name) < 1:
            raise InvalidInput(f"--{name}: got {getattr(options, name)}, expected at least 1.")
    for path in (options.out, options.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInput(f"{path}: the folder {path.parent} does not exist. Make it first.")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(options.threads)
        rows = _measured(options)
        about = machine("geomlib bench products")
    finally:
        torch.set_num_threads(threads)
    versions = ", ".join(f"{n} {v}" for n, v in about["versions"].items())
    print(f"\n{about['machine']}, {about['threads']} thread(s), load {about['load']}; {versions}")
    if options.out is not None:
        text = json.dumps({"about": about, "rows": [row.as_dict() for row in rows]}, indent=1)
        write_atomic(options.out, [text.encode(), b"\n"])
    if options.plot is not None:
        from geomlib.bench.plot import draw

        draw(rows, options.plot)
    return 0


def _measured(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers: deprecated TorchScript, missing GPU kernels
        for group in options.groups:
            found = [
                row
                for case in cases(group, options.rows)
                for row in measure(case, options.rounds, options.tasks)
            ]
            print(table(found) + "\n", flush=True)
            rows += found
    return rows
