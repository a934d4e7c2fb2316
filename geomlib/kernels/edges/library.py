"""The edge kernels as operators of ``torch.library``, so that compiled graphs can call them.

Graph compilers see one node with a known shape and derivative; the arrays of the edge list are inputs, so the same
compiled graph serves every batch of the same size. Features are component-major, (9, N, C), and pairs flow both ways
with self loops, which is what a potential uses.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["EdgeArrays", "embedding", "message"]

EdgeArrays = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""``i, j`` of the pairs and ``start, other, row, sign`` of the edges by receiver (``graph.CSR``)."""


@torch.library.custom_op("geomlib::edge_message", mutates_args=())
def message(w: Tensor, x: Tensor, i: Tensor, j: Tensor, start: Tensor, other: Tensor, row: Tensor) -> Tensor:
    """Return sum_j w[row] x[:, j] with the self loop, (9, N, C)."""
    from geomlib.kernels.edges import cpu

    out = x.new_empty(x.shape)
    arrays = (t.contiguous().numpy() for t in (w.detach(), x.detach()))
    cpu.message(start.numpy(), other.numpy(), row.numpy(), i.shape[0], *arrays, out.numpy())
    return out


@message.register_fake
def _(w: Tensor, x: Tensor, i: Tensor, j: Tensor, start: Tensor, other: Tensor, row: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("geomlib::edge_inner", mutates_args=())
def inner(g: Tensor, x: Tensor, i: Tensor, j: Tensor, start: Tensor, other: Tensor, row: Tensor) -> Tensor:
    """Return the gradient of <g, message> with respect to the weights, (P + 1, 3, C)."""
    from geomlib.kernels.edges import cpu

    out = x.new_empty(i.shape[0] + 1, 3, x.shape[2])
    arrays = (t.contiguous().numpy() for t in (g.detach(), x.detach()))
    cpu.pair_inner(i.numpy(), j.numpy(), True, i.shape[0], *arrays, out.numpy())
    return out


@inner.register_fake
def _(g: Tensor, x: Tensor, i: Tensor, j: Tensor, start: Tensor, other: Tensor, row: Tensor) -> Tensor:
    return x.new_empty(i.shape[0] + 1, 3, x.shape[2])


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _message_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    w, x, *edges = ctx.saved_tensors
    return inner(grad, x, *edges), message(w, grad, *edges), *(None,) * 5


def _inner_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    g, x, *edges = ctx.saved_tensors
    return message(grad, x, *edges), message(grad, g, *edges), *(None,) * 5


message.register_autograd(_message_backward, setup_context=_keep)
inner.register_autograd(_inner_backward, setup_context=_keep)


def _lists(w: Tensor, start: Tensor, other: Tensor, row: Tensor, sign: Tensor) -> tuple[Any, ...]:
    scale = torch.full((), math.sqrt(3.0), dtype=w.dtype).numpy()[()]
    return start.numpy(), other.numpy(), row.numpy(), sign.to(w.dtype).numpy(), w.shape[0] - 1, scale


def _arrays(*tensors: Tensor) -> list[Any]:
    return [t.detach().contiguous().numpy() for t in tensors]


@torch.library.custom_op("geomlib::edge_embedding", mutates_args=())
def embedding(
    w: Tensor, y: Tensor, u: Tensor, v: Tensor, start: Tensor, other: Tensor, row: Tensor, sign: Tensor
) -> Tensor:
    """Return sum_j y[row] w[row] (u_i + v_j) with the self loop, (9, N, C)."""
    from geomlib.kernels.edges import cpu

    out = u.new_empty(9, *u.shape)
    cpu.embedding(*_lists(w, start, other, row, sign), *_arrays(w, y, u, v), out.numpy())
    return out


@embedding.register_fake
def _(
    w: Tensor, y: Tensor, u: Tensor, v: Tensor, start: Tensor, other: Tensor, row: Tensor, sign: Tensor
) -> Tensor:
    return u.new_empty(9, *u.shape)


@torch.library.custom_op("geomlib::edge_embedding_backward", mutates_args=())
def embedding_backward(
    g: Tensor,
    w: Tensor,
    y: Tensor,
    u: Tensor,
    v: Tensor,
    start: Tensor,
    other: Tensor,
    row: Tensor,
    sign: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of <g, embedding> with respect to w, y, u and v."""
    from geomlib.kernels.edges import cpu

    grads = [torch.zeros(t.shape, dtype=t.dtype) for t in (w, y, u, v)]
    arrays = _arrays(w, y, u, v, g)
    cpu.embedding_backward(*_lists(w, start, other, row, sign), *arrays, True, *(t.numpy() for t in grads))
    return grads[0], grads[1], grads[2], grads[3]


@embedding_backward.register_fake
def _(
    g: Tensor,
    w: Tensor,
    y: Tensor,
    u: Tensor,
    v: Tensor,
    start: Tensor,
    other: Tensor,
    row: Tensor,
    sign: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return w.new_empty(w.shape), y.new_empty(y.shape), u.new_empty(u.shape), v.new_empty(v.shape)


@torch.library.custom_op("geomlib::edge_embedding_double_backward", mutates_args=())
def embedding_double_backward(
    a: Tensor, b: Tensor, m: Tensor, n: Tensor, g: Tensor, w: Tensor, y: Tensor, u: Tensor, v: Tensor,
    start: Tensor, other: Tensor, row: Tensor, sign: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients with respect to g, w, u and v; the geometry y is given, not differentiated twice."""
    from geomlib.kernels.edges import cpu

    grads = [torch.zeros(t.shape, dtype=t.dtype) for t in (w, y, u, v, g)]
    arrays = _arrays(w, y, u, v, g, a, b, m, n)
    cpu.embedding_double_backward(
        *_lists(w, start, other, row, sign), *arrays, False, *(t.numpy() for t in grads)
    )
    return grads[4], grads[0], grads[2], grads[3]


@embedding_double_backward.register_fake
def _(
    a: Tensor, b: Tensor, m: Tensor, n: Tensor, g: Tensor, w: Tensor, y: Tensor, u: Tensor, v: Tensor,
    start: Tensor, other: Tensor, row: Tensor, sign: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return g.new_empty(g.shape), w.new_empty(w.shape), u.new_empty(u.shape), v.new_empty(v.shape)


def _embedding_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return *embedding_backward(grad, *ctx.saved_tensors), *(None,) * 4


def _embedding_double_backward(ctx: Any, *tangents: Tensor) -> tuple[Any, ...]:
    g, w, u, v = embedding_double_backward(*tangents, *ctx.saved_tensors)
    return g, w, None, u, v, *(None,) * 4


embedding.register_autograd(_embedding_backward, setup_context=_keep)
embedding_backward.register_autograd(_embedding_double_backward, setup_context=_keep)
