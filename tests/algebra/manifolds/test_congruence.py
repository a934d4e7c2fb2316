"""W X W^T: value, gradients of every kind beside plain products, shapes."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.congruence import congruence_by


def test_value_and_gradients_are_those_of_the_products():
    w = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    x = symmetrize(torch.randn(2, 4, 5, 5, dtype=torch.float64)).requires_grad_()
    g = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    plain = w @ x @ w.mT
    found = congruence_by(w, x)
    torch.testing.assert_close(found, plain, rtol=1e-13, atol=1e-13)
    assert torch.equal(found, found.mT)
    want = torch.autograd.grad((plain * symmetrize(g)).sum(), (w, x))
    got = torch.autograd.grad((found * g).sum(), (w, x))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gradients_of_every_kind():
    w = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)

    assert gradcheck(congruence_by, (w, x), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(congruence_by, (w, x))


@pytest.mark.parametrize("shape", [(3, 3), (0, 3, 3), (1, 3, 3), (2, 0, 3, 3)])
def test_shapes(shape):
    w = torch.randn(2, 3, requires_grad=True)
    x = symmetrize(torch.randn(shape)).requires_grad_()
    found = congruence_by(w, x)
    assert found.shape == (*shape[:-2], 2, 2)
    found.sum().backward()
    assert w.grad.shape == (2, 3) and x.grad.shape == shape


def test_transforms():
    w, x = torch.randn(2, 3), symmetrize(torch.randn(4, 3, 3))
    want = congruence_by(w, x)
    torch.testing.assert_close(torch.func.vmap(lambda a: congruence_by(w, a))(x), want)
    compiled = torch.compile(congruence_by, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w, x), want)
    strided = torch.stack([x, x], -1)[..., 0]
    torch.testing.assert_close(congruence_by(w, strided), want)
