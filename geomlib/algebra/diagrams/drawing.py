"""Drawings of diagrams as SVG: two rows of legs, blocks as trees, epsilon and the head of a jellyfish as boxes."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from geomlib.algebra.diagrams.diagram import Diagram

__all__ = ["draw"]

_STEP, _TOP, _BOTTOM, _MARGIN = 44, 34, 124, 26


def _text(x: float, y: float, words: str, size: int = 12) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="middle" fill="currentColor">{escape(words)}</text>'


def draw(d: Diagram) -> str:
    """Return a drawing of a diagram as the text of an SVG file.

    Outputs are the upper row, inputs the lower one, numbered as in the blocks. A block is a tree: arcs join its legs within
    a row, one line joins its two rows. Legs of an epsilon, and the blocks of a jellyfish, hang on a box to the right.
    Elements carry ``data-legs``, ``data-leg`` and a class: ``leg``, ``block``, ``free``, ``box``.

    Args:
        d: the diagram.

    >>> from geomlib.algebra.diagrams import Diagram
    >>> svg = draw(Diagram([(0, 2), (1,)], 1, 2))
    >>> svg.startswith("<svg"), svg.count('class="leg"'), svg.count('class="block"')
    (True, 3, 1)
    """
    columns = max(d.k, d.l, 1)
    width = 2 * _MARGIN + (columns - 1) * _STEP
    height = _BOTTOM + 34
    at = [_place(d, leg, columns) for leg in range(d.legs)]
    parts: list[str] = []
    for block in d.blocks:
        parts += _tree(d, block, at)
    hanging = list(d.free)
    word = "ε"
    if d.kind in ("jellyfish", "orbit+", "orbit-"):
        hanging, word = [block[0] for block in d.blocks], {"jellyfish": "sgn"}.get(d.kind, d.kind[-1])
    if hanging:
        parts += _box(hanging, word, at, width + 6)
        width += _STEP
    for leg, (x, y) in enumerate(at):
        parts.append(
            f'<circle class="leg" data-leg="{leg}" cx="{x:g}" cy="{y:g}" r="4" fill="currentColor"/>'
        )
        parts.append(_text(x, y - 12 if leg < d.l else y + 22, str(leg)))
    title = f"{d!r}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _place(d: Diagram, leg: int, columns: int) -> tuple[float, float]:
    count, column, y = (d.l, leg, _TOP) if leg < d.l else (d.k, leg - d.l, _BOTTOM)
    return _MARGIN + _STEP * (column + (columns - count) / 2), y


def _tree(d: Diagram, block: tuple[int, ...], at: list[tuple[float, float]]) -> list[str]:
    rows = [[leg for leg in block if leg < d.l], [leg for leg in block if leg >= d.l]]
    paths: list[tuple[int, int, str]] = []
    for row, towards in zip(rows, (1, -1), strict=True):
        for a, b in pairwise(row):
            (x, y), (z, _) = at[a], at[b]
            bend = y + towards * min(46.0, 14 + 0.26 * (z - x))
            paths.append((a, b, f"M{x:g} {y:g}Q{(x + z) / 2:g} {bend:g} {z:g} {y:g}"))
    if rows[0] and rows[1]:
        a, b = min(
            ((a, b) for a in rows[0] for b in rows[1]), key=lambda ab: abs(at[ab[0]][0] - at[ab[1]][0])
        )
        (x, y), (z, w) = at[a], at[b]
        paths.append((a, b, f"M{x:g} {y:g}L{z:g} {w:g}"))
    return [
        f'<path class="block" data-legs="{a} {b}" d="{path}" fill="none" stroke="currentColor" stroke-width="1.6"/>'
        for a, b, path in paths
    ]


def _box(hanging: list[int], word: str, at: list[tuple[float, float]], x: float) -> list[str]:
    y = (_TOP + _BOTTOM) / 2
    parts = [
        f'<path class="free" data-leg="{leg}" d="M{at[leg][0]:g} {at[leg][1]:g}L{x:g} {y:g}" fill="none" '
        'stroke="currentColor" stroke-width="1.2" stroke-dasharray="4 3"/>'
        for leg in hanging
    ]
    parts.append(
        f'<rect class="box" x="{x - 15:g}" y="{y - 11:g}" width="30" height="22" rx="7" fill="white" '
        'stroke="currentColor"/>'
    )
    return [
        *parts,
        f'<text x="{x:g}" y="{y + 5:g}" font-size="13" text-anchor="middle" fill="black">{word}</text>',
    ]
