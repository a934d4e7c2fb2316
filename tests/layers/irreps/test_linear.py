"""The equivariant linear map beside e3nn's, its derivatives, and misuse."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput, verify
from geomlib.interop import from_e3nn
from geomlib.layers import Linear

o3 = pytest.importorskip("e3nn.o3")

CASES = {
    "plain": (("4x0e+3x1o+2x2e", "2x0e+5x1o+1x2e"), {}),
    "biases": (("4x0e+3x1o+2x0e", "2x0e+5x1o+3x0e"), {"biases": True}),
    "chosen biases": (("4x0e+3x1o", "2x0e+5x1o+3x0e"), {"biases": [False, False, True]}),
    "some paths": (("3x0e+2x0e+4x1o", "2x0e+3x0e+1x1o"), {"instructions": [(0, 1), (1, 0), (2, 2), (1, 1)]}),
    "path": (("3x0e+2x0e", "4x0e+1x0e"), {"path_normalization": "path"}),
    "nothing arrives": (("3x0e", "2x1o+3x0e"), {}),
    "no path": (("3x0e", "2x1o"), {}),
    "empty blocks": (("0x0e+2x1o", "3x0e+2x1o"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_e3nn(name):
    irreps, options = CASES[name]
    ours, theirs = Linear(*irreps, **options), o3.Linear(*irreps, **options)
    assert (ours.weight_numel, ours.bias_numel) == (theirs.weight_numel, theirs.bias_numel)
    if theirs.bias_numel:
        torch.nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.output_mask, theirs.output_mask)
    converted = from_e3nn(theirs)
    for rows in ((7,), (2, 3), ()):
        x = torch.randn(*rows, theirs.irreps_in.dim)
        for layer in (ours, converted):
            torch.testing.assert_close(layer(x), theirs(x), atol=1e-5, rtol=1e-5)
    if ours.bias_numel == 0:
        assert from_e3nn(theirs).bias.numel() == 0


@pytest.mark.parametrize("shared", [True, False])
def test_weights_of_the_caller(shared):
    irreps = ("4x0e+3x1o", "2x0e+5x1o")
    # e3nn fails on biases that differ between rows.
    options = {"internal_weights": False, "shared_weights": shared, "biases": shared}
    ours, theirs = Linear(*irreps, **options), o3.Linear(*irreps, **options)
    rows = () if shared else (2, 5)
    x = torch.randn(2, 5, 13)
    w, b = torch.randn(*rows, ours.weight_numel), torch.randn(*rows, ours.bias_numel)
    torch.testing.assert_close(ours(x, w, b), theirs(x, w, b), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(from_e3nn(theirs)(x, w, b), theirs(x, w, b), atol=1e-5, rtol=1e-5)
    if not shared:
        layer, c = (
            Linear(*irreps, internal_weights=False, shared_weights=False, biases=True),
            torch.randn(2, 5, 2),
        )
        torch.testing.assert_close(layer(x, w, c) - torch.cat([c, torch.zeros(2, 5, 15)], -1), ours(x, w))
    with pytest.raises(InvalidInput, match="holds no weight"):
        ours(x)
    with pytest.raises(InvalidInput, match="`weight` has shape"):
        ours(x, w[..., 1:], b)


def test_derivatives():
    layer = Linear("2x0e+2x1o", "1x0e+2x1o", biases=True).double()
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)

    def run(x, w, b):
        return torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,)).pow(2)

    inputs = (x, layer.weight, layer.bias)
    assert gradcheck(run, inputs) and gradgradcheck(run, inputs)


def test_shifts_without_weights():
    """A case that e3nn cannot build."""
    layer = Linear("3x1o", "2x0e+1x1e", biases=True)
    torch.nn.init.normal_(layer.bias)
    expected = torch.cat([layer.bias, torch.zeros(3)]).expand(4, -1)
    torch.testing.assert_close(layer(torch.randn(4, 9)), expected)


def test_it_is_the_whole_space_of_equivariant_maps():
    """Every block-diagonal map of channels is reached: as many weights as invariants of irreps (x) irreps."""
    layer = Linear("3x0e+2x1o", "2x0e+4x1o").double()
    rows = []
    for k in range(layer.weight_numel):
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[k] = 1.0
        rows.append(layer(torch.eye(9, dtype=torch.float64)).flatten().detach())
    assert torch.linalg.matrix_rank(torch.stack(rows)) == 3 * 2 + 2 * 4


def test_odd_inputs():
    layer = Linear("4x0e+3x1o", "2x0e+5x1o")
    x = torch.randn(6, 26)[:, ::2]
    assert torch.equal(layer(x), layer(x.contiguous()))
    assert layer(x[:0]).shape == (0, 17) and layer(torch.randn(0, 3, 13)).shape == (0, 3, 17)
    torch.testing.assert_close(layer(x)[2], layer(x[2]), atol=1e-6, rtol=1e-5)
    bad = x.clone()
    bad[1, 0] = float("nan")
    assert layer(bad)[1].isnan().any() and layer(bad)[[0, 2]].isfinite().all()
    assert Linear("", "2x0e")(torch.zeros(3, 0)).shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Linear("0e", "1o", instructions=[(0, 0)]), "only equal irreps"),
        (lambda: Linear("0e", "0e", instructions=[(0, 1)]), "joins blocks"),
        (lambda: Linear("1o", "1o", biases=[True]), "not equivariant"),
        (lambda: Linear("0e", "0e", biases=[True, False]), "one value per block"),
        (lambda: Linear("0e", "0e", path_normalization="none"), "path_normalization"),
        (lambda: Linear("0e", "0e", internal_weights=True, shared_weights=False), "shared_weights"),
        (lambda: Linear("2x0e", "0e")(torch.randn(3, 4)), "dimension 2"),
        (lambda: Linear("2x0e", "0e")(torch.ones(3, 2).long()), "floating"),
        (lambda: Linear("2x0e", "0e")(torch.randn(3, 2).double()), r"layer\.to"),
        (lambda: Linear("2x0z", "0e"), "is not a term"),
        (lambda: from_e3nn(o3.Linear("2x0e", "0e", f_in=2, f_out=3)), "f_in"),
    ],
)  # fmt: skip
def test_misuse(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


def test_a_bias_of_a_pseudoscalar_would_be_seen():
    class Shifted(torch.nn.Module):
        def forward(self, x):
            return x + 0.3

    report = verify.check(Shifted(), group="O(3)", inputs="2x0o", outputs="2x0o")
    assert report.verdict == "BROKEN"
