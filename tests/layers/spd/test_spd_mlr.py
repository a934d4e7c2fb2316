"""SPDMLR: logits beside SciPy under every metric, linear in flat charts, trained by plain and Riemannian optimisers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.vech import unvech
from geomlib.layers import SPDMLR
from tests.layers.spd.oracles import exponential, logit, spd

METRICS = ["le", "ai", "lc", "bw", "euclidean"]
OPTIONS = [
    *[(metric, 1.0, 1.0, 0.0) for metric in METRICS],
    *[(metric, theta, 1.0, 0.0) for metric in ("ai", "lc", "bw", "euclidean") for theta in (0.5, -0.7)],
    *[(metric, 0.5, 2.0, -0.2) for metric in ("le", "ai", "euclidean")],
]


def made(metric: str, theta: float = 1.0, alpha: float = 1.0, beta: float = 0.0, n: int = 3) -> SPDMLR:
    torch.manual_seed(0)
    layer = SPDMLR(n, 4, metric, theta=theta, alpha=alpha, beta=beta).double()
    torch.nn.init.normal_(layer.shift)
    return layer


@pytest.mark.parametrize(("metric", "theta", "alpha", "beta"), OPTIONS)
def test_logits_of_scipy(metric: str, theta: float, alpha: float, beta: float) -> None:
    layer, x = made(metric, theta, alpha, beta), spd(2, 3, 3)
    found, points, normals = layer(x), layer.points()[:, 0].detach(), unvech(layer.weight[:, 0]).detach()
    if metric == "lc":  # the normal at the identity that has these coordinates in the chart
        low = torch.zeros(4, 3, 3, dtype=torch.float64)
        i, j = torch.triu_indices(3, 3)
        low[:, j, i] = layer.weight[:, 0].detach()
        normals = low + low.mT
    want = [[[logit(metric, s, p, a, theta, alpha, beta) for p, a in zip(points, normals, strict=True)]
             for s in row] for row in x]  # fmt: skip
    torch.testing.assert_close(found, torch.tensor(want, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_points_lie_along_the_normals(metric: str) -> None:
    layer = made(metric)
    z = unvech(layer.weight[:, 0] / layer.weight[:, 0].norm(dim=-1, keepdim=True))
    if metric != "lc":
        for p, z_k, step in zip(layer.points()[:, 0], z, layer.shift, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), exponential(step * z_k), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        layer(layer.points()[:, 0]).diagonal(), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert sum(p.numel() for p in layer.parameters()) == 4 * (3 * 4 // 2 + 1)


@pytest.mark.parametrize("metric", ["aim", "lem", "lcm", "bwm"])
def test_the_fixture_in_closed_form(data, metric: str) -> None:
    """The same closed forms at points that are on no ray, where the layer's algebra is called."""
    with np.load(data / "manifolds" / "spd_mlr.npz") as file:
        s, p, a, want = (torch.from_numpy(file[f"n3_{key}"]) for key in ("S", "P", "A", metric))
    found = SPD(metric[:2]).logits(s, p, a)
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)
    oracle = [logit(metric[:2], *args) for args in zip(s, p, a, strict=True)]
    torch.testing.assert_close(torch.tensor(oracle, dtype=torch.float64), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_derivatives(metric: str) -> None:
    """At repeated eigenvalues, at a point of a hyperplane and elsewhere."""
    layer = made(metric, theta=0.5 if metric in ("bw", "euclidean") else 1.0, n=2)
    x = torch.stack([spd(2), 2.0 * torch.eye(2, dtype=torch.float64), layer.points()[0, 0].detach()])
    arguments = (x.requires_grad_(), layer.weight, layer.shift)

    def f(x, weight, shift):
        return torch.func.functional_call(layer, {"weight": weight, "shift": shift}, (x,))

    assert torch.autograd.gradcheck(f, arguments)
    assert torch.autograd.gradgradcheck(f, arguments)


@pytest.mark.parametrize("metric", ["le", "lc"])
def test_charts(metric: str) -> None:
    layer, inside = made(metric), SPDMLR(3, 4, metric, in_chart=True).double()
    inside.load_state_dict(layer.state_dict())
    x = spd(5, 3)
    chart = SPD(metric).chart(x)
    torch.testing.assert_close(inside(chart), layer(x), rtol=1e-12, atol=1e-12)
    y = SPD(metric).chart(spd(5, 3, seed=1))
    mixed = inside(0.3 * chart + 0.7 * y)
    torch.testing.assert_close(mixed, 0.3 * inside(chart) + 0.7 * inside(y), rtol=1e-12, atol=1e-12)


def test_a_power_changes_nothing_in_the_log_euclidean_metric() -> None:
    torch.testing.assert_close(made("le", 0.3)(spd(4, 3)), made("le")(spd(4, 3)))


@pytest.mark.parametrize("metric", METRICS)
def test_batches_types_and_transforms(metric: str) -> None:
    layer, x = made(metric), spd(3, 3)
    y = layer(x)
    torch.testing.assert_close(layer(x[1]), y[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(layer)(x), y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(torch.stack([x, x], -1)[..., 0]), y, rtol=1e-12, atol=1e-12)
    assert layer(x[:0]).shape == (0, 4)
    narrow = layer.float()(x.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), y, rtol=1e-5, atol=1e-5)


def test_a_normal_of_length_zero_has_finite_derivatives() -> None:
    for metric in METRICS:
        layer = made(metric)
        with torch.no_grad():
            layer.weight[1] = 0.0
        y = layer(spd(4, 3))
        assert not y[:, 1].any()
        y.sum().backward()
        assert layer.weight.grad is not None and bool(layer.weight.grad.isfinite().all())


def classes(rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Return covariances of three kinds, told apart by which variance is largest."""
    label = torch.arange(rows) % 3
    scale = torch.ones(rows, 3, dtype=torch.float64)
    scale[torch.arange(rows), label] = 2.0
    x = scale[:, :, None] * torch.randn(rows, 3, 20, dtype=torch.float64)
    return x @ x.mT / 20, label


def fitted(layer: SPDMLR, step: torch.optim.Optimizer, steps: int = 40) -> float:
    x, label = classes()
    for _ in range(steps):
        step.zero_grad()
        torch.nn.functional.cross_entropy(layer(x), label).backward()
        step.step()
    return float((layer(x).argmax(-1) == label).double().mean())


@pytest.mark.parametrize("metric", METRICS)
def test_plain_optimisers_train_it(metric: str) -> None:
    layer = SPDMLR(3, 3, metric).double()
    assert fitted(layer, torch.optim.Adam(layer.parameters(), lr=0.1, weight_decay=1e-4)) > 0.9


def test_the_optimisers_of_geoopt_train_it() -> None:
    geoopt = pytest.importorskip("geoopt")
    layer = SPDMLR(3, 3, "ai").double()
    assert fitted(layer, geoopt.optim.RiemannianAdam(layer.parameters(), lr=0.1)) > 0.9


def test_what_it_refuses() -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'lc'"):
        SPDMLR(3, 2, "lcm")
    with pytest.raises(InvalidInput, match="classes = 0"):
        SPDMLR(3, 0)
    with pytest.raises(InvalidInput, match="needs a flat metric"):
        SPDMLR(3, 2, "ai", in_chart=True)
    with pytest.raises(InvalidInput, match="theta"):
        SPDMLR(3, 2, "ai", theta=0.0)
    with pytest.raises(InvalidInput, match="no scalar product for n = 3"):
        SPDMLR(3, 2, "ai", beta=-0.5)
    with pytest.raises(InvalidInput, match="no such family"):
        SPDMLR(3, 2, "lc", alpha=2.0)
    bad = spd(4, 3)
    bad[2, 0, 0] = -1.0
    for metric in METRICS:
        with pytest.raises(InvalidInput, match=r"2.* of `x` is not positive definite"):
            made(metric)(bad)
        with pytest.raises(InvalidInput, match="weights are"):
            made(metric)(bad.float())
