"""log max(A, floor): equal to its two parts in value and every derivative, one decomposition, any matrix."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.manifolds.rectified_log import rectified_log
from geomlib.algebra.manifolds.spectral import primitives, symfun

#: Generic, repeated above and below the floor of 1/2, all below, indefinite, one eigenvalue at each side of the floor.
SPECTRA = [
    [0.1, 0.3, 1.0, 2.0], [1.0, 1.0, 0.2, 0.2], [0.4, 0.1, 0.1, 0.02],
    [-3.0, -3.0, 0.7, 5.0], [0.5 - 1e-9, 0.5 + 1e-9, 2.0, 2.0],
]  # fmt: skip


def matrices(dtype=torch.float64):
    q = torch.linalg.qr(torch.randn(len(SPECTRA), 4, 4, dtype=torch.float64))[0]
    a = (q * torch.tensor(SPECTRA, dtype=torch.float64)[:, None]) @ q.mT
    return (0.5 * (a + a.mT)).to(dtype)


def both(a):
    return rectified_log(a, 0.5), symfun(symfun(a, "clamp", 0.5), "log")


def test_equal_to_its_parts():
    a, g, e = matrices().requires_grad_(), *torch.randn(2, 5, 4, 4, dtype=torch.float64)
    slopes = []
    for found in both(a):
        (first,) = torch.autograd.grad((found * g).sum(), a, create_graph=True)
        (second,) = torch.autograd.grad((first * e).sum(), a)
        slopes.append((found.detach(), first.detach(), second))
    for one, two in zip(*slopes, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-11)


def test_gradients_of_every_kind():
    a = matrices()[:4].requires_grad_()
    assert gradcheck(lambda x: rectified_log(x, 0.5), a, check_forward_ad=True)
    assert gradgradcheck(lambda x: rectified_log(x, 0.5), a)
    assert gradcheck(lambda x: rectified_log(x, 0.3, relative=True), a[:3])


@mpmath.workdps(50)
def test_gradient_in_fifty_digits():
    """The divided difference of log max(x, c) across the floor and within, from its definition in fifty digits."""
    a = matrices()[:1].requires_grad_()
    g = torch.randn(4, 4, dtype=torch.float64)
    (found,) = torch.autograd.grad((rectified_log(a, 0.5)[0] * g).sum(), a)
    m = mpmath.matrix(a[0].detach().numpy().tolist())
    w, v = mpmath.eigsy((m + m.T) / 2)
    sym = mpmath.matrix(((g + g.mT) / 2).numpy().tolist())
    inner = v.T * sym * v
    f = [mpmath.log(max(x, mpmath.mpf("0.5"))) for x in w]
    for i in range(4):
        for j in range(4):
            slope = (f[i] - f[j]) / (w[i] - w[j]) if i != j else (1 / w[i] if w[i] > 0.5 else mpmath.mpf(0))
            inner[i, j] *= slope
    want = v * inner * v.T
    exact = np.array([[float(want[i, j]) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(found[0].numpy(), exact, rtol=1e-12, atol=1e-13)


def test_one_decomposition(monkeypatch):
    calls = []
    eigh = primitives.eigh
    monkeypatch.setattr(primitives, "eigh", lambda *a: calls.append(1) or eigh(*a))
    a = matrices().requires_grad_()
    rectified_log(a, 0.5).sum().backward()
    assert len(calls) == 1


def test_float32_is_worked_in_float64():
    a = matrices(torch.float32)
    exact = rectified_log(a.double(), 0.5)
    found = rectified_log(a, 0.5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


def test_relative_floor_commutes_with_scaling():
    a = matrices()[:3]
    shifted = rectified_log(7.0 * a, 0.3, relative=True) - rectified_log(a, 0.3, relative=True)
    torch.testing.assert_close(shifted, np.log(7.0) * torch.eye(4, dtype=torch.float64).expand(3, 4, 4))
    mean = a.diagonal(dim1=-2, dim2=-1).mean(-1)
    want = torch.stack([rectified_log(x, 0.3 * float(m)) for x, m in zip(a, mean, strict=True)])
    torch.testing.assert_close(rectified_log(a, 0.3, relative=True), want, rtol=1e-12, atol=1e-12)


def test_transforms_shapes_and_layouts():
    a = matrices()[:4]  # the last is within rounding of the kink, where slopes depend on who decomposes
    want = rectified_log(a, 0.5)
    torch.testing.assert_close(
        torch.func.vmap(lambda x: rectified_log(x, 0.5))(a), want, rtol=1e-12, atol=1e-12
    )
    compiled = torch.compile(lambda x: rectified_log(x, 0.5), fullgraph=True, backend="aot_eager")
    leaf = a.clone().requires_grad_()
    torch.testing.assert_close(compiled(leaf), want, rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad(compiled(leaf).sum(), leaf)
    (eager,) = torch.autograd.grad(rectified_log(leaf, 0.5).sum(), leaf)
    torch.testing.assert_close(slope, eager, rtol=1e-12, atol=1e-12)
    assert rectified_log(a[:0]).shape == (0, 4, 4) and rectified_log(a[0]).shape == (4, 4)
    strided = torch.stack([a, a], -1)[..., 1]
    torch.testing.assert_close(rectified_log(strided, 0.5), want, rtol=1e-13, atol=1e-13)


def test_misuse():
    for floor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="floor"):
            rectified_log(torch.eye(2), floor)
    bad = matrices()
    bad[3, 1, 2] = torch.nan
    with pytest.raises(InvalidInput, match=r"matrix \[3\] of `A`"):
        rectified_log(bad, 0.5)


def test_a_relative_floor_needs_a_positive_trace() -> None:
    for trace in (-3.0, -1.0):
        with pytest.raises(InvalidInput, match="no positive trace"):
            rectified_log(torch.diag(torch.tensor([1.0, trace])), relative=True)
