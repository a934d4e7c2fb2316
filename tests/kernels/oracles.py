"""Neighbour oracles that share no code with geomlib."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np


def loop_neighbours(pos, cutoff, cell=None, pbc=(False, False, False)) -> Counter:
    """Directed (i, j, Sx, Sy, Sz) of one structure by plain loops over atoms and images."""
    pos = np.asarray(pos, dtype=float)
    cell = np.eye(3) if cell is None else np.array(cell, dtype=float)
    pbc = list(pbc)
    # Fill the axes that do not repeat by vectors orthogonal to the others (Gram-Schmidt over the axes).
    span = [cell[k] for k in range(3) if pbc[k]]
    for k in range(3):
        if not pbc[k]:
            for trial in np.eye(3):
                rest = trial.copy()
                if span:
                    basis = np.linalg.qr(np.array(span).T)[0]
                    rest -= basis @ (basis.T @ rest)
                if np.linalg.norm(rest) > 0.5:
                    break
            cell[k] = rest / np.linalg.norm(rest)
            span.append(cell[k])
    volume = abs(np.linalg.det(cell))
    area = [np.linalg.norm(np.cross(cell[(k + 1) % 3], cell[(k + 2) % 3])) for k in range(3)]
    out: Counter = Counter()
    for i, j in itertools.product(range(len(pos)), repeat=2):
        d = pos[j] - pos[i]
        # An image with |d + S cell| < rc has S within (rc + |d|) / height of zero.
        reach = [
            math.ceil((cutoff + np.linalg.norm(d)) * area[k] / volume) if pbc[k] else 0 for k in range(3)
        ]
        grid = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))))
        near = np.linalg.norm(d + grid @ cell, axis=1) < cutoff
        for s in grid[near]:
            if i != j or s.any():
                out[(i, j, *map(int, s))] += 1
    return out


def directed(pairs) -> Counter:
    """Directed multiset of a HalfPairs."""
    out: Counter = Counter()
    for i, j, s in zip(pairs.i.tolist(), pairs.j.tolist(), pairs.shift.tolist(), strict=True):
        out[(i, j, *s)] += 1
        out[(j, i, *(-x for x in s))] += 1
    return out


def random_cell(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A cell of the named kind."""
    if kind == "cubic":
        return np.eye(3) * rng.uniform(2, 6)
    if kind == "thin":
        return np.diag([rng.uniform(0.8, 1.2), rng.uniform(3, 6), rng.uniform(3, 6)])
    if kind == "tiny":
        return np.eye(3) * rng.uniform(0.9, 1.3) + rng.normal(size=(3, 3)) * 0.1
    cell = rng.normal(size=(3, 3)) + np.eye(3) * rng.choice([-1, 1], size=3) * rng.uniform(2, 5, size=3)
    if kind == "sheared":
        cell[1] += rng.integers(-2, 3) * cell[0]
        cell[2] += rng.integers(-2, 3) * cell[0] + rng.integers(-2, 3) * cell[1]
    if kind == "left-handed" and np.linalg.det(cell) > 0:
        cell[0] *= -1
    if kind == "rotated":
        cell = np.diag(rng.uniform(2, 5, size=3)) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return cell
