"""Layers of multivectors: reference outputs and gradients, symmetry on every signature, extreme inputs, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.kernels.geometric_product.low_rank import low_rank_gp, path_weights
from geomlib.layers import (
    CEMLP,
    MVGELU,
    MVGeometricProduct,
    MVGeometricProductFC,
    MVLayerNorm,
    MVLinear,
    MVNormalization,
    MVRMSNorm,
    MVSiLU,
)
from geomlib.verify import check
from tests.algebra.clifford.common import SIGNATURES, load, rand

BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")
FILES = {
    "cgenn_cl200": CliffordAlgebra(2), "cgenn_cl300": CliffordAlgebra(3), "cgenn_cl130": CliffordAlgebra(1, 3),
    "cgenn_pga301": CliffordAlgebra(3, 0, 1),
}  # fmt: skip
MODULES = {
    "mvlinear": lambda a: MVLinear(a, 3, 2),
    "mvlinear_shared": lambda a: MVLinear(a, 3, 2, subspaces=False),
    "mvlinear_nobias": lambda a: MVLinear(a, 3, 2, bias=False),
    "sgp": lambda a: MVGeometricProduct(a, 3),
    "sgp_nofirst_nonorm": lambda a: MVGeometricProduct(a, 3, False, None),
    "fcgp": lambda a: MVGeometricProductFC(a, 3, 2),
    "fcgp_nofirst": lambda a: MVGeometricProductFC(a, 3, 2, False),
    "mvsilu_mag2": lambda a: MVSiLU(a, 3),
    "mvsilu_norm": lambda a: MVSiLU(a, 3, "norm"),
    "mvlayernorm": lambda a: MVLayerNorm(a, 3, safe=False),
    "normalization": lambda a: MVNormalization(a, 3),
}
#: Layers that the reference code does not have, or not so.
OURS = {
    "safe": lambda a: MVLayerNorm(a, 3),
    "rms": lambda a: MVRMSNorm(a, 3),
    "mvgelu": lambda a: MVGELU(a, 3),
    "mvgelu_norm": lambda a: MVGELU(a, 3, "norm"),
    "low_rank": lambda a: MVGeometricProduct(a, 3, path_rank=2),
}


def close(a, b, tol):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(b.detach().abs().max())))


def compare(layer, d, name, x):
    """Load the parameters by their names, then compare output and gradients."""
    start = f"{name}.param."
    layer.double().load_state_dict({k.removeprefix(start): v for k, v in d.items() if k.startswith(start)})
    x = x.clone().requires_grad_()
    out = layer(x)
    close(out, d[f"{name}.out"], 1e-12)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    gx, *grads = torch.autograd.grad(out, (x, *parameters), d[f"{name}.gout"])
    close(gx, d[f"{name}.grad_x"], 1e-10)
    for key, g in zip(names, grads, strict=True):
        close(g, d[f"{name}.grad.{key}"], 1e-10)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_reference_outputs_and_gradients(file, name, backend):
    d = load(file)
    with use_backend(backend):
        compare(MODULES[name](FILES[file]), d, name, d["x"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_cemlp_is_the_reference(backend):
    d = load("csmpn_cemlp")
    with use_backend(backend):
        compare(CEMLP(CliffordAlgebra(3), 3, 4, 2, safe=False), d, "cemlp", d["cemlp.x"])


@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
@pytest.mark.parametrize(
    "name", ["mvlinear", "sgp", "fcgp", "mvsilu_mag2", "mvsilu_norm", "mvlayernorm", *OURS]
)
def test_exact_under_versors(signature, name):
    alg = CliffordAlgebra(*signature)
    torch.manual_seed(0)
    layer = {**MODULES, **OURS}[name](alg)
    report = check(layer, example={"x": rand(alg, 4, 3)}, trials=4, stress=False)
    assert report.verdict == "EXACT", report


def test_a_wrong_metric_is_caught():
    layer = MVGeometricProduct(CliffordAlgebra(1, 1), 2)
    kind = "node:mv(2,0,0)"
    report = check(
        layer, group="Pin(2,0,0)", inputs={"x": kind}, outputs=kind, example={"x": rand(layer.algebra, 4, 2)}
    )
    assert report.verdict == "BROKEN"


@pytest.mark.parametrize("name", [*MODULES, *OURS, "cemlp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_extreme_inputs_stay_finite(name, dtype, backend):
    """Zero, light-like, tiny and huge rows have finite values and gradients.

    The single-precision loops of sixteen blades, which nothing else here uses, take five seconds a layer to compile.
    """
    alg = CliffordAlgebra(1, 1) if backend == "cpu" and dtype == torch.float32 else CliffordAlgebra(1, 3)
    torch.manual_seed(0)
    layer = {**MODULES, **OURS, "cemlp": lambda a: CEMLP(a, 3, 3, 2, n_layers=1)}[name](alg).to(dtype)
    huge = 1e100 if dtype == torch.float64 else 1e12
    light = torch.zeros(3, alg.size, dtype=dtype)
    light[:, 1] = light[:, 2] = 5
    noise = rand(alg, 3).to(dtype)
    x = torch.stack([0 * light, light, 1e-30 * noise, huge * light, huge * noise]).requires_grad_()
    linear = name.startswith("mvlinear")
    if name == "sgp_nofirst_nonorm" or (name == "cemlp" and dtype == torch.float32):
        x = x[:3].detach().requires_grad_()  # a plain square of a huge number is not finite
    with use_backend(backend):
        out = layer(x)
        grads = torch.autograd.grad(out.sum(), (x, *layer.parameters()))
    assert bool(torch.isfinite(out).all()) and (linear or all(bool(torch.isfinite(g).all()) for g in grads))


def test_the_safe_norm_is_bounded_and_near_the_reference():
    alg = CliffordAlgebra(1, 3)
    light = torch.zeros(1, 1, 16, dtype=torch.float64)
    light[..., 1] = light[..., 2] = 5
    exact, safe = MVLayerNorm(alg, 1, safe=False).double(), MVLayerNorm(alg, 1).double()
    assert float(exact(light).detach().abs().max()) > 1e4
    assert float(safe(light).detach().abs().max()) <= 50 + 1e-9
    euclid = CliffordAlgebra(3)
    x = 10 * rand(euclid, 5, 4)
    one, two = MVLayerNorm(euclid, 4, safe=False).double(), MVLayerNorm(euclid, 4, eps=1e-12).double()
    torch.testing.assert_close(one(x), two(x), rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives(backend):
    alg = CliffordAlgebra(1, 1)
    torch.manual_seed(0)
    for make in MODULES.values():
        layer = make(alg).double()
        x = rand(alg, 2, 3).requires_grad_()
        with use_backend(backend):
            assert torch.autograd.gradgradcheck(layer, x, fast_mode=True)


def test_gelu_of_scalars():
    alg = CliffordAlgebra(3)
    x = alg.embed(torch.linspace(-6, 6, 30, dtype=torch.float64)[:, None, None], 0)
    close(MVGELU(alg, 1).double()(x)[..., 0], torch.nn.functional.gelu(x[..., 0]), 1e-15)


def test_the_root_mean_square_is_one():
    """In a Euclidean metric, over channels and blades; a light-like row is divided by no less than the constant."""
    alg = CliffordAlgebra(3)
    y = MVRMSNorm(alg, 6, eps=1e-12).double()(rand(alg, 5, 6))
    close(y.square().sum((-1, -2)) / 6, torch.ones(5, dtype=torch.float64), 1e-10)
    spacetime = CliffordAlgebra(1, 3)
    light = torch.zeros(1, 1, 16, dtype=torch.float64)
    light[..., 1] = light[..., 2] = 5
    close(MVRMSNorm(spacetime, 1).double()(light), light / (5 * 1e-2) ** 0.5, 1e-12)


def test_any_leading_axes_and_empty_batches():
    alg = CliffordAlgebra(3)
    torch.manual_seed(0)
    for make in MODULES.values():
        layer = make(alg).double()
        x = rand(alg, 2, 5, 3)
        close(layer(x)[1, 2], layer(x[1, 2]), 1e-12)
        assert layer(x[:0]).shape[0] == 0


def test_shapes_and_counts_of_parameters():
    """The authors' hull network: one map for all grades, four products, and a perceptron 32-32-1."""
    alg = CliffordAlgebra(5)
    layers = [MVLinear(alg, 16, 32, subspaces=False), *(MVGeometricProduct(alg, 32) for _ in range(4))]
    head = (32 * 32 + 32) + (32 + 1)
    assert sum(p.numel() for m in layers for p in m.parameters()) + head == 58849


def test_misuse():
    alg = CliffordAlgebra(3)
    x = torch.randn(4, 3, 8)
    for make in MODULES.values():
        layer = make(alg)
        with pytest.raises(InvalidInput, match=r"expected \(\.\.\., 3, 8\)"):
            layer(x[:, :2])
        with pytest.raises(InvalidInput, match=r"expected \(\.\.\., 3, 8\)"):
            layer(torch.randn(4, 3, 16))
        with pytest.raises(InvalidInput, match="Cast one"):
            layer(x.double())
        with pytest.raises(InvalidInput, match="floating"):
            layer(x.long())
    with pytest.raises(InvalidInput, match="expected a CliffordAlgebra"):
        MVLinear((3, 0, 0), 3, 3)
    with pytest.raises(InvalidInput, match="out_channels=0"):
        MVLinear(alg, 3, 0)
    with pytest.raises(InvalidInput, match="invariant"):
        MVSiLU(alg, 3, "size")
    with pytest.raises(InvalidInput, match="eps"):
        MVLayerNorm(alg, 3, eps=0)
    with pytest.raises(InvalidInput, match="MVRMSNorm: eps"):
        MVRMSNorm(alg, 3, eps=-1)
    with pytest.raises(InvalidInput, match="MVGELU: invariant"):
        MVGELU(alg, 3, "size")
    with pytest.raises(InvalidInput, match="n_layers"):
        CEMLP(alg, 3, 3, 3, n_layers=0)
    with pytest.raises(InvalidInput, match="sort them"):
        _ = MVLinear(CliffordAlgebra(metric=(1, 0)), 3, 3).symmetry


@pytest.mark.parametrize("name", ["mvlinear", "mvsilu_norm", "mvgelu", "sgp", "fcgp", "mvlayernorm", "rms"])
def test_compiled_without_graph_breaks(name):
    alg = CliffordAlgebra(1, 1, 1)
    torch.manual_seed(0)
    layer = {**MODULES, **OURS}[name](alg).double()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = rand(alg, 4, 3).requires_grad_()
    inputs = (x, *layer.parameters())
    out, wanted = compiled(x), layer(x)
    close(out, wanted.detach(), 1e-13)
    g = rand(alg, *out.shape[:-1], seed=3)
    for a, b in zip(*(torch.autograd.grad(z, inputs, g) for z in (out, wanted)), strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize("metric", [(3,), (3, 0, 1), (7,)])
def test_weights_of_paths_of_low_rank_are_those_of_the_whole_product(metric):
    """The factors written out as one weight per path give the same layer, and the same gradients by x."""
    algebra = CliffordAlgebra(*metric)
    low = MVGeometricProduct(algebra, 3, path_rank=2).double()
    whole = MVGeometricProduct(algebra, 3).double()
    state = {k: v for k, v in low.state_dict().items() if k != "factors"}
    whole.load_state_dict(state | {"weight": path_weights(low.factors.detach(), algebra)})
    x = rand(algebra, 2, 3).requires_grad_()
    found, expected = low(x), whole(x)
    close(found, expected, 1e-12)
    gradients = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    close(*gradients, 1e-11)


def test_factors_that_do_not_fit_are_met():
    algebra = CliffordAlgebra(2)
    with pytest.raises(InvalidInput, match=r"expected \(3, rank, 4, 3\)"):
        low_rank_gp(torch.ones(4, 4), torch.ones(4, 4), torch.ones(3, 1, 5, 3), algebra)
    with pytest.raises(InvalidInput, match="path_rank"):
        MVGeometricProduct(algebra, 3, path_rank=-1)
