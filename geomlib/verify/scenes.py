"""Inputs of another geometry or size, made from one example: its rows are kept, its nodes are moved and counted anew."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations, product

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element
from geomlib.algebra.symmetry import TensorType
from geomlib.verify.inputs import spacing
from geomlib.verify.target import COTANGENT
from geomlib.verify.values import Leaves, Tree, last_name, leaves, map_leaves, rounded, with_entries

__all__ = [
    "Layout",
    "Scenery",
    "collinear",
    "cube",
    "lattice",
    "octahedron",
    "planar",
    "stabiliser",
    "tetrahedron",
]


def _grid(count: int, dim: int) -> Tensor:
    """Return the grid points nearest to the centre of a cube, exactly symmetric where the count allows it."""
    side = 1
    while side**dim < count:
        side += 1
    axes = torch.arange(side, dtype=torch.float64) - 0.5 * (side - 1)
    points = torch.cartesian_prod(*[axes] * dim).reshape(-1, dim)
    return points[torch.argsort(points.square().sum(1), stable=True)[:count]]


def lattice(count: int, dim: int, generator: Generator) -> Tensor:  # (N, n)
    """Return points of a cubic lattice, each moved by about a tenth: no two are close, no two distances equal."""
    return _grid(count, dim) + 0.1 * torch.randn(count, dim, generator=generator, dtype=torch.float64)


def planar(count: int, dim: int, generator: Generator) -> Tensor:  # (N, n)
    """Return points in the plane of the first two axes, exactly."""
    points = torch.zeros(count, dim, dtype=torch.float64)
    points[:, :2] = lattice(count, 2, generator)
    return points


def collinear(count: int, dim: int, generator: Generator) -> Tensor:  # (N, n)
    """Return points on the first axis, exactly."""
    points = torch.zeros(count, dim, dtype=torch.float64)
    points[:, :1] = lattice(count, 1, generator)
    return points


def cube(dim: int) -> Tensor:  # (2^n, n)
    """Return the corners of a cube with edges of length 1: many equal distances."""
    return torch.tensor(list(product((-0.5, 0.5), repeat=dim)), dtype=torch.float64)


def tetrahedron() -> Tensor:  # (5, 3)
    """Return the centre and the corners of a regular tetrahedron."""
    corners = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
    return torch.tensor([(0, 0, 0), *corners], dtype=torch.float64)


def octahedron() -> Tensor:  # (7, 3)
    """Return the centre and the corners of a regular octahedron."""
    eye = torch.eye(3, dtype=torch.float64)
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), eye, -eye])


def stabiliser(points: Tensor, *, reflections: bool) -> list[Element]:
    """Return the signed permutation matrices, with permutations of the points, that leave a figure as it is."""
    found: list[Element] = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            q = torch.zeros(3, 3, dtype=torch.float64)
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                q[row, column] = sign
            if not reflections and float(torch.linalg.det(q)) < 0:
                continue
            same = (points @ q.T)[:, None].eq(points[None]).all(-1)
            if bool(same.any(1).all()):
                nodes = same.double().argmax(1)
                found.append(Element(q, torch.zeros(3, dtype=torch.float64), nodes=nodes, label="stabiliser"))
    return found


@dataclass(frozen=True)
class Layout:
    """A geometry.

    Args:
        points: (N, n) coordinates in units of the usual distance between neighbours.
        graph: (N,) number of the graph of each node; one graph by default.
        edges: whether nodes of a graph are connected, all with all.
        alone: nodes without edges.
        uniform: whether all nodes get the same features, and those that turn are zero.
    """

    points: Tensor
    graph: Tensor | None = None
    edges: bool = True
    alone: tuple[int, ...] = ()
    uniform: bool = False

    def owner(self) -> Tensor:
        """Return the number of the graph of each node."""
        return torch.zeros(len(self.points), dtype=torch.long) if self.graph is None else self.graph

    def noisy(self, generator: Generator) -> Layout:
        """Return the same layout with points moved by a fifth, a generic one of the same size."""
        noise = 0.2 * torch.randn(self.points.shape, generator=generator, dtype=torch.float64)
        return Layout(self.points + noise, self.graph, self.edges, self.alone, uniform=False)


@dataclass
class Scenery:
    """What an example says about how inputs are made.

    Args:
        tree: the example, float64, without cotangents.
        types: type of each tensor.
    """

    tree: Tree
    types: Mapping[str, TensorType]
    coordinates: list[str] = field(init=False)
    dim: int = field(init=False)
    unit: float = field(init=False)
    resizable: bool = field(init=False)

    def __post_init__(self) -> None:
        self.tree = {name: x for name, x in self.tree.items() if not name.startswith(COTANGENT)}
        found = self._leaves()
        nodes = [n for n in found if self._type(n).scope == "node"]
        points = [n for n in nodes if self._type(n).kind == "point" and found[n].dim() == 2]
        vectors = [n for n in nodes if self._type(n).kind == "vector" and found[n].dim() == 2]
        self.coordinates = points or vectors[:1]
        between = [n for n in found if self._type(n).scope == "edge" and self._type(n).kind == "vector"]
        self.dim = next((found[n].shape[-1] for n in [*self.coordinates, *between]), 0)
        self.unit = spacing(found, self.types) or 1.0
        self.resizable = bool(nodes) and all(self._counted(n, x) for n, x in found.items())

    def _leaves(self) -> Leaves:
        return leaves(self.tree)

    def _type(self, name: str) -> TensorType:
        return self.types.get(name, TensorType("untyped"))

    def _counted(self, name: str, x: Tensor) -> bool:
        t = self._type(name)
        if x.dim() == 0 or last_name(name) in ("batch", "ptr"):
            return True
        if t.kind == "index":
            return t.scope == "edge" and x.dim() == 2 and x.shape[0] == 2
        return t.scope is not None and t.kind not in ("perm", "simplex", "untyped")

    @property
    def batched(self) -> bool:
        """Whether the inputs hold a vector ``batch``."""
        return any(last_name(n) == "batch" for n in self._leaves())

    @property
    def connected(self) -> bool:
        """Whether the inputs hold edges."""
        return any(self._type(n).kind == "index" and self._type(n).scope == "edge" for n in self._leaves())

    @property
    def nodes(self) -> int:
        """Number of nodes of the example."""
        return next(
            (x.shape[0] for n, x in self._leaves().items() if self._type(n).scope == "node" and x.dim()), 0
        )

    def move(self, points: Tensor) -> Tree:
        """Return the example with its nodes at other places (in units of the usual distance), all else as it is."""
        new = self.unit * points
        return rounded(map_leaves(self.tree, lambda n, x: new.to(x) if n in self.coordinates else x))

    def build(self, layout: Layout, generator: Generator) -> Tree:
        """Return inputs with the nodes of a layout: rows are drawn from those of the example."""
        points, graph = self.unit * layout.points, layout.owner()
        graphs = int(graph.max()) + 1
        edges = self._edges(layout, graph)
        old = self._leaves()
        ends = next(
            (x for n, x in old.items() if self._type(n).kind == "index" and self._type(n).scope == "edge"),
            None,
        )
        rows = self._rows(self.nodes, len(points), layout, generator)
        edge_rows = self._rows(0 if ends is None else ends.shape[1], edges.shape[1], layout, generator)
        signs = {n: self._sign(n, x, ends) for n, x in old.items()}

        def make(name: str, x: Tensor) -> Tensor:
            t = self._type(name)
            if last_name(name) == "batch":
                return graph.to(x)
            if last_name(name) == "ptr":
                return torch.cat([graph.new_zeros(1), torch.bincount(graph).cumsum(0)]).to(x)
            if name in self.coordinates:
                return points.to(x)
            if t.kind == "index" and t.scope == "edge":
                return edges.to(x)
            sign = signs[name]
            if sign is not None and self.dim:
                return _like(points[edges[1]] - points[edges[0]], x, sign)
            if t.scope in ("node", "edge"):
                index = rows if t.scope == "node" else edge_rows
                taken = x[index] if len(x) else x.new_zeros(len(index), *x.shape[1:])
                return (
                    torch.zeros_like(taken) if layout.uniform and t.moves and x.is_floating_point() else taken
                )
            if t.kind == "cell":
                return self._cell(points, x, graphs)
            return (
                x[torch.zeros(graphs, dtype=torch.long)] if t.scope == "graph" and x.dim() and len(x) else x
            )

        tree = with_entries(map_leaves(self.tree, make), {"num_graphs": graphs, "batch_size": graphs})
        return rounded(with_entries(tree, {"num_nodes": len(points)}))

    def _rows(self, have: int, want: int, layout: Layout, generator: Generator) -> Tensor:
        if layout.uniform or have == 0:
            return torch.zeros(want, dtype=torch.long)
        return torch.randint(have, (want,), generator=generator)

    def _edges(self, layout: Layout, graph: Tensor) -> Tensor:
        """Return all pairs of nodes of a graph, in the order and with the loops of the example."""
        old = [
            x
            for n, x in self._leaves().items()
            if self._type(n).kind == "index" and self._type(n).scope == "edge"
        ]
        if not old or not layout.edges:
            return torch.zeros(2, 0, dtype=torch.long)
        i, j = old[0][0], old[0][1]
        near = graph[:, None] == graph[None]
        near[list(layout.alone)] = False
        near[:, list(layout.alone)] = False
        if not bool((i == j).any()):
            near.fill_diagonal_(False)
        if i.numel() and bool((i < j).all()):
            near = near.triu()
        by_target = bool((j.diff() >= 0).all()) and not bool((i.diff() >= 0).all())
        return near.T.nonzero().T.flip(0) if by_target else near.nonzero().T

    def _sign(self, name: str, x: Tensor, ends: Tensor | None) -> float | None:
        """Return how an edge tensor follows from positions: ``+1`` target minus source, ``-1``, 0 for a length."""
        t = self._type(name)
        if t.scope != "edge" or not x.is_floating_point():
            return None
        old = self._leaves()
        known = None
        if self.coordinates and ends is not None and ends.numel():
            pos = old[self.coordinates[0]]
            known = pos[ends[1]] - pos[ends[0]]
        if t.kind == "vector" and x.dim() == 2:
            return -1.0 if known is not None and known.shape == x.shape and torch.allclose(x, -known) else 1.0
        vectors = [
            v for n, v in old.items() if self._type(n).scope == "edge" and self._type(n).kind == "vector"
        ]
        lengths = [v.norm(dim=-1) for v in (*vectors, *([] if known is None else [known]))]
        flat = x.reshape(len(x), -1)
        if t.kind in ("inv", "scalar") and flat.shape[1] == 1 and len(x):
            return (
                0.0
                if any(v.shape == flat[:, 0].shape and torch.allclose(v, flat[:, 0]) for v in lengths)
                else None
            )
        return None

    def _cell(self, points: Tensor, x: Tensor, graphs: int) -> Tensor:
        """Return cubic cells with room to spare around the points."""
        side = float((points.amax(0) - points.amin(0)).amax()) + 4.0 * self.unit
        cell = side * torch.eye(points.shape[1], dtype=x.dtype)
        if x.dim() == 2 and x.shape[0] == x.shape[1]:
            return cell
        return cell.repeat(graphs, 1) if x.dim() == 2 else cell.expand(graphs, *cell.shape).clone()


def _like(difference: Tensor, x: Tensor, sign: float) -> Tensor:
    if sign == 0.0:
        return difference.norm(dim=-1).reshape(-1, *x.shape[1:]).to(x)
    return (sign * difference).to(x)
