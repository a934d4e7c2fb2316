"""Against the fixtures (other libraries and 60 digits), scipy, and pyriemann and geoopt where they are installed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd import SPD

from .common import fixture, spd

METRICS = (("ai", "airm"), ("le", "le"), ("lc", "lc"), ("bw", "bw"))


def close(found: Tensor, want: Tensor, n: int, axes: int = 2) -> None:
    """1e-12 up to n = 3 and 1e-9 above, both at condition number 1e4."""
    gap, size = (found - want), want
    if axes:
        gap, size = gap.flatten(-axes).norm(dim=-1), size.flatten(-axes).norm(dim=-1)
    assert float((gap.abs() / size.abs()).max()) < (1e-12 if n <= 3 else 1e-9)


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize(("metric", "prefix"), METRICS)
def test_geometry(n: int, metric: str, prefix: str) -> None:
    x, space = fixture(f"spd_n{n}"), SPD(metric, n=n)
    P, Q, t = x["P"], x["Q"], float(x["t"])
    close(space.log(P, Q), x[f"{prefix}_log"], n)
    close(space.exp(P, x["bw_V"] if metric == "bw" else x["V"]), x[f"{prefix}_exp"], n)
    close(space.dist(P, Q), x[f"{prefix}_dist"], n, 0)
    close(space.inner(P, x["V"], x["W"]), x[f"{prefix}_inner"], n, 0)
    close(space.geodesic(P, Q, t), x[f"{prefix}_geodesic"], n)
    close(space.geodesic(P, Q, torch.full((len(P),), t, dtype=torch.float64)), x[f"{prefix}_geodesic"], n)
    close(space.mean(x["S"], x["weights"]), x[f"{prefix}_mean"], n)
    if metric != "bw":
        close(space.transport(P, Q, x["W"]), x[f"{prefix}_transport"], n)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_gyro_operations(n: int) -> None:
    x = fixture(f"spd_n{n}")
    P, Q, R = x["P"], x["Q"], x["R"]
    ai, le, lc = SPD("ai"), SPD("le"), SPD("lc")
    for found, name in (
        (ai.add(P, Q), "ai_gyroadd"), (ai.scale(P, 0.7), "ai_scal_0.7"), (ai.gyration(P, Q), "ai_gyr_F"),
        (ai.gyrate(P, Q, R), "ai_gyr_R"), (le.add(P, Q), "le_gyroadd"), (lc.add(P, Q), "lc_gyroadd"),
        (lc.scale(P, 0.7), "lc_scal_0.7"), (lc.neg(P), "lc_scal_-1"),
    ):  # fmt: skip
        close(found, x[name], n)
    for found, name in (
        (ai.ginner(P, Q), "ai_gyroinner"), (ai.gdist(P, Q), "ai_gyrodist"), (le.ginner(P, Q), "le_gyroinner"),
        (lc.ginner(P, Q), "lc_gyroinner"), (SPD("bw", theta=0.5).dist(P, Q), "bw_dist_pow0.5"),
    ):  # fmt: skip
        close(found, x[name], n, 0)
    # The fixture subtracts traces: its squared distances are exact to eps times their size.
    found, want = SPD("gbw", M=x["gbw_M"]).sqdist(P, Q), x["gbw_dist"].square()
    torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("metric", "name"), [("ai", "aim"), ("le", "lem"), ("lc", "lcm"), ("bw", "bwm")])
def test_logits(metric: str, name: str) -> None:
    x = fixture("spd_mlr")
    S, P, A = x["n3_S"], x["n3_P"], x["n3_A"]
    space = SPD(metric)
    close(space.logits(S, P, A), x[f"n3_{name}"], 3, 0)
    close(space.logits(S[:, None], P, A).diagonal(), x[f"n3_{name}"], 3, 0)
    if space.flat:
        close(space.chart_logits(space.chart(S), space.chart(P), A), x[f"n3_{name}"], 3, 0)


@pytest.mark.parametrize("metric", ["ai", "bw"])
def test_gradients_of_squared_distances(metric: str) -> None:
    x = fixture("spd_sqdist_grad_n4")
    P, Q = x["P"].clone().requires_grad_(), x["Q"].clone().requires_grad_()
    found = SPD(metric).sqdist(P, Q)
    close(found.detach(), x[f"{metric}_sqdist"], 4, 0)
    to_p, to_q = torch.autograd.grad(found.sum(), (P, Q))
    close(to_p, x[f"{metric}_sqdist_gradP"], 4)
    if metric == "ai":
        close(to_q, x["ai_sqdist_gradQ"], 4)


def _logm(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of a matrix that is similar to an SPD one, by scipy's general routine."""
    return scipy.linalg.logm(x).real


@pytest.mark.filterwarnings("ignore:logm result may be inaccurate")
def test_formulas_of_the_page_by_scipy() -> None:
    """Closed formulas with scipy's general matrix functions, and power deformation from its definition."""
    P, Q = spd(1, 4, seed=1)[0], spd(1, 4, seed=2)[0]
    p, q = P.numpy(), Q.numpy()
    root = scipy.linalg.sqrtm(p)
    inverse = np.linalg.inv(root)
    log = root @ _logm(inverse @ q @ inverse) @ root
    np.testing.assert_allclose(SPD("ai").log(P, Q).numpy(), log, rtol=1e-11, atol=1e-12)
    product = scipy.linalg.sqrtm(p @ q).real
    np.testing.assert_allclose(
        SPD("bw").log(P, Q).numpy(), product + product.T - 2 * p, rtol=1e-11, atol=1e-12
    )
    moved = scipy.linalg.sqrtm(q @ np.linalg.inv(p)).real
    np.testing.assert_allclose(
        SPD("ai").transport(P, Q, P).numpy(), moved @ p @ moved.T, rtol=1e-11, atol=1e-12
    )
    power = scipy.linalg.fractional_matrix_power
    for metric in ("ai", "lc", "bw"):
        want = SPD(metric).dist(*(torch.from_numpy(power(x, 0.6)) for x in (p, q))) / 0.6
        torch.testing.assert_close(SPD(metric, theta=0.6).dist(P, Q), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("metric", "theirs"), [("ai", "riemann"), ("le", "logeuclid"), ("bw", "wasserstein")]
)
def test_pyriemann(metric: str, theirs: str) -> None:
    distance = pytest.importorskip("pyriemann.utils.distance")
    mean = pytest.importorskip("pyriemann.utils.mean")
    P, Q = spd(2, 4, seed=3)
    X, w = spd(5, 4, seed=4), torch.tensor([1.0, 2.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    space = SPD(metric)
    assert float(space.dist(P, Q)) == pytest.approx(
        distance.distance(P.numpy(), Q.numpy(), metric=theirs), rel=1e-10
    )
    options = {} if metric == "le" else {"tol": 1e-12, "maxiter": 500}
    function = {"riemann": "mean_riemann", "logeuclid": "mean_logeuclid", "wasserstein": "mean_wasserstein"}[
        theirs
    ]
    want = getattr(mean, function)(X.numpy(), sample_weight=w.numpy(), **options)
    np.testing.assert_allclose(space.mean(X, w).numpy(), want, rtol=1e-8, atol=1e-9)


def test_geoopt() -> None:
    geoopt = pytest.importorskip("geoopt")
    theirs, ours = geoopt.SymmetricPositiveDefinite(), SPD("ai")
    P, Q = spd(3, 3, seed=5), spd(3, 3, seed=6)
    for name in ("dist", "logmap", "transp"):
        args = (P, Q, ours.log(P, Q)) if name == "transp" else (P, Q)
        mine = {"dist": ours.dist, "logmap": ours.log, "transp": ours.transport}[name](*args)
        torch.testing.assert_close(getattr(theirs, name)(*args), mine, rtol=1e-9, atol=1e-9)
