"""Bars of the ratios of a benchmark."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geomlib.bench.results import Row
from geomlib.errors import MissingDependency

__all__ = ["draw"]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a picture: one panel per group and pass, how many times longer every other library takes.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency(
            "bench: --plot needs matplotlib (pip install 'geomlib-torch[plots]')."
        ) from error
    groups = list(dict.fromkeys(row.group for row in rows))
    tasks = list(dict.fromkeys(row.task for row in rows))
    rivals = list(dict.fromkeys(n for row in rows for n in row.times_slower if n != "geomlib"))
    figure = Figure(figsize=(4.2 * len(tasks), 2.8 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), len(tasks), squeeze=False)
    for i, group in enumerate(groups):
        for j, task in enumerate(tasks):
            panel = panels[i][j]
            chosen = [r for r in rows if r.group == group and r.task == task]
            for k, name in enumerate(rivals):
                at = [
                    x + (k + 0.5) / (len(rivals) + 1) for x, r in enumerate(chosen) if name in r.times_slower
                ]
                height = [r.times_slower[name] for r in chosen if name in r.times_slower]
                panel.bar(at, height, width=0.9 / (len(rivals) + 1), label=name)
            panel.axhline(1.0, color="black", linewidth=0.8)
            panel.set_xticks(
                [x + 0.4 for x in range(len(chosen))], [r.case for r in chosen], rotation=25, fontsize=7
            )
            panel.set_yscale("log")
            panel.set_title(f"{group}, {task}", fontsize=9)
    panels[0][0].set_ylabel("time / geomlib's")
    panels[0][-1].legend(fontsize=7)
    figure.savefig(path, dpi=150)
