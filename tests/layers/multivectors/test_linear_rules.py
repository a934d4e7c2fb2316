"""CliffordLinear and PHMLinear: stored outputs, the products themselves, and that they are one thing."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.layers import CliffordLinear, PHMLinear
from geomlib.verify import check
from tests.algebra.clifford.common import SIGNATURES, load, rand
from tests.layers.multivectors.reference import close, compare


def made(layer):
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    return layer.double()


@pytest.mark.parametrize(
    ("name", "metric"), [("m", (-1,)), ("pp", (1, 1)), ("mm", (-1, -1)), ("ppp", (1, 1, 1))]
)
def test_clifford_linear_is_the_reference(name, metric):
    compare(CliffordLinear(CliffordAlgebra(metric=metric), 3, 2), load("gcan_layers"), f"clifflinear_{name}")


@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_clifford_linear_multiplies_from_the_right(signature):
    alg = CliffordAlgebra(*signature)
    layer = made(CliffordLinear(alg, 3, 2))
    x = rand(alg, 4, 3)
    w = layer.weight.movedim(0, -1)  # (out, in, 2^n)
    wanted = alg.gp(x[:, None].expand(4, 2, 3, -1), w.expand(4, 2, 3, -1)).sum(2) + layer.bias.T
    close(layer(x), wanted, 1e-12)
    free = made(CliffordLinear(alg, 3, 2, bias=False))
    u = rand(alg, seed=5)
    left = alg.gp(u.expand_as(x), x)
    close(free(left), alg.gp(u.expand(4, 2, -1), free(x)), 1e-11)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_phm_is_the_formula(n):
    d = load("phm")
    a, s, b = (d[f"n{n}.{k}"] for k in "ASb")
    layer = PHMLinear(n * s.shape[2], n * s.shape[1], n).double()
    layer.load_state_dict({"A": a, "S": s, "b": b})
    close(layer(d[f"n{n}.x"]), d[f"n{n}.y"], 1e-12)
    close(layer.matrix(), d[f"n{n}.H"], 1e-13)
    close(layer.matrix(), sum(torch.kron(p, q) for p, q in zip(a, s, strict=True)), 1e-13)
    k, d_in = layer.out_features, layer.in_features
    assert sum(p.numel() for p in (layer.A, layer.S)) == k * d_in // n + n**3


def test_quaternions():
    d = load("phm")
    layer = PHMLinear(12, 8, rule="quaternion", bias=False).double()
    assert [name for name, _ in layer.named_parameters()] == ["S"]
    layer.load_state_dict({"S": d["quat.S"]})
    close(layer.A, d["quat.A"], 0)
    close(layer(d["quat.x"]), d["quat.y"], 1e-13)
    w, x, y, z = d["quat.S"]  # Hamilton's rules, written out
    a, b, c, e = d["quat.x"].view(4, 3)
    wanted = [w @ a - x @ b - y @ c - z @ e, w @ b + x @ a + y @ e - z @ c]
    wanted += [w @ c - x @ e + y @ a + z @ b, w @ e + x @ c - y @ b + z @ a]
    close(layer(d["quat.x"]), torch.cat(wanted), 1e-13)


@pytest.mark.parametrize("signature", [(0, 1), (0, 2), (2, 0, 1), (1, 3)], ids=str)
def test_an_algebra_as_rule_is_the_clifford_layer(signature):
    alg = CliffordAlgebra(*signature)
    clifford = made(CliffordLinear(alg, 3, 2))
    layer = PHMLinear(3 * alg.size, 2 * alg.size, rule=alg).double()
    layer.load_state_dict({"S": clifford.weight, "b": clifford.bias.flatten()})
    x = rand(alg, 4, 3)
    close(layer(x.mT.flatten(1)).view(4, alg.size, 2).mT, clifford(x), 1e-12)


def test_a_learned_rule_finds_quaternions():
    """A learned rule fits the Hamilton product; the fixed one of another algebra cannot."""
    torch.manual_seed(0)
    truth = PHMLinear(8, 8, rule="quaternion", bias=False)
    x = torch.randn(256, 8)
    y = truth(x).detach()
    losses = {}
    for rule in ("learned", CliffordAlgebra(2)):
        model = PHMLinear(8, 8, 4, rule, bias=False)
        adam = torch.optim.Adam(model.parameters(), lr=3e-2)
        for _ in range(800):
            loss = (model(x) - y).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        losses[rule] = float(loss.detach())
    assert 10 * losses["learned"] < 5e-2 < losses[CliffordAlgebra(2)]


def test_they_do_not_turn_with_their_input():
    alg = CliffordAlgebra(3)
    kind = "node:mv(3,0,0)"
    found = check(
        CliffordLinear(alg, 2, 2, bias=False), group="Spin(3,0,0)", inputs={"x": kind}, outputs=kind,
        example={"x": rand(alg, 4, 2).float()}, trials=4, stress=False,
    )  # fmt: skip
    assert found.verdict == "BROKEN"


def test_second_derivatives_rows_and_compilation():
    alg = CliffordAlgebra(1, 1)
    for layer, x in (
        (made(CliffordLinear(alg, 2, 1)), rand(alg, 2, 2)),
        (made(PHMLinear(4, 6, 2)), torch.randn(2, 4, dtype=torch.float64)),
    ):
        x.requires_grad_()
        inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
        names = [n for n, _ in layer.named_parameters()]

        def run(x, *values, layer=layer, names=names):
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

        assert torch.autograd.gradcheck(run, inputs) and torch.autograd.gradgradcheck(run, inputs)
        assert len(layer(x[:0])) == 0
        close(layer(x[0]), layer(x)[0], 1e-14)
        close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x), 1e-14)


def test_misuse_is_named():
    with pytest.raises(InvalidInput, match="positive multiple of n=4"):
        PHMLinear(6, 8, 4)
    with pytest.raises(InvalidInput, match="rule='octonion'"):
        PHMLinear(8, 8, rule="octonion")
    with pytest.raises(InvalidInput, match="expected 4"):
        PHMLinear(8, 8, 2, rule="quaternion")
    with pytest.raises(InvalidInput, match="1 or more"):
        PHMLinear(8, 8)
    with pytest.raises(InvalidInput, match=r"\(\.\.\., 8\)"):
        PHMLinear(8, 8, 2)(torch.randn(3, 7))
    with pytest.raises(InvalidInput, match="Cast one"):
        PHMLinear(8, 8, 2)(torch.randn(3, 8, dtype=torch.float64))
    with pytest.raises(InvalidInput, match="expected a CliffordAlgebra"):
        CliffordLinear((0, 2), 1, 1)
