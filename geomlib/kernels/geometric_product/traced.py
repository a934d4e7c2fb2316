"""What torch.compile and torch.export see: one opaque operation for a form, whose derivatives are the same operation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels import dispatch
from geomlib.kernels.geometric_product import cuda
from geomlib.kernels.geometric_product.operation import Served
from geomlib.kernels.geometric_product.plan import (
    Form,
    feature_form,
    matrix_form,
    product_form,
    scale_form,
    square_form,
    weighted_form,
)

__all__ = ["form_of", "traced_form"]

_ROLES = "gxyw"
#: Forms by name; other names are products of blades.
_FORMS: dict[str, Callable[[CliffordAlgebra], Form]] = {
    "squares": square_form,
    "scale": scale_form,
    "weighted": weighted_form,
    "features": feature_form,
    "matrix": matrix_form,
}


def form_of(kind: str, alg: CliffordAlgebra) -> Form:
    """Return a form by its name."""
    return _FORMS[kind](alg) if kind in _FORMS else product_form(alg, kind)


@lru_cache(maxsize=256)
def _form_of(kind: str, metric: str) -> Form:
    return form_of(kind, CliffordAlgebra(metric=[int(m) for m in metric.split(",")]))


@torch.library.custom_op("geomlib::multivector_form", mutates_args=())
def _partial(
    role: str,
    kind: str,
    metric: str,
    backend: str,
    g: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    w: Tensor | None,
) -> Tensor:
    """Return the derivative of the form by a role, from the other roles."""
    dispatch.refuse_forward_mode("geomlib::multivector_form")
    given = {
        r: t.contiguous() for r, t in zip(_ROLES, (g, x, y, w), strict=True) if t is not None and r != role
    }
    form, tensors = _form_of(kind, metric), tuple(given.values())
    plain = form.plain or form
    chosen = dispatch.choose(
        "multivector_form", tensors, backend or None, cuda=lambda: cuda.refusal(plain, tensors[0].dtype)
    )
    if chosen == "cuda":
        return cuda.partial(plain, role, given)
    return Served(form, loops=chosen == "cpu").partial(role, given)


@_partial.register_fake
def _(role: str, kind: str, metric: str, backend: str, g: Any, x: Any, y: Any, w: Any) -> Tensor:
    dispatch.refuse_forward_mode("geomlib::multivector_form")
    form = _form_of(kind, metric)
    like = next(t for r, t in zip("gxy", (g, x, y), strict=True) if t is not None and r != role)
    if role == "w":
        return like.new_empty(like.shape[1], form.weights)
    return like.new_empty(like.shape[0], like.shape[1], form.size(role))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.static = inputs[:4]
    ctx.given = [t is not None for t in inputs[4:]]
    ctx.save_for_backward(*(t for t in inputs[4:] if t is not None))


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    saved = iter(ctx.saved_tensors)
    roles = {r: next(saved) if there else None for r, there in zip(_ROLES, ctx.given, strict=True)}
    role, *static = ctx.static
    roles[role] = grad
    found: list[Tensor | None] = []
    for k, r in enumerate(_ROLES):
        if not ctx.needs_input_grad[4 + k]:
            found.append(None)
            continue
        others = {q: None if q == r else t for q, t in roles.items()}
        found.append(_partial(r, *static, *(others[q] for q in _ROLES)))
    return None, None, None, None, *found


_partial.register_autograd(_backward, setup_context=_setup)


def traced_form(
    kind: str, metric: tuple[int, ...], backend: str | None, x: Tensor, y: Tensor, w: Tensor | None = None
) -> Tensor:
    """Return the product of rows (B, C, *) that a form describes."""
    return _partial("g", kind, ",".join(map(str, metric)), backend or "", None, x, y, w)
