"""Every method of products on the sphere against stored values, dense tables and each other; every order of derivatives."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from geomlib import InvalidInput
from geomlib.algebra.gaunt import vector_labels
from geomlib.kernels.dispatch import use_backend
from geomlib.kernels.gaunt import METHODS, SignalProduct, cost, explain_product, gaunt_product, methods_of
from geomlib.kernels.gaunt.columns import from_columns, to_columns
from geomlib.kernels.gaunt.fourier import fourier_product

WAYS = [("sparse", "torch"), ("sparse", "cpu"), *((m, None) for m in METHODS[1:])]
ways = pytest.mark.parametrize(("method", "backend"), WAYS)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Timings of the tests go nowhere and come from nowhere."""
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path))


def close(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    scale = float(b.detach().abs().max()) if b.numel() else 1.0
    assert not b.numel() or float((a - b).detach().abs().max()) <= tolerance * max(scale, 1e-2)


def spec_of(kind, level1, level2, level3, channels=1, layout="mul_ir"):
    spaces = [tuple(range(n + 1)) for n in (level1, level2, level3)]
    if kind == "vector":
        spaces = [tuple(x for j in s for x in vector_labels(j)) for s in spaces]
    return SignalProduct(kind, *spaces, channels, layout)


def inputs(spec, rows=5, dtype=torch.float64):
    return [torch.randn(rows, n, dtype=dtype) for n in spec.sizes[:2]]


def dense(spec, x, y):
    """The product from the whole table."""
    a, b = (to_columns(t, s, spec.channels, spec.layout) for t, s in zip((x, y), spec.spaces, strict=False))
    z = torch.einsum("ijk,in,jn->kn", torch.from_numpy(spec.table.dense()).to(x.dtype), a, b)
    return from_columns(z, spec.out, spec.channels, spec.layout)


@ways
def test_stored_products_and_derivatives(data, method, backend):
    with np.load(data / "tensor_products" / "gaunt_cases.npz") as d:
        stored = {k: torch.from_numpy(d[k]) for k in d.files}
    levels = sorted({k.rsplit("_", 1)[0] for k in stored if k[0].isdigit()})
    assert len(levels) >= 4
    for level in levels:
        for kind in ("gaunt", "bracket"):
            x, y = (stored[f"{level}_{n}"].clone().requires_grad_() for n in "xy")
            spec = spec_of(kind, *map(int, level.split("_")))
            out = gaunt_product(spec, x, y, method=method, backend=backend)
            tolerance = 1e-12 if kind == "gaunt" else 1e-10
            close(out, stored[f"{kind}_{level}_out"], tolerance)
            first = torch.autograd.grad(out, (x, y), stored[f"{level}_w"], create_graph=True)
            second = torch.autograd.grad(sum((g * g).sum() for g in first), (x, y))
            for n, g, h in zip("xy", first, second, strict=True):
                close(g, stored[f"{kind}_{level}_g{n}"], tolerance)
                close(h, stored[f"{kind}_{level}_h{n}"], 10 * tolerance)


@pytest.mark.parametrize("kind", ["gaunt", "bracket", "vector"])
@pytest.mark.parametrize(
    ("spaces", "channels", "layout"),
    [
        ((1, 1, 1), 1, "mul_ir"),
        ((2, 3, 4), 3, "mul_ir"),
        ((3, 1, 2), 5, "ir_mul"),
        ((5, 5, 5), 16, "ir_mul"),
        ((0, 2, 2), 32, "mul_ir"),
        ((4, 0, 1), 1, "mul_ir"),
        ((3, 3, 3), 32, "mul_ir"),
        ((5, 5, 5), 48, "mul_ir"),
    ],
)
def test_methods_agree(kind, spaces, channels, layout):
    spec = spec_of(kind, *(min(s, 3) if kind == "vector" else s for s in spaces), channels, layout)
    x, y = inputs(spec)
    expected = dense(spec, x, y)
    for method in methods_of(kind):
        for backend in ("torch", "cpu"):
            close(gaunt_product(spec, x, y, method=method, backend=backend), expected)
            single = gaunt_product(spec, x.float(), y.float(), method=method, backend=backend)
            close(single.double(), expected, 2e-5)
    if kind != "vector":
        columns = [to_columns(t, s, channels, layout) for t, s in zip((x, y), spec.spaces, strict=False)]
        close(
            from_columns(fourier_product(spec, *columns, spectrum="full"), spec.out, channels, layout),
            expected,
        )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    spaces=st.tuples(*[st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(tuple)] * 3),
    kind=st.sampled_from(["gaunt", "bracket"]), rows=st.integers(0, 4), channels=st.integers(1, 3),
)  # fmt: skip
def test_any_degrees_in_any_order(spaces, kind, rows, channels):
    spec = SignalProduct(kind, *spaces, channels)
    x, y = inputs(spec, rows)
    for method, backend in WAYS:
        close(gaunt_product(spec, x, y, method=method, backend=backend), dense(spec, x, y))


@ways
@pytest.mark.parametrize("kind", ["gaunt", "bracket", "vector"])
def test_derivatives_by_differences(kind, method, backend):
    if method not in methods_of(kind):
        with pytest.raises(InvalidInput, match="does not serve"):
            gaunt_product(spec_of(kind, 1, 1, 1), torch.ones(1, 10), torch.ones(1, 10), method=method)
        return
    spec = spec_of(kind, 1, 2, 1, 2)
    leaves = tuple(t.requires_grad_() for t in inputs(spec, 2))

    def f(x, y):
        return gaunt_product(spec, x, y, method=method, backend=backend)

    assert gradcheck(f, leaves) and gradgradcheck(f, leaves)


@pytest.mark.parametrize("kind", ["gaunt", "bracket"])
def test_third_derivatives_agree(kind):
    spec = spec_of(kind, 2, 1, 2, 3)
    x0, y0 = inputs(spec)
    collected = []
    for method, backend in WAYS:
        x, y = x0.clone().requires_grad_(), y0.clone().requires_grad_()
        value = gaunt_product(spec, x, y, method=method, backend=backend).sin().sum()
        for order in range(3):
            grads = torch.autograd.grad(value, (x, y), create_graph=order < 2)
            value = sum((g * g).sum() for g in grads)
        collected.append(grads)
    for found in collected[1:]:
        for a, b in zip(found, collected[0], strict=True):
            close(a, b, 1e-11)


@ways
@pytest.mark.parametrize("channels", [1, 16, 20])
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_odd_inputs(method, backend, channels, layout):
    """No row, one row, many rows, strided and expanded ones; tables as code and as loops."""
    for level in (2, 5):
        spec = spec_of("gaunt", level, level, level, channels, layout)
        for rows in (0, 1, 70):
            x, y = inputs(spec, rows)
            close(gaunt_product(spec, x, y, method=method, backend=backend), dense(spec, x, y))
        x, y = inputs(spec, 6)
        strided = torch.stack([x, x], -1)[..., 1]
        close(gaunt_product(spec, strided, y[:1].expand(6, -1), method=method, backend=backend),
              dense(spec, x, y[:1].expand(6, -1)))  # fmt: skip
        leaf = x.clone().requires_grad_()
        gaunt_product(spec, leaf, y, method=method, backend=backend).sum().backward()  # an expanded gradient
        assert leaf.grad is not None and leaf.grad.isfinite().all()


@ways
def test_repeated_runs_are_bitwise_equal_and_rows_independent(method, backend):
    spec = spec_of("gaunt", 3, 3, 3, 4)
    x, y = inputs(spec, 600, torch.float32)
    one = gaunt_product(spec, x, y, method=method, backend=backend)
    assert torch.equal(one, gaunt_product(spec, x, y, method=method, backend=backend))
    x[3] = torch.nan
    other = gaunt_product(spec, x, y, method=method, backend=backend)
    assert other[3].isnan().any() and torch.equal(
        torch.cat([one[:3], one[4:]]), torch.cat([other[:3], other[4:]])
    )


def test_large_rows_are_cut():
    spec = spec_of("bracket", 2, 2, 2, 5)
    x, y = inputs(spec, 1500)
    for method, backend in WAYS:
        close(gaunt_product(spec, x, y, method=method, backend=backend), dense(spec, x, y))


@ways
def test_traced_and_transformed(method, backend):
    spec = spec_of("gaunt", 2, 2, 2, 2)
    x, y = inputs(spec)

    def f(a, b):
        return gaunt_product(spec, a, b, method=method, backend=backend).sin()

    x.requires_grad_()
    want = f(x, y)
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
    got = compiled(x, y)
    close(got, want)
    close(torch.autograd.grad(got.sum(), x)[0], torch.autograd.grad(want.sum(), x)[0])
    if backend == "cpu":
        return
    x = x.detach()
    close(torch.func.vmap(lambda a, b: f(a[None], b[None])[0])(x, y), want)
    gradient = torch.func.grad(lambda a: f(a, y).sum())(x)
    tangent = torch.randn_like(x)
    forward = torch.func.jvp(lambda a: f(a, y).sum(), (x,), (tangent,))[1]
    close(forward, (gradient * tangent).sum(), 1e-11)


def test_forward_mode_raises_rather_than_lies():
    spec = spec_of("gaunt", 1, 1, 1)
    x, y = inputs(spec)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward"):
        gaunt_product(spec, forward_ad.make_dual(x, x), y, method="sparse")


@pytest.mark.parametrize("kind", ["gaunt", "bracket", "vector"])
def test_operator(kind):
    spec = spec_of(kind, 1, 2, 1, 2)
    x, y = (t.requires_grad_() for t in inputs(spec))
    torch.library.opcheck(torch.ops.geomlib.gaunt_product.default, (x, y, spec.key, "sparse", ""))
    torch.library.opcheck(torch.ops.geomlib.gaunt_product.default, (x, y, spec.key, "dense", "torch"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_storage_only(dtype):
    spec = spec_of("gaunt", 2, 2, 2, 2)
    x, y = (t.to(dtype) for t in inputs(spec))
    assert torch.equal(gaunt_product(spec, x, y), gaunt_product(spec, x.float(), y.float()).to(dtype))
    a, b = inputs(spec, dtype=torch.float32)
    for method in METHODS:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = gaunt_product(spec, a, b, method=method)
        assert torch.equal(inside, gaunt_product(spec, a, b, method=method))


@pytest.mark.parametrize(("x", "y", "words"), [
    (torch.ones(2, 4), torch.ones(2, 5), "expected shape"), (torch.ones(2, 4), torch.ones(3, 4), "rows"),
    (torch.ones(2, 4), torch.ones(2, 4).double(), "floating"), (torch.ones(4), torch.ones(4), "expected shape"),
    (torch.ones(2, 4).long(), torch.ones(2, 4).long(), "floating")])  # fmt: skip
def test_misuse(x, y, words):
    with pytest.raises(InvalidInput, match=words):
        gaunt_product(spec_of("gaunt", 1, 1, 1), x, y)


def test_more_misuse():
    with pytest.raises(InvalidInput, match="method"):
        gaunt_product(spec_of("gaunt", 1, 1, 1), torch.ones(2, 4), torch.ones(2, 4), method="grid")
    with pytest.raises(InvalidInput, match="kind"):
        SignalProduct("cross", (1,), (1,), (1,))
    with pytest.raises(InvalidInput, match="cpu"):
        meta = torch.ones(2, 4, device="meta")
        gaunt_product(spec_of("gaunt", 1, 1, 1), meta, meta, method="sparse", backend="cpu")


# the choice of method


def forget(monkeypatch):
    for name in ("_measured", "_chosen"):
        monkeypatch.setattr(cost, name, {})
    monkeypatch.setattr(cost, "_loaded", set())


def test_the_choice_is_made_once_and_kept(tmp_path, monkeypatch):
    forget(monkeypatch)
    timed = []
    real = cost._time_all
    monkeypatch.setattr(cost, "_time_all", lambda *a: timed.append(a) or real(*a))
    spec = spec_of("gaunt", 2, 2, 2, 8)
    x, y = inputs(spec, 5, torch.float32)
    state = torch.get_rng_state()
    gaunt_product(spec, x, y)
    assert torch.equal(state, torch.get_rng_state()) and len(timed) == 1
    chosen = dict(cost._chosen)
    for _ in range(3):
        gaunt_product(spec, x, y)
    assert len(timed) == 1 and cost._chosen == chosen
    stored = json.loads((tmp_path / "gaunt_costs.json").read_text())
    assert len(stored["entries"]) == len(chosen) == 1
    forget(monkeypatch)
    gaunt_product(spec, x, y)  # as another process would
    assert len(timed) == 1 and cost._chosen == chosen
    assert "<- auto" in explain_product(spec, x) and all(m in explain_product(spec, x) for m in METHODS)


def test_nothing_is_timed_while_compiling(monkeypatch):
    forget(monkeypatch)
    monkeypatch.setattr(cost, "_time_all", lambda *a: pytest.fail("timed"))
    spec = spec_of("gaunt", 2, 1, 2, 8)
    x, y = inputs(spec)
    compiled = torch.compile(lambda a, b: gaunt_product(spec, a, b), backend="aot_eager", fullgraph=True)
    close(compiled(x, y), dense(spec, x, y))
    close(torch.func.vmap(lambda a, b: gaunt_product(spec, a[None], b[None])[0])(x, y), dense(spec, x, y))


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": 1, "entries": {"a": 3}}', '{"format": 1}'])
def test_a_damaged_file_is_replaced(tmp_path, monkeypatch, text):
    forget(monkeypatch)
    (tmp_path / "gaunt_costs.json").write_text(text)
    spec = spec_of("gaunt", 1, 1, 1, 4)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gaunt_product(spec, *inputs(spec))
    assert any("timed again" in str(w.message) for w in seen)
    assert json.loads((tmp_path / "gaunt_costs.json").read_text())["format"] == 1


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch):
    forget(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "file"))
    spec = spec_of("gaunt", 1, 2, 1, 4)
    x, y = inputs(spec)
    with pytest.warns(UserWarning, match="not kept"):
        close(gaunt_product(spec, x, y), dense(spec, x, y))


def test_backends_change_the_choice_only_among_their_own(monkeypatch):
    forget(monkeypatch)
    spec = spec_of("gaunt", 3, 3, 3, 4)
    x, y = inputs(spec)
    with use_backend("torch"):
        close(gaunt_product(spec, x, y), dense(spec, x, y))
    with use_backend("cpu"):
        close(gaunt_product(spec, x, y), dense(spec, x, y))
    assert len(cost._chosen) == 2
