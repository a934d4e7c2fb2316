r"""The quadratic form of every grade, or the scalar itself in place of its square, as one differentiable operation.

The gradient of :math:`q_g = \sum_{j \in g} s_j x_j^2` is linear in x: a signed multiple of every grade.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product import rows, tiles
from geomlib.kernels.geometric_product.plan import signed_scale_form, square_form

#: The algebra, and whether component 0 is the scalar itself.
Static = tuple[CliffordAlgebra, bool]

__all__ = ["SQUARES"]

Maybe = Tensor | None


def _form(static: Static, x: Tensor, y: Tensor) -> Tensor:
    return tiles.contract(square_form(static[0]), "gxy", x, y, None)


def _slope(static: Static, x: Tensor, grad: Tensor) -> Tensor:
    return tiles.contract(signed_scale_form(static[0]), "gxy", x, 2 * grad, None)


def _reference(static: Static, tensors: tuple[Tensor, ...]) -> Tensor:
    found = rows.reference(square_form(static[0]), (tensors[0], tensors[0]))
    return torch.cat([tensors[0][..., :1], found[..., 1:]], -1) if static[1] else found


def _forward(static: Static, tensors: tuple[Tensor, ...]) -> Tensor:
    out = _form(static, tensors[0], tensors[0])
    if static[1]:
        out[..., 0] = tensors[0][..., 0]
    return out


def _backward(
    static: Static, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    if not needs[0]:
        return (None,)
    out = _slope(static, tensors[0], grad)
    if static[1]:
        out[..., 0] = grad[..., 0]
    return (out,)


def _double_backward(
    static: Static,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    (x,), (t,) = tensors, tangents
    if t is None:
        return tuple(torch.zeros_like(v) if n else None for v, n in zip((grad, x), needs, strict=True))
    by_grad, by_x = 2 * _form(static, x, t), _slope(static, t, grad)
    if static[1]:
        by_grad[..., 0] = t[..., 0]
        by_x[..., 0] = 0
    return by_grad if needs[0] else None, by_x if needs[1] else None


SQUARES = FusedOperation(_reference, _forward, _backward, _double_backward)
