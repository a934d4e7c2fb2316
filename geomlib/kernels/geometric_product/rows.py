"""The sums of a form in plain torch: any device, no waiting for values; blades are outermost inside."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geomlib.kernels.geometric_product.plan import Form

__all__ = ["contract", "pull", "reference"]

_ROLES = "gxy"
_Part = tuple[Tensor, Tensor, Tensor, Tensor]


@lru_cache(maxsize=512)
def _parts(form: Form, order: str, device: torch.device) -> tuple[_Part, ...]:
    """Return for every component of the first factor the outputs, second components, weights and signs of its entries."""
    o, a, b = (form.entry[:, _ROLES.index(r)] for r in order)
    found: list[_Part] = []
    with torch.inference_mode(False):
        for i in range(form.size(order[1])):
            kept = np.flatnonzero(a == i)
            columns = (o[kept], b[kept], form.entry[kept, 3], form.sign[kept])
            s, t, u, v = (torch.from_numpy(np.ascontiguousarray(c)).to(device) for c in columns)
            found.append((s, t, u, v))
    return tuple(found)


def contract(form: Form, order: str, a: Tensor, b: Tensor, w: Tensor | None) -> Tensor:  # (B, C, *)
    """Return the partial derivative of F by the first role, from the two others."""
    left, right = a.movedim(-1, 0).contiguous(), b.movedim(-1, 0).contiguous()
    out = a.new_zeros(form.size(order[0]), *a.shape[:-1])
    for i, (o, k, p, sign) in enumerate(_parts(form, order, a.device)):
        scale = sign.to(a.dtype)[:, None, None]
        if w is not None:
            scale = scale * w.mT[p][:, None, :]
        out.index_add_(0, o, left[i] * (right[k] * scale))
    return out.movedim(0, -1).contiguous()


def pull(form: Form, x: Tensor, y: Tensor, g: Tensor) -> Tensor:  # -> (C, P)
    """Return the derivative of F by the weights."""
    left, right, top = (t.movedim(-1, 0).contiguous() for t in (x, y, g))
    out = x.new_zeros(form.weights, x.shape[1])
    for i, (o, k, p, sign) in enumerate(_parts(form, "gxy", x.device)):
        terms = (left[i] * right[k] * top[o]).sum(1)
        out.index_add_(0, p, terms * sign.to(x.dtype)[:, None])
    return out.mT.contiguous()


def reference(form: Form, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the product in torch operations of every order of derivative: the specification."""
    x, y = tensors[:2]
    o, i, k, p = (torch.from_numpy(np.ascontiguousarray(c)).to(x.device) for c in form.entry.T)
    terms = x[..., i] * y[..., k] * torch.from_numpy(form.sign).to(x)
    if len(tensors) > 2:
        terms = terms * tensors[2][:, p]
    return terms.new_zeros(*terms.shape[:-1], form.sizes[0]).index_add(-1, o, terms)
