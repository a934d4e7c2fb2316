r"""Gather, multiply by radial weights, scatter: the two sums over neighbours that TensorNet makes.

Both are closed under differentiation twice with fused kernels, and to any order through the reference.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from geomlib.kernels.arrays import array, features, major
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.dispatch import choose
from geomlib.kernels.edges import reference
from geomlib.kernels.edges.graph import CSR, EdgeList

__all__ = ["EdgeList", "edge_embedding", "edge_message"]

Maybe = Tensor | None


def edge_message(
    weight: Tensor,  # (P, 3, C)
    x: Tensor,  # (N, 9, C)
    edges: EdgeList,
    *,
    backend: str | None = None,
) -> Tensor:  # (N, 9, C)
    r"""Sum the neighbours' tensors, each irreducible part times its own radial weight.

    .. math:: M_i = \sum_j \left( f^0_{ij} I_j + f^1_{ij} A_j + f^2_{ij} S_j \right)

    Args:
        weight: one row per pair, and one last row for the self loops if ``edges.loops``; (P, 3, C).
        x: compact tensor features, (N, 9, C).
        edges: who receives from whom.
        backend: "auto", "torch" or "cpu".

    Source: arXiv 2306.06482.
    """
    if choose("edge_message", (weight, x), backend) == "cpu":
        return _MESSAGE(edges, weight, x)
    return reference.edge_message(edges, (weight, x))


def edge_embedding(
    weight: Tensor,  # (P, 3, C)
    direction: Tensor,  # (P, 9)
    receiver: Tensor,  # (N, C)
    sender: Tensor,  # (N, C)
    edges: EdgeList,
    *,
    second_order_geometry: bool = True,
    backend: str | None = None,
) -> Tensor:  # (N, 9, C)
    r"""Sum bond tensors, weighted by distance and by the pair of species.

    .. math:: X_i = \sum_j (u_i + v_j) \left( w^0_{ij} \mathbb 1 + w^1_{ij} [\hat r_{ij}]_\times
              + w^2_{ij} (\hat r_{ij}\hat r_{ij}^\top - \mathbb 1/3) \right)

    A self loop has no direction and contributes :math:`(u_i + v_i) w^0 \mathbb 1`.

    Args:
        weight: radial weights, one row per pair and a last one for the self loops if ``edges.loops``; (P, 3, C).
        direction: ``algebra.cartesian.directions`` of the unit vectors from first to second node; (P, 9), no self loop.
        receiver: factor :math:`u` of the receiving node, (N, C).
        sender: factor :math:`v` of the sending node, (N, C).
        edges: who receives from whom.
        second_order_geometry: False promises that nobody asks for second derivatives with respect to ``direction``
            (training on forces does not), which spares their computation.
        backend: "auto", "torch" or "cpu".

    Source: arXiv 2306.06482.
    """
    if choose("edge_embedding", (weight, direction, receiver, sender), backend) == "cpu":
        return _EMBEDDING(
            edges, weight, direction, receiver, sender, constant=() if second_order_geometry else (1,)
        )
    return reference.edge_embedding(edges, (weight, direction, receiver, sender))


def _loop_row(edges: EdgeList) -> int:
    return edges.num_pairs if edges.loops else -1


def _lists(csr: CSR) -> tuple[Any, Any, Any]:
    return csr.start, csr.other, csr.row


def _message(csr: CSR, edges: EdgeList, weight: Tensor, x: Tensor, onto: Maybe = None) -> Tensor:
    """Return the messages, or add them to ``onto``, which must be stored component-major."""
    from geomlib.kernels.edges import cpu

    out, a = features(x) if onto is None else (onto, onto.transpose(0, 1).numpy())
    cpu.message(*_lists(csr), _loop_row(edges), onto is not None, array(weight), major(x), a)
    return out


def _pair_inner(edges: EdgeList, g: Tensor, x: Tensor) -> Tensor:
    from geomlib.kernels.edges import cpu

    out = torch.empty((edges.num_rows, 3, x.shape[2]), dtype=x.dtype)
    inner = cpu.pair_inner if edges.both else cpu.pair_inner_directed
    inner(array(edges.i), array(edges.j), _loop_row(edges), major(g), major(x), out.numpy())
    return out


def _message_forward(edges: EdgeList, tensors: tuple[Tensor, ...]) -> Tensor:
    return _message(edges.csr, edges, *tensors)


def _message_backward(
    edges: EdgeList, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    weight, x = tensors
    d_weight = _pair_inner(edges, grad, x) if needs[0] else None
    return d_weight, _message(edges.csr_transposed, edges, weight, grad) if needs[1] else None


def _message_double_backward(
    edges: EdgeList,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    (a, b), (weight, x) = tangents, tensors
    d_grad: Maybe = None
    if needs[0]:
        if a is not None:
            d_grad = _message(edges.csr, edges, a, x)
        if b is not None:
            d_grad = _message(edges.csr, edges, weight, b, onto=d_grad)
    d_weight = _pair_inner(edges, grad, b) if needs[1] and b is not None else None
    d_x = _message(edges.csr_transposed, edges, a, grad) if needs[2] and a is not None else None
    return d_grad, d_weight, d_x


_MESSAGE = FusedOperation(
    reference.edge_message, _message_forward, _message_backward, _message_double_backward
)

_ROOT3 = math.sqrt(3.0)


def _embedding_lists(edges: EdgeList, like: Tensor) -> tuple[Any, ...]:
    scale = torch.full((), _ROOT3, dtype=like.dtype).numpy()[()]
    return *_lists(edges.csr), edges.csr.signs(like.dtype), _loop_row(edges), scale


def _embedding_forward(edges: EdgeList, tensors: tuple[Tensor, ...]) -> Tensor:
    from geomlib.kernels.edges import cpu

    out = torch.empty((9, *tensors[2].shape), dtype=tensors[2].dtype)
    cpu.embedding(*_embedding_lists(edges, out), *map(array, tensors), out.numpy())
    return out.transpose(0, 1)


def _embedding_backward(
    edges: EdgeList, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    from geomlib.kernels.edges import cpu

    grads = [torch.zeros(t.shape, dtype=t.dtype) for t in tensors]
    lists = _embedding_lists(edges, grad)
    cpu.embedding_backward(*lists, *map(array, tensors), major(grad), *(g.numpy() for g in grads))
    return tuple(g if n else None for g, n in zip(grads, needs, strict=True))


def _embedding_double_backward(
    edges: EdgeList,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    from geomlib.kernels.edges import cpu

    full = [torch.zeros_like(t) if a is None else a for a, t in zip(tangents, tensors, strict=True)]
    a, b, m, n = map(array, full)
    w, y, u, v = map(array, tensors)
    g = major(grad)
    d_w, d_y, d_u, d_v = grads = [torch.zeros(t.shape, dtype=t.dtype) for t in tensors]
    d_grad = torch.zeros((9, *tensors[2].shape), dtype=grad.dtype)
    *lists, loop_row, scale = _embedding_lists(edges, grad)
    cpu.embedding_double_backward(
        *lists, loop_row, scale, w, y, u, v, g, a, b, m, n,
        d_w.numpy(), d_u.numpy(), d_v.numpy(), d_grad.numpy(),
    )  # fmt: skip
    if needs[2]:
        cpu.embedding_double_backward_direction(*lists, scale, w, u, v, g, a, m, n, d_y.numpy())
    return tuple(g if n else None for g, n in zip([d_grad.transpose(0, 1), *grads], needs, strict=True))


_EMBEDDING = FusedOperation(
    reference.edge_embedding,
    _embedding_forward,
    _embedding_backward,
    _embedding_double_backward,
    parameters=(2, 3),
)
