"""A tensor network as a function, with its order of contraction, cost and drawing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.cartesian.drawing import draw
from geomlib.algebra.cartesian.networks import Network
from geomlib.algebra.cartesian.spec import TensorSpec
from geomlib.algebra.diagrams import Diagram
from geomlib.algebra.permutations import levi_civita
from geomlib.errors import InvalidInput

__all__ = ["Plan", "TensorOp", "evaluate"]

#: One contraction: numbers of one or two operands, and the formula.
Step = tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class TensorOp:
    """An equivariant operation: tensors are multiplied and their legs contracted.

    A call takes one tensor (..., n, ..., n) per input, in their order, each with the symmetry it is declared to have;
    leading axes are broadcast. The result has the symmetry of the output.

    Args:
        graph: which legs are contracted.
        inputs: the arguments; each enters as often as the graph says, also not at all.
        n: dimension of a leg.

    >>> from geomlib.algebra.cartesian import TensorSpec, equivariant_operations
    >>> A, v = TensorSpec(2, symmetric=True, name="A"), TensorSpec(1, name="v")
    >>> [str(op) for op in equivariant_operations([A, v], TensorSpec(1), group="O(3)")]
    ['A_bb v_a', 'A_ab v_b']
    """

    graph: Network
    inputs: tuple[TensorSpec, ...]
    n: int

    @property
    def order(self) -> int:
        """How many tensors are multiplied."""
        return len(self.graph.slots)

    @property
    def degrees(self) -> tuple[int, ...]:
        """How often each of the inputs enters."""
        return tuple(self.graph.slots.count(spec) for spec in self.inputs)

    @property
    def diagram(self) -> Diagram:
        """The linear map on the outer product of all factors that the network is: a Brauer or Brauer-Grood diagram."""
        legs, graph = len(self.graph.owners), self.graph
        kind: list[Any] = ["H", list(graph.free)] if graph.free else ["E"]
        label = [*kind, [list(pair) for pair in graph.pairs]]
        return Diagram.from_label(label, legs - graph.output.rank, graph.output.rank)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Letters of the legs: of the output, of every operand."""
        letters = iter(string.ascii_letters)
        at: dict[int, str] = {leg: next(letters) for leg in range(self.graph.output.rank)}
        deltas: list[str] = []
        for a, b in self.graph.pairs:
            if b < self.graph.output.rank:
                deltas.append(at[a] + at[b])
            elif a < self.graph.output.rank:
                at[b] = at[a]
            else:
                at[a] = at[b] = next(letters)
        for leg in self.graph.free:
            at[leg] = at.get(leg) or next(letters)
        found, start = ["".join(at[k] for k in range(self.graph.output.rank))], self.graph.output.rank
        for spec in self.graph.slots:
            found.append("".join(at[k] for k in range(start, start + spec.rank)))
            start += spec.rank
        if self.graph.free:
            found.append("".join(at[leg] for leg in self.graph.free))
        return (*found, *deltas)

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of what is multiplied: inputs, then epsilon and deltas between legs of the output."""
        slots = [spec.name for spec in self.graph.slots]
        rest = len(self.labels) - 1 - len(slots)
        constants = ["epsilon"] if self.graph.free else []
        return (*slots, *constants, *["delta"] * (rest - len(constants)))

    @property
    def einsum(self) -> str:
        """The contraction of the `operands` as einsum writes it, before the result is made symmetric."""
        out, *labels = self.labels
        return f"{','.join(labels)}->{out}"

    def __str__(self) -> str:
        names = {"epsilon": "eps"}
        words = [
            names.get(name, name) + (f"_{label}" if label else "")
            for name, label in zip(self.operands, self.labels[1:], strict=True)
        ]
        return " ".join(words) or "1"

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The contractions in order: traces first, then always the cheapest pair; results are numbered on."""
        out, *labels = self.labels
        left = dict(enumerate(labels))
        steps: list[Step] = []

        def result(names: tuple[int, ...]) -> str:
            others = set(out).union(*(left[k] for k in left if k not in names))
            return "".join(c for c in dict.fromkeys("".join(left[k] for k in names)) if c in others)

        def contract(names: tuple[int, ...], kept: str) -> None:
            steps.append((names, f"{','.join(left[k] for k in names)}->{kept}"))
            for k in names:
                del left[k]
            left[len(labels) + len(steps) - 1] = kept

        for k in list(left):
            kept = result((k,))
            if len(kept) < len(left[k]):
                contract((k,), kept)
        while len(left) > 1:
            pairs = itertools.combinations(left, 2)
            best = min(pairs, key=lambda p: (len({*left[p[0]], *left[p[1]]}), len(result(p)), p))
            contract(best, result(best))
        if left and next(iter(left.values())) != out:
            contract(tuple(left), out)
        return tuple(steps)

    def flops(self, n: int | None = None) -> int:
        """Return the multiplications of one call without batch axes, for another dimension of a leg if wanted.

        >>> from geomlib.algebra.cartesian import TensorSpec, equivariant_operations
        >>> A = TensorSpec(2, symmetric=True, name="A")
        >>> [op.flops() for op in equivariant_operations([A, A], A, connected_only=True)]
        [27]
        """
        size = self.n if n is None else n
        pairs = [formula for names, formula in self.steps if len(names) == 2]
        return sum(size ** len({*formula.partition("->")[0]} - {","}) for formula in pairs)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Return the result for one tensor per input.

        Raises:
            InvalidInput: another number of tensors, or shapes that do not fit.
        """
        return evaluate([self], *tensors)[0]

    def svg(self) -> str:
        """Return a drawing: tensors as circles, epsilon as a triangle, contractions as lines, the output's legs open."""
        return draw(self.graph)

    def _repr_svg_(self) -> str:
        return self.svg()


@dataclass(frozen=True, eq=False)
class Plan:
    """Several operations of the same inputs, in an order in which what they have in common is computed once.

    A call takes one tensor (..., n, ..., n) per input and returns one result per operation.

    Args:
        inputs: the arguments.
        n: dimension of a leg.
        leaves: names of the first values: inputs and constants.
        steps: numbers of operands and formula of every further value.
        results: number of the value of every operation, -1 for the empty product.
        outputs: kinds of the results.
        constants: of the leaves, None for inputs.
    """

    inputs: tuple[TensorSpec, ...]
    n: int
    leaves: tuple[str, ...]
    steps: tuple[Step, ...]
    results: tuple[int, ...]
    outputs: tuple[TensorSpec, ...]
    constants: tuple[Tensor | None, ...]

    @staticmethod
    def of(ops: Sequence[TensorOp]) -> Plan:
        """Return the plan of operations with the same ``inputs``.

        Raises:
            InvalidInput: no operations, or operations of different inputs.

        >>> from geomlib.algebra.cartesian import TensorSpec, generators
        >>> plan = Plan.of(generators([TensorSpec(2, symmetric=True, name="C")], 3))
        >>> [float(x) for x in plan(torch.diag(torch.tensor([1.0, 2.0, 3.0])))]
        [6.0, 14.0, 36.0]
        """
        if not ops or any(op.inputs != ops[0].inputs or op.n != ops[0].n for op in ops):
            raise InvalidInput("Plan: expected one operation or more, all of the same inputs and dimension.")
        leaves = tuple(dict.fromkeys(name for op in ops for name in op.operands))
        symmetric = {
            k for k, name in enumerate(leaves) for s in ops[0].inputs if s.name == name and s.symmetric
        }
        symmetric |= {k for k, name in enumerate(leaves) if name == "delta"}
        known: dict[Step, int] = {}
        results: list[int] = []
        for op in ops:
            at = [leaves.index(name) for name in op.operands]
            for names, formula in op.steps:
                key = _written([at[k] for k in names], formula, symmetric)
                at.append(known.setdefault(key, len(leaves) + len(known)))
            results.append(at[-1] if at else -1)
        arguments = {spec.name for spec in ops[0].inputs}
        constants = tuple(None if name in arguments else _constant(name, ops[0].n) for name in leaves)
        outputs = tuple(op.graph.output for op in ops)
        return Plan(ops[0].inputs, ops[0].n, leaves, tuple(known), tuple(results), outputs, constants)

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """Return the result of every operation.

        Raises:
            InvalidInput: another number of tensors, or shapes that do not fit.
        """
        batch = _batch(self.inputs, self.n, tensors)
        like = tensors[0] if tensors else torch.zeros((), dtype=torch.float64)
        given = {spec.name: x for spec, x in zip(self.inputs, tensors, strict=True)}
        values = [
            given[name] if c is None else c.to(like)
            for name, c in zip(self.leaves, self.constants, strict=True)
        ]
        for operands, formula in self.steps:
            values.append(torch.einsum(formula, *(values[k] for k in operands)))
        found: list[Tensor] = []
        for k, output in zip(self.results, self.outputs, strict=True):
            value = torch.ones((), dtype=like.dtype, device=like.device) if k < 0 else values[k]
            found.append(output.project(value).expand((*batch, *output.shape(self.n))))
        return found

    def flops(self) -> int:
        """Return the multiplications of one call without batch axes."""
        return sum(
            self.n ** len({*formula.partition("->")[0]} - {*",."}) for k, formula in self.steps if len(k) == 2
        )


def evaluate(ops: Sequence[TensorOp], *tensors: Tensor) -> list[Tensor]:
    """Return the results of several operations of the same inputs, sharing what they have in common.

    Args:
        ops: operations with the same ``inputs``; where they are used again and again, keep their `Plan`.
        tensors: one (..., n, ..., n) per input; leading axes are broadcast.

    Raises:
        InvalidInput: operations of different inputs, another number of tensors, or shapes that do not fit.
    """
    return Plan.of(ops)(*tensors) if ops else []


def _written(operands: list[int], formula: str, symmetric: set[int]) -> Step:
    """Return the one form of equal contractions: operands in order, letters by first appearance."""
    left, _, out = formula.partition("->")
    terms = left.split(",")
    if len(terms) == 2 and operands[0] > operands[1]:
        operands, terms = operands[::-1], terms[::-1]
    forms: list[str] = []
    choices = [
        itertools.permutations(t) if k in symmetric else [tuple(t)]
        for k, t in zip(operands, terms, strict=True)
    ]
    for chosen in itertools.product(*choices):
        letters: dict[str, str] = {}
        for c in itertools.chain(*chosen):
            letters.setdefault(c, string.ascii_letters[len(letters)])
        dots = [f"...{''.join(letters[c] for c in term)}" for term in chosen]
        forms.append(f"{','.join(dots)}->...{''.join(letters[c] for c in out)}")
    return tuple(operands), min(forms)


def _batch(inputs: Sequence[TensorSpec], n: int, tensors: Sequence[Tensor]) -> torch.Size:
    if len(tensors) != len(inputs):
        names = ", ".join(spec.name for spec in inputs)
        raise InvalidInput(f"TensorOp: {len(tensors)} tensors given, expected {len(inputs)}: {names}.")
    shapes: list[torch.Size] = []
    for spec, x in zip(inputs, tensors, strict=True):
        first = x.dim() - spec.rank
        if first < 0 or tuple(x.shape[first:]) != spec.shape(n):
            wanted = ", ".join(["...", *map(str, spec.shape(n))])
            raise InvalidInput(
                f"TensorOp: `{spec.name}` has shape {tuple(x.shape)}, expected ({wanted}) for rank {spec.rank}, n = {n}."
            )
        shapes.append(x.shape[:first])
    if not all(x.dtype == tensors[0].dtype and x.is_floating_point() for x in tensors):
        raise InvalidInput(
            f"TensorOp: types {', '.join(str(x.dtype) for x in tensors)}: expected one floating-point type."
        )
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        listed = ", ".join(f"{spec.name} {tuple(s)}" for spec, s in zip(inputs, shapes, strict=True))
        raise InvalidInput(f"TensorOp: leading axes {listed} cannot be broadcast.") from None


@lru_cache(maxsize=32)
def _constant(name: str, n: int) -> Tensor:
    if name == "delta":
        return torch.eye(n, dtype=torch.float64)
    return levi_civita(n)
