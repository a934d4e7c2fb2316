"""What the tests of diagrams share: fixtures, small groups, random elements, Kronecker powers."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.diagrams import SO, A, B, Diagram, Lorentz, O, S, Sp, TensorGroup
from geomlib.algebra.groups import parse_group

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "diagrams"
FAMILIES = {"S": S, "A": A, "B": B, "O": O, "SO": SO, "Sp": Sp}
#: One of everything small: n = 1, n < m, forms of both kinds.
GROUPS = (
    S(1), S(2), S(3), A(1), A(2), A(3), A(4), B(2), B(3), O(1), O(2), O(3), SO(1), SO(2), SO(3), SO(4),
    Sp(2), Sp(4), Sp(4, "block"), Lorentz(1, 2), Lorentz(1, 1),
)  # fmt: skip


def named(group: Any) -> str:
    return str(group)


def load(name: str) -> Any:
    path = FIXTURES / name
    return json.loads(path.read_text()) if name.endswith(".json") else np.load(path)


def matrices(found: list[Diagram], group: TensorGroup, k: int, l: int) -> Tensor:  # (D, n^l n^k)
    rows = [d.matrix(group).flatten() for d in found]
    return torch.stack(rows) if rows else torch.zeros(0, group.size ** (k + l), dtype=torch.float64)


def elements(group: TensorGroup, count: int = 4, seed: int = 0) -> list[Tensor]:
    """Random matrices of every component; permutations as matrices."""
    generator = torch.Generator().manual_seed(seed)
    drawn = parse_group(group.name)
    if group.kind in ("S", "A"):
        drawn = drawn.sized(group.size)
    found = []
    for i in range(max(count, min(8, len(drawn.components())))):
        g = drawn.sample(drawn.components()[i % len(drawn.components())], generator)
        found.append(torch.eye(group.size, dtype=torch.float64)[g.nodes] if g.nodes is not None else g.linear)
    return found


def power(a: Tensor, k: int) -> Tensor:
    return reduce(torch.kron, [a] * k, torch.ones(1, 1, dtype=a.dtype))


def commutant(group: TensorGroup, k: int, l: int) -> Tensor:  # (dim, n^l n^k)
    """An orthonormal basis of the equivariant maps, from random elements alone."""
    n = group.size
    total = torch.zeros(n ** (k + l), n ** (k + l), dtype=torch.float64)
    for a in elements(group, 6):
        eye_l, eye_k = torch.eye(n**l, dtype=a.dtype), torch.eye(n**k, dtype=a.dtype)
        row = torch.kron(power(a, l), eye_k) - torch.kron(eye_l, power(a, k).T.contiguous())
        total += row.T @ row
    values, vectors = torch.linalg.eigh(total)
    return vectors[:, values < 1e-9 * max(1.0, float(values[-1]))].T
