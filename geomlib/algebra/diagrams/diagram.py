"""One diagram: l output legs in the top row, k input legs in the bottom row, joined in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from geomlib.algebra.diagrams.partitions import Row, blocks_of, rgs_of
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.algebra.diagrams.category import Composition
    from geomlib.algebra.diagrams.factor import Factors
    from geomlib.algebra.diagrams.groups import TensorGroup

__all__ = ["KINDS", "Diagram", "Waist"]

Blocks = tuple[tuple[int, ...], ...]

#: Kinds of diagrams, in canonical order, and the letters of their labels.
KINDS = {
    "partition": "D",
    "orbit": "X",
    "orbit+": "X+",
    "orbit-": "X-",
    "jellyfish": "J",
    "brauer": "E",
    "symplectic": "F",
    "grood": "H",
}
_PAIRED = ("brauer", "symplectic", "grood")


class Waist(NamedTuple):
    """A diagram cut between its rows: how many blocks cross, both rows, and which bottom block each top block meets.

    Compared as tuples, waists are in canonical order.
    """

    crossing: int
    top: Row
    sigma: tuple[int, ...]
    bottom: Row


@dataclass(frozen=True)
class Diagram:
    r"""A linear map of tensors of order k to tensors of order l, drawn with l + k legs.

    ==============  =====  ====================================================================================
    kind            label  entry at the values of its legs
    ==============  =====  ====================================================================================
    ``partition``   D      1 where legs of one block agree
    ``orbit``       X      1 where legs agree if and only if they are in one block
    ``orbit±``      X±     (X ± J) / 2
    ``jellyfish``   J      n or n - 1 blocks: sign of the permutation that the values of the blocks form, completed by
                           the missing value; 0 where two blocks agree
    ``brauer``      E      pairs: a delta, in one row of O(p,q) the metric
    ``symplectic``  F      pairs: a delta between the rows, Omega in one row, smaller leg first
    ``grood``       H      pairs, and :math:`\varepsilon` over the ``free`` legs in increasing order
    ==============  =====  ====================================================================================

    Args:
        blocks: legs of each block; 0..l-1 are outputs, l..l+k-1 inputs. They are sorted here.
        k: number of inputs.
        l: number of outputs.
        kind: one of the table.
        free: legs of epsilon.

    Raises:
        InvalidInput: an unknown kind, legs that are missing or there twice, blocks that are not pairs.

    Source: E. Pearce-Crump, "Brauer's group equivariant neural networks", arXiv 2212.08630; "Connecting permutation
    equivariant neural networks and partition diagrams", arXiv 2212.08648; "How jellyfish characterise alternating group
    equivariant neural networks", arXiv 2301.10152.

    >>> from geomlib.algebra.diagrams import S
    >>> d = Diagram([(0, 2), (1,)], k=1, l=2)
    >>> d, d.label, d.matrix(S(2)).tolist()
    (D[02|1: 1 -> 2], ['D', [0, 1, 0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    """

    blocks: Blocks
    k: int
    l: int
    kind: str
    free: tuple[int, ...]

    def __init__(
        self,
        blocks: Iterable[Iterable[int]],
        k: int,
        l: int,
        kind: str = "partition",
        free: Iterable[int] = (),
    ) -> None:
        found = sorted(tuple(sorted(map(int, block))) for block in blocks)
        legs = tuple(sorted(map(int, free)))
        if kind not in KINDS:
            raise InvalidInput(
                f"Diagram: kind {kind!r}, expected one of {', '.join(KINDS)}.{closest(kind, KINDS)}"
            )
        held = sorted([leg for block in found for leg in block] + list(legs))
        if held != list(range(k + l)) or () in found:
            raise InvalidInput(
                f"Diagram: blocks {found} and free legs {list(legs)} must hold each of the {l} + {k} legs "
                f"0..{k + l - 1} once, and no block is empty."
            )
        if kind in _PAIRED and any(len(block) != 2 for block in found):
            raise InvalidInput(f"Diagram: blocks {found} of kind {kind!r}; expected pairs.")
        if legs and kind != "grood":
            raise InvalidInput(
                f"Diagram: free legs {list(legs)} in kind {kind!r}; only 'grood' has an epsilon."
            )
        self._set(tuple(found), k, l, kind, legs)

    def _set(self, blocks: Blocks, k: int, l: int, kind: str, free: tuple[int, ...]) -> None:
        for name, value in (("blocks", blocks), ("k", k), ("l", l), ("kind", kind), ("free", free)):
            object.__setattr__(self, name, value)

    @classmethod
    def trusted(
        cls, blocks: Blocks, k: int, l: int, kind: str = "partition", free: tuple[int, ...] = ()
    ) -> Diagram:
        """Return a diagram of blocks that are sorted and complete already: nothing is checked."""
        made = object.__new__(cls)
        made._set(blocks, k, l, kind, free)
        return made

    @classmethod
    def from_rgs(cls, rgs: Sequence[int], k: int, l: int, kind: str = "partition") -> Diagram:
        """Return the diagram whose legs have these block numbers.

        >>> Diagram.from_rgs([0, 1, 0], 1, 2)
        D[02|1: 1 -> 2]
        """
        return cls(blocks_of(rgs_of(rgs)), k, l, kind)

    @classmethod
    def from_label(cls, label: Sequence[Any], k: int, l: int) -> Diagram:
        """Return the diagram of a label, the inverse of `label`.

        Raises:
            InvalidInput: a label that is none.

        >>> Diagram.from_label(["E", [[0, 1]]], 1, 1)
        E[01: 1 -> 1]
        """
        kinds = {letters: kind for kind, letters in KINDS.items()}
        if not label or label[0] not in kinds or len(label) != (3 if label[0] == "H" else 2):
            raise InvalidInput(
                f"label {label!r}: expected a list such as ['D', [0, 0, 1]] or ['H', free, pairs]."
            )
        kind = kinds[label[0]]
        if kind == "grood":
            return cls(label[2], k, l, kind, label[1])
        return cls(label[1], k, l, kind) if kind in _PAIRED else cls.from_rgs(label[1], k, l, kind)

    @property
    def legs(self) -> int:
        """Number of legs, l + k."""
        return self.k + self.l

    @cached_property
    def rgs(self) -> tuple[int, ...]:
        """Block number of every leg, by first appearance; each free leg is a block."""
        labels = list(range(self.legs, 2 * self.legs))
        for number, block in enumerate(self.blocks):
            for leg in block:
                labels[leg] = number
        return rgs_of(labels)

    @property
    def label(self) -> list[Any]:
        """A list that JSON can hold and that names the diagram, whatever the group."""
        letters = KINDS[self.kind]
        pairs = [list(block) for block in self.blocks]
        if self.kind == "grood":
            return [letters, list(self.free), pairs]
        return [letters, pairs if self.kind in _PAIRED else list(self.rgs)]

    @cached_property
    def waist(self) -> Waist:
        """The diagram cut between its rows.

        >>> Diagram([(0, 3), (1, 2)], 2, 2).waist
        Waist(crossing=2, top=((0, 1), (0, 1), ()), sigma=(1, 0), bottom=((0, 1), (0, 1), ()))
        """
        rgs, l = self.rgs, self.l
        top, bottom = rgs_of(rgs[:l]), rgs_of(rgs[l:])
        above = dict(zip(rgs[:l], top, strict=True))
        below = dict(zip(rgs[l:], bottom, strict=True))
        marks = [(above[b], below[b]) for b in above if b in below]  # in order of the top row
        lower = sorted(b for _, b in marks)
        free_top = tuple(top[leg] for leg in self.free if leg < l)
        free_bottom = tuple(bottom[leg - l] for leg in self.free if leg >= l)
        return Waist(
            len(marks),
            (top, tuple(a for a, _ in marks), free_top),
            tuple(lower.index(b) for _, b in marks),
            (bottom, tuple(lower), free_bottom),
        )

    @property
    def order(self) -> tuple[int, Waist]:
        """What canonical order sorts by: kind, blocks that cross, top row, sigma, bottom row."""
        return tuple(KINDS).index(self.kind), self.waist

    def cut(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Return the blocks that cross, those of the top row, those of the bottom row.

        >>> Diagram([(0, 2), (1,), (3, 4)], 3, 2).cut()
        ([(0, 2)], [(1,)], [(3, 4)])
        """
        cross = [b for b in self.blocks if b[0] < self.l <= b[-1]]
        top = [b for b in self.blocks if b[-1] < self.l]
        return cross, top, [b for b in self.blocks if b[0] >= self.l]

    def compose(self, other: Diagram) -> Composition:
        """Return self after other; see `geomlib.algebra.diagrams.category.compose`."""
        from geomlib.algebra.diagrams.category import compose

        return compose(self, other)

    def tensor(self, other: Diagram) -> Diagram:
        """Return both side by side; see `geomlib.algebra.diagrams.category.tensor`."""
        from geomlib.algebra.diagrams.category import tensor

        return tensor(self, other)

    @property
    def T(self) -> Diagram:  # noqa: N802 - as torch writes it
        """The diagram with its rows exchanged; see `geomlib.algebra.diagrams.category.transpose`."""
        from geomlib.algebra.diagrams.category import transpose

        return transpose(self)

    def factor(self) -> Factors:
        """Return permutation, planar diagram, permutation; see `geomlib.algebra.diagrams.factor.factor`."""
        from geomlib.algebra.diagrams.factor import factor

        return factor(self)

    def matrix(self, group: TensorGroup, dtype: torch.dtype = torch.float64) -> Tensor:  # (n^l, n^k)
        """Return the dense matrix; see `geomlib.algebra.diagrams.matrices.matrix`."""
        from geomlib.algebra.diagrams.matrices import matrix

        return matrix(self, group, dtype)

    def apply(self, x: Tensor, group: TensorGroup) -> Tensor:  # (..., n, .., n) -> (..., n, .., n)
        """Return the image of a tensor; see `geomlib.algebra.diagrams.factor.apply`."""
        from geomlib.algebra.diagrams.factor import apply

        return apply(self, x, group)

    def svg(self) -> str:
        """Return a drawing; see `geomlib.algebra.diagrams.drawing.draw`."""
        from geomlib.algebra.diagrams.drawing import draw

        return draw(self)

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        dot = "" if self.legs <= 10 else " "
        parts = [dot.join(map(str, block)) for block in self.blocks]
        if self.kind == "grood":
            parts.insert(0, f"ε{dot.join(map(str, self.free))}")
        return f"{KINDS[self.kind]}[{'|'.join(parts)}: {self.k} -> {self.l}]"
