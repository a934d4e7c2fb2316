"""A report as lines of text, aligned for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geomlib.verify.report import FieldResult, Report

__all__ = ["aligned", "counts", "generators", "group_name", "text_of"]

_GAP = "    "
#: Below this a Lie derivative is round-off.
_SOUND = 1e-8


def text_of(report: Report) -> str:
    """Return the report as it is printed: verdict first, one row per field, then what was found out."""
    head = f"{report.verdict}  {report.target} : {group_name(report.group)}"
    tried = counts(report.components)
    total = sum(report.components.values()) or report.trials
    lines = [f"{head}   seed {report.seed}   {total} trials" + (f" ({tried})" if tried else "")]
    rows = [("field", "type", "err f64", "err f32", "round-off f32", "verdict")]
    rows += [_row(f) for f in report.fields]
    lines += [" " + "   ".join(cells) for cells in aligned(rows)]
    lines += [f" {f.name}: {f.reason} [{f.where}]" for f in report.fields if f.reason]
    lines += [f" breaks {name}: {seen:.1e} x tolerance" for name, seen in report.breaks.items()]
    lines += [f" failed: {text}" for text in report.failures]
    lines += [f" narrowed: {leak}" for leak in report.leaks]
    lines += [" " + _GAP.join(parts) for parts in _diagnosis(report) if parts]
    lines += [f" warning: {text}" for text in report.warnings]
    if not report.ok:
        lines.append(f" replay: {report.replay}")
    return "\n".join(line.rstrip() for line in lines)


def _row(f: FieldResult) -> tuple[str, ...]:
    return f.name, f.type, f"{f.e64:.1e}", f"{f.e32:.1e}", f"{f.d32:.1e}", f.verdict + _times(f.ratio)


def _times(ratio: float) -> str:
    """Return the error in units of round-off, ``2.6e10`` and not ``2.6e+10``."""
    from geomlib.verify.statistic import HEADROOM

    if not math.isfinite(ratio):
        return ""
    if ratio <= HEADROOM:
        return f" ({ratio:.2g} x round-off)"
    mantissa, exponent = f"{ratio:.1e}".split("e")
    return f" ({mantissa}e{int(exponent)} x expected f64 round-off)"


def _diagnosis(report: Report) -> list[list[str]]:
    held = [f"passes: {', '.join(report.passes)}"] if report.passes else []
    lost = f"fails: {', '.join(report.fails)}" if report.fails else ""
    if report.advice:
        lost = f"{lost} -> {report.advice}" if lost else f"advice: {report.advice}"
    where = [f"first broken submodule: {report.first_broken}"] if report.first_broken else []
    if report.lie:
        where.append(f"Lie generators {generators(report.lie)}")
    return [[*held, *([lost] if lost else [])], where]


def group_name(group: str) -> str:
    """Return the group with its factors apart.

    >>> group_name("E(3)*S_n")
    'E(3) x S_n'
    """
    return " x ".join(group.split("*"))


def counts(components: Mapping[str, int]) -> str:
    """Return how often every component of every factor was drawn.

    >>> counts({"proper, even": 3, "proper, odd": 2, "improper, even": 2, "improper, odd": 2})
    '5 proper, 4 improper; 5 even, 4 odd'
    """
    factors: list[dict[str, int]] = []
    for label, number in components.items():
        for k, name in enumerate(label.split(", ")):
            if k == len(factors):
                factors.append({})
            factors[k][name] = factors[k].get(name, 0) + number
    return "; ".join(", ".join(f"{n} {name}" for name, n in factor.items()) for factor in factors)


def generators(errors: Mapping[str, float]) -> str:
    """Return the errors per generator, those that are round-off together.

    >>> generators({"Rx": 0.41, "Ry": 2e-16, "Rz": 1e-15})
    'Rx: 4e-01; Ry,Rz: 1e-15'
    """
    sound = {name: e for name, e in errors.items() if e <= _SOUND}
    parts = [f"{name}: {e:.0e}" for name, e in errors.items() if name not in sound]
    if sound:
        parts.append(f"{','.join(sound)}: {max(sound.values()):.0e}")
    return "; ".join(parts)


def aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the cells of a table, padded to equal widths."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
