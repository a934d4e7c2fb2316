r"""All equivariant operations between tensors of given ranks, and generators of them.

Invariant polynomials of tensors are linear combinations of closed networks; those that are not products, and do not follow
from products, generate all others. The same holds for equivariant maps, with networks that keep legs open.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import torch

from geomlib.algebra.cartesian.networks import networks
from geomlib.algebra.cartesian.operation import TensorOp, evaluate
from geomlib.algebra.cartesian.spec import TensorSpec
from geomlib.errors import InvalidInput

__all__ = ["equivariant_operations", "generators", "independent_operations"]

#: A column this small is zero, for random input of order one.
_ZERO = 1e-9
#: What is left of a column of length one where it depends on others.
_DEPENDENT = 1e-7


def equivariant_operations(
    inputs: Sequence[TensorSpec],
    output: TensorSpec,
    degree: int | Sequence[int] | None = None,
    group: object = "O(3)",
    *,
    connected_only: bool = False,
    independent: bool = True,
) -> list[TensorOp]:
    r"""Return the equivariant polynomial maps between tensors, one tensor network each.

    .. math:: f(x_1, \ldots, x_k) = \mathrm{contract}\left(x_1^{\otimes d_1} \otimes \cdots \otimes x_k^{\otimes d_k}
              \otimes \delta \cdots \delta \otimes \epsilon\right)

    With ``independent`` they are a basis of all such maps of this degree, products of simpler ones first.

    **Group** O(n), SO(n). **Shapes** of a call: (..., n, ..., n) per input, to (..., n, ..., n).

    Args:
        inputs: the tensors; without ``degree`` each enters once, and one listed twice enters twice.
        output: the result; its name does not matter.
        degree: how many tensors are multiplied in all, or how many of each input.
        group: ``"O(n)"`` or ``"SO(n)"``; in O(n) parities decide whether epsilon takes part, SO(n) does not see parities.
        connected_only: leave out what is an invariant times something simpler, and what follows from such products.
        independent: leave out what is a linear combination of others, by rank on random tensors; otherwise all networks
            that are not identically zero.

    Raises:
        InvalidInput: another group, different tensors of one name, a wrong degree, or too many networks.

    Source: *Symmetric tensor networks*, arXiv 2508.12596; Pearce-Crump, arXiv 2212.08630.

    >>> A = TensorSpec(2, symmetric=True, name="A")
    >>> [str(op) for op in equivariant_operations([A], A, degree=2)]
    ['A_cc A_dd delta_ab', 'A_cd A_cd delta_ab', 'A_ab A_cc', 'A_ac A_bc']
    >>> [str(op) for op in equivariant_operations([A], A, degree=2, connected_only=True)]
    ['A_ac A_bc']
    """
    n, special = _dimension(group)
    distinct = tuple(dict.fromkeys(inputs))
    if len({spec.name for spec in distinct}) < len(distinct):
        raise InvalidInput(
            f"equivariant_operations: inputs {[s.name for s in distinct]}: different tensors need different names."
        )
    found: list[TensorOp] = []
    for degrees in _degrees(inputs, distinct, degree):
        slots = [spec for spec, d in zip(distinct, degrees, strict=True) for _ in range(d)]
        listed: list[TensorOp] = []
        for epsilon in _epsilons(slots, output, special):
            listed += [TensorOp(g, distinct, n) for g in networks(slots, output, n, epsilon=epsilon)]
        # products first, whether or not with epsilon: what follows from them is then left out
        listed.sort(key=lambda op: op.graph.connected)
        kept = independent_operations(listed) if independent else _nonzero(listed)
        found += [op for op in kept if op.graph.connected or not connected_only]
    return found


def generators(
    inputs: Sequence[TensorSpec],
    max_degree: int,
    group: object = "O(3)",
    output: TensorSpec | None = None,
) -> list[TensorOp]:
    r"""Return operations from which, with products by invariants, all others up to a degree are made.

    Without ``output`` these are invariants, connected closed networks, of which every invariant polynomial is a
    polynomial; with it, equivariant maps, of which every equivariant polynomial map is a linear combination whose
    coefficients are invariants. None of them follows from the others.

    Args:
        inputs: the tensors, each once.
        max_degree: highest number of factors.
        group: ``"O(n)"`` or ``"SO(n)"``.
        output: what the maps give; invariants by default.

    Raises:
        InvalidInput: see :func:`equivariant_operations`.

    Source: *Symmetric tensor networks*, arXiv 2508.12596.

    >>> C, v = TensorSpec(2, symmetric=True, name="C"), TensorSpec(1, name="v")
    >>> [str(op) for op in generators([C], 4)]
    ['C_aa', 'C_ab C_ab', 'C_ab C_ac C_bc']
    >>> [str(op) for op in generators([C], 3, output=C)]
    ['delta_ab', 'C_ab', 'C_ac C_bc']
    >>> len(generators([C, v], 4))
    6
    """
    found: list[TensorOp] = []
    for degree in range(0 if output is not None else 1, max_degree + 1):
        result = TensorSpec(0) if output is None else output
        found += equivariant_operations(inputs, result, degree, group, connected_only=True)
    return found


def independent_operations(ops: Sequence[TensorOp]) -> list[TensorOp]:
    """Return those that are not linear combinations of earlier ones, decided by rank on random tensors.

    Args:
        ops: operations with the same inputs and output.
    """
    values = _values(ops)
    basis: list[torch.Tensor] = []
    kept: list[TensorOp] = []
    for op, column in zip(ops, values, strict=True):
        size = float(column.norm())
        if float(column.abs().max()) < _ZERO:
            continue
        rest = column / size
        if basis:
            q = torch.stack(basis)
            for _ in range(2):  # once more: the first projection leaves round-off
                rest = rest - q.T @ (q @ rest)
        left = float(rest.norm())
        if left > _DEPENDENT:
            basis.append(rest / left)
            kept.append(op)
    return kept


def _nonzero(ops: Sequence[TensorOp]) -> list[TensorOp]:
    return [op for op, v in zip(ops, _values(ops), strict=True) if float(v.abs().max()) >= _ZERO]


def _values(ops: Sequence[TensorOp]) -> list[torch.Tensor]:
    """Return every operation on the same random tensors, flattened."""
    if not ops:
        return []
    op = ops[0]
    generator = torch.Generator().manual_seed(20)
    samples = 2 * len(ops) + 8
    tensors = [spec.random((samples,), op.n, generator) for spec in op.inputs]
    if not tensors:  # no inputs at all: constants
        return [value.flatten() for value in evaluate(ops)]
    return [value.flatten() for value in evaluate(ops, *tensors)]


def _dimension(group: object) -> tuple[int, bool]:
    text = str(getattr(group, "name", group))
    match = re.fullmatch(r"(S?)O\((\d+)\)", text)
    if match is None or int(match[2]) < 1:
        raise InvalidInput(
            f"equivariant_operations: group {text!r}: expected 'O(n)' or 'SO(n)' with n of 1 or more, as 'O(3)'."
        )
    return int(match[2]), bool(match[1])


def _degrees(
    inputs: Sequence[TensorSpec], distinct: Sequence[TensorSpec], degree: int | Sequence[int] | None
) -> Iterator[tuple[int, ...]]:
    if degree is None:
        yield tuple(list(inputs).count(spec) for spec in distinct)
        return
    if len(inputs) != len(distinct):
        raise InvalidInput("equivariant_operations: with a degree, every tensor is listed once.")
    if isinstance(degree, int):
        if degree < 0:
            raise InvalidInput(f"equivariant_operations: degree {degree} must not be negative.")
        for degrees in itertools.product(range(degree, -1, -1), repeat=len(distinct)):
            if sum(degrees) == degree:
                yield degrees
        return
    degrees = tuple(degree)
    if len(degrees) != len(distinct) or any(d < 0 for d in degrees):
        raise InvalidInput(
            f"equivariant_operations: degrees {degrees}: expected {len(distinct)} numbers that are not negative."
        )
    yield degrees


def _epsilons(slots: Sequence[TensorSpec], output: TensorSpec, special: bool) -> tuple[bool, ...]:
    """Return whether epsilon may take part: as the parities say, in SO(n) both ways."""
    if special:
        return (False, True)
    sign = output.parity
    for spec in slots:
        sign *= spec.parity
    return (sign < 0,)
