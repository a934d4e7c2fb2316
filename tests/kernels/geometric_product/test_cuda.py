"""The statements that are printed as CUDA, executed on a CPU: equal to torch in value and two derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.errors import MissingDependency
from geomlib.kernels import dispatch
from geomlib.kernels.cuda import staged, staged_run
from geomlib.kernels.geometric_product import cuda, grade_scale, plan, weighted_gp
from geomlib.kernels.geometric_product.cuda_programs import kernel_of
from geomlib.kernels.geometric_product.cuda_report import sources
from tests.algebra.clifford.common import rand

from .cuda_problems import (
    FORMS,
    PASSES,
    algebra,
    close,
    derivatives,
    generated,
    leaves_of,
    specified,
    without_weights,
)
from .test_products import dense

SIGNATURES = [(1, 0), (2, 0), (1, 1), (3, 0), (2, 0, 1), (1, 3), (3, 0, 1), (2, 0, 2)]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_every_form_to_second_order(signature, name):
    form = FORMS[name](algebra(signature))
    leaves = leaves_of(form, 5, 3)
    found = derivatives(generated(form), leaves)
    for a, b in zip(found, derivatives(specified(form), leaves), strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize("name", ["weighted", "wedge"])
@pytest.mark.parametrize("signature", [(5, 0), (4, 1), (3, 0, 2)], ids=str)
def test_five_generators_are_shared_out_over_kernels(signature, name):
    form = FORMS[name](algebra(signature))
    leaves = leaves_of(form, 3, 2)
    for a, b in zip(derivatives(generated(form), leaves), derivatives(specified(form), leaves), strict=True):
        close(a, b, 1e-12)
    tasks = PASSES["double backward"] if name == "weighted" else without_weights(PASSES["double backward"])
    assert len(cuda.kernels(form, tasks, 8)) > len(tasks)


def test_six_generators_in_float32():
    form = FORMS["weighted"](algebra((4, 2)))
    leaves = leaves_of(form, 3, 2, torch.float32)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    found, expected = (derivatives(f(form), t, 1) for f, t in ((generated, leaves), (specified, exact)))
    for a, b in zip(found, expected, strict=True):
        close(a.double(), b, 2e-6)


def test_the_dense_contraction():
    alg = algebra((1, 2))
    x, y = rand(alg, 6, 4), rand(alg, 6, 4, seed=1)
    w = torch.randn(4, len(alg.paths), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = cuda.OPERATION(plan.weighted_form(alg), x, y, w)
    close(found, torch.einsum("bci,cijk,bck->bcj", x, dense(alg, w), y), 1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 200), (700, 1), (67, 28), (3, 130)])
def test_sizes(shape):
    form = FORMS["weighted"](algebra((2, 0)))
    leaves = leaves_of(form, *shape)
    for a, b in zip(derivatives(generated(form), leaves), derivatives(specified(form), leaves), strict=True):
        close(a, b, 1e-12)


def test_any_strides():
    """Rows that are broadcast, channels that are transposed, blades outermost."""
    form = FORMS["weighted"](algebra((3, 0)))
    x, y, w = leaves_of(form, 9, 6)
    expected = cuda.OPERATION(form, x, y, w)
    outermost = x.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0)
    transposed = y.detach().transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(cuda.OPERATION(form, outermost, transposed, w), expected)
    one = y[:1].expand(9, -1, -1)
    assert torch.equal(cuda.OPERATION(form, x, one, w), cuda.OPERATION(form, x, one.contiguous(), w))


def test_any_subset_of_gradients():
    form = FORMS["weighted"](algebra((2, 0, 1)))
    leaves = leaves_of(form, 7, 3)
    full = torch.autograd.grad(cuda.OPERATION(form, *leaves).square().sum(), leaves)
    for k in range(3):
        some = [t.detach().requires_grad_(i == k) for i, t in enumerate(leaves)]
        (g,) = torch.autograd.grad(cuda.OPERATION(form, *some).square().sum(), some[k])
        close(g, full[k], 1e-13)


def test_derivatives_by_differences():
    form = FORMS["weighted"](algebra((1, 1)))
    leaves = leaves_of(form, 2, 2)
    assert gradcheck(lambda *t: cuda.OPERATION(form, *t), leaves)
    assert gradgradcheck(lambda *t: cuda.OPERATION(form, *t), leaves)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float16, 3e-3), (torch.bfloat16, 2e-2)]
)
def test_lower_precision(dtype, tolerance):
    """Half precision is how numbers are stored; sums run in float32."""
    form = FORMS["weighted"](algebra((1, 3)))
    leaves = leaves_of(form, 40, 3, dtype)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    found, expected = (derivatives(f(form), t, 1) for f, t in ((generated, leaves), (specified, exact)))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        close(a.double(), b, tolerance)


def test_a_wrong_sign_is_noticed():
    form = FORMS["weighted"](algebra((3, 0)))
    sign = form.sign.copy()
    sign[17] *= -1
    other = plan.Form(form.entry, sign, form.sizes, form.weights)
    leaves = leaves_of(form, 5, 3)
    with pytest.raises(AssertionError):
        close(cuda.OPERATION(other, *leaves), specified(form)(leaves), 1e-3)


def test_the_same_bits_again_and_partial_sums_of_blocks(monkeypatch):
    form = FORMS["weighted"](algebra((2, 0)))
    leaves = leaves_of(form, 900, 5, torch.float32)
    parts: list[int] = []
    once = staged_run.partial_sum
    monkeypatch.setattr(cuda, "partial_sum", lambda p, out, n: parts.append(p.shape[0]) or once(p, out, n))
    first, again = (derivatives(generated(form), leaves) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert parts and min(parts) > staged_run.LEAST


def test_tiles_cover_all_rows_and_channels():
    kernel = kernel_of(FORMS["weighted"](algebra((3, 0))), PASSES["backward"], 4)
    assert kernel is not None and kernel.lanes == 128 and kernel.sums == 20
    for rows_, channels in ((1, 1), (2000, 28), (4096, 512), (5, 129), (10, 130), (65536, 64)):
        how = staged_run.tiling(kernel, rows_, channels)
        assert (
            how.per * how.width <= kernel.lanes and how.tiles * how.per >= rows_ > (how.tiles - 1) * how.per
        )
        assert how.chunks * how.width >= channels and 1 <= how.blocks <= how.tiles


@pytest.mark.parametrize("signature", [(3, 0), (1, 3), (5, 0), (6, 0)], ids=str)
def test_shared_memory_suffices_and_statements_are_as_counted(signature):
    form = FORMS["weighted"](algebra(signature))
    for _, kernel in cuda.kernels(form, PASSES["backward"], 4):
        assert kernel.numbers * 4 <= staged.BYTES and kernel.lanes >= 32
        loads = [s for s in kernel.body if isinstance(s, staged.Load)]
        assert len({s.target for s in loads}) == len(loads)
    ((_, forward),) = cuda.kernels(form, PASSES["forward"], 4)
    sums = sum(isinstance(s, (staged.Mul, staged.Fma)) for s in forward.body)
    pairs = len(np.unique(form.entry[:, [1, 3]], axis=0))
    assert (
        sums == len(form.entry) + pairs
    )  # every entry once, every left component times every weight of its own once


def test_what_is_not_served():
    assert cuda.refusal(FORMS["weighted"](algebra((5, 0))), torch.float64) is None
    assert cuda.refusal(FORMS["weighted"](algebra((6, 0))), torch.bfloat16) is None
    assert "shared memory" in str(cuda.refusal(FORMS["weighted"](algebra((6, 0))), torch.float64))
    seven = FORMS["scale"](algebra((7, 0)))
    assert "up to 64 blades" in str(cuda.refusal(seven, torch.float32))
    with pytest.raises(InvalidInput, match="shared memory"):
        cuda.kernels(FORMS["features"](algebra((6, 0))), PASSES["backward"][:1], 4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_asked_for_by_name_without_a_card():
    alg = algebra((3, 0))
    x, w = torch.randn(4, 3, 8), torch.randn(3, 20)
    with pytest.raises(MissingDependency, match="backend 'cuda' was asked for, but"):
        weighted_gp(x, x, w, alg, backend="cuda")
    with pytest.raises(MissingDependency, match="backend 'cuda' was asked for, but"):
        grade_scale(x, torch.randn(4, 3, 4), alg, backend="cuda")


def test_dispatch_on_a_card(monkeypatch):
    """The kernels are what a card runs; here the dispatcher is told that there is one."""
    alg = algebra((3, 0))
    x, y, w = leaves_of(plan.weighted_form(alg), 5, 3)
    seen: list[str] = []

    def choose(op, tensors, backend=None, *, cuda=lambda: "none", loops_pay=lambda: True):
        assert cuda() is None
        seen.append(op)
        return "cuda"

    expected = weighted_gp(x, y, w, alg, backend="torch")
    monkeypatch.setattr(dispatch, "choose", choose)
    close(weighted_gp(x, y, w, alg), expected, 1e-12)
    close(grade_scale(x, x.detach()[..., :4], alg), x * x.detach()[..., [0, 1, 1, 1, 2, 2, 2, 3]], 1e-15)
    half = weighted_gp(x.bfloat16(), y.bfloat16(), w.bfloat16(), alg)
    assert half.dtype == torch.bfloat16 and {"weighted_gp", "grade_scale"} == set(seen)
    compiled = torch.compile(lambda a, b: weighted_gp(a, b, w, alg), fullgraph=True, backend="aot_eager")
    close(compiled(x, y), expected, 1e-12)
    assert "multivector_form" in seen


def test_every_kernel_of_an_algebra():
    texts = sources(algebra((3, 0)))
    assert list(texts) == [
        *PASSES,
        "gate",
        "gate, backward",
        "steerable product",
        "steerable product, backward",
    ]
    assert all(text.count("__global__") == 1 and "atomic" not in text for text in texts.values())
    assert "double real_t" in sources(algebra((2, 0)), torch.float64)["backward"]
    assert "steerable product" not in sources(algebra((2, 0)), torch.bfloat16)
    with pytest.raises(InvalidInput, match="up to 64 blades"):
        sources(algebra((7, 0)))
    with pytest.raises(InvalidInput, match="expected one of"):
        sources(algebra((2, 0)), torch.int8)
