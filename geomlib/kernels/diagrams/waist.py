r"""Diagrams cut at the waist: what is contracted below, what is embedded above, and who is joined to whom between.

A diagram is a bottom type, a top type and a permutation of the c blocks that cross. A type is a partition of the legs of
its row; blocks that do not cross are summed over (below) or spread out (above), except those that end in an epsilon.
Types share their sums: every type is a diagonal view of a *state*, a tensor with one axis for each leg of a set S, all
other legs summed over in blocks; and every state is one sum away from a state with more axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.partitions import blocks_of

__all__ = ["Blocks", "Row", "Side", "Step", "rows_of", "side_of"]

Block = tuple[int, ...]
Blocks = tuple[Block, ...]


@dataclass(frozen=True)
class Row:
    """One row of a diagram: blocks that cross, blocks that end in an epsilon, others; each in order of first legs."""

    marked: Blocks
    free: Blocks
    closed: Blocks


def rows_of(diagram: Diagram) -> tuple[Row, Row]:
    """Return the top and the bottom row; all blocks of a jellyfish end in its epsilon.

    >>> rows_of(Diagram([(0, 3), (1,), (2, 4)], 3, 2))[1]
    Row(marked=((1,),), free=(), closed=((0, 2),))
    """
    waist, jelly = diagram.waist, diagram.kind == "jellyfish"
    return _row(waist.top, jelly), _row(waist.bottom, jelly)


def _row(row: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], jelly: bool) -> Row:
    rgs, marks, ends = row
    blocks = blocks_of(rgs)
    rest = tuple(b for i, b in enumerate(blocks) if i not in marks and i not in ends)
    free = rest if jelly else tuple(blocks[i] for i in ends)
    return Row(tuple(blocks[i] for i in marks), free, () if jelly else rest)


@dataclass(frozen=True)
class Step:
    """State ``child`` is the sum of state ``parent`` over a block of its axes, which become one or meet in a form.

    Args:
        child: number of the state that is computed.
        parent: number of the state it comes from.
        axes: positions of the summed legs among the axes of the parent.
    """

    child: int
    parent: int
    axes: Block


@dataclass(frozen=True)
class Side:
    """How the types of one row come from its tensor.

    Args:
        legs: number of legs.
        orders: number of axes of each state; state 0 is the tensor itself.
        steps: sums, parents before children.
        types: for each group of types, of each type its state and the positions of the axes that become one.
    """

    legs: int
    orders: tuple[int, ...]
    steps: tuple[Step, ...]
    types: tuple[tuple[tuple[int, Blocks], ...], ...]


def side_of(legs: int, groups: Sequence[Sequence[Row]]) -> Side:
    """Return the sums and views that give the rows of each group: axes for the marked blocks, then for the free ones.

    >>> side = side_of(2, [[Row((), (), ((0,), (1,)))], [Row(((0,),), (), ((1,),)), Row(((0, 1),), (), ())]])
    >>> side.steps
    (Step(child=1, parent=0, axes=(1,)), Step(child=2, parent=1, axes=(0,)))
    >>> side.types
    (((2, ()),), ((1, ((0,),)), (0, ((0, 1),))))
    """
    wanted = {_state(row) for rows in groups for row in rows}
    found: dict[tuple[Block, Blocks], tuple[tuple[Block, Blocks], Block] | None] = {
        (tuple(range(legs)), ()): None
    }
    # From few axes to many: the best parent is one that is asked for anyway, then the one with the fewest axes.
    for order in range(legs + 1):
        for state in sorted(s for s in wanted if len(s[0]) == order and s[1]):
            choices = [(_parent(state, u), u) for u in state[1]]
            found[state] = best = min(choices, key=lambda p: (p[0] not in wanted, len(p[1]), p[0]))
            wanted.add(best[0])
    ordered = sorted(found, key=lambda s: (-len(s[0]), s))
    number = {state: i for i, state in enumerate(ordered)}
    steps = tuple(
        Step(number[s], number[link[0]], tuple(link[0][0].index(leg) for leg in link[1]))
        for s in ordered
        if (link := found[s]) is not None
    )
    types = tuple(tuple(_type(row, number) for row in rows) for rows in groups)
    return Side(legs, tuple(len(s[0]) for s in ordered), steps, types)


def _state(row: Row) -> tuple[Block, Blocks]:
    return tuple(sorted(leg for block in row.marked + row.free for leg in block)), row.closed


def _parent(state: tuple[Block, Blocks], block: Block) -> tuple[Block, Blocks]:
    return tuple(sorted(state[0] + block)), tuple(b for b in state[1] if b != block)


def _type(row: Row, number: dict[tuple[Block, Blocks], int]) -> tuple[int, Blocks]:
    state = _state(row)
    place = {leg: i for i, leg in enumerate(state[0])}
    return number[state], tuple(tuple(place[leg] for leg in block) for block in row.marked + row.free)
