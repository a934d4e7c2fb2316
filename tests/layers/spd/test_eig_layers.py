"""ReEig and LogEig: values beside NumPy and 60-digit arithmetic, derivatives at the floor and at repeated eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.layers import LogEig, ReEig
from tests.layers.spd.oracles import spd


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_floor(relative: bool, dtype: torch.dtype) -> None:
    x = spd(2, 5, 4, low=0.0)
    w, v = np.linalg.eigh(x.numpy())
    floor = 0.3 * (w.mean(-1, keepdims=True) if relative else 1.0)
    want = torch.from_numpy((v * np.maximum(w, floor)[..., None, :]) @ v.swapaxes(-1, -2))
    y = ReEig(4, 0.3, relative=relative)(x.to(dtype))
    close = 1e-12 if dtype == torch.float64 else 1e-5
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), want, rtol=close, atol=close)


def test_matrices_above_the_floor_stay_as_they_are() -> None:
    x = spd(5, 4)
    assert torch.equal(ReEig(4, 1e-4)(x), (x + x.mT) / 2)


@pytest.mark.parametrize("name", ["generic", "pair", "near1e-9", "floor"])
def test_floor_gradients_of_the_fixture(data, name: str) -> None:
    with np.load(data / "manifolds" / "eigfun_vjp_pow.npz") as file:
        a, g, want = (torch.from_numpy(file[f"{name}_{key}"]) for key in ("A", "G", "vjp_clamp1e-4"))
    a.requires_grad_()
    (found,) = torch.autograd.grad((ReEig(a.shape[-1], 1e-4)(a) * g).sum(), a)
    torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-11 * float(want.abs().max()))


@pytest.mark.parametrize("name", ["identity", "pair", "triple", "near1e-10"])
def test_log_gradients_of_the_fixture(data, name: str) -> None:
    with np.load(data / "manifolds" / "eigfun_vjp.npz") as file:
        a, g, want = (torch.from_numpy(file[f"{name}_{key}"]) for key in ("A", "G", "vjp_log"))
    for dtype, close in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        x = a.to(dtype).requires_grad_()
        (found,) = torch.autograd.grad((LogEig(a.shape[-1])(x) * g.to(dtype)).sum(), x)
        torch.testing.assert_close(found.double(), want, rtol=close, atol=close * float(want.abs().max()))


@pytest.mark.parametrize("n", [2, 3, 8])
def test_logarithms_of_the_fixture(data, n: int) -> None:
    with np.load(data / "manifolds" / f"spd_n{n}.npz") as file:
        p, want = torch.from_numpy(file["P"]), torch.from_numpy(file["P_log_mp"])
    torch.testing.assert_close(LogEig(n)(p), want, rtol=1e-9, atol=1e-9)


def test_vectors_keep_scalar_products() -> None:
    x, y = spd(6, 4), spd(6, 4, seed=1)
    matrix, vector = LogEig(4), LogEig(4, vector=True)
    assert vector.features == vector(x).shape[-1] == 10
    want = torch.einsum("bij,bij->b", matrix(x), matrix(y))
    torch.testing.assert_close((vector(x) * vector(y)).sum(-1), want, rtol=1e-12, atol=1e-12)


def with_spectrum(*w: float) -> torch.Tensor:
    q = torch.linalg.qr(torch.randn(len(w), len(w), dtype=torch.float64))[0]
    return (q * torch.tensor(w, dtype=torch.float64)) @ q.mT


@pytest.mark.parametrize("w", [(1.0, 1.0, 1.0), (0.2, 0.2, 3.0), (0.1, 2.0, 2.0)])
@pytest.mark.parametrize("relative", [False, True])
def test_derivatives_of_the_floor(w: tuple[float, ...], relative: bool) -> None:
    layer, x = ReEig(3, 0.5, relative=relative), with_spectrum(*w).requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("w", [(1.0, 1.0, 1.0), (0.2, 0.2, 3.0)])
@pytest.mark.parametrize("vector", [False, True])
def test_derivatives_of_the_logarithm(w: tuple[float, ...], vector: bool) -> None:
    layer, x = LogEig(3, vector=vector), with_spectrum(*w).requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


def test_the_derivative_at_the_floor_is_zero() -> None:
    x = torch.diag(torch.tensor([0.5, 2.0], dtype=torch.float64)).requires_grad_()
    (g,) = torch.autograd.grad(ReEig(2, 0.5)(x).sum(), x)
    torch.testing.assert_close(g, torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("layer", [ReEig(4, 0.4), ReEig(4, 0.4, relative=True), LogEig(4, vector=True)])
def test_batches(layer: torch.nn.Module) -> None:
    x = spd(3, 4, low=0.1).requires_grad_()
    y = layer(x)
    torch.testing.assert_close(torch.func.vmap(layer)(x), y)
    torch.testing.assert_close(layer(x[1]), y[1])
    torch.testing.assert_close(layer(torch.stack([x, x], -1)[..., 1]), y)
    assert layer(x[:0]).shape == (0, *y.shape[1:])
    # What is beside a matrix in its batch does not change its gradient.
    cotangent = torch.randn_like(y)
    (joint,) = torch.autograd.grad((y * cotangent).sum(), x)
    huge = torch.cat([x, 1e6 * x[:1]])
    (alone,) = torch.autograd.grad((layer(huge)[:3] * cotangent).sum(), huge)
    torch.testing.assert_close(alone[:3], joint, rtol=1e-13, atol=1e-13)


def test_what_they_refuse() -> None:
    for floor in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="floor"):
            ReEig(3, floor)
    bad = torch.eye(3).repeat(4, 1, 1)
    bad[2, 0, 0] = -1.0
    with pytest.raises(InvalidInput, match=r"2.* of `x`"):
        LogEig(3)(bad)
    assert bool(torch.isfinite(ReEig(3)(bad)).all())
    bad[2] = -torch.eye(3)
    with pytest.raises(InvalidInput, match=r"2.* of `x` has trace -3"):
        ReEig(3, relative=True)(bad)
    bad[2, 1, 1] = float("nan")
    for layer in (ReEig(3), LogEig(3)):
        with pytest.raises(InvalidInput, match="NaN"):
            layer(bad)
        with pytest.raises(InvalidInput, match=r"expected \(..., 3, 3\)"):
            layer(torch.eye(4))
        with pytest.raises(InvalidInput, match="int64"):
            layer(torch.eye(3, dtype=torch.int64))
