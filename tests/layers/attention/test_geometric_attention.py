"""Geometric attention: reference outputs and gradients, a loop over tuples, neighbours, masks, chirality, misuse."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.layers import GeometricAttention, MomentumNorm, neighbour_table
from geomlib.layers._tuples import fold_of
from geomlib.verify import check
from tests.algebra.clifford.common import FIXTURES
from tests.layers.attention.dense import attend

DATA = np.load(FIXTURES / "gaan.npz", allow_pickle=False)
NAMES = [str(name) for name in DATA["names"]]


def tensor(key: str) -> torch.Tensor:
    return torch.from_numpy(DATA[key])


def net(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6), nn.SiLU(), nn.Linear(6, outputs))


def cloud(*shape: int, dim: int = 4, blades: int = 3, seed: int = 0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, blades, generator=g, dtype=dtype), torch.randn(
        *shape, dim, generator=g, dtype=dtype
    )


def make(seed: int = 0, **options) -> GeometricAttention:
    torch.manual_seed(seed)
    return GeometricAttention(4, **options).double()


def close(a, b, tol=1e-12):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("traced", [False, True])
def test_reference_outputs_and_gradients(name, traced, monkeypatch):
    """Both with tuples folded by their symmetry and without."""
    kinds = {"tied": "both", "v2v_": "covariants", "mv2m": "covariants", "labe": "covariants"}
    options = json.loads(str(DATA[f"{name}.kwargs"]))
    output = kinds.get(name[:4], "values")
    layer = GeometricAttention(
        4,
        net(4, 1),
        net(DATA[f"{name}.param.value_net.0.weight"].shape[1], 4),
        net(4, 1) if output != "values" else None,
        output=output,
        multivector=DATA[f"{name}.r"].shape[-1] == 8,
        labeled=name.startswith("labeled"),
        **options,
    ).double()
    start = f"{name}.param."
    layer.load_state_dict(
        {k.removeprefix(start): torch.from_numpy(DATA[k]) for k in DATA.files if k.startswith(start)}
    )
    if traced:
        monkeypatch.setattr(layer, "_fold", lambda r, tuples: None)
    r, v = tensor(f"{name}.r").requires_grad_(), tensor(f"{name}.v").requires_grad_()
    child = tensor(f"{name}.child_values") if layer.labeled else None
    mask = tensor(f"{name}.mask") if f"{name}.mask" in DATA.files else None
    *out, attention = layer(r, v, child, mask=mask, return_attention=True)
    close(attention, tensor(f"{name}.attention")[..., 0])
    for k, x in enumerate(out):
        close(x, tensor(f"{name}.out{k}"))
    names, parameters = zip(*layer.named_parameters(), strict=True)
    grads = torch.autograd.grad(
        out,
        (r, v, *parameters),
        [tensor(f"{name}.gout{k}") for k in range(len(out))],
        allow_unused=True,
        materialize_grads=True,
    )
    for key, g in zip(["grad_r", "grad_v", *(f"grad.{n}" for n in names)], grads, strict=True):
        close(g, tensor(f"{name}.{key}"), 1e-11)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["single", "partial", "full"])
@pytest.mark.parametrize("multivector", [False, True])
@pytest.mark.parametrize("reduce", [False, True])
def test_against_a_loop_over_tuples(rank, mode, multivector, reduce):
    """Options that the reference outputs do not cover: copies, weights, masks, neighbours, three ranks."""
    n = 4 if rank < 3 else 3
    r, v = cloud(n, blades=8 if multivector else 3)
    weights = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(n) != 1
    near = [[0, 2], [1], [], [0, 1, 3]][:n]
    near = [[j for j in row if j < n] for row in near]
    table = torch.tensor([row + [-1] * (3 - len(row)) for row in near])
    concat = "concat" if mode == "partial" else "mean"
    layer = make(
        rank=rank, invariant_mode=mode, covariant_mode=mode, multivector=multivector, reduce=reduce, output="both",
        include_normalized_products=mode != "single", merge_fun=concat, join_fun=concat,
        convex_covariants=mode == "full" and rank > 1,
    )  # fmt: skip
    for given in ({}, {"mask": mask, "weights": weights}, {"neighbours": table, "mask": mask}):
        covariants, values = layer(r, v, **given)
        loop = attend(
            layer, r, v, near if "neighbours" in given else None, given.get("mask"), given.get("weights")
        )
        close(values, loop[0])
        close(covariants, loop[1])


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("labeled", [False, True])
def test_all_as_neighbours_is_the_dense_form(rank, reduce, labeled):
    r, v = cloud(2, 4)
    child = cloud(2, 3)[1] if labeled else None
    layer = make(rank=rank, reduce=reduce, labeled=labeled, output="both", invariant_mode="full", linear_terms=2,
                 covariant_mode="full")  # fmt: skip
    full = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    table = neighbour_table(full, 4)
    assert table.shape == (4, 4)
    turned = torch.stack(
        [row[torch.randperm(4, generator=torch.Generator().manual_seed(2))] for row in table]
    )
    wanted = layer(r, v, child)
    for t in (table, turned, torch.stack([table, turned]), torch.nn.functional.pad(turned, (1, 2), value=-1)):
        for a, b in zip(layer(r, v, child, neighbours=t), wanted, strict=True):
            close(a, b)


def test_neighbours_cost_what_they_are():
    """Tuples are N k^(r-1): the tables of weights say so."""
    r, v = cloud(50)
    edge_index = torch.stack([torch.arange(150) % 50, torch.arange(50).repeat_interleave(3)])
    attention = make(rank=3)(r, v, neighbours=neighbour_table(edge_index, 50), return_attention=True)[1]
    assert attention.shape == (50, 3, 3) and abs(float(attention.detach().sum()) - 1) < 1e-12


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("merge_fun", ["mean", "concat"])
@pytest.mark.parametrize("labeled", [False, True])
def test_folded_tuples_are_all_tuples(rank, merge_fun, labeled, monkeypatch):
    r, v = cloud(2, 5)
    child = cloud(2, 3)[1] if labeled else None
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    layer = make(rank=rank, merge_fun=merge_fun, labeled=labeled, output="both", reduce=False,
                 include_normalized_products=True)  # fmt: skip
    folded = layer(r, v, child, mask=mask, return_attention=True)
    monkeypatch.setattr(layer, "_fold", lambda r, tuples: None)
    for a, b in zip(folded, layer(r, v, child, mask=mask, return_attention=True), strict=True):
        close(a, b)


def test_training_after_inference():
    """Indices that were made in inference mode serve gradients too."""
    fold_of.cache_clear()
    r, v = cloud(7)
    layer = make(rank=3)
    with torch.inference_mode():
        layer(r, v)
    (g,) = torch.autograd.grad(layer(r.requires_grad_(), v).sum(), r)
    assert bool(torch.isfinite(g).all())


VARIANTS = [
    {"rank": rank, "reduce": reduce, "merge_fun": merge, "invariant_mode": mode, "output": output,
     "covariant_mode": cmode, **linear}
    for rank, reduce, merge, mode, (output, cmode), linear in itertools.product(
        (1, 2, 3, 4), (False, True), ("mean", "concat"), ("single", "partial", "full"),
        (("values", "single"), ("covariants", "single"), ("covariants", "partial"), ("covariants", "full")),
        ({}, {"linear_terms": 1, "linear_mode": "single"}, {"linear_terms": 1, "linear_mode": "partial"}),
    )
]  # fmt: skip


def test_reflections_are_as_declared():
    """All 576 variants of vectors: O(3) where it is declared, a visible difference where it is not."""
    r, v = cloud(4)
    for options in VARIANTS:
        layer = make(**options)
        declared = layer.symmetry
        kind = declared.output_texts()["out"]
        with torch.no_grad():
            here, there = layer(r, v), layer(-r, v)
        size = float(here.abs().max())
        if kind.endswith(":vector"):
            there = -there
        difference = float((here - there).abs().max())
        if declared.breaks:
            assert difference > 1e-6 * size, options
        else:
            assert declared.group.startswith("O(3)") and difference < 1e-12 * max(size, 1), options


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("multivector", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_exact_under_rotations(rank, multivector, reduce):
    for options in (
        {"merge_fun": "concat", "invariant_mode": "full", "covariant_mode": "full"},
        {"include_normalized_products": True, "linear_terms": 1},
    ):
        layer = make(rank=rank, multivector=multivector, reduce=reduce, output="both", **options)
        r, v = cloud(4, blades=8 if multivector else 3)
        report = check(layer, example={"r": r, "v": v}, trials=4, stress=False)
        assert report.verdict == "EXACT", report
        if multivector:
            assert layer.symmetry.breaks == ("reflections",) and report.breaks["reflections"] > 1e3


def test_chirality():
    """A trivector is needed to see handedness, and weights or values that tell members apart by place."""
    r, v = cloud(5)
    blind = make(rank=3, merge_fun="mean", invariant_mode="single")
    close(blind(r, v), blind(-r, v), 1e-14)
    for options in ({"merge_fun": "concat"}, {"invariant_mode": "full"}):
        sees = make(rank=3, **options)
        assert float((sees(r, v) - sees(-r, v)).detach().abs().max()) > 1e-5
    pairs = make(rank=2, output="covariants", covariant_mode="full", merge_fun="concat")
    assert float((pairs(r, v) + pairs(-r, v)).detach().abs().max()) > 1e-5


def test_permutations_and_neighbours():
    r, v = cloud(6)
    layer = make(rank=3, reduce=False, output="both", invariant_mode="full", merge_fun="concat")
    edge_index = torch.randint(0, 6, (2, 14), generator=torch.Generator().manual_seed(0))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    place = torch.argsort(order)
    before = layer(r, v, neighbours=neighbour_table(edge_index, 6))
    after = layer(r[order], v[order], neighbours=neighbour_table(place[edge_index], 6))
    for a, b in zip(before, after, strict=True):
        close(a[order], b)


def test_masked_points_may_hold_anything():
    r, v = cloud(2, 5)
    mask = torch.tensor([[True] * 3 + [False] * 2, [False] * 5])
    layer = make(rank=2, reduce=False, output="both")
    weights = torch.rand(2, 5, dtype=torch.float64)
    clean = layer(r[:1, :3], v[:1, :3], weights=weights[:1, :3])
    r[~mask], v[~mask], weights[~mask] = float("nan"), float("inf"), float("nan")
    r.requires_grad_(), v.requires_grad_()
    out = layer(r, v, mask=mask, weights=weights)
    for a, b in zip(out, clean, strict=True):
        close(a[:1, :3], b)
        assert bool((a[~mask] == 0).all())
    for g in torch.autograd.grad(sum(x.sum() for x in out), (r, v)):
        assert bool(torch.isfinite(g).all()) and bool((g[~mask] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("multivector", [False, True])
def test_extreme_inputs_stay_finite(dtype, multivector):
    """Zero, equal, collinear, tiny and huge points have finite values and first and second derivatives.

    Covariants of three points are as huge as the cube; they and their derivatives have to fit the type.
    """
    sizes = {"values": (1e10, 1e80), "both": (1e6, 1e50)}
    for rank, (output, huge) in itertools.product((2, 3), sizes.items()):
        options = {"invariant_mode": "full", "include_normalized_products": True, "covariant_mode": "full"}
        layer = make(rank=rank, multivector=multivector, output=output, reduce=False, **options).to(dtype)
        r, v = cloud(4, blades=8 if multivector else 3, dtype=dtype)
        line = r[:1] * torch.arange(4, dtype=dtype)[:, None]
        largest = huge[dtype == torch.float64]
        for k, x in enumerate((0 * r, r[:1].expand_as(r), line, largest * r, 1e-30 * r)):
            x = x.clone().requires_grad_()
            found = layer(x, v)
            out = found if output == "values" else torch.cat([y.flatten() for y in found])
            (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
            (gg,) = torch.autograd.grad(g.sum(), x)
            assert bool(torch.isfinite(out).all()) and bool(torch.isfinite(g).all()), x
            assert k == 4 or bool(torch.isfinite(gg).all()), x  # lengths of 1e-30 do curve by 1e30


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives(rank):
    r, v = cloud(3 if rank < 3 else 2)
    near = torch.tensor([[0, 1], [2, -1], [1, 2]] if rank < 3 else [[0, 1], [1, -1]])
    options = {"rank": rank, "reduce": False, "output": "both", "covariant_mode": "partial"}
    for extra in ({}, {"invariant_mode": "full", "linear_terms": 1, "include_normalized_products": True}):
        layer = make(**options, **extra)
        for given in ({}, {"neighbours": near}):
            inputs = (r.clone().requires_grad_(), v.clone().requires_grad_())
            f = lambda a, b, layer=layer, given=given: layer(a, b, **given)  # noqa: E731
            assert torch.autograd.gradcheck(f, inputs)
            if bool(extra) == bool(given):
                assert torch.autograd.gradgradcheck(f, inputs)


def test_weights_of_zero_have_a_slope():
    r, v = cloud(3)
    w = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(make(rank=2)(r, v, weights=w).sum(), w)
    assert bool(torch.isfinite(g).all())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_empty_single_and_strided(rank):
    for options in ({}, {"reduce": False, "invariant_mode": "full"}):
        layer = make(rank=rank, **options)
        r, v = cloud(3, 4)
        close(layer(r.mT.contiguous().mT, torch.stack([v, v], -1)[..., 0]), layer(r, v), 1e-14)
        close(layer(r[None, 1:2], v[None, 1:2])[0, 0], layer(r[1], v[1]))
        assert layer(r[:0], v[:0]).shape[0] == 0
        assert layer(r[:, :1], v[:, :1]).shape == ((3, 4) if layer.reduce else (3, 1, 4))
        nothing = layer(r[:, :0], v[:, :0])
        assert nothing.shape == ((3, 4) if layer.reduce else (3, 0, 4)) and not bool(nothing.any())


@pytest.mark.parametrize(
    "options", [{"rank": 2, "output": "both", "invariant_mode": "full"}, {"rank": 3, "reduce": False}]
)
def test_compiled_without_graph_breaks(options):
    layer = make(**options)
    r, v = cloud(2, 4)
    table = torch.tensor([[0, 1], [2, -1], [1, 2], [3, 0]])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for given in ({"neighbours": table} if layer.rank == 3 else {},):
        inputs = (r.clone().requires_grad_(), v.clone().requires_grad_())
        found, wanted = (f(*inputs, **given) for f in (compiled, layer))
        if isinstance(wanted, torch.Tensor):
            found, wanted = (found,), (wanted,)
        for a, b in zip(found, wanted, strict=True):
            close(a, b)
            for x, y in zip(
                *(torch.autograd.grad(z.sum(), inputs, retain_graph=True) for z in (a, b)), strict=True
            ):
                close(x, y, 1e-11)


def test_default_networks_and_initial_values():
    layer = GeometricAttention(32, rank=3, invariant_mode="full", merge_fun="concat", join_fun="concat", output="covariants",
                               covariant_mode="full", labeled=True)  # fmt: skip
    shapes = [tuple(m.weight.shape) for m in layer.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(64, 32), (1, 64), (64, 9), (32, 64), (64, 32), (1, 64)]
    assert [len(layer.merge_kernels), len(layer.join_kernels), len(layer.vector_kernels)] == [3, 3, 6]
    assert abs(float(layer.merge_kernels[0].detach().std()) / (2 / 3 / 32) ** 0.5 - 1) < 0.1
    assert abs(float(layer.join_kernels[0].detach().std()) / (2 / 2 / 32) ** 0.5 - 1) < 0.1
    assert abs(float(layer.join_kernels[2].detach().std()) / (2 / 3 / 32) ** 0.5 - 1) < 0.1


def test_momentum_norm_is_an_exponential_average():
    layer = MomentumNorm(2, momentum=0.9).double()
    rows = [cloud(7, seed=k, dim=2)[1] * 3 + 1 for k in range(3)]
    mu, sigma = np.zeros(2), np.ones(2)
    for x in rows:
        y = layer(x)
        mu = 0.9 * mu + 0.1 * x.numpy().mean(0)
        sigma = 0.9 * sigma + 0.1 * x.numpy().std(0)
        np.testing.assert_allclose(y.numpy(), (x.numpy() - mu) / sigma, rtol=1e-12)
    layer.eval()
    close(layer(rows[0]), layer(rows[0]))
    np.testing.assert_allclose(layer.mu.numpy(), mu, rtol=1e-12)
    flat = MomentumNorm(2, momentum=0.0)
    assert bool(torch.isfinite(flat(torch.ones(4, 2))).all())


def test_neighbour_table():
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 1]])
    assert neighbour_table(edge_index, 3).tolist() == [[2, -1, -1], [0, 1, 0], [-1, -1, -1]]
    assert neighbour_table(edge_index, 3, width=4).shape == (3, 4)
    assert neighbour_table(edge_index[:, :0], 3).shape == (3, 0)
    with pytest.raises(InvalidInput, match="node 1 has 3 edges"):
        neighbour_table(edge_index, 3, width=2)
    with pytest.raises(InvalidInput, match="edge 2"):
        neighbour_table(edge_index, 2)


def test_misuse():
    r, v = cloud(4)
    layer = make(rank=2)
    for bad, text in [
        (lambda: layer(r[:, :2], v), r"expected \(\.\.\., N, 3\)"),
        (lambda: layer(r, v[:3]), r"`v` has shape \(3, 4\), expected \(4, 4\)"),
        (lambda: layer(r.float(), v), "Cast one"),
        (lambda: layer(r, v, v), "`child_values` is given"),
        (lambda: layer(r, v, mask=torch.ones(4)), "expected booleans"),
        (lambda: layer(r, v, mask=torch.ones(3, dtype=torch.bool)), r"`mask` has shape \(3,\)"),
        (lambda: layer(r, v, weights=r[0]), "`weights` has shape"),
        (lambda: layer(r, v, neighbours=torch.tensor([[4]] * 4)), "holds 4..4; points are 0..3"),
        (lambda: layer(r, v, neighbours=torch.zeros(2, 4)), "`neighbours` is torch.float32"),
        (lambda: make(labeled=True)(r, v), "`child_values` is missing"),
        (lambda: make(labeled=True)(r, v, v[:, :3]), "expected .*'L', 4"),
        (lambda: make(rank=5), "rank of 1 to 4"),
        (lambda: make(invariant_mode="singel"), "Did you mean 'single'"),
        (lambda: make(merge_fun="sum"), "merge_fun='sum'"),
        (lambda: make(scale_net=net(4, 1)), "output='both'"),
        (lambda: MomentumNorm(3, momentum=2), "momentum=2"),
        (lambda: MomentumNorm(3)(r), "expected torch.float32"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            bad()


def test_multivectors_of_vectors_see_what_vectors_do():
    """Lengths of products are the same numbers, at other places."""
    r, v = cloud(5)
    seen = []
    for multivector in (False, True):
        layer = make(rank=2, multivector=multivector)
        layer.value_net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        layer._fold = lambda r, tuples: None
        layer(CliffordAlgebra(3).embed(r, 1) if multivector else r, v)
    close(seen[1][..., [0, 2]], seen[0])
    assert float(seen[1][..., [1, 3]].abs().max()) == 0
