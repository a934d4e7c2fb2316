"""Gaunt layers: stored values, e3nn, every path of Clebsch-Gordan, what they express, and how a stranger misuses them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.gaunt import expressivity, interactability
from geomlib.algebra.irreps import bracket_constant, gaunt_constant, wigner_3j
from geomlib.layers import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    GauntConvolution,
    GauntManyBody,
    GauntSelfInteraction,
    GauntTensorProduct,
    TensorProduct,
)
from geomlib.verify import check

WAYS = [
    ("auto", "dense"),
    ("sparse", "dense"),
    ("grid", "dense"),
    ("grid", "half"),
    ("grid", "separable"),
    ("fft", "dense"),
]
ways = pytest.mark.parametrize(("method", "grid"), WAYS)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path))


def signal(level, channels=1, parity=1, lowest=0):
    """Irreps of a true signal or a pseudo-signal."""
    return "+".join(
        f"{channels}x{l}{'e' if parity * (-1) ** l == 1 else 'o'}" for l in range(lowest, level + 1)
    )


def close(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) <= tolerance * max(float(b.detach().abs().max()), 1e-3)


def channel_last(x, level):
    """From multiplicities outside to (B, components, C)."""
    channels = x.shape[1] // (level + 1) ** 2
    sizes = [channels * (2 * l + 1) for l in range(level + 1)]
    return torch.cat([b.reshape(len(x), channels, -1).transpose(1, 2) for b in x.split(sizes, 1)], 1)


def channel_first(x, level):
    """The inverse."""
    blocks = x.split([2 * l + 1 for l in range(level + 1)], 1)
    return torch.cat([b.transpose(1, 2).flatten(1) for b in blocks], 1)


@ways
def test_stored_weighted_products(data, method, grid):
    with np.load(data / "tensor_products" / "gaunt_weighted.npz") as d:
        stored = {k: torch.from_numpy(d[k]) for k in d.files}
    names = sorted(k.removesuffix("_x") for k in stored if k.endswith("_x") and k[0].isdigit())
    assert len(names) >= 2
    for name in names:
        levels = [int(n) for n in name.split("_")]
        channels = stored[f"{name}_x"].shape[2]
        for kind in ("gaunt", "bracket"):
            out = signal(levels[2], channels) if kind == "gaunt" else signal(levels[2], channels, -1, 1)
            extra = f"{channels}x0e+" if kind == "bracket" else ""
            layer = GauntTensorProduct(
                signal(levels[0], channels), signal(levels[1], channels), extra + out, method=method, grid=grid,
                antisymmetric="none" if kind == "gaunt" else "bracket",
            ).double()  # fmt: skip
            prefix = "weight" if kind == "gaunt" else "odd_weight"
            weights = {f"{prefix}{n}": stored[f"{name}_w{n}"].clone().requires_grad_() for n in (1, 2, 3)}
            x, y = (
                channel_first(stored[f"{name}_{n}"], levels[k]).requires_grad_() for k, n in enumerate("xy")
            )
            z = torch.func.functional_call(layer, weights, (x, y))
            if kind == "bracket":  # degree 0 is the Gaunt product's; the bracket has none
                z = torch.cat([0 * z[:, :channels], z[:, channels:]], dim=1)
            tolerance = 1e-11 if kind == "gaunt" else 1e-10
            close(channel_last(z, levels[2]), stored[f"{kind}_{name}_out"], tolerance)
            gout = channel_first(stored[f"{name}_gout"], levels[2])
            leaves = [x, y, *weights.values()]
            first = torch.autograd.grad(z, leaves, gout, create_graph=True)
            second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
            for order, found in (("g", first), ("h", second)):
                close(channel_last(found[0], levels[0]), stored[f"{kind}_{name}_{order}x"], tolerance)
                close(channel_last(found[1], levels[1]), stored[f"{kind}_{name}_{order}y"], tolerance)
                for n in (1, 2, 3):
                    close(found[n + 1], stored[f"{kind}_{name}_{order}w{n}"], tolerance)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_without_weights_it_is_a_product_of_e3nn(level):
    o3 = pytest.importorskip("e3nn.o3")
    irreps = signal(level, 4)
    degrees = range(level + 1)
    rows = [(a, b, c, "uuu", False, gaunt_constant(a, b, c) ** 2)
            for a in degrees for b in degrees for c in degrees if gaunt_constant(a, b, c) > 0]  # fmt: skip
    theirs = o3.TensorProduct(
        irreps, irreps, irreps, rows, irrep_normalization="none", path_normalization="none"
    )
    ours = GauntTensorProduct(irreps, irreps, irreps, weights=None)
    x, y = torch.randn(2, 3, ours.irreps_in1.dim), torch.randn(2, 3, ours.irreps_in2.dim)
    torch.testing.assert_close(ours(x, y), theirs(x, y), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("antisymmetric", ["bracket", "vector"])
def test_every_clebsch_gordan_path(antisymmetric):
    """Weights that are one in one place each leave one path, with a positive constant, or any sign for vector signals."""
    level = 2
    out = f"{signal(level)}+{signal(level, parity=-1, lowest=1)}"
    layer = GauntTensorProduct(signal(level), signal(level), out, antisymmetric=antisymmetric).double()
    x, y = torch.randn(4, 9).double(), torch.randn(4, 9).double()
    found = 0
    for l1 in range(level + 1):
        for l2 in range(level + 1):
            for l3 in range(abs(l1 - l2), min(level, l1 + l2) + 1):
                odd = (l1 + l2 + l3) % 2
                block = level + l3 if odd else l3
                assert layer.irreps_out[block].ir.l == l3
                weights = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
                prefix = "odd_weight" if odd else "weight"
                per = len(weights[f"{prefix}1"]) // 3 if antisymmetric == "bracket" or not odd else None
                for n, place in zip((1, 2, 3), (l1, l2, block), strict=True):
                    rows = weights[f"{prefix}{n}"]
                    if per is not None:
                        rows[place] = 1
                    else:
                        kept = [r for r, (k, _) in enumerate(_vector_rows(layer, n)) if k == place]
                        rows[kept] = torch.rand(len(kept), 1).double()
                z = torch.func.functional_call(layer, weights, (x, y)).split(
                    [b.dim for b in layer.irreps_out], 1
                )
                path = torch.einsum(
                    "bi,bj,ijk->bk",
                    x[:, l1 * l1 : (l1 + 1) ** 2],
                    y[:, l2 * l2 : (l2 + 1) ** 2],
                    wigner_3j(l1, l2, l3),
                )
                factor = (z[block] * path).sum() / (path * path).sum()
                close(z[block], factor * path)
                assert sum(float(b.abs().max()) for k, b in enumerate(z) if k != block) < 1e-12
                if antisymmetric == "bracket" or not odd:
                    constant = bracket_constant(l1, l2, l3) if odd else gaunt_constant(l1, l2, l3)
                    assert float(factor) == pytest.approx(constant, rel=1e-11) and constant > 0
                assert abs(float(factor)) > 1e-3
                found += 1
    assert found == 15


def _vector_rows(layer, n):
    from geomlib.layers.gaunt import _labels

    return _labels("vector", (layer.irreps_in1, layer.irreps_in2, layer.irreps_out)[n - 1])


@ways
@pytest.mark.parametrize("antisymmetric", ["none", "bracket", "vector"])
@pytest.mark.parametrize("weights", ["degree", None])
def test_exact_by_every_method(method, grid, antisymmetric, weights):
    """True signals, pseudo-signals and mixtures; the same numbers by every method."""
    one, two = "2x0e+2x1o+2x1e+2x2e", "2x0e+2x1o"
    options = {"antisymmetric": antisymmetric, "weights": weights}
    if antisymmetric == "vector" and (method == "fft" or grid != "dense"):
        with pytest.raises(InvalidInput, match="vector signals"):
            GauntTensorProduct(one, two, method=method, grid=grid, **options)
        return
    layer = GauntTensorProduct(one, two, method=method, grid=grid, **options)
    inputs = {"x": torch.randn(5, layer.irreps_in1.dim), "y": torch.randn(5, layer.irreps_in2.dim)}
    report = check(layer, example=inputs, trials=8, stress=weights == "degree")
    assert report.verdict == "EXACT" and report.e64 < 1e-13
    flipped = str(_flipped(layer.irreps_out))
    assert check(layer, example=inputs, trials=4, stress=False, outputs=flipped).verdict == "BROKEN"
    plain = GauntTensorProduct(one, two, method="sparse", backend="torch", **options)
    plain.load_state_dict(layer.state_dict())
    wide = [t.double() for t in inputs.values()]
    close(layer.double()(*wide), plain.double()(*wide))


def _flipped(irreps):
    """The last block with the other parity."""
    text = str(irreps)
    return text[:-1] + ("o" if text[-1] == "e" else "e")


def test_derivatives_by_differences():
    for antisymmetric in ("bracket", "vector"):
        layer = GauntTensorProduct("2x0e+2x1o", "2x1o", antisymmetric=antisymmetric).double()
        names = [name for name, _ in layer.named_parameters()]
        leaves = [torch.randn(2, 8), torch.randn(2, 6), *(p.detach().clone() for p in layer.parameters())]
        leaves = tuple(t.double().requires_grad_() for t in leaves)

        def f(x, y, *w, layer=layer, names=names):
            return torch.func.functional_call(layer, dict(zip(names, w, strict=True)), (x, y))

        assert gradcheck(f, leaves) and gradgradcheck(f, leaves, atol=1e-4, fast_mode=True)


def test_outputs_start_with_unit_variance():
    layer = GauntTensorProduct(
        signal(3, 8), signal(3, 8), f"{signal(3, 8)}+{signal(3, 8, -1, 1)}", antisymmetric="bracket"
    )
    z = layer(torch.randn(4000, layer.irreps_in1.dim), torch.randn(4000, layer.irreps_in2.dim))
    for part in z.split([b.dim for b in layer.irreps_out], dim=1):
        assert 0.9 < float(part.detach().std()) < 1.1


@pytest.mark.parametrize("rows", [(), (0,), (1,), (3, 2)])
def test_leading_sizes(rows):
    for layer in (
        GauntTensorProduct("4x1o+4x0e", "4x1e"),
        GauntTensorProduct("1o", "1o", antisymmetric="vector"),
    ):
        out = layer(torch.randn(*rows, layer.irreps_in1.dim), torch.randn(*rows, layer.irreps_in2.dim))
        assert out.shape == (*rows, layer.irreps_out.dim)


def test_under_compile():
    layer = GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", antisymmetric="bracket")
    x, y = torch.randn(5, 16), torch.randn(5, 16)
    got = torch.compile(layer, backend="aot_eager", fullgraph=True)(x, y)
    torch.testing.assert_close(got, layer(x, y))
    for other in (GauntConvolution, GauntManyBody, GauntSelfInteraction):
        module, inputs = other.example(torch.Generator().manual_seed(0))
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(**inputs), module(**inputs))
    exported = torch.export.export(layer, (x, y)).module()
    torch.testing.assert_close(exported(x, y), layer(x, y))


@pytest.mark.parametrize(("arguments", "options", "words"), [
    (("2x0e+3x1o", "2x0e"), {}, "multiplicities"), (("0e+0e", "1x0e"), {}, "two blocks"),
    (("1o", "1o", "1e"), {}, "1e of irreps_out cannot be reached"), (("1o", "1o"), {"method": "gird"}, "method"),
    (("1o", "1o"), {"grid": "quarter"}, "grid"), (("1o", "1o"), {"antisymmetric": "cross"}, "antisymmetric"),
    (("1o", "1o"), {"weights": "path"}, "weights"), (("4x1o", "2x1o"), {}, "multiplicities"),
    (("", "1o"), {}, "cannot|multiplicities"),
])  # fmt: skip
def test_wrong_options(arguments, options, words):
    with pytest.raises(InvalidInput, match=words):
        GauntTensorProduct(*arguments, **options)


def test_wrong_inputs():
    layer = GauntTensorProduct("4x1o", "4x1o")
    with pytest.raises(InvalidInput, match="dimension 12"):
        layer(torch.ones(2, 11), torch.ones(2, 12))
    with pytest.raises(InvalidInput, match="leading sizes"):
        layer(torch.ones(2, 12), torch.ones(1, 12))
    with pytest.raises(InvalidInput, match="float64"):
        layer(torch.ones(2, 12).double(), torch.ones(2, 12).double())
    assert "<- auto" in layer.explain() and "bracket" not in layer.explain()


# what products express


def stored_ranks(data):
    return json.loads((data / "tensor_products" / "expressivity.json").read_text()).values()


def test_stored_table_of_expressivity(data):
    for row in stored_ranks(data):
        level, top = row["L"], row["L3"]
        assert row["paths_even"] == sum(
            gaunt_constant(a, b, c) > 0
            for a in range(level + 1)
            for b in range(level + 1)
            for c in range(top + 1)
        )
        for channels in (1, 2, 4):
            one = signal(level, channels)
            gaunt = GauntTensorProduct(one, one, signal(top, channels))
            assert expressivity(gaunt) == row[f"gaunt_rank_R{channels}"]
            odd = f"{signal(top, channels)}+{signal(min(top, 2 * level - 1), channels, -1, 1)}"
            both = GauntTensorProduct(one, one, odd, antisymmetric="bracket")
            assert expressivity(both) - expressivity(gaunt) == row[f"bracket_rank_R{channels}"]
            bare = GauntTensorProduct(one, one, signal(top, channels), weights=None)
            assert expressivity(bare) == row[f"gaunt_rank_R{channels}"]
        assert len(interactability(gaunt)) == row["paths_even"]
        assert len(interactability(both)) == row["paths_all"]


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_closed_forms(level):
    one = signal(level)
    whole, low = GauntTensorProduct(one, one), GauntTensorProduct(one, one, one)
    n = level
    assert len(interactability(whole)) == (n + 1) * (n + 2) * (2 * n + 3) // 6
    assert expressivity(whole) == 4 * n + 1 and expressivity(low) == 3 * n + 1
    both = GauntTensorProduct(one, one, antisymmetric="bracket")
    odd = interactability(both) - interactability(whole)
    assert len(odd) == n * (n + 1) * (2 * n + 1) // 6 and all(sum(t) % 2 for t in odd)
    full = FullTensorProduct(one, one)
    assert len(interactability(full)) == (n + 1) * (2 * (n + 1) ** 2 + 1) // 3 == expressivity(full)


def test_vector_signals_express_more_than_the_bracket():
    one, out = signal(3), f"{signal(3)}+{signal(3, 1, -1, 1)}"
    ranks = {
        a: expressivity(GauntTensorProduct(one, one, out, antisymmetric=a)) for a in ("bracket", "vector")
    }
    assert ranks == {"bracket": 10 + 7, "vector": 10 + 11}
    both = [
        interactability(GauntTensorProduct(one, one, out, antisymmetric=a)) for a in ("bracket", "vector")
    ]
    assert both[0] == both[1]


def test_measures_of_other_products():
    assert expressivity(FullyConnectedTensorProduct("4x0e+4x1o", "3x1o", "2x0e+2x1o+2x1e+2x2e")) == 4
    assert expressivity(ElementwiseTensorProduct("1x0e+1x1o", "1x0e+1x1o")) == 4
    assert interactability(ElementwiseTensorProduct("1x0e+1x1o", "1x0e+1x1o")) == {
        (0, 0, 0),
        (1, 1, 0),
        (1, 1, 1),
        (1, 1, 2),
    }
    rows = [(0, 0, 0, "uvw", True), (0, 0, 1, "uuw", True), (0, 0, 2, "uvu", True), (0, 0, 3, "uvv", True),
            (0, 0, 4, "uvuv", False), (0, 0, 5, "uvu<v", True), (0, 0, 6, "u<vw", True), (0, 0, 7, "uuu", True)]  # fmt: skip
    out = "3x0e+2x0e+2x1e+2x1e+4x2e+1x2e+5x1e+2x0e"
    assert expressivity(TensorProduct("2x1o", "2x1o", out, rows)) == 3
    state = torch.get_rng_state()
    assert expressivity(TensorProduct("2x1o", "2x1o", "2x3e", [])) == 0
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(InvalidInput, match="Linear does not say"):
        expressivity(torch.nn.Linear(2, 2))


# the other layers


@pytest.mark.parametrize("antisymmetric", ["none", "bracket", "vector"])
def test_self_interaction(antisymmetric):
    layer = GauntSelfInteraction("3x0e+2x1o", "4x0e+4x1o+4x2e", antisymmetric=antisymmetric)
    x = torch.randn(5, 9)
    torch.testing.assert_close(layer(x), layer.product(layer.left(x), layer.right(x)))
    assert check(layer, example={"x": x}, trials=6).verdict == "EXACT"
    with pytest.raises(InvalidInput, match="multiplicities"):
        GauntSelfInteraction("3x0e+2x1o")
    assert GauntSelfInteraction("3x0e+3x1o")(torch.randn(2, 12)).shape == (2, 12)


def test_stored_many_body_products(data):
    with np.load(data / "tensor_products" / "gaunt_manybody.npz") as d:
        stored = {k: torch.from_numpy(d[k]) for k in d.files}
    names = sorted({k.rsplit("_", 1)[0] for k in stored})
    assert len(names) == 4
    for name in names:
        low, high, order = (int(t.strip("Loutn").replace("u", "")) for t in name.split("_"))
        layer = GauntManyBody(signal(low), signal(high), order, weights=None)
        x = stored[f"{name}_x"].clone().requires_grad_()
        out = layer(x)
        close(out, stored[f"{name}_out"])
        (first,) = torch.autograd.grad(out, x, stored[f"{name}_gout"], create_graph=True)
        (second,) = torch.autograd.grad((first * first).sum(), x)
        close(first, stored[f"{name}_gx"])
        close(second, stored[f"{name}_hx"], 1e-11)


def test_many_body_is_a_chain_of_products():
    """Third power as two products that keep every degree; weights per element, order and irrep."""
    layer = GauntManyBody(signal(1, 2), signal(3, 2), 3, elements=3).double()
    torch.nn.init.normal_(layer.weight)
    x, index = torch.randn(6, 8).double(), torch.tensor([0, 2, 1, 1, 0, 2])
    square = GauntTensorProduct(signal(1, 2), signal(1, 2), signal(2, 2), weights=None)(x, x)
    cube = GauntTensorProduct(signal(2, 2), signal(1, 2), signal(3, 2), weights=None)(square, x)
    powers = [torch.cat([x, x.new_zeros(6, 24)], 1), torch.cat([square, x.new_zeros(6, 14)], 1), cube]
    expected = 0
    for n, power in enumerate(powers):
        blocks = power.split([b.dim for b in layer.irreps_out], 1)
        weight = layer.weight[index, n]  # (N, block, channel)
        expected = expected + torch.cat(
            [(b.unflatten(1, (2, -1)) * weight[:, k, :, None]).flatten(1) for k, b in enumerate(blocks)], 1
        )
    close(layer(x, index), expected)


def test_many_body_of_a_pseudo_signal():
    layer = GauntManyBody("2x0o+2x1e", "2x0e+2x1o+2x0o+2x1e+2x2e", 3).double()
    x = torch.randn(4, 8).double()
    report = check(layer, example={"x": x.float()}, trials=8)
    assert report.verdict == "EXACT"
    assert gradcheck(layer, (torch.randn(2, 8).double().requires_grad_(),))
    with pytest.raises(InvalidInput, match="no power"):
        GauntManyBody("0e+1o", "0e+1e")
    with pytest.raises(InvalidInput, match="powers are taken of one"):
        GauntManyBody("0e+1e")
    with pytest.raises(InvalidInput, match="positive"):
        GauntManyBody("0e", correlation=0)
    with pytest.raises(InvalidInput, match="which one each row"):
        GauntManyBody("0e", elements=2)(torch.ones(3, 1))
    with pytest.raises(InvalidInput, match="outside"):
        GauntManyBody("0e", elements=2)(torch.ones(3, 1), torch.tensor([0, 1, 2]))
    assert GauntManyBody("0e+1o", elements=2)(torch.ones(0, 4), torch.zeros(0, dtype=torch.int64)).shape == (
        0,
        4,
    )


def graph(layer, edges=12, dtype=torch.float64):
    x = torch.randn(6, layer.irreps_in.dim, dtype=dtype)
    vectors = torch.randn(edges, 3, dtype=dtype)
    special = torch.tensor(
        [[0, 2.0, 0], [0, -1, 0], [1, 0, 0], [1e-9, 1, 0], [0, 1, 1], [-1, 0, 1e-12]], dtype=dtype
    )
    vectors[: min(edges, 6)] = special[:edges]
    weight = torch.randn(edges, (layer.lmax + 1) * layer.channels, dtype=dtype)
    return x, torch.randint(0, 6, (2, edges)), vectors, weight


def test_the_aligned_convolution_is_the_convolution():
    """Values and two derivatives, with axes at the poles, on the equator and where the frame changes."""
    irreps = "3x0e+3x1o+3x2e+3x1e+3x3e", 3, "3x1o+3x2e+3x4e+3x2o"
    found = []
    layers = [GauntConvolution(*irreps, method=m, grid=g) for m, g in [("aligned", "dense"), *WAYS]]
    x, edge_index, vectors, weight = graph(layers[0])
    for layer in layers:
        leaves = [t.clone().requires_grad_() for t in (x, vectors, weight)]
        out = layer(leaves[0], edge_index, leaves[1], leaves[2])
        first = torch.autograd.grad(out.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
        found.append([out, *first, *second])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            close(a, b, 1e-10)


def test_an_edge_without_direction():
    layers = [GauntConvolution("2x0e+2x1o", 2, method=m) for m in ("aligned", "sparse")]
    x, edge_index, vectors, weight = graph(layers[0])
    vectors[:3] = 0
    close(layers[0](x, edge_index, vectors, weight), layers[1](x, edge_index, vectors, weight))


@pytest.mark.parametrize("method", ["aligned", "sparse", "fft"])
def test_convolutions_are_exact(method):
    layer = GauntConvolution("2x0e+2x1o+2x1e", 2, "2x0e+2x1o+2x2e+2x1e", method=method)
    x, edge_index, vectors, weight = graph(layer, dtype=torch.float32)
    inputs = {"x": x, "edge_index": edge_index, "edge_vec": vectors[6:].repeat(2, 1), "weight": weight}
    assert check(layer, example=inputs, trials=8).verdict == "EXACT"


@pytest.mark.parametrize("method", ["aligned", "sparse"])
def test_odd_graphs(method):
    layer = GauntConvolution("2x0e+2x1o", 1, method=method)
    for edges in (0, 1):
        x, edge_index, vectors, weight = graph(layer, edges, torch.float32)
        assert layer(x, edge_index, vectors, weight, num_nodes=8).shape == (8, 8)
        assert layer(x, edge_index, vectors).isfinite().all()
    x, edge_index, vectors, weight = graph(layer, 4, torch.float32)
    for wrong, words in (
        ((x, edge_index + 5, vectors, weight), "nodes are"), ((x, edge_index, vectors[1:], weight), "edge_vec"),
        ((x, edge_index, vectors, weight[:, 1:]), "weight"), ((x, edge_index.float(), vectors, weight), "integers"),
        ((x[:, 1:], edge_index, vectors, weight), "dimension"), ((x, edge_index, vectors.double(), weight), "float64"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=words):
            layer(*wrong)
    with pytest.raises(InvalidInput, match="cannot be reached"):
        GauntConvolution("0e", 1, "2e")
    with pytest.raises(InvalidInput, match="lmax"):
        GauntConvolution("0e", -1)
