"""From invariants to equivariant maps: the derivative with respect to one tensor."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geomlib.algebra.cartesian.networks import Network, canonical
from geomlib.algebra.cartesian.operation import TensorOp, evaluate
from geomlib.errors import InvalidInput

__all__ = ["Gradient", "invariant_to_equivariant"]


@dataclass(frozen=True)
class Gradient:
    """A derivative of an invariant, as a sum of operations.

    Args:
        invariant: what is differentiated.
        name: with respect to which input.
        terms: coefficients and operations.
    """

    invariant: TensorOp
    name: str
    terms: tuple[tuple[int, TensorOp], ...]

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Return the derivative, by the networks of `terms`; arguments are those of the invariant."""
        values = evaluate([op for _, op in self.terms], *tensors)
        if not values:
            k = [spec.name for spec in self.invariant.inputs].index(self.name)
            shape = self.invariant(*tensors).shape
            return tensors[k].new_zeros((*shape, *self.invariant.inputs[k].shape(self.invariant.n)))
        total = self.terms[0][0] * values[0]
        for (factor, _), value in zip(self.terms[1:], values[1:], strict=True):
            total = total + factor * value
        return total

    def by_autograd(self, *tensors: Tensor) -> Tensor:
        """Return the same by automatic differentiation; all tensors have the same leading axes."""
        k = [spec.name for spec in self.invariant.inputs].index(self.name)
        with torch.enable_grad():
            y = tensors[k] if tensors[k].requires_grad else tensors[k].detach().requires_grad_()
            total = self.invariant(*tensors[:k], y, *tensors[k + 1 :]).sum()
            if not total.requires_grad:
                return torch.zeros_like(y)
            (grad,) = torch.autograd.grad(total, y, create_graph=True, materialize_grads=True)
        return self.invariant.inputs[k].project(grad)


def invariant_to_equivariant(invariant: TensorOp, name: str) -> Gradient:
    r"""Return the equivariant map :math:`f = \partial I / \partial y` of an invariant.

    An invariant linear in y is a map to tensors of the kind of y; of one that is not, such as an energy, this is the
    derivative. Where y is declared symmetric or traceless, so is the result.

    Args:
        invariant: a closed network.
        name: of the input y.

    Raises:
        InvalidInput: a network with open legs, or an unknown input.

    >>> from geomlib.algebra.cartesian import TensorSpec, generators
    >>> cube = generators([TensorSpec(2, symmetric=True, name="C")], 3)[-1]
    >>> [(factor, str(op)) for factor, op in invariant_to_equivariant(cube, "C").terms]
    [(3, 'C_ac C_bc')]
    """
    spec = next((s for s in invariant.inputs if s.name == name), None)
    if spec is None or invariant.graph.output.rank:
        known = ", ".join(s.name for s in invariant.inputs)
        raise InvalidInput(
            f"invariant_to_equivariant: expected a scalar and one of its inputs {known}, got rank "
            f"{invariant.graph.output.rank} and {name!r}."
        )
    graph = invariant.graph
    output = replace(spec, parity=spec.parity * graph.output.parity)
    found = Counter[Network]()
    start = 0
    for k, slot in enumerate(graph.slots):
        if slot == spec:
            # legs of this slot become the output, those before it move up
            order = [
                *range(start, start + slot.rank),
                *range(start),
                *range(start + slot.rank, len(graph.owners)),
            ]
            new = {leg: i for i, leg in enumerate(order)}
            pairs = [(min(new[a], new[b]), max(new[a], new[b])) for a, b in graph.pairs]
            rest = [s for j, s in enumerate(graph.slots) if j != k]
            network, sign = canonical(rest, output, pairs, [new[leg] for leg in graph.free])
            found[network] += sign
        start += slot.rank
    terms = [(c, TensorOp(g, invariant.inputs, invariant.n)) for g, c in found.items() if c]
    return Gradient(invariant, name, tuple(terms))
