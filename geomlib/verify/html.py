"""Reports as one HTML file: no network, no script, readable in fifty years."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from geomlib.verify.text import counts, generators, group_name

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #c62828; --dim: #6e7781; --line: #8884; --band: #8882; }
@media (prefers-color-scheme: dark) { :root { --good: #57c46f; --bad: #ff7b72; --dim: #9aa4ad; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .7rem 0; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--dim); }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; } .dim { color: var(--dim); }
section { margin: 2.2rem 0; border-top: 2px solid var(--line); }
code { background: var(--band); padding: .1rem .35rem; border-radius: 3px; overflow-wrap: anywhere; }
svg { display: block; } svg text { font-size: 9px; fill: var(--dim); }
""".strip()

_OK = ("EXACT", "APPROXIMATE")
_DECADES = (-18.0, 0.0)
_WIDTH = 180


def page(reports: Sequence[Mapping[str, Any]], title: str = "Equivariance") -> str:
    """Return a page with an overview and one section per report.

    Args:
        reports: what `geomlib.verify.serial.as_dict` gives; ``seconds`` may be added.
        title: heading of the page.
    """
    bad = sum(not r["ok"] for r in reports)
    kept = len(reports) - bad
    said = f"{kept} of {len(reports)} hold what they declare" if reports else "nothing was tested"
    body = [f"<h1>{escape(title)}</h1>", f"<p>{_paint(said, bad == 0 and bool(reports))}</p>"]
    if len(reports) > 1:
        body.append(_overview(reports))
    body += [_section(r, k) for k, r in enumerate(reports)]
    body.append(
        '<p class="dim">The bar shows the float64 error on a scale of decades, 1e-18 to 1. The shaded part is what an '
        "exact function may show here, found from its own float32 round-off; the line inside is that round-off, "
        "scaled to float64.</p>"
    )
    head = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>",
    ]
    return "\n".join([*head, *body, "</body>\n</html>\n"])


def _paint(text: str, good: bool) -> str:
    return f'<span class="{"good" if good else "bad"}">{escape(text)}</span>'


def _number(value: float | None, form: str = ".1e") -> str:
    return "not finite" if value is None else format(value, form)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "\n".join(
        "<tr>" + "".join(f'<td class="number">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def _worst(report: Mapping[str, Any], key: str) -> float | None:
    found = [f[key] for f in report["fields"]]
    return None if not found or None in found else max(found)


def _overview(reports: Sequence[Mapping[str, Any]]) -> str:
    timed = any("seconds" in r for r in reports)
    head = ["name", "group", "fields", "error, float64", "ratio to round-off", *(["time"] if timed else [])]
    rows: list[list[str]] = []
    for k, r in enumerate(reports):
        name = f'<a href="#r{k}">{escape(r["target"])}</a>'
        cells = [name, escape(group_name(r["group"])), str(len(r["fields"]))]
        cells += [_number(_worst(r, "e64")), _number(_worst(r, "ratio"), ".2g")]
        cells += [f"{r['seconds']:.1f} s" if "seconds" in r else ""] if timed else []
        rows.append([*cells, _paint(r["verdict"], r["ok"])])
    return _table([*head, "verdict"], rows)


def _section(r: Mapping[str, Any], k: int) -> str:
    title = f"{_paint(r['verdict'], r['ok'])} {escape(r['target'])} : {escape(group_name(r['group']))}"
    tried = sum(r["components_tested"].values()) or r["trials"]
    count = counts(r["components_tested"])
    facts = f"seed {r['seed']}, {tried} trials" + (f" ({count})" if count else "")
    parts = [f'<section id="r{k}">', f"<h2>{title}</h2>", f'<p class="dim">{escape(facts)}</p>']
    head = ("field", "type", "error, float64", "", "error, float32", "round-off, float32", "verdict")
    parts.append(_table(head, [_row(f) for f in r["fields"]]))
    notes = [("test", r["test"])] if "test" in r else []
    notes += [(f["name"], f"{f['reason']} [{f['where']}]") for f in r["fields"] if f["reason"]]
    notes += [(f"breaks {name}", f"{_number(seen)} x tolerance") for name, seen in r["breaks"].items()]
    notes += [("failed", text) for text in r["failures"]]
    notes += [("narrowed", text) for text in r["leaks"]]
    notes += [(key, ", ".join(r[key])) for key in ("passes", "fails") if r[key]]
    notes += [("advice", r["advice"])] if r["advice"] else []
    notes += [("first broken submodule", r["first_broken"])] if r["first_broken"] else []
    if r["lie"]:
        finite = {name: math.inf if e is None else e for name, e in r["lie"].items()}
        notes.append(("Lie generators", generators(finite)))
    notes += [("warning", text) for text in r["warnings"]]
    if notes:
        rows = "\n".join(f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in notes)
        parts.append(f"<table>\n<tbody>\n{rows}\n</tbody>\n</table>")
    parts += [f"<p>replay: <code>{escape(r['replay'])}</code></p>", "</section>"]
    return "\n".join(parts)


def _row(f: Mapping[str, Any]) -> list[str]:
    times = "" if f["ratio"] is None else f" ({f['ratio']:.2g} x round-off)"
    verdict = f'{_paint(f["verdict"], f["verdict"] in _OK)}<span class="dim">{times}</span>'
    numbers = [_number(f["e64"]), _bar(f), _number(f["e32"]), _number(f["d32"])]
    return [escape(f["name"]), escape(f["type"]), *numbers, verdict]


def _place(value: float | None) -> float:
    low, high = _DECADES
    if value is None:
        return float(_WIDTH)
    decade = math.log10(value) if value > 0 else low
    return _WIDTH * (min(max(decade, low), high) - low) / (high - low)


def _bar(f: Mapping[str, Any]) -> str:
    """Return a drawing of e64 beside what is allowed, over decades."""
    from geomlib.verify.statistic import HEADROOM

    good = f["verdict"] in _OK
    allowed, at = _place(f["tau64"]), _place(f["e64"])
    expected = None if f["tau64"] is None else f["tau64"] / HEADROOM
    colour = "var(--good)" if good else "var(--bad)"
    label = f"error {_number(f['e64'])}, allowed {_number(f['tau64'])}"
    return (
        f'<svg width="{_WIDTH}" height="14" viewBox="0 0 {_WIDTH} 14" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>"
        f'<rect x="0" y="3" width="{allowed:.1f}" height="8" fill="var(--band)"/>'
        f'<line x1="0" y1="7" x2="{_WIDTH}" y2="7" stroke="var(--line)"/>'
        f'<line x1="{_place(expected):.1f}" y1="3" x2="{_place(expected):.1f}" y2="11" stroke="var(--dim)"/>'
        f'<circle cx="{max(at, 4.0):.1f}" cy="7" r="4" fill="{colour}"/></svg>'
    )
