"""Finite point groups of space in Schoenflies notation, closed from exact generators."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import re
from functools import lru_cache

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import ENUMERATED, Group
from geomlib.algebra.groups.element import Element, polished
from geomlib.algebra.groups.euclidean import rotation

__all__ = ["PointGroup", "parse_point_group"]


def _diagonal(*entries: float) -> Tensor:
    return torch.diag(torch.tensor(entries, dtype=torch.float64))


def _about(axis: tuple[float, float, float], order: int) -> Tensor:
    return rotation(torch.tensor(axis, dtype=torch.float64), 2.0 * math.pi / order)


_CYCLE = torch.tensor(
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64
)  # C3 about (1, 1, 1)
_QUARTER = torch.tensor(
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64
)  # C4 about z
_INVERSION, _HALF, _UP = _diagonal(-1, -1, -1), _diagonal(1, -1, -1), _diagonal(1, 1, -1)
_GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0

_FIXED: dict[str, list[Tensor]] = {
    "C_s": [_UP],
    "C_i": [_INVERSION],
    "T": [_CYCLE, _diagonal(-1, -1, 1)],
    "T_h": [_CYCLE, _diagonal(-1, -1, 1), _INVERSION],
    "T_d": [_CYCLE, -_QUARTER],
    "O": [_CYCLE, _QUARTER],
    "O_h": [_CYCLE, _QUARTER, _INVERSION],
    "I": [_CYCLE, _about((0.0, 1.0, _GOLDEN), 5)],
    "I_h": [_CYCLE, _about((0.0, 1.0, _GOLDEN), 5), _INVERSION],
}
_AXIAL = re.compile(r"([CD])_(\d+)([vhd]?)(?:@([xyz]))?")


class PointGroup(Group):
    """A finite group of orthogonal matrices; ``proper`` and ``improper`` elements are its components.

    Args:
        name: how the group is written, ``"O_h"``.
        matrices: (order, 3, 3) all elements.
        generating: matrices that generate the group.
    """

    def __init__(self, name: str, matrices: Tensor, generating: list[Tensor]):
        self.name, self.matrices, self.generating = name, matrices, generating
        self.signs = torch.linalg.det(matrices).round()

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.matrices)

    def components(self) -> tuple[str, ...]:
        """Return ``proper``, and ``improper`` where the group has such elements."""
        return ("proper", "improper") if bool((self.signs < 0).any()) else ("proper",)

    def identity(self) -> Element:
        """Return the identity in three dimensions."""
        return Element(torch.eye(3, dtype=torch.float64), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a uniformly distributed element."""
        del scale
        self.require(component)
        found = (self.signs == (1.0 if component == "proper" else -1.0)).nonzero()[:, 0]
        k = found[torch.randint(len(found), (), generator=generator)]
        return Element(self.matrices[k], label=component)

    def elements(self) -> list[Element] | None:
        """Return every element, unless there are more than 48."""
        if self.order > ENUMERATED:
            return None
        pairs = zip(self.matrices, self.signs.tolist(), strict=True)
        return [Element(q, label="proper" if s > 0 else "improper") for q, s in pairs]

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity and the generators."""
        return [self.identity(), *self.discrete(generator)]

    def discrete(self, generator: Generator) -> list[Element]:
        """Return matrices that generate the group."""
        del generator
        return [Element(q, label=f"generator {k}") for k, q in enumerate(self.generating)]


def _closure(generating: list[Tensor]) -> Tensor:
    found: dict[tuple[float, ...], Tensor] = {}
    queue = [torch.eye(3, dtype=torch.float64)]
    while queue:
        q = queue.pop(0)
        # Adding zero turns -0.0 into 0.0; entries of different elements differ by much more than 1e-6.
        key = tuple((q.reshape(-1).round(decimals=6) + 0.0).tolist())
        if key not in found:
            found[key] = q
            queue += [polished(g @ q) for g in generating]
    return torch.stack(list(found.values()))


def _axial(kind: str, n: int, suffix: str) -> list[Tensor] | None:
    turn = polished(_about((0.0, 0.0, 1.0), n))
    half_step = polished(_about((0.0, 0.0, 1.0), 2 * n))
    generating = [turn] if kind == "C" else [turn, _HALF]
    extra = {
        "": [],
        "v": [_diagonal(1, -1, 1)] if kind == "C" else None,
        "h": [_UP],
        "d": [half_step @ _UP] if kind == "D" else None,
    }[suffix]
    return None if extra is None else generating + extra


@lru_cache(maxsize=64)
def parse_point_group(text: str) -> PointGroup | None:
    """Return C_n, C_nv, C_nh, D_n, D_nh, D_nd, T, T_h, T_d, O, O_h, I, I_h, C_s or C_i; ``None`` for another name.

    The main axis is z; ``C_4@x`` names another one. Cubic groups have the coordinate axes, icosahedral ones a fivefold
    axis along (0, 1, golden ratio).

    >>> [parse_point_group(name).order for name in ("C_4v", "D_3h", "T_d", "O_h", "I_h")]
    [8, 12, 24, 48, 120]
    """
    generating, axis = _FIXED.get(text), "z"
    match = _AXIAL.fullmatch(text)
    if match is not None and int(match[2]) > 0:
        generating, axis = _axial(match[1], int(match[2]), match[3]), match[4] or "z"
    if generating is None:
        return None
    turned = {"z": 0, "x": 1, "y": 2}[axis]
    for _ in range(turned):
        generating = [_CYCLE @ q @ _CYCLE.T for q in generating]
    return PointGroup(text, _closure(generating), generating)
