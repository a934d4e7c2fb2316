"""Orbits and products against dense matrices: values, derivatives of three orders, layouts, sizes, compilation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geomlib import InvalidInput
from geomlib.algebra.diagrams.groups import SO, O, S, Sp
from geomlib.algebra.diagrams.orbit_groups import AutGraph, PermGroup, Product, Wreath
from geomlib.kernels.diagrams import Plan, tensor_map, tensor_plan

PATH, STAR = AutGraph([(0, 1), (1, 2), (2, 3)], 4), AutGraph([(0, 1), (0, 2), (0, 3)], 4)
CASES = [
    (PATH, 1, 1), (PATH, 2, 1), (STAR, 2, 2), (STAR, 0, 2), (STAR, 2, 0), (PATH, 0, 0), (PermGroup([(1, 2, 0)]), 1, 2),
    (Wreath(2, 2), 2, 1), (AutGraph([], 1), 2, 1),
    (Product(S(3), S(2)), 1, 1), (Product(S(2), O(2)), 2, 2), (Product(PATH, SO(2)), 1, 1), (Product(S(2), S(3)), 0, 2),
    (Product(Sp(2), S(2)), 2, 0), (Product(Product(S(2), S(2)), O(2)), 1, 1), (Product(O(2), S(3)), 0, 0),
]  # fmt: skip


def drawn(plan: Plan, batch: int = 3, c_in: int = 2, c_out: int = 4) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, c_in, *[plan.n] * plan.k, generator=g, dtype=torch.float64)
    return x, torch.randn(len(plan), c_out, c_in, generator=g, dtype=torch.float64)


def dense(x: Tensor, weights: Tensor, plan: Plan) -> Tensor:
    """The definition, one matrix at a time."""
    n, y = plan.n, torch.zeros(())
    for d, w in zip(plan.diagrams, weights, strict=True):
        y = y + torch.einsum("oi,bij,rj->bor", w, x.reshape(*x.shape[:2], -1), d.matrix(plan.group))
    return y.reshape(x.shape[0], weights.shape[1], *[n] * plan.l)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("group", "k", "l"), CASES, ids=str)
def test_values_and_gradients(group, k: int, l: int) -> None:
    plan = tensor_plan(group, k, l)
    x, w = (t.requires_grad_() for t in drawn(plan))
    want = dense(x, w, plan)
    up = torch.randn(want.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = torch.autograd.grad((want * up).sum(), (x, w))
    for backend in ("auto", "grouped", "dense", "per_diagram"):
        y = tensor_map(x, w, plan, backend=backend)
        close(y, want)
        for ours, theirs in zip(torch.autograd.grad((y * up).sum(), (x, w)), grads, strict=True):
            close(ours, theirs)
    low = tensor_map(x.detach().float(), w.detach().float(), plan)
    torch.testing.assert_close(low, want.detach().float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("group", "k", "l"), [(STAR, 1, 1), (Product(S(2), O(2)), 1, 1)], ids=str)
def test_derivatives(group, k: int, l: int) -> None:
    plan = tensor_plan(group, k, l)
    x, w = (t.requires_grad_() for t in drawn(plan, 2, 1, 2))
    assert torch.autograd.gradcheck(lambda x, w: tensor_map(x, w, plan), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: tensor_map(x, w, plan), (x, w))


@pytest.mark.parametrize(("group", "k", "l"), [(PATH, 2, 1), (Product(S(3), S(2)), 1, 1)], ids=str)
def test_layouts_and_sizes(group, k: int, l: int) -> None:
    plan = tensor_plan(group, k, l)
    x, w = drawn(plan)
    spread = torch.stack([x, x], -1)[..., 1]
    one = x[:1].expand(3, *x.shape[1:])
    close(tensor_map(spread, w.mT.contiguous().mT, plan), dense(x, w, plan))
    close(tensor_map(one, w, plan), dense(one, w, plan))
    assert tensor_map(x[:0], w, plan).shape == (0, 4, *[plan.n] * l)
    close(tensor_map(x[:1], w, plan), dense(x, w, plan)[:1])
    big = tensor_map(1e200 * x, w, plan)
    assert bool(big.isfinite().all()) and not bool(tensor_map(0 * x, w, plan).any())


def test_some_maps_only() -> None:
    for group in (STAR, Product(S(2), S(2))):
        plan = tensor_plan(group, 1, 1)
        kept = Plan(plan.group, 1, 1, "basis", plan.diagrams[1:3])
        x, w = drawn(kept)
        close(tensor_map(x, w, kept), dense(x, w, kept))


def test_only_one_dense_weight_is_made() -> None:
    plan = tensor_plan(AutGraph([], 12), 2, 2)
    x, w = drawn(plan, 1, 1, 1)
    sizes: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.numel() >= 12**4 and not func.is_view:
                sizes.append(out.numel())
            return out

    with Watch():
        tensor_map(x, w, plan)
    assert sizes == [12**4]


@pytest.mark.parametrize("group", [STAR, Product(STAR, SO(2))], ids=str)
def test_compiles_in_one_graph_and_vmaps(group) -> None:
    plan = tensor_plan(group, 1, 1)
    x, w = drawn(plan)
    compiled = torch.compile(lambda x, w: tensor_map(x, w, plan), fullgraph=True, backend="aot_eager")
    close(compiled(x, w), dense(x, w, plan))
    several = torch.stack([w, 2 * w])
    close(torch.func.vmap(lambda w: tensor_map(x, w, plan))(several)[1], 2 * dense(x, w, plan))


def test_misuse() -> None:
    plan = tensor_plan(STAR, 1, 1)
    x, w = drawn(plan)
    with pytest.raises(InvalidInput, match=r"axes of length 4"):
        tensor_map(x[..., :3], w, plan)
    with pytest.raises(InvalidInput, match="one matrix for each"):
        tensor_map(x, w[:2], plan)
    with pytest.raises(InvalidInput, match="mask"):
        tensor_map(x, w, plan, mask=torch.ones(3, 4, dtype=torch.bool))
