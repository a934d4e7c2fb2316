"""Layers of multivectors on a card between their matrix products, each one kernel.

The first derivative is one kernel too, which computes again what lies between. The second
derivative is that of the composition, whose products are kernels themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels import dispatch
from geomlib.kernels.cuda.staged import StagedKernel
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product import weighted_gp
from geomlib.kernels.geometric_product.cuda import run, too_many_blades
from geomlib.kernels.geometric_product.cuda_layer_programs import Product, gate_kernel, product_kernel
from geomlib.kernels.geometric_product.gates import Gate, composed
from geomlib.kernels.geometric_product.linear import grade_linear
from geomlib.kernels.geometric_product.steerable import normalised

__all__ = ["GATE", "PRODUCT", "Product", "gate_serves", "product_serves", "steerable"]

Maybe = Tensor | None


def gate_serves(kind: Gate, tensors: tuple[Tensor, ...]) -> bool:
    """Return whether a card runs the gate as one kernel."""
    return _serves("grade_gate", kind.alg, tensors, lambda dtype: gate_kernel(kind, dtype, True))


def product_serves(kind: Product, tensors: tuple[Tensor, ...]) -> bool:
    """Return whether a card runs product, normalisation and residual as one kernel."""
    return _serves("steerable_product", kind.alg, tensors, lambda dtype: product_kernel(kind, dtype, True))


def _serves(
    op: str,
    alg: CliffordAlgebra,
    tensors: tuple[Tensor, ...],
    kernel: Callable[[torch.dtype], StagedKernel | None],
) -> bool:
    """Where torch compiles or casts by itself, operators are what it sees; what is not served is composed of products."""
    dtype = tensors[0].dtype
    return (
        not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cuda")
        and dtype in (torch.float32, torch.float64)
        and too_many_blades(alg.size) is None
        and dispatch.choose(op, tensors, cuda=lambda: None) == "cuda"
        and kernel(dtype) is not None
    )


def _by_blade(like: Tensor, channels: int) -> Tensor:  # (B, channels, 2^n)
    """Return memory stored blade by blade, which is how matrix products of every grade read and write."""
    return like.new_empty(like.shape[2], like.shape[0], channels).permute(1, 2, 0)


def _gate_forward(kind: Gate, tensors: tuple[Tensor, ...]) -> Tensor:
    x, a, b = tensors
    made = {"out": _by_blade(x, x.shape[1])}
    kernel = gate_kernel(kind, x.dtype, False)
    return _run(kernel, {"x": x, "a": a, "b": b}, made)["out"]


def _gate_backward(
    kind: Gate, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    x, a, b = tensors
    made = {"dx": _by_blade(x, x.shape[1])}
    found = _run(gate_kernel(kind, x.dtype, True), {"x": x, "g": grad, "a": a, "b": b}, made)
    by_a, by_b = found["sums"].split(kind.alg.n + 1, 1)
    return found["dx"], by_a, by_b


def _run(kernel: StagedKernel | None, given: dict[str, Tensor], made: dict[str, Tensor]) -> dict[str, Tensor]:
    if kernel is None:
        raise RuntimeError(
            "a kernel was started that does not exist: ask gate_serves or product_serves first"
        )
    return run(kernel, given, given["x"].dtype, made)


#: ``(x, a, b)`` to gated x.
GATE = FusedOperation(composed, _gate_forward, _gate_backward, None)


def _product_reference(kind: Product, tensors: tuple[Tensor, ...]) -> Tensor:
    x, linear, w = tensors[:3]
    channels = x.shape[1]
    y = linear[:, -channels:]
    if kind.normed:
        y = normalised(y, tensors[3], kind.alg)
    z = weighted_gp(x, y, w, kind.alg)
    if not kind.mixed:
        return z
    bias = torch.nn.functional.pad(tensors[-1][0], (0, kind.alg.size - 1))
    return (linear[:, :channels] + bias + z) * math.sqrt(0.5)


def _given(kind: Product, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
    x, linear, w = tensors[:3]
    given = {"x": x, "r": linear[:, -x.shape[1] :], "w": w}
    if kind.normed:
        given["s"] = torch.sigmoid(tensors[3])
    if kind.mixed:
        given |= {"l": linear[:, : x.shape[1]], "bias": tensors[-1].reshape(-1, 1)}
    return given


def _product_forward(kind: Product, tensors: tuple[Tensor, ...]) -> Tensor:
    x = tensors[0]
    made = {"out": _by_blade(x, x.shape[1])}
    return _run(product_kernel(kind, x.dtype, False), _given(kind, tensors), made)["out"]


def _product_backward(
    kind: Product, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    x, linear = tensors[:2]
    given, channels = _given(kind, tensors), x.shape[1]
    by_linear = _by_blade(x, linear.shape[1])
    made = {"dx": _by_blade(x, channels), "dr": by_linear[:, -channels:]}
    if kind.mixed:
        made["dl"] = by_linear[:, :channels]
    found = _run(product_kernel(kind, x.dtype, True), given | {"g": grad}, made)
    sizes = [tensors[2].shape[1], *([kind.alg.n + 1] * kind.normed), *([1] * kind.mixed)]
    sums = list(found["sums"].split(sizes, 1))
    if kind.normed:
        s = given["s"]
        sums[1] = sums[1] * s * (1 - s)
    if kind.mixed:
        sums[-1] = sums[-1].reshape(tensors[-1].shape)
    return found["dx"], by_linear, *sums


#: ``(x, images, w[, a][, bias])`` to the product; ``images`` (B, C or 2 C, 2^n) are those added, if any, then right factors.
PRODUCT = FusedOperation(_product_reference, _product_forward, _product_backward, None)


def steerable(
    kind: Product, x: Tensor, w: Tensor, right: Tensor, a: Maybe, left: Maybe, bias: Maybe
) -> Tensor:  # (B, C, 2^n)
    """Return the steerable product of rows: one matrix product for both images, then one kernel."""
    images = grade_linear(x, right if left is None else torch.cat([left, right]), None, kind.alg)
    return PRODUCT(kind, *(t for t in (x, images, w, a, bias if left is not None else None) if t is not None))
