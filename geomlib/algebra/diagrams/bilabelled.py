r"""Bilabelled graphs: small graphs with output and input labels, whose homomorphism counts are equivariant maps of any graph.

They form a category: composition glues, the tensor product puts side by side, transposition exchanges the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.diagrams.partitions import rgs_of
from geomlib.errors import InvalidInput

__all__ = ["BilabelledGraph", "apply_homomorphisms", "homomorphism_matrix"]


@dataclass(frozen=True, init=False)
class BilabelledGraph:
    r"""A graph H with output labels a and input labels b, which names a map of homomorphism counts.

    .. math:: X_H[I, J] = \big|\{\phi: H \to G,\ \phi(a) = I,\ \phi(b) = J\}\big|
              = \sum_{\phi:\ \phi(a)=I,\ \phi(b)=J}\ \prod_{(u,v) \in H} A_{\phi(u)\phi(v)}

    where A is the adjacency matrix of the graph G it is evaluated on; any matrix will do. An edge that is there twice counts
    twice.

    Args:
        vertices: number of vertices of H.
        edges: pairs of vertices; their direction matters where A is not symmetric.
        outputs: vertex of every output leg.
        inputs: vertex of every input leg.

    Raises:
        InvalidInput: a vertex that does not exist.

    Source: E. Pearce-Crump and W. J. Knottenbelt, "Graph automorphism group equivariant neural networks", arXiv 2307.07810.

    >>> path = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> two_steps = BilabelledGraph(3, [(0, 1), (1, 2)], outputs=[0], inputs=[2])
    >>> two_steps.matrix(path).tolist()
    [[1.0, 0.0, 1.0], [0.0, 2.0, 0.0], [1.0, 0.0, 1.0]]
    >>> edge = BilabelledGraph(2, [(0, 1)], [0], [1])
    >>> edge.compose(edge) == two_steps
    True
    """

    vertices: int
    edges: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]

    def __init__(
        self,
        vertices: int,
        edges: Iterable[Sequence[int]],
        outputs: Iterable[int] = (),
        inputs: Iterable[int] = (),
    ) -> None:
        pairs = sorted((int(a), int(b)) for a, b in edges)
        out, into = tuple(map(int, outputs)), tuple(map(int, inputs))
        for v in (*out, *into, *(v for pair in pairs for v in pair)):
            if not 0 <= v < vertices:
                raise InvalidInput(
                    f"BilabelledGraph: vertex {v} in edges {pairs}, outputs {list(out)} or inputs {list(into)}; "
                    f"there are vertices 0..{vertices - 1}."
                )
        for name, value in (
            ("vertices", vertices),
            ("edges", tuple(pairs)),
            ("outputs", out),
            ("inputs", into),
        ):
            object.__setattr__(self, name, value)

    @property
    def k(self) -> int:
        """Number of inputs."""
        return len(self.inputs)

    @property
    def l(self) -> int:  # noqa: E743 - as diagrams have it
        """Number of outputs."""
        return len(self.outputs)

    @property
    def summed(self) -> int:
        """Number of vertices that a map sums over: all but those of the outputs."""
        return self.vertices - len(set(self.outputs))

    @property
    def T(self) -> BilabelledGraph:  # noqa: N802 - as torch writes it
        """Outputs and inputs exchanged: the transpose, where A is symmetric or every edge is turned as well."""
        return BilabelledGraph(self.vertices, self.edges, self.inputs, self.outputs)

    def tensor(self, other: BilabelledGraph) -> BilabelledGraph:
        """Return both side by side: the Kronecker product."""
        s = self.vertices
        return BilabelledGraph(
            s + other.vertices,
            [*self.edges, *((a + s, b + s) for a, b in other.edges)],
            [*self.outputs, *(v + s for v in other.outputs)],
            [*self.inputs, *(v + s for v in other.inputs)],
        )

    def compose(self, other: BilabelledGraph) -> BilabelledGraph:
        """Return self after other: input r of self and output r of other become one vertex.

        Raises:
            InvalidInput: self has not as many inputs as other has outputs.
        """
        if self.k != other.l:
            raise InvalidInput(
                f"BilabelledGraph.compose: {self.k} inputs after {other.l} outputs. Both numbers must be equal."
            )
        s, total = self.vertices, self.vertices + other.vertices
        to = list(range(total))
        for a, b in zip(self.inputs, other.outputs, strict=True):
            old, new = to[b + s], to[a]
            to = [new if v == old else v for v in to]
        number = rgs_of(to)
        edges = [(number[a], number[b]) for a, b in (*self.edges, *((a + s, b + s) for a, b in other.edges))]
        return BilabelledGraph(
            len(set(number)),
            edges,
            [number[v] for v in self.outputs],
            [number[v + s] for v in other.inputs],
        )

    def matrix(self, adjacency: Tensor) -> Tensor:  # (n, n) -> (n^l, n^k)
        """Return the counts; see `homomorphism_matrix`."""
        return homomorphism_matrix(self, adjacency)

    def __repr__(self) -> str:
        edges = " ".join(f"{a}-{b}" for a, b in self.edges)
        return f"H[{self.vertices}: {edges or 'no edges'}; {list(self.inputs)} -> {list(self.outputs)}]"


#: A tensor and the letter of each of its axes.
_Factor = tuple[Tensor, list[int]]


def _eliminated(factors: list[_Factor], out: list[int]) -> Tensor:
    """Return the sum over all letters but ``out`` of a product, the letter with the fewest neighbours first."""
    while True:
        union: dict[int, set[int]] = {}
        for _, letters in factors:
            for v in letters:
                union.setdefault(v, set()).update(letters)
        free = [v for v in sorted(union) if v not in out]
        if not free:
            return _product(factors, out)
        v = min(free, key=lambda v: len(union[v]))
        touching = [f for f in factors if v in f[1]]
        rest = sorted(union[v] - {v})
        factors = [(_product(touching, rest), rest), *(f for f in factors if v not in f[1])]


def _product(factors: list[_Factor], out: list[int]) -> Tensor:
    operands: list[Tensor | list[int]] = [part for factor in factors for part in factor]
    return torch.einsum(*operands, out)


def _checked(graph: BilabelledGraph, adjacency: Tensor, name: str, dims: tuple[int, ...]) -> int:
    if adjacency.dim() not in dims or adjacency.shape[-1] != adjacency.shape[-2]:
        raise InvalidInput(
            f"{name}: `adjacency` has shape {tuple(adjacency.shape)}, expected a square matrix "
            f"{' or '.join('(B, n, n)' if d == 3 else '(n, n)' for d in dims)}."
        )
    if graph.vertices + graph.k + graph.l > 48:
        raise InvalidInput(f"{name}: {graph} has more vertices and labels than the 48 letters of a sum.")
    return adjacency.shape[-1]


def _legs(
    graph: BilabelledGraph, legs: Sequence[int], like: Tensor, n: int
) -> tuple[list[_Factor], list[int]]:
    """Return a letter for every leg, and deltas where legs share a vertex: the first leg has the letter of the vertex."""
    found: list[_Factor] = []
    letters: list[int] = []
    for number, v in enumerate(legs):
        letter = v
        if v in letters:
            letter = graph.vertices + number
            found.append((torch.eye(n, dtype=like.dtype, device=like.device), [v, letter]))
        letters.append(letter)
    return found, letters


def _edges(
    graph: BilabelledGraph, adjacency: Tensor, n: int, covered: set[int], batch: list[int]
) -> list[_Factor]:
    found: list[_Factor] = [(adjacency, [*batch, a, b]) for a, b in graph.edges]
    covered = covered | {v for pair in graph.edges for v in pair}
    ones = torch.ones(n, dtype=adjacency.dtype, device=adjacency.device)
    return found + [(ones, [v]) for v in range(graph.vertices) if v not in covered]


def homomorphism_matrix(graph: BilabelledGraph, adjacency: Tensor) -> Tensor:  # (n, n) -> (n^l, n^k)
    """Return the numbers of homomorphisms with given values of the labels, by eliminating one vertex after the other.

    Vertices are summed in the order of fewest neighbours, so the cost is that of the treewidth of H. Differentiable in the
    entries of the matrix; counts are exact below 2^53 in float64.

    Args:
        graph: H.
        adjacency: (n, n), floating.

    Raises:
        InvalidInput: not a square matrix.
    """
    n = _checked(graph, adjacency, "homomorphism_matrix", (2,))
    deltas, letters = _legs(graph, [*graph.outputs, *graph.inputs], adjacency, n)
    factors = [*_edges(graph, adjacency, n, set(), []), *deltas]
    if not factors:
        return adjacency.new_ones(1, 1)
    return _eliminated(factors, letters).reshape(n**graph.l, n**graph.k)


def apply_homomorphisms(
    graph: BilabelledGraph,
    adjacency: Tensor,  # (n, n) or (B, n, n)
    x: Tensor,  # (B, C, n, .., n)
) -> Tensor:  # (B, C, n, .., n)
    r"""Return :math:`X_H x` without the matrix: x is one more factor of the sum.

    Args:
        graph: H with k inputs and l outputs.
        adjacency: one for all samples, or one for each.
        x: tensors of order k.

    Raises:
        InvalidInput: shapes that do not fit.

    >>> edge = BilabelledGraph(2, [(0, 1)], [0], [1])
    >>> apply_homomorphisms(edge, torch.ones(3, 3) - torch.eye(3), torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[5., 4., 3.]]])
    """
    n = _checked(graph, adjacency, "apply_homomorphisms", (2, 3))
    if tuple(x.shape[2:]) != (n,) * graph.k or (adjacency.dim() == 3 and len(adjacency) != len(x)):
        raise InvalidInput(
            f"apply_homomorphisms: `x` has shape {tuple(x.shape)} and `adjacency` {tuple(adjacency.shape)}; expected "
            f"(B, C{', n' * graph.k}) and (n, n) or (B, n, n)."
        )
    b, c = 50, 51
    deltas, letters = _legs(graph, graph.outputs, adjacency, n)
    given: _Factor = (x, [b, c, *graph.inputs])
    edges = _edges(graph, adjacency, n, set(graph.inputs), [b] if adjacency.dim() == 3 else [])
    return _eliminated([given, *edges, *deltas], [b, c, *letters])
