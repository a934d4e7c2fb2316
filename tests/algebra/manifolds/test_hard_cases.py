"""Hard cases of manifolds: a right answer, or a typed error that names the matrix; never a silent zero or NaN."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd import SPD
from geomlib.errors import InvalidInput
from geomlib.testing import random_spd, random_symmetric

F64, F32 = torch.float64, torch.float32


def eye(n: int = 3, dtype: torch.dtype = F64) -> Tensor:
    return torch.eye(n, dtype=dtype)


def spd(*args: int, kappa: float = 10.0, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return random_spd(*args, kappa=kappa, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def space(metric: str, n: int = 3) -> SPD:
    return SPD("gbw", M=spd(1, n, seed=9)[0]) if metric == "gbw" else SPD(metric)


METRICS = ("ai", "le", "lc", "bw", "gbw")

#: Pairs of points with repeated eigenvalues, alone and together.
PAIRS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "identity and twice the identity": lambda: (eye(), 2 * eye()),
    "a double eigenvalue": lambda: (torch.diag(torch.tensor([1.0, 1.0, 3.0], dtype=F64)), spd(1, 3)[0]),
    "eigenvalues 1e-12 apart": lambda: (
        torch.diag(torch.tensor([1.0, 1.0 + 1e-12, 1.0 - 1e-12], dtype=F64)),
        3 * eye(),
    ),
    "x = y": lambda: (spd(1, 3)[0], spd(1, 3)[0]),
    "x = y = identity": lambda: (eye(), eye()),
    "commuting": lambda: (spd(1, 3)[0], torch.linalg.inv(spd(1, 3)[0])),
}


def slope(function: Callable[[Tensor], Tensor], P: Tensor) -> Tensor:
    P = P.clone().requires_grad_()
    return torch.autograd.grad(function(P), P)[0]


def difference(function: Callable[[Tensor], Tensor], P: Tensor, h: float = 1e-4) -> Tensor:
    """Return the symmetric gradient by central differences of fourth order."""
    n, found = len(P), torch.zeros_like(P)
    for i in range(n):
        for j in range(n):
            E = torch.zeros_like(P)
            E[i, j] += 0.5
            E[j, i] += 0.5
            f = [float(function(P + k * h * E)) for k in (-2, -1, 1, 2)]
            found[i, j] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
    return found


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("metric", METRICS)
def test_gradient_of_squared_distance(metric: str, pair: str) -> None:
    """Finite, and the finite difference within 1e-6, whatever repeats or coincides."""
    s, (P, Q) = space(metric), PAIRS[pair]()
    found = slope(lambda x: s.sqdist(x, Q), P)
    torch.testing.assert_close(found, difference(lambda x: s.sqdist(x, Q), P), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_of_distance_between_multiples_of_the_identity(metric: str) -> None:
    s = space(metric)
    found = slope(lambda x: s.dist(x, 2 * eye()), eye())
    torch.testing.assert_close(found, difference(lambda x: s.dist(x, 2 * eye()), eye()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("metric", METRICS)
def test_exp_of_log(metric: str, pair: str) -> None:
    s, (P, Q) = space(metric), PAIRS[pair]()
    assert float((s.exp(P, s.log(P, Q)) - Q).norm() / Q.norm()) < 1e-10


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("metric", METRICS)
def test_condition_number_1e8(metric: str, dtype: torch.dtype) -> None:
    """Round trips at condition number 1e8; float32 ones to what its entries hold."""
    s, P, Q = space(metric), spd(4, 3, kappa=1e8, seed=1), spd(4, 3, kappa=10.0, seed=2)
    if (
        dtype == F32
    ):  # diagonal: a dense float32 matrix of this condition number need not be positive definite
        P = torch.diag_embed(torch.linalg.eigvalsh(P))
    P, Q = P.to(dtype), Q.to(dtype)
    found = s.exp(P, s.log(P, Q))
    assert float((found - Q).norm() / Q.norm()) < (1e-6 if dtype == F64 else 2e-1)
    assert bool(s.dist(P, Q).isfinite().all()) and bool((s.dist(P, Q) > 0).all())


@pytest.mark.parametrize("metric", METRICS)
def test_near_the_boundary(metric: str) -> None:
    """An eigenvalue of 1e-13 of the largest: distances as the closed form of diagonal matrices has them."""
    w = torch.tensor([1.0, 1.0, 1e-13], dtype=F64)
    s = SPD(metric) if metric != "gbw" else SPD("gbw", M=eye())
    found = float(s.dist(torch.diag(w), eye()))
    want = {"ai": w.log(), "le": w.log(), "lc": 0.5 * w.log()}.get(metric, w.sqrt() - 1).norm()
    assert found == pytest.approx(float(want), rel=1e-10)


NOT_SPD = {
    "indefinite": torch.diag(torch.tensor([1.0, -0.1, 1.0], dtype=F64)),
    "singular": torch.diag(torch.tensor([1.0, 0.0, 1.0], dtype=F64)),
    "negative definite": -eye(),
    "zero": torch.zeros(3, 3, dtype=F64),
    "NaN": torch.full((3, 3), torch.nan, dtype=F64),
    "infinite": torch.diag(torch.tensor([1.0, torch.inf, 1.0], dtype=F64)),
    "not symmetric": torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=F64),
    "rank one": torch.ones(3, 3, dtype=F64),
}


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("bad", NOT_SPD)
@pytest.mark.parametrize("metric", METRICS)
def test_what_is_not_positive_definite_is_named(metric: str, bad: str, dtype: torch.dtype) -> None:
    s, good = space(metric), spd(3, 3).to(dtype)
    batch = torch.stack([good[0], NOT_SPD[bad].to(dtype), good[2]])
    for function in (
        s.sqdist,
        s.log,
        lambda P, Q: s.mean(torch.stack([P, Q], -3)),
        lambda P, Q: s.exp(P, 0 * Q),
    ):
        with pytest.raises(InvalidInput, match=r"matrix .*1.* of `(P|points)`"):
            function(batch, good)
    with pytest.raises(InvalidInput, match=r"matrix .*1.* of `Q`"):
        s.sqdist(good, batch)


@pytest.mark.parametrize("metric", METRICS)
def test_where_values_cannot_be_read_nothing_finite_comes_out(metric: str) -> None:
    """Under a transform: NaN for the matrix that is not positive definite, or the error of a spectral function."""
    s = space(metric)
    batch = torch.stack([NOT_SPD["indefinite"], eye()])
    try:
        found = torch.func.vmap(s.sqdist)(batch, 2 * eye().expand(2, 3, 3))
    except InvalidInput as refusal:
        assert "not positive definite" in str(refusal)
        return
    assert not bool(found[0].isfinite()) and bool(found[1].isfinite())


@pytest.mark.parametrize("metric", ["ai", "le", "lc"])
def test_overflow_of_exp(metric: str) -> None:
    """exp(1e3 I) has no float64, exp(1e2 I) has no float32 but a float64; the matrix is named."""
    s, batch = SPD(metric), torch.stack([torch.zeros(3, 3, dtype=F64), eye()])
    for call in (
        lambda: s.exp(eye(), 1e3 * batch),
        lambda: s.exp0(1e3 * batch),
        lambda: s.exp0(1e2 * batch.float()),
    ):
        with pytest.raises(InvalidInput, match=r"matrix .*1.* of|overflow"):
            call()
    torch.testing.assert_close(s.exp0(100 * eye()), torch.e**100 * eye(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("metric", ["bw", "gbw"])
@pytest.mark.parametrize("tangent", ["-2 I", "huge", "just outside", "just inside"])
def test_domain_of_bures_wasserstein(metric: str, tangent: str) -> None:
    """At P the tangent -2 P reaches zero: I + X must be positive definite."""
    s, P = space(metric), spd(1, 3)[0]
    factor = {"-2 I": -2.5, "huge": -1e6, "just outside": -2 - 1e-6, "just inside": -2 + 1e-3}[tangent]
    if tangent == "just inside":
        torch.testing.assert_close(s.exp(P, factor * P), (1 + factor / 2) ** 2 * P, rtol=1e-9, atol=0)
        return
    with pytest.raises(InvalidInput, match="domain"):
        s.exp(P, factor * P)
    with pytest.raises(InvalidInput, match="domain"):
        SPD("bw").exp0(factor * eye())


def test_geodesics_of_bures_wasserstein_end() -> None:
    s = SPD("bw")
    assert float(torch.linalg.eigvalsh(s.geodesic(eye(), 0.25 * eye(), 1.9))[0]) > 0
    with pytest.raises(InvalidInput, match="domain"):
        s.geodesic(eye(), 0.25 * eye(), 2.1)


@pytest.mark.parametrize("metric", ["bw", "gbw"])
@pytest.mark.parametrize(
    "method",
    [
        "add",
        "neg",
        "scale",
        "gyration",
        "gyrate",
        "coadd",
        "ginner",
        "gnorm",
        "gdist",
        "gangle",
        "hyperplane",
    ],
)
def test_incomplete_metrics_have_no_gyro_operations(metric: str, method: str) -> None:
    s, P = space(metric), spd(1, 3)[0]
    count = {"neg": 1, "gnorm": 1, "gyrate": 3, "gangle": 3, "hyperplane": 3}.get(method, 2)
    args = (P, 0.5) if method == "scale" else (P,) * count
    with pytest.raises(InvalidInput, match="incomplete"):
        getattr(s, method)(*args)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metric": "airm"}, "unknown metric"),
        ({"metric": "ai", "alpha": -1.0}, "inner product"),
        ({"metric": "ai", "beta": -0.4, "n": 3}, "inner product"),
        ({"metric": "lc", "alpha": 2.0}, "'ai' and 'le' only"),
        ({"metric": "bw", "beta": 1.0}, "'ai' and 'le' only"),
        ({"metric": "gbw"}, "needs M"),
        ({"metric": "ai", "M": torch.eye(2)}, "takes no M"),
        ({"metric": "gbw", "M": -torch.eye(2)}, "`M` is not positive definite"),
        ({"metric": "gbw", "M": torch.eye(2), "theta": 0.0}, "not zero"),
        ({"metric": "gbw", "M": torch.eye(2), "n": 3}, "n = 3"),
        ({"metric": "gbw", "M": torch.eye(2).expand(2, 2, 2)}, "one matrix"),
        ({"metric": "ai", "theta": float("nan")}, "finite"),
    ],
)
def test_misuse_of_the_constructor(options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        SPD(**options)  # pyright: ignore[reportArgumentType]


def test_misuse_of_methods() -> None:
    s, P = SPD("ai"), spd(2, 3)
    for call, says in (
        (lambda: s.log(P, spd(2, 4)), r"expected matrices \(\.\.\., 3, 3\)"),
        (lambda: s.log(P, P[:, :2]), "square"),
        (lambda: s.log(P.long(), P), "floating"),
        (lambda: s.mean(P[0]), "K > 0"),
        (lambda: s.mean(P[:0]), "K > 0"),
        (lambda: s.mean(P, torch.ones(3)), "one for each"),
        (lambda: s.mean(P, torch.tensor([1.0, -1.0])), "negative"),
        (lambda: s.mean(P, torch.zeros(2)), "zero"),
        (lambda: s.exp(P, torch.ones(3, 3).triu(1)), "`V` is not symmetric"),
        (lambda: SPD("ai", beta=-0.4).log(P, P), "inner product"),
        (lambda: SPD("ai", n=4).log(P, P), "4, 4"),
    ):
        with pytest.raises(InvalidInput, match=says):
            call()


@pytest.mark.parametrize("metric", ["ai", "bw"])
@pytest.mark.parametrize(
    "case", ["equal points", "one point", "a weight of one", "far apart", "condition 1e8"]
)
def test_means(metric: str, case: str) -> None:
    """The residual of the mean, the weighted sum of logarithms, is zero to working precision."""
    s, X, w = SPD(metric), spd(4, 3, seed=3), torch.full((4,), 0.25, dtype=F64)
    if case == "equal points":
        X = X[:1].expand(4, 3, 3)
    elif case == "one point":
        X, w = X[:1], w[:1]
    elif case == "a weight of one":
        w = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=F64)
    elif case == "far apart":
        X = X * torch.tensor([1e-6, 1.0, 1.0, 1e6], dtype=F64)[:, None, None]
    else:
        X = spd(4, 3, kappa=1e8 if metric == "ai" else 1e6, seed=3)
    G = s.mean(X, w)
    w = w / w.sum()
    R = (w[:, None, None] * s.log(G, X)).sum(0)
    size = (w * s.dist(G.expand_as(X), X)).sum() + s.dist(G, eye())
    assert float(s.inner(G, R, R).sqrt() / size) < (1e-7 if case == "condition 1e8" else 1e-11)
    assert bool(slope(lambda x: s.mean(x, w).sum(), X).isfinite().all())


def test_points_that_are_fine_alone() -> None:
    """Each of condition number 1e13 passes; seen from one another they are beyond float64, and the error says so."""
    P, Q = spd(2, 3, kappa=1e13, seed=1), spd(2, 3, kappa=1e13, seed=2)
    with pytest.raises(InvalidInput, match="made of `P` and `Q`"):
        SPD("ai").log(P, Q)
    assert bool(SPD("le").dist(P, Q).isfinite().all())


def test_symmetric_tangents_of_float32_round() -> None:
    """Rounding asymmetry of float32 products passes, and is taken out."""
    P, V = spd(4, 3, dtype=F32), random_symmetric(4, 3, dtype=F32)
    V = V + 1e-7 * torch.randn(4, 3, 3)
    found = SPD("ai").exp(P, 0.1 * V)
    assert torch.equal(found, found.mT)
