"""The inputs on which symmetric functions fail in practice: special geometries, sizes, amplitudes, batches."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Generator

from geomlib.algebra.groups import Element, Group
from geomlib.verify.batches import batch_gap, batch_of, batch_split, batch_tail
from geomlib.verify.inputs import scaled
from geomlib.verify.moves import Move, Types, by_element, num_edges, num_nodes, strided
from geomlib.verify.scenes import (
    Layout,
    Scenery,
    collinear,
    cube,
    lattice,
    octahedron,
    planar,
    stabiliser,
    tetrahedron,
)
from geomlib.verify.values import Tree, last_name, leaves, map_leaves, rounded

__all__ = ["AMPLITUDES", "STRESSES", "Setting", "Stress", "within_graphs"]

AMPLITUDES = (1e-3, 0.1, 10.0, 100.0, 1e3)
_FAR = 1e3
_ROTATES = re.compile(r"S?[OE]\(3\)")
_REFLECTS = re.compile(r"[OE]\(3\)")


@dataclass(frozen=True)
class Stress:
    """One class of inputs with the moves that are tried on it.

    Args:
        tree: float64 inputs.
        moves: what is done to them.
        variation: generic inputs of the same size, which say how large outputs are.
        amplitude: factor on the inputs.
        gradients: whether gradients are tested too.
        tied: whether distances are equal on purpose.
        still: elements that leave these inputs as they are, so that the outputs must stay as well.
        spoil: whether one graph is filled with NaN, which must not reach another.
        forgive: whether NaN is an answer: the inputs lie at the edge of the domain.
    """

    tree: Tree
    moves: tuple[Move, ...]
    variation: Callable[[], Tree] | None = None
    amplitude: float = 1.0
    gradients: bool = False
    tied: bool = False
    still: tuple[Element, ...] = ()
    spoil: bool = False
    forgive: bool = False


@dataclass
class Setting:
    """What stresses are made from.

    Args:
        base: generic inputs, float64 and float32-representable, with cotangents.
        fresh: gives further generic inputs.
        inputs: types of the inputs.
        outputs: types of the outputs.
        group: the declared group, before it knows the number of nodes.
        scale: length of the random translations.
    """

    base: Tree
    fresh: Callable[[Generator], Tree]
    inputs: Types
    outputs: Types
    group: Group
    scale: float
    scenery: Scenery = field(init=False)

    def __post_init__(self) -> None:
        self.scenery = Scenery(self.base, self.inputs)

    @property
    def permutes(self) -> bool:
        """Whether the group holds all permutations of the nodes."""
        return "S_n" in self.group.name.split("*")

    def moves(
        self, tree: Tree, generator: Generator, *, every: bool = False, scale: float = 1.0
    ) -> tuple[Move, ...]:
        """Return moves by random elements of all components, or of the first and the last."""
        group = self.group.sized(num_nodes(leaves(tree), self.inputs) or 0)
        names = group.components()
        chosen = names if every or len(names) < 3 else (names[0], names[-1])
        drawn = [group.sample(name, generator, self.scale * scale) for name in chosen]
        return tuple(by_element(within_graphs(g, tree), self.inputs, self.outputs) for g in drawn)

    def scene(self, layout: Layout, generator: Generator, *, tied: bool = False) -> Stress | None:
        """Return the stress of one layout, or ``None`` where the inputs cannot be made for another size."""
        if not self.scenery.resizable:
            return None
        tree = self.scenery.build(layout, generator)

        def variation() -> Tree:
            return self.scenery.build(layout.noisy(generator), generator)

        return Stress(tree, self.moves(tree, generator), variation, tied=tied)

    def geometry(self, points: torch.Tensor, generator: Generator, *, tied: bool = False) -> Stress | None:
        """Return the stress of the example's nodes at other places."""
        if not self.scenery.coordinates:
            return self.scene(Layout(points), generator, tied=tied) if self.scenery.dim else None
        if "cell" in {t.kind for t in self.inputs.values()} or self.scenery.resizable:
            return self.scene(Layout(points), generator, tied=tied)
        tree = self.scenery.move(points)
        noise = 0.2 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
        return Stress(tree, self.moves(tree, generator), lambda: self.scenery.move(points + noise), tied=tied)


def within_graphs(g: Element, tree: Tree) -> Element:
    """Return the element with nodes permuted inside their graphs only, where ``ptr`` says that graphs are blocks."""
    batch = batch_of(tree)
    if g.nodes is None or batch is None or not any(last_name(n) == "ptr" for n in leaves(tree)):
        return g
    order = torch.argsort(batch.cpu() * (len(g.nodes) + 1) + g.nodes)
    return replace(g, nodes=torch.argsort(order))


def _amplitude(amplitude: float, s: Setting, generator: Generator) -> Stress | None:
    tree = rounded(scaled(s.fresh(generator), s.inputs, amplitude))
    return Stress(
        tree, s.moves(tree, generator, every=True, scale=amplitude), amplitude=amplitude, gradients=True
    )


def _far(s: Setting, generator: Generator) -> Stress | None:
    group = s.group.sized(num_nodes(leaves(s.base), s.inputs) or 0)
    shift = group.sample(group.components()[0], generator).shift
    if not bool(shift.any()):
        return None
    n = shift.numel()
    direction = torch.randn(n, generator=generator, dtype=torch.float64)
    far = Element(torch.eye(n, dtype=torch.float64), _FAR * direction, label="translation by 1e3")
    return Stress(s.base, (by_element(far, s.inputs, s.outputs),), gradients=True)


def _edge_order(s: Setting, generator: Generator) -> Stress | None:
    edges = num_edges(leaves(s.base), s.inputs)
    if edges is None or edges < 2:
        return None
    n = max(s.scenery.dim, 1) if not s.group.identity().linear.numel() else s.group.identity().linear.shape[0]
    e = Element(torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64))
    orders = {
        "shuffled edges": torch.randperm(edges, generator=generator),
        "reversed": torch.arange(edges).flip(0),
    }
    moves = [
        by_element(replace(e, edges=order, label=label), s.inputs, s.outputs)
        for label, order in orders.items()
    ]
    return Stress(s.base, tuple(moves), gradients=True)


def _layout(s: Setting, generator: Generator) -> Stress | None:
    del generator
    return Stress(s.base, (strided(),), gradients=True)


def _batch(s: Setting, generator: Generator) -> Stress | None:
    """Return the example where it holds several graphs, else three graphs of other sizes."""
    batch = batch_of(s.base)
    if batch is None or not batch.numel():
        return None
    several = int(batch.max()) > 0
    tree = s.base
    if not several:
        if not s.scenery.resizable:
            return None
        sizes = (max(s.scenery.nodes, 3), 2, 5)
        owner = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
        points = torch.cat([lattice(n, max(s.scenery.dim, 1), generator) for n in sizes])
        tree = s.scenery.build(Layout(points, owner), generator)
    found = [make(tree, s.inputs, s.outputs) for make in (batch_split, batch_gap, batch_tail)]
    moves = [move for move in found if move is not None]
    if s.permutes and not several:
        moves += s.moves(tree, generator)
    return Stress(tree, tuple(moves), gradients=several, spoil=True)


def _zero(s: Setting, generator: Generator) -> Stress | None:
    still = ("point", "cell", "columns", "index", "inv", "spd", "blocks", "grassmann", "simplex")

    def is_feature(name: str) -> bool:
        t = s.inputs.get(name)
        return t is not None and t.kind not in still and t.scope in (None, "node")

    tree = map_leaves(
        s.scenery.tree, lambda n, x: torch.zeros_like(x) if is_feature(n) and x.is_floating_point() else x
    )
    names = [n for n, x in leaves(s.scenery.tree).items() if is_feature(n) and x.is_floating_point()]
    if not names:
        return None
    bare = all(s.inputs[n].scope is None for n in names)  # a plain callable may say no at zero
    return Stress(tree, s.moves(tree, generator), lambda: s.scenery.tree, forgive=bare)


def _figure(points: torch.Tensor, s: Setting, generator: Generator) -> Stress | None:
    factors = s.group.name.split("*")
    if s.scenery.dim != 3 or not s.permutes or not any(_ROTATES.fullmatch(f) for f in factors):
        return None
    found = s.scene(Layout(points, uniform=True), generator, tied=True)
    if found is None:
        return None
    reflections = any(_REFLECTS.fullmatch(f) for f in factors)
    return replace(found, still=tuple(stabiliser(points, reflections=reflections)))


def _on_the_spot(
    make: Callable[[int, int, Generator], torch.Tensor], s: Setting, generator: Generator
) -> Stress | None:
    if s.scenery.dim < 2:
        return None
    return s.geometry(make(s.scenery.nodes or 6, s.scenery.dim, generator), generator)


def _ties(s: Setting, generator: Generator) -> Stress | None:
    if s.scenery.dim < 2:
        return None
    return s.scene(Layout(cube(s.scenery.dim)), generator, tied=True)


def _many(s: Setting, generator: Generator) -> Stress | None:
    return s.scene(Layout(lattice(70, max(s.scenery.dim, 1), generator)), generator)


def _isolated(s: Setting, generator: Generator) -> Stress | None:
    if not (s.scenery.dim or s.scenery.connected) or any(t.kind == "cell" for t in s.inputs.values()):
        return None
    points = lattice(6, max(s.scenery.dim, 1), generator)
    points[-1] += 100.0
    return s.scene(Layout(points, alone=(5,)), generator)


def _few(count: int, s: Setting, generator: Generator) -> Stress | None:
    return s.scene(Layout(lattice(count, max(s.scenery.dim, 1), generator)), generator)


def _edgeless(s: Setting, generator: Generator) -> Stress | None:
    if not s.scenery.connected:
        return None
    return s.scene(Layout(lattice(4, max(s.scenery.dim, 1), generator), edges=False), generator)


#: Every stress by its label, in the order in which they run; a builder gives ``None`` where the declared types do
#: not make its inputs possible.
STRESSES: dict[str, Callable[[Setting, Generator], Stress | None]] = {
    **{f"amplitude {a:g}": partial(_amplitude, a) for a in AMPLITUDES},
    "translation by 1e3": _far,
    "edge order": _edge_order,
    "memory layout": _layout,
    "batch": _batch,
    "zero features": _zero,
    "planar": partial(_on_the_spot, planar),
    "collinear": partial(_on_the_spot, collinear),
    "tetrahedral": partial(_figure, 0.6 * tetrahedron()),
    "octahedral": partial(_figure, octahedron()),
    "equal distances": _ties,
    "more than 64 neighbours": _many,
    "isolated node": _isolated,
    "two nodes": partial(_few, 2),
    "one node": partial(_few, 1),
    "no edges": _edgeless,
}
