"""Maps of matrices to matrices by two loops and two products: values and derivatives are those of the dense matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geomlib.kernels.diagrams import Plan, tensor_map, tensor_plan
from geomlib.kernels.diagrams.cost import best_loops
from geomlib.kernels.diagrams.function import differentiable_map
from geomlib.kernels.diagrams.planes import has_planes
from tests.kernels.diagrams.common import draw

pytest.importorskip("numba")


def _slopes(y: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
    """Return the values, both gradients, and all second gradients."""
    g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).requires_grad_()
    first = torch.autograd.grad(y, (x, w), g, create_graph=True)
    second = torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (x, w, g))
    return [y, *first, *second]


def _some(plan: Plan, every: int) -> Plan:
    return Plan(plan.group, 2, 2, "basis", tuple(d for i, d in enumerate(plan.diagrams) if i % every))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("plan", "n"),
    [
        (tensor_plan("S_n", 2, 2), 4),
        (tensor_plan("S_n", 2, 2), 1),
        (tensor_plan("S_3", 2, 2), 3),
        (tensor_plan("S_2", 2, 2, "spanning"), 2),
        (_some(tensor_plan("S_n", 2, 2), 2), 5),
        (_some(tensor_plan("S_n", 2, 2), 3), 5),
    ],
    ids=str,
)
def test_planes_are_the_reference(plan: Plan, n: int, dtype: torch.dtype) -> None:
    """Also where some diagrams are missing, and where n is too small for them to be independent."""
    for batch, c_in, c_out in ((2, 3, 1), (3, 1, 4), (0, 2, 2)):
        x, w = (t.to(dtype).requires_grad_() for t in draw(plan, n, batch, c_in, c_out))
        if not has_planes(plan):
            assert len(plan) < 8
            return
        found = _slopes(differentiable_map(x, w, plan, n, "planes"), x, w)
        expected = _slopes(tensor_map(x, w, plan, backend="dense"), x, w)
        for a, b in zip(found, expected, strict=True):
            scale = float(1 + b.detach().abs().amax()) if b.numel() else 1.0
            exact = 1e-12 if dtype == torch.float64 else 1e-5
            torch.testing.assert_close(a, b, rtol=exact, atol=exact * scale)


def test_planes_serve_the_public_call() -> None:
    """They are what runs, and an infinite entry stays in its sample."""
    plan = tensor_plan("S_n", 2, 2)
    x, w = draw(plan, 6)
    assert best_loops(plan, x, w, 6) == "planes"
    y = tensor_map(x.mT, w, plan, backend="grouped")
    assert torch.equal(y, differentiable_map(x.mT.contiguous(), w, plan, 6, "planes"))
    x[0, 0, 0, 0] = torch.inf
    y = tensor_map(x, w, plan, backend="grouped")
    assert not y[0].isfinite().any() and y[1].isfinite().all()
    for name, k, l in (("S_n", 2, 1), ("A_4", 2, 2), ("B(3)", 2, 2), ("O(3)", 2, 2), ("S_1", 2, 2)):
        assert not has_planes(tensor_plan(name, k, l))
