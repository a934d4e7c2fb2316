"""Products of multivectors: engines beside a dense contraction written here, and their derivatives."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.errors import GeomlibError
from geomlib.kernels.dispatch import available_backends
from geomlib.kernels.geometric_product import fc_gp, geometric_product, weighted_gp
from geomlib.testing import KernelSuite
from tests.algebra.clifford.common import SIGNATURES, rand

BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")
algebras = pytest.mark.parametrize("alg", [CliffordAlgebra(*s) for s in SIGNATURES], ids=str)
backends = pytest.mark.parametrize("backend", BACKENDS)


def dense(alg, w):
    """Return the Cayley tensor of every leading index of w: (..., left, out, right)."""
    table = torch.zeros(*w.shape[:-1], alg.size, alg.size, alg.size, dtype=w.dtype)
    masks, grades = alg.blade_masks, alg.grades
    for i in range(alg.size):
        for k in range(alg.size):
            sign, j = int(alg.cayley[i, k]), masks.index(masks[i] ^ masks[k])
            if sign:
                table[..., i, j, k] = sign * w[..., alg.paths.index((grades[i], grades[j], grades[k]))]
    return table


def weights(alg, *shape, seed=5):
    return torch.randn(
        *shape, len(alg.paths), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def close(a, b):
    torch.testing.assert_close(
        a, b, rtol=0, atol=1e-12 * max(1.0, float(b.detach().abs().max()) if b.numel() else 1.0)
    )


@algebras
@backends
def test_weighted_products_are_the_dense_contraction(alg, backend):
    for batch, channels in ((5, 3), (2, 130), (1, 1)):
        x, y = (rand(alg, batch, channels, seed=k).requires_grad_() for k in range(2))
        w = weights(alg, channels).requires_grad_()
        found = weighted_gp(x, y, w, alg, backend=backend)
        wanted = torch.einsum("bci,cijk,bck->bcj", x, dense(alg, w), y)
        close(found, wanted)
        g = rand(alg, batch, channels, seed=7)
        for a, b in zip(*(torch.autograd.grad(z, (x, y, w), g) for z in (found, wanted)), strict=True):
            close(a, b)
        if alg.n > 3:
            break


@algebras
@backends
def test_fully_connected_products_are_the_dense_contraction(alg, backend):
    x, y = (rand(alg, 2, 2, 3, seed=k).requires_grad_() for k in range(2))
    w = weights(alg, 4, 3).requires_grad_()
    found = fc_gp(x, y, w, alg, backend=backend)
    wanted = torch.einsum("abci,ocijk,abck->aboj", x, dense(alg, w), y)
    close(found, wanted)
    g = rand(alg, 2, 2, 4, seed=7)
    for a, b in zip(*(torch.autograd.grad(z, (x, y, w), g) for z in (found, wanted)), strict=True):
        close(a, b)


@algebras
@backends
@pytest.mark.parametrize("kind", ["gp", "wedge", "inner", "scalar"])
def test_products_without_weights(alg, backend, kind):
    x, y = rand(alg, 70, 3), rand(alg, 3, seed=1)
    wanted = alg.gp(x, y, method="dense") if kind == "gp" else None
    if kind == "scalar":
        wanted = alg.embed(alg.scalar_product(x, y.expand_as(x)), 0)
    elif wanted is None:
        wanted = getattr(alg, kind)(x, y)
    for method in ("auto", "dense", "table") + ("matrix",) * (kind == "gp"):
        close(geometric_product(x, y, alg, kind=kind, method=method, backend=backend), wanted)


@backends
@pytest.mark.parametrize("signature", [(2, 0, 0), (1, 1, 1)])
def test_three_orders_of_derivatives(backend, signature):
    alg = CliffordAlgebra(*signature)
    x, y = (rand(alg, 2, 2, seed=k).requires_grad_() for k in range(2))
    w, mix = weights(alg, 2).requires_grad_(), weights(alg, 2, 2).requires_grad_()

    def weighted(x, y, w):
        return weighted_gp(x, y, w, alg, backend=backend)

    def connected(x, y, w):
        return fc_gp(x, y, w, alg, backend=backend)

    def plain(x, y):
        return geometric_product(x, y, alg, method="table", backend=backend)

    def matrix(x, y):
        return geometric_product(x, y, alg, method="matrix", backend=backend)

    for function, args in (
        (weighted, (x, y, w)),
        (connected, (x, y, mix)),
        (plain, (x, y)),
        (matrix, (x, y)),
    ):
        assert torch.autograd.gradcheck(function, args)
        assert torch.autograd.gradgradcheck(function, args)

    def third(backend):
        z = weighted_gp(x, y, w, alg, backend=backend).square().sum()
        for _ in range(3):
            z = sum(g.square().sum() for g in torch.autograd.grad(z, (x, y, w), create_graph=True)).sqrt()
        return z

    if backend != "torch":
        torch.testing.assert_close(third(backend), third("torch"), rtol=1e-10, atol=0)


@backends
def test_layouts_and_sizes(backend):
    alg = CliffordAlgebra(3)
    w = weights(alg, 5)
    wide = rand(alg, 40, 10).transpose(0, 1)[::2]  # (5, 40, 8), strided
    x = wide.transpose(0, 1)
    close(
        weighted_gp(x, x.flip(0), w, alg, backend=backend),
        weighted_gp(x.contiguous(), x.flip(0).contiguous(), w, alg),
    )
    assert weighted_gp(x[:0], x[:0], w, alg, backend=backend).shape == (0, 5, 8)
    assert fc_gp(x[:0], x[:0], weights(alg, 2, 5), alg, backend=backend).shape == (0, 2, 8)
    assert geometric_product(x[:0], x[:0], alg, backend=backend).shape == (0, 5, 8)
    one = rand(alg, 1, 5, seed=2)
    close(weighted_gp(one, x, w, alg, backend=backend), weighted_gp(one.expand_as(x), x, w, alg))
    close(weighted_gp(x[0], x[1], w, alg, backend=backend), weighted_gp(x, x.roll(-1, 0), w, alg)[0])
    empty = x[:0].clone().requires_grad_()
    v = w.clone().requires_grad_()
    gx, gw = torch.autograd.grad(weighted_gp(empty, empty, v, alg, backend=backend).sum(), (empty, v))
    assert gx.shape == empty.shape and float(gw.abs().max()) == 0


@backends
@pytest.mark.parametrize("signature", [(6, 0, 0), (3, 3, 1), (0, 9, 0)], ids=str)
def test_many_generators(signature, backend):
    """Values and gradients of the method that auto takes, beside the loop over blades."""
    alg = CliffordAlgebra(*signature)
    x, y = (rand(alg, 3, seed=k).requires_grad_() for k in range(2))
    found, wanted = geometric_product(x, y, alg, backend=backend), alg.gp(x, y, method="table")
    close(found, wanted)
    g = rand(alg, 3, seed=7)
    for a, b in zip(*(torch.autograd.grad(z, (x, y), g) for z in (found, wanted)), strict=True):
        close(a, b)


def test_the_backend_asked_for_reaches_the_compiled_product():
    alg = CliffordAlgebra(5)
    x, y = rand(alg, 4).requires_grad_(), rand(alg, 4, seed=1)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(x, y, backend):
        return geometric_product(x, y, alg, backend=backend)

    for backend in BACKENDS:
        found = compiled(x, y, backend)
        close(found, alg.gp(x, y).detach())
        close(*(torch.autograd.grad(z.square().sum(), x)[0] for z in (found, alg.gp(x, y, method="table"))))
    with pytest.raises(GeomlibError, match="backend 'cuda' was asked for"):
        compiled(x, y, "cuda")


@backends
def test_partial_gradients(backend):
    """What is not asked for is not there, and what is asked for does not depend on it."""
    alg = CliffordAlgebra(3)
    x, y, w = rand(alg, 4, 3), rand(alg, 4, 3, seed=1), weights(alg, 3)
    tensors = [t.requires_grad_() for t in (x, y, w)]
    full = torch.autograd.grad(weighted_gp(*tensors, alg, backend=backend).square().sum(), tensors)
    for k in range(3):
        only = [t.detach().requires_grad_(i == k) for i, t in enumerate(tensors)]
        (g,) = torch.autograd.grad(weighted_gp(*only, alg, backend=backend).square().sum(), only[k])
        close(g, full[k])


def test_half_precision_sums_in_float32():
    alg = CliffordAlgebra(1, 3)
    x, y, w = rand(alg, 9, 3), rand(alg, 9, 3, seed=1), weights(alg, 3)
    for dtype in (torch.bfloat16, torch.float16):
        a, b, v = (t.to(dtype) for t in (x, y, w))
        found = weighted_gp(a, b, v, alg)
        assert found.dtype == dtype
        assert torch.equal(found, weighted_gp(a.float(), b.float(), v.float(), alg).to(dtype))
        assert fc_gp(a, b, weights(alg, 2, 3).to(dtype), alg).dtype == dtype


def test_transforms_of_functions():
    alg = CliffordAlgebra(3)
    x, y, w = rand(alg, 4, 3), rand(alg, 4, 3, seed=1), weights(alg, 3)
    mapped = torch.func.vmap(lambda a, b: weighted_gp(a, b, w, alg))(x, y)
    close(mapped, weighted_gp(x, y, w, alg))
    gradient = torch.func.grad(lambda v: weighted_gp(x, y, v, alg).sum())(w)
    v = w.clone().requires_grad_()
    close(gradient, torch.autograd.grad(weighted_gp(x, y, v, alg).sum(), v)[0])


def test_misuse():
    alg = CliffordAlgebra(3)
    x, w = torch.randn(4, 3, 8), torch.randn(3, 20)
    with pytest.raises(InvalidInput, match=r"weights of shape \(3, 20\)"):
        weighted_gp(x, x, w[:, 1:], alg)
    with pytest.raises(InvalidInput, match="equal C"):
        weighted_gp(x, x[:, :2], w, alg)
    with pytest.raises(InvalidInput, match="8 blades"):
        weighted_gp(x[..., :4], x, w, alg)
    with pytest.raises(InvalidInput, match="cast one"):
        weighted_gp(x, x, w.double(), alg)
    with pytest.raises(InvalidInput, match="do not broadcast"):
        weighted_gp(x, x[:2], w, alg)
    with pytest.raises(InvalidInput, match="weights of shape"):
        fc_gp(x, x, w, alg)
    with pytest.raises(InvalidInput, match="kind 'cross'"):
        geometric_product(x, x, alg, kind="cross")
    with pytest.raises(InvalidInput, match="do not broadcast"):
        geometric_product(x, x[:2], alg, backend="cpu")
    seven = torch.randn(4, 3, 128)
    with pytest.raises(InvalidInput, match="up to 64 blades"):
        geometric_product(seven, seven, CliffordAlgebra(7), backend="cuda")


class _Suite(KernelSuite):
    @pytest.fixture(autouse=True)
    def _numba(self) -> None:
        if available_backends()["cpu"] != "available":
            pytest.skip(available_backends()["cpu"])


SPACETIME = CliffordAlgebra(1, 2)


class TestWeighted(_Suite):
    kernel = staticmethod(lambda x, y, w: weighted_gp(x, y, w, SPACETIME, backend="cpu"))
    reference = staticmethod(lambda x, y, w: weighted_gp(x, y, w, SPACETIME, backend="torch"))

    @staticmethod
    def inputs(rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        x, y = torch.randn(2, rows, 3, 8, generator=generator)
        return {"x": x, "y": y, "w": torch.randn(3, len(SPACETIME.paths), generator=generator)}
