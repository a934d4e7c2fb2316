"""Drawings of tensor networks in SVG."""

from __future__ import annotations

import math
from collections import Counter
from xml.sax.saxutils import escape

from geomlib.algebra.cartesian.networks import Network

__all__ = ["draw"]

_RADIUS, _RING, _MARGIN = 14.0, 52.0, 34.0
Point = tuple[float, float]


def draw(network: Network) -> str:
    """Return an SVG: tensors on a ring, legs of the output as open ends on the left."""
    bodies = len(network.slots) + (1 if network.free else 0)
    rank = network.output.rank
    ring = _RING if bodies > 1 else 0.0
    height = 2 * max(ring + _MARGIN, 14.0 * rank)
    left = 46.0 if rank else 0.0
    width = left + 2 * (ring + _MARGIN)
    centre = (left + ring + _MARGIN, height / 2)
    places: list[Point] = []
    for k in range(bodies):
        angle = math.pi + 2 * math.pi * k / max(bodies, 1)
        places.append((centre[0] + ring * math.cos(angle), centre[1] + ring * math.sin(angle)))
    ends = [(12.0, height / 2 + 24.0 * (k - (rank - 1) / 2)) for k in range(rank)]
    lines = _lines(network, places, ends)
    for k, spec in enumerate(network.slots):
        x, y = places[k]
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="#eef" stroke="#225"/>')
        lines.append(
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="12">{escape(spec.name)}</text>'
        )
    if network.free:
        x, y = places[-1]
        corners = [(x, y - _RADIUS), (x + _RADIUS, y + _RADIUS), (x - _RADIUS, y + _RADIUS)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        lines.append(f'<polygon points="{points}" fill="#225"/>')
    lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#225"/>' for x, y in ends]
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">\n{body}\n</svg>'
    )


def _lines(network: Network, places: list[Point], ends: list[Point]) -> list[str]:
    owners = network.owners

    def place(leg: int) -> Point:
        return ends[leg] if owners[leg] < 0 else places[owners[leg]]

    joints = [(owners[a], owners[b], place(a), place(b)) for a, b in network.pairs]
    joints += [(owners[leg], len(network.slots), place(leg), places[-1]) for leg in network.free]
    drawn = Counter[tuple[int, int]]()
    found: list[str] = []
    for a, b, (x, y), (u, v) in joints:
        if a == b and a >= 0:
            start = f"M {x - 8:.1f} {y - 9:.1f}"
            found.append(
                _path(
                    f"{start} C {x - 26:.1f} {y - 38:.1f} {x + 26:.1f} {y - 38:.1f} {x + 8:.1f} {y - 9:.1f}"
                )
            )
            continue
        both = (min(a, b), max(a, b))
        # parallel lines bow apart; two ends of the output are joined by a bow as well
        bend = 0.0 if a != b and not drawn[both] else 12.0 * (1 + drawn[both] // 2) * (-1) ** drawn[both]
        if a == b:
            bend = 24.0
        drawn[both] += 1
        length = math.hypot(u - x, v - y) or 1.0
        control = ((x + u) / 2 + bend * (v - y) / length, (y + v) / 2 - bend * (u - x) / length)
        found.append(_path(f"M {x:.1f} {y:.1f} Q {control[0]:.1f} {control[1]:.1f} {u:.1f} {v:.1f}"))
    return found


def _path(data: str) -> str:
    return f'<path d="{data}" fill="none" stroke="#225" stroke-width="1.5"/>'
