"""Activations, gates, norms and normalisation beside e3nn's."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy import integrate
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import silu, softplus

from geomlib import InvalidInput, verify
from geomlib.interop import from_e3nn
from geomlib.layers import Activation, BatchNorm, Gate, Norm, NormActivation
from geomlib.layers.activation import parity_of, unit_moment_factor

o3 = pytest.importorskip("e3nn.o3")
e3nn_nn = pytest.importorskip("e3nn.nn")
MIXED = "3x0e+2x0o+2x1o+1x2e"


def x_of(irreps, rows=6, dtype=torch.float32):
    return torch.randn(rows, o3.Irreps(str(irreps)).dim, dtype=dtype)


@pytest.mark.parametrize("f", [silu, torch.tanh, torch.relu, torch.sigmoid, softplus, torch.abs])
def test_the_second_moment_is_one(f):
    def squared(z):
        return (
            float(f(torch.tensor(z, dtype=torch.float64))) ** 2
            * math.exp(-z * z / 2)
            / math.sqrt(2 * math.pi)
        )

    moment, _ = integrate.quad(squared, -14, 14, points=[0.0], epsabs=1e-14, epsrel=1e-13, limit=200)
    assert unit_moment_factor(f) == pytest.approx(moment**-0.5, rel=1e-12)
    from e3nn.math import normalize2mom

    assert unit_moment_factor(f) == pytest.approx(normalize2mom(f).cst, rel=5e-3)  # theirs is a sample


def test_parities():
    assert [parity_of(f) for f in (torch.abs, torch.cos, torch.tanh, torch.relu)] == [1, 1, -1, 0]
    with pytest.raises(InvalidInput, match="second moment"):
        unit_moment_factor(torch.zeros_like)


def test_activation_as_e3nn():
    acts = [silu, torch.tanh, torch.abs, None]
    theirs = e3nn_nn.Activation("3x0e+2x0o+1x0o+2x1o", acts)
    ours, converted = Activation("3x0e+2x0o+1x0o+2x1o", acts), from_e3nn(theirs)
    assert str(ours.irreps_out) == str(theirs.irreps_out)
    x = x_of(ours.irreps_in)
    torch.testing.assert_close(converted(x), theirs(x))
    torch.testing.assert_close(ours(x), theirs(x), rtol=5e-3, atol=5e-3)
    assert Activation("", [])(torch.zeros(3, 0)).shape == (3, 0)


GATES = {
    "usual": ("8x0e", [silu], "4x0e", [torch.sigmoid], "2x1o+2x2e"),
    "odd gates": ("3x0e+2x0o", [silu, torch.tanh], "2x0o+3x0e", [torch.tanh, silu], "2x1o+3x1e"),
    "blocks that do not match": ("2x0e", [silu], "1x0o+2x0e", [torch.abs, torch.sigmoid], "2x1o+1x2e"),
    "no gates": ("4x0e", [torch.tanh], "", [], ""),
    "no scalars": ("", [], "2x0e", [silu], "2x1o"),
    "repeated": ("2x0e+3x0e", [silu, torch.tanh], "1x0e+1x0e", [silu, torch.tanh], "1x1o+1x1o"),
}


@pytest.mark.parametrize("name", GATES)
def test_gate_as_e3nn(name):
    theirs = e3nn_nn.Gate(*GATES[name])
    ours, converted = Gate(*GATES[name]), from_e3nn(theirs)
    assert str(ours.irreps_in) == str(theirs.irreps_in)
    assert ours.irreps_out.simplify() == str(theirs.irreps_out.simplify())
    x = x_of(ours.irreps_in)
    torch.testing.assert_close(converted(x), theirs(x))
    torch.testing.assert_close(ours(x), theirs(x), rtol=2e-2, atol=5e-3)
    assert ours(x[:0]).shape == (0, ours.irreps_out.dim)
    y = x.double()
    exact = copy.deepcopy(ours).double()(y)
    torch.testing.assert_close(copy.deepcopy(ours).float().double()(y), exact, rtol=0, atol=0)
    assert verify.check(ours, trials=12).verdict == "EXACT"


@pytest.mark.parametrize("squared", [True, False])
def test_norm_as_e3nn(squared):
    theirs, ours = o3.Norm(MIXED, squared), Norm(MIXED, squared)
    assert str(ours.irreps_out) == str(theirs.irreps_out)
    x = x_of(MIXED)
    x[1] = 0.0
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(from_e3nn(theirs)(x), ours(x))


def test_norms_have_derivatives_at_zero_and_far_away():
    layer = Norm("2x1o")
    x = torch.zeros(2, 6, requires_grad=True)
    (g,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum() + g.sum(), x)
    assert not g.any() and not h.any()
    for size in (1e-30, 1e30):
        y = (size * torch.tensor([[3.0, 0, 4, 0, 0, 0]])).requires_grad_()
        z = layer(y)
        torch.testing.assert_close(z, size * torch.tensor([[5.0, 0.0]]))
        torch.testing.assert_close(torch.autograd.grad(z.sum(), y)[0], torch.tensor([[0.6, 0, 0.8, 0, 0, 0]]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("f", [torch.sigmoid, torch.tanh])
def test_norm_activation_as_e3nn(f, bias):
    theirs = e3nn_nn.NormActivation(o3.Irreps(MIXED), f, bias=bias)
    if bias:
        torch.nn.init.normal_(theirs.biases)
    ours = from_e3nn(theirs)
    x = x_of(MIXED)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
    small = torch.zeros(2, ours.irreps_in.dim)
    torch.testing.assert_close(ours(small), torch.zeros_like(small))
    plain = NormActivation("2x1o", f, normalize=False)
    y = torch.randn(4, 6)
    expected = y.unflatten(-1, (2, 3)) * f(y.unflatten(-1, (2, 3)).norm(dim=-1, keepdim=True))
    torch.testing.assert_close(plain(y), expected.flatten(-2))


OPTIONS = [
    {}, {"affine": False}, {"include_bias": False}, {"reduce": "max"}, {"instance": True},
    {"normalization": "norm"}, {"instance": True, "reduce": "max", "affine": False}, {"momentum": 0.4, "eps": 1e-2},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(9,), (4, 5), (3, 2, 4)])
def test_batch_norm_as_e3nn_in_training_and_evaluation(options, shape):
    theirs = e3nn_nn.BatchNorm(MIXED, **options)
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    loaded = BatchNorm(MIXED, **options)
    loaded.load_state_dict(theirs.state_dict())
    for ours in (from_e3nn(theirs), loaded):
        copied = copy.deepcopy(theirs)
        for _ in range(3):
            x = 3 * torch.randn(*shape, o3.Irreps(MIXED).dim) + 0.5
            torch.testing.assert_close(ours(x), copied(x), atol=1e-5, rtol=1e-5)
        for name, value in copied.named_buffers():
            torch.testing.assert_close(getattr(ours, name), value)
        ours.eval(), copied.eval()
        torch.testing.assert_close(ours(x), copied(x), atol=1e-5, rtol=1e-5)
        assert not from_e3nn(copied).training


def test_batch_norm_in_training_is_equivariant():
    layer = BatchNorm("4x0e+2x0o+3x1o")
    x = torch.randn(12, 15)
    assert verify.check(layer, example={"x": x}, trials=12).verdict == "EXACT"


MODULES = {
    "Activation": lambda: Activation("2x0e+1x0o", [silu, torch.tanh]),
    "Gate": lambda: Gate("1x0e", [silu], "2x0e", [torch.sigmoid], "1x1o+1x2e"),
    "Norm": lambda: Norm("1x0o+2x1o"),
    "NormActivation": lambda: NormActivation("1x0e+2x1o", torch.sigmoid, bias=True),
    "BatchNorm": lambda: BatchNorm("2x0e+1x1o"),
    "BatchNorm, evaluation": lambda: BatchNorm("2x0e+1x1o").eval(),
}


@pytest.mark.parametrize("name", MODULES)
def test_derivatives(name):
    layer = MODULES[name]().double()
    irreps = layer.irreps if isinstance(layer, BatchNorm) else layer.irreps_in
    x = torch.randn(4, irreps.dim, dtype=torch.float64, requires_grad=True)
    run = lambda t: copy.deepcopy(layer)(t)  # noqa: E731 - running averages start anew
    assert gradcheck(run, x) and gradgradcheck(run, x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Activation("0e", []), "one per block"),
        (lambda: Activation("1o", [silu]), "no scalar"),
        (lambda: Activation("0o", [silu]), "neither even nor odd"),
        (lambda: Gate("1o", [silu], "", [], ""), "scalars"),
        (lambda: Gate("0e", [silu], "2x0e", [silu], "3x1o"), "3 irreps"),
        (lambda: Gate("0e", [silu], "1o", [silu], "1o"), "irreps_gates"),
        (lambda: Gate("0e", [silu], "0e", [silu], "1o")(torch.zeros(2, 4)), "dimension 5"),
        (lambda: NormActivation("1o", silu, normalize=False, epsilon=1e-3), "epsilon"),
        (lambda: NormActivation("1o", silu, epsilon=-1.0), "epsilon"),
        (lambda: Norm("1o")(torch.zeros(2, 4)), "dimension 3"),
        (lambda: BatchNorm("1o", reduce="sum"), "reduce"),
        (lambda: BatchNorm("1o", normalization="unit"), "normalization"),
        (lambda: BatchNorm("1o")(torch.zeros(3)), "batch"),
        (lambda: BatchNorm("1o")(torch.zeros(0, 3)), "no rows"),
        (lambda: BatchNorm("1o")(torch.zeros(2, 3).double()), r"layer\.to"),
        (lambda: from_e3nn(torch.nn.BatchNorm1d(2)), "one by one"),
    ],
)  # fmt: skip
def test_misuse(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
    assert BatchNorm("1o").eval()(torch.zeros(0, 3)).shape == (0, 3)
