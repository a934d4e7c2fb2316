r"""Gates of multivectors as one operation: a function of the invariant of each grade times the grade."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.versors import smooth_root
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product import grade_scale
from geomlib.kernels.geometric_product.lengths import exponential, finite_squares, grades
from geomlib.kernels.geometric_product.linear import loops_serve
from geomlib.kernels.geometric_product.tiles import Tiles, flat, folded, room, spread, sums, tiles_of

__all__ = ["GATES", "INVARIANTS", "Gate", "composed", "grade_gate"]

INVARIANTS = ("mag2", "norm")


@dataclass(frozen=True)
class _Function:
    """A gate in differentiable torch; the gate in place; and the gate and its slope, of which one is in place."""

    value: Callable[[Tensor], Tensor]
    value_: Callable[[Tensor], Tensor]
    pair_: Callable[[Tensor], tuple[Tensor, Tensor]]


def _sigmoid_pair_(v: Tensor) -> tuple[Tensor, Tensor]:
    s = v.sigmoid_()
    return s, torch.addcmul(s, s, s, value=-1)


def _normal(v: Tensor) -> Tensor:
    return 0.5 * torch.erfc(v * -math.sqrt(0.5))


def _normal_(v: Tensor) -> Tensor:
    return v.mul_(-math.sqrt(0.5)).erfc_().mul_(0.5)


def _normal_pair_(v: Tensor) -> tuple[Tensor, Tensor]:
    slope = v.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
    return _normal_(v), slope


#: The gates of SiLU and GELU.
GATES = {
    "sigmoid": _Function(torch.sigmoid, torch.sigmoid_, _sigmoid_pair_),
    "normal": _Function(_normal, _normal_, _normal_pair_),
}


@dataclass(frozen=True)
class Gate:
    """A gate: its algebra, its name, and whether it reads lengths in place of the quadratic form."""

    alg: CliffordAlgebra
    gate: str
    rooted: bool


def composed(kind: Gate, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the gate of (x, a, b) from differentiable operations."""
    x, a, b = tensors
    u = finite_squares(x, kind.alg, scalar_as_is=True)
    if kind.rooted:
        u = torch.cat([u[..., :1], smooth_root(u[..., 1:])], -1)
    return grade_scale(x, GATES[kind.gate].value(torch.addcmul(b, a, u)), kind.alg)


def _arguments(kind: Gate, tiles: Tiles, x: Tensor, a: Tensor, b: Tensor) -> Tensor:  # (n + 1, B C)
    from geomlib.kernels.geometric_product import cpu_gates

    table, count, total = grades(kind.alg, x.dtype), kind.alg.n + 1, x.shape[0] * x.shape[1]
    out = torch.empty(count, total, dtype=x.dtype)
    cpu_gates.invariants(
        tiles.start, tiles.stop, tiles.lane, table.ends, table.sign, table.limits, kind.rooted, flat(x),
        spread(tiles, a), spread(tiles, b), flat(out), kind.alg.size, total, tiles.width,
        *room(tiles, x.dtype, kind.alg.size, count, count),
    )  # fmt: skip
    return out


def _forward(kind: Gate, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.geometric_product import cpu_gates

    x, a, b = tensors
    out = torch.empty(x.shape, dtype=x.dtype)
    if x.numel() and kind.gate == "sigmoid":
        table, tiles = grades(kind.alg, x.dtype), tiles_of(x.shape[0], x.shape[1], kind.alg.size)
        size, count = kind.alg.size, kind.alg.n + 1
        cpu_gates.sigmoid_gate(
            tiles.start, tiles.stop, tiles.lane, table.ends, table.sign, table.limits, kind.rooted, exponential(x.dtype),
            flat(x), spread(tiles, a), spread(tiles, b), flat(out), size, tiles.width,
            *room(tiles, x.dtype, size, size, count, count, count, count),
        )  # fmt: skip
    elif x.numel():
        tiles, size, total = (
            tiles_of(x.shape[0], x.shape[1], kind.alg.size),
            kind.alg.size,
            x.shape[0] * x.shape[1],
        )
        s = GATES[kind.gate].value_(_arguments(kind, tiles, x, a, b))
        cpu_gates.gate(
            tiles.start, tiles.stop, grades(kind.alg, x.dtype).ends, flat(s), flat(x), flat(out), size, total, tiles.width,
            *room(tiles, x.dtype, size, size),
        )  # fmt: skip
    return out


def _backward(
    kind: Gate, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    from geomlib.kernels.geometric_product import cpu_gates

    x, a, b = tensors
    if not x.numel():
        return tuple(torch.zeros_like(t) for t in tensors)
    tiles, table, count = (
        tiles_of(x.shape[0], x.shape[1], kind.alg.size),
        grades(kind.alg, x.dtype),
        kind.alg.n + 1,
    )
    size, total = kind.alg.size, x.shape[0] * x.shape[1]
    gx = torch.empty(x.shape, dtype=x.dtype)
    ga, gb = (sums(tiles, count, x.dtype) for _ in range(2))
    if kind.gate == "sigmoid":
        cpu_gates.sigmoid_gate_slopes(
            tiles.start, tiles.stop, tiles.lane, table.ends, table.sign, table.limits, kind.rooted, exponential(x.dtype),
            flat(x), flat(grad), spread(tiles, a), spread(tiles, b), flat(gx), ga.numpy(), gb.numpy(), size, tiles.width,
            *room(tiles, x.dtype, size, size, size, count, count, count, count, count, 1),
        )  # fmt: skip
        return gx, folded(tiles, ga, x.shape[1]), folded(tiles, gb, x.shape[1])
    s, slope = GATES[kind.gate].pair_(_arguments(kind, tiles, x, a, b))
    cpu_gates.gate_slopes(
        tiles.start, tiles.stop, tiles.lane, table.ends, table.sign, table.limits, kind.rooted, flat(s), flat(slope),
        flat(x), flat(grad), spread(tiles, a), flat(gx), ga.numpy(), gb.numpy(), size, total, tiles.width,
        *room(tiles, x.dtype, size, size, size, count, count, count, 1),
    )  # fmt: skip
    return gx, folded(tiles, ga, x.shape[1]), folded(tiles, gb, x.shape[1])


_GATE = FusedOperation(composed, _forward, _backward, None)


def grade_gate(
    x: Tensor,  # (..., C, 2^n)
    a: Tensor,  # (C, n + 1)
    b: Tensor,  # (C, n + 1)
    alg: CliffordAlgebra,
    *,
    gate: str = "sigmoid",
    invariant: str = "mag2",
) -> Tensor:  # (..., C, 2^n)
    r"""Multiply every grade by a function of its invariant.

    .. math:: y_{cg} = s(a_{cg}\, u_{cg} + b_{cg})\, x_{cg}, \qquad
              u_{c0} = x_{c0}, \quad u_{cg} = q(x_{cg}) \text{ or } |x_{cg}|

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., C, 2^n) to the same.

    Args:
        x: features.
        a: scales.
        b: shifts.
        alg: the algebra.
        gate: ``"sigmoid"``, or ``"normal"`` for the cumulated normal distribution.
        invariant: ``"mag2"`` for the quadratic form, ``"norm"`` for the length.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(2)
    >>> one, zero = torch.ones(1, 3), torch.zeros(1, 3)
    >>> grade_gate(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), one, zero, alg).sum() == torch.sigmoid(torch.tensor(1.0))
    tensor(True)
    """
    kind = Gate(alg, gate, invariant == "norm")
    operation = _GATE
    if not loops_serve("grade_gate", (x, a, b)):
        from geomlib.kernels.geometric_product import cuda_layers

        if not cuda_layers.gate_serves(kind, (x, a, b)):
            return composed(kind, (x, a, b))
        operation = cuda_layers.GATE
    rows = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    return operation(kind, rows, a, b).reshape(x.shape)
