"""Forms, layers and their derivatives for the tests of generated kernels."""

from __future__ import annotations

import torch

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.geometric_product import cuda, plan, rows
from geomlib.kernels.geometric_product.cuda_report import PASSES
from tests.kernels.cuda.problems import close, derivatives

__all__ = ["FORMS", "PASSES", "close", "derivatives", "leaves_of", "specified", "without_weights"]

FORMS = {
    "weighted": plan.weighted_form,
    "features": plan.feature_form,
    "squares": plan.square_form,
    "scale": plan.scale_form,
    "wedge": lambda alg: plan.product_form(alg, "wedge"),
}


def without_weights(tasks):
    """The same of a form whose weights are ones."""
    found = ((r, tuple((g, x, y, "") for g, x, y, w in terms if w != "tw")) for r, terms in tasks if r != "w")
    return tuple(found)


def leaves_of(form, count, channels, dtype=torch.float64, device="cpu"):
    g = torch.Generator().manual_seed(count * 100 + channels)
    shapes = [(count, channels, form.sizes[1]), (count, channels, form.sizes[2])]
    shapes += [] if form.unit else [(channels, form.weights)]
    return [
        torch.randn(s, generator=g, dtype=torch.float64).to(device, dtype).requires_grad_() for s in shapes
    ]


def specified(form):
    return lambda leaves: rows.reference(form, tuple(leaves))


def generated(form):
    return lambda leaves: cuda.OPERATION(form, *leaves)


def algebra(signature):
    return CliffordAlgebra(*signature)
