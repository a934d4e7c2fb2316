"""One row per case and pass, the machine they were measured on, and the table of both."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from geomlib.bench.cases import TASKS, Case, timed_functions
from geomlib.bench.timing import interleaved, ratios

__all__ = ["Row", "machine", "measure", "table"]

_PACKAGES = ("torch", "numba", "numpy", "e3nn", "cuequivariance-torch", "sphericart", "sphericart-torch")


def _nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Row:
    """Times of one pass of one case.

    Args:
        group: kind of operation.
        case: problem.
        task: forward, backward or double backward.
        microseconds: median CPU time per row (edge or vector) of every library.
        times_slower: how many times longer than geomlib each takes, median of rounds.
        absent: libraries that have no such pass, and why.
    """

    group: str
    case: str
    task: str
    microseconds: dict[str, float]
    times_slower: dict[str, float]
    absent: dict[str, str] = field(default_factory=dict[str, str])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure(case: Case, rounds: int, tasks: Sequence[str] = TASKS) -> list[Row]:
    """Check that the contenders agree, then time them in turn.

    Raises:
        Disagreement: they do not compute the same.
    """
    case.check()
    rows: list[Row] = []
    for task in tasks:
        functions, absent = {}, {}
        for name, function in case.contenders.items():
            try:
                timed = timed_functions(function, case.inputs, task)
                timed()
            except (RuntimeError, NotImplementedError) as error:
                if name == "geomlib":
                    raise
                absent[name] = str(error).splitlines()[0][:120]
            else:
                functions[name] = timed
        times = interleaved(functions, rounds)
        each = {n: round(1e6 * statistics.median(t) / case.rows, 4) for n, t in times.items()}
        slower = {n: round(r, 2) for n, r in ratios(times, "geomlib").items()}
        rows.append(Row(case.group, case.name, task, each, slower, absent))
    return rows


def machine(command: str, packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """Return what a figure needs beside it: processor, threads, load, versions, commit, command.

    Args:
        command: that gives the figure.
        packages: whose versions matter; those that are not installed are left out.
    """
    from geomlib.train.report import git_commit

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    versions: dict[str, str] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "machine": next(names, platform.processor()),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "versions": versions,
        "commit": git_commit(),
        "command": command,
    }


def table(rows: Iterable[Row]) -> str:
    """Return an aligned table: our time per row, and how many times longer the others take.

    >>> print(table([Row("product", "MACE", "forward", {"geomlib": 1.5, "e3nn": 30.0}, {"geomlib": 1.0, "e3nn": 20.0})]))
    product  pass     geomlib us/row   e3nn
    MACE     forward           1.500  20.0x
    """
    rows = list(rows)
    rivals = list(dict.fromkeys(n for row in rows for n in row.microseconds if n != "geomlib"))
    lines: list[list[str]] = []
    for group in dict.fromkeys(row.group for row in rows):
        lines.append([group, "pass", "geomlib us/row", *rivals])
        for row in (r for r in rows if r.group == group):
            slower = [f"{row.times_slower[n]:.1f}x" if n in row.times_slower else "-" for n in rivals]
            lines.append([row.case, row.task, f"{row.microseconds['geomlib']:.3f}", *slower])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))] if lines else []
    text = [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join(text)
