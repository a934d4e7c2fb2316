"""SPDBatchNorm: mean and variance, gradients through the batch, running values, symmetry, domain, transforms, misuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geomlib import InvalidInput, verify
from geomlib.algebra.manifolds.commuting_transport import from_identity, to_identity
from geomlib.algebra.manifolds.spd import SPD
from geomlib.layers import SPDBatchNorm
from geomlib.layers._spd_steps import stepped_mean
from geomlib.testing import assert_bn, random_spd

CASES = [
    ("le", {}), ("lc", {}), ("lc", {"theta": 0.5}), ("ai", {}), ("ai", {"theta": -0.5, "alpha": 2.0, "beta": 0.3}),
    ("le", {"alpha": 0.5, "beta": -0.1}), ("bw", {}), ("bw", {"theta": 0.5}), ("gbw", {}), ("gbw", {"theta": 1.5}),
]  # fmt: skip


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(k: int = 12, n: int = 3, kappa: float = 10.0, seed: int = 0) -> Tensor:
    return random_spd(k, n, kappa=kappa, generator=torch.Generator().manual_seed(seed))


def made(n: int, metric: str, deviation: float = 0.25, **options) -> SPDBatchNorm:
    """Return a layer with a bias, a deviation that keeps tangents inside the domain, and M where it belongs."""
    if metric == "gbw":
        options["M"] = batch(1, n, seed=9)[0]
    layer = SPDBatchNorm(n, metric, **options).double()
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.copy_(0.3 * draw(n, n, seed=5))
        if layer.weight is not None:
            layer.weight.fill_(deviation)
    return layer


@pytest.mark.parametrize("kappa", [3.0, 30.0, 1e3])
@pytest.mark.parametrize(("metric", "options"), CASES)
def test_promises(metric: str, options: dict, kappa: float) -> None:
    layer = made(4, metric, **options)
    errors = assert_bn(layer, batch(25, 4, kappa))
    assert max(errors.values()) < 1e-10 and int(layer.capped) == 0


def test_wide_batches_of_the_specification() -> None:
    """n = 6, 200 points: at kappa 1e3 tangents that are centred but not scaled leave the domain, the fused step does not."""
    for kappa in (3.0, 30.0, 1e3):
        x = batch(200, 6, kappa, seed=3)
        layer = SPDBatchNorm(6, "bw").double()
        y = layer(x).detach()
        space = SPD("bw")
        one = torch.eye(6, dtype=torch.float64)
        assert int(layer.capped) == 0
        assert float((space.mean(y, order=0) - one).abs().max()) < 2e-14
        assert float(space.sqdist(one.expand_as(y), y).mean()) == pytest.approx(1, abs=1e-13)
    centre = space.mean(x, order=0)
    tangents = to_identity(centre, _maps(centre, x) - one)
    assert float(torch.linalg.eigvalsh(one + tangents / 2).min()) < -0.3


def _maps(P: Tensor, Q: Tensor) -> Tensor:
    """Return T with T P T = Q."""
    w, v = torch.linalg.eigh(P)
    root, inverse = (v * w.sqrt()) @ v.mT, (v / w.sqrt()) @ v.mT
    a, u = torch.linalg.eigh(root @ Q @ root)
    return inverse @ (u * a.sqrt()[:, None, :]) @ u.mT @ inverse


def test_transport_is_an_isometry_and_that_of_commuting_points() -> None:
    P, x = batch(1, 4, 30.0)[0], batch(5, 4, 30.0, seed=1)
    space, one = SPD("bw"), torch.eye(4, dtype=torch.float64)
    V = to_identity(P, _maps(P, x) - one)
    torch.testing.assert_close(V.square().sum((-2, -1)) / 4, space.sqdist(P.expand_as(x), x))
    torch.testing.assert_close(from_identity(P, V), _maps(P, x) - one)
    carried = space.transport(P.expand_as(x), one.expand_as(x), space.log(P.expand_as(x), x))
    torch.testing.assert_close(V, carried, rtol=1e-9, atol=1e-10)  # the equation of parallel fields


@pytest.mark.parametrize("f", [to_identity, from_identity])
@pytest.mark.parametrize("repeated", [False, True])
def test_transport_gradients(f, repeated: bool) -> None:
    P = torch.eye(3, dtype=torch.float64) * 2 if repeated else batch(1, 3, 20.0)[0]
    P, X = P.clone().requires_grad_(), draw(4, 3, 3).requires_grad_()

    def g(P: Tensor, X: Tensor) -> Tensor:
        return f(0.5 * (P + P.mT), X)

    assert torch.autograd.gradcheck(g, (P, X)) and torch.autograd.gradgradcheck(g, (P, X))


@pytest.mark.parametrize(
    ("metric", "options"), [*CASES, ("ai", {"n_mean_steps": 1}), ("bw", {"n_mean_steps": 2})]
)
def test_gradients_through_the_batch(metric: str, options: dict) -> None:
    """Of the input, the bias and the deviation, by finite differences: the mean's own derivative is in it."""
    layer = made(2, metric, track_running_stats=False, **options)
    x = batch(3, 2, 5.0)
    assert layer.bias is not None and layer.weight is not None
    start = (x.requires_grad_(), layer.bias.detach().requires_grad_(), layer.weight.detach().requires_grad_())

    def call(x: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        x = 0.5 * (x + x.mT)
        return torch.func.functional_call(layer, {"bias": bias, "weight": weight}, (x,))

    assert torch.autograd.gradcheck(call, start)
    if (metric, options) in (("bw", {}), ("le", {})):
        assert torch.autograd.gradgradcheck(call, start)


def test_gradients_where_points_coincide() -> None:
    """Equal eigenvalues and equal points: finite, and those of the formula max(v, eps)."""
    one = torch.eye(2, dtype=torch.float64)
    for metric in ("le", "lc", "ai", "bw", "gbw"):
        layer = made(2, metric, bias=False, dispersion=False, track_running_stats=False)
        for x in (2 * batch(1, 2, 5.0).repeat(3, 1, 1), torch.stack([one, 3 * one])):
            x = x.clone().requires_grad_()
            assert torch.autograd.gradcheck(
                lambda x, f=layer: f(0.5 * (x + x.mT)), x, atol=2e-5, rtol=1e-4
            ), metric


def test_trained_matrix() -> None:
    start = batch(1, 3, seed=9)[0]
    layer = SPDBatchNorm(3, "gbw", M=start, learn_M=True).double()
    torch.testing.assert_close(layer.space().M, start)
    layer(batch()).square().sum().backward()
    assert (
        layer.log_M is not None
        and layer.log_M.grad is not None
        and float(layer.log_M.grad.abs().max()) > 1e-3
    )
    with torch.no_grad():
        layer.weight.fill_(0.2)
        layer.log_M.add_(0.1 * draw(3, 3))
    assert_bn(layer, batch(20))


@pytest.mark.parametrize("metric", ["ai", "bw"])
def test_a_fixed_number_of_steps(metric: str) -> None:
    """One step is the published formula and is biased, many reach the mean."""
    x = batch(30, 4, 30.0)
    exact = SPD(metric).mean(x, order=0)
    gaps = [float((stepped_mean(x, k, metric) - exact).norm()) for k in (0, 1, 3, 60)]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] and gaps[1] > 1e-6 and gaps[3] < 1e-10
    one = made(4, metric, n_mean_steps=1)
    with pytest.raises(AssertionError, match="mean"):
        assert_bn(one, x)
    assert_bn(made(4, metric, n_mean_steps=60), x)


def test_assert_bn_sees_what_is_wrong() -> None:
    class Late(SPDBatchNorm):
        """The variance before centring, as in the released code of GBWBN."""

        def _factor(self, v: Tensor) -> Tensor:
            return super()._factor(1.1 * v)

    with pytest.raises(AssertionError, match="variance"):
        assert_bn(Late(3, "bw", bias=False).double(), batch(30, 3, 3.0))

    class Ordered(SPDBatchNorm):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return torch.cat([y[:1] * (1 + 1e-6), y[1:]])

    with pytest.raises(AssertionError, match="order"):
        assert_bn(Ordered(3, "le").double(), batch())
    frozen = SPDBatchNorm(3, "le", track_running_stats=False).double()
    with pytest.raises(AssertionError, match="training changed none"):
        assert_bn(frozen, batch())
    broken = SPDBatchNorm(3, "le").double()
    broken.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(AssertionError, match="gradients"):
        assert_bn(broken, batch())


@pytest.mark.parametrize("metric", ["le", "lc", "ai", "bw", "gbw"])
def test_running_values(metric: str) -> None:
    """They follow geodesics of the metric with the momentum, and evaluation uses them alone."""
    layer = made(3, metric, momentum=0.3)
    space, want, v = layer.space(), torch.eye(3, dtype=torch.float64), 1.0
    for seed in range(3):
        x = batch(10, 3, 8.0, seed=seed)
        layer(x)
        mean = space.mean(x, order=0)
        want = space.geodesic(want, mean, 0.3)
        v = 0.7 * v + 0.3 * float(space.sqdist(mean.expand_as(x), x).mean())
        torch.testing.assert_close(layer.running_mean, want)
        assert float(layer.running_var) == pytest.approx(v, rel=1e-12)
    layer.eval()
    x = batch(5, 3)
    with torch.no_grad():
        together, one = layer(x), layer(x[2:3])
        torch.testing.assert_close(one[0], together[2])
    torch.testing.assert_close(layer.running_mean, want)
    other = made(3, metric, momentum=0.3)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(x), layer(x))


@pytest.mark.parametrize("metric", ["le", "ai", "bw", "gbw"])
def test_equivariance(metric: str) -> None:
    layer = SPDBatchNorm(4, metric, bias=False, track_running_stats=False).double()
    assert layer.symmetry.group == "O(4)*S_n"
    with torch.no_grad():
        layer.weight.fill_(0.4)
    q, x = torch.linalg.qr(draw(4, 4))[0], batch(9, 4)
    torch.testing.assert_close(layer(q @ x @ q.mT), q @ layer(x) @ q.mT, rtol=1e-11, atol=1e-12)


def test_declared_symmetry_follows_the_options() -> None:
    assert SPDBatchNorm(3, "lc", bias=False, track_running_stats=False).symmetry.group == "S_n"
    assert SPDBatchNorm(3, "ai").symmetry.group == "S_n"
    assert SPDBatchNorm(3, "ai", bias=False).symmetry.group == "O(3)*S_n"
    assert SPDBatchNorm(3, "ai", bias=False).eval().symmetry.group == "S_n"
    layer = SPDBatchNorm(3, "le")
    layer(batch(8).float())
    x = {"x": batch(6).float()}
    assert verify.check(layer, example=x, trials=4, stress=False).verdict == "EXACT"


def test_domain() -> None:
    """A deviation too large for the metric is capped and counted; outputs stay positive definite."""
    layer = SPDBatchNorm(3, "bw", bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(4.0)
    x = batch(20, 3, 30.0).requires_grad_()
    y = layer(x)
    y.sum().backward()
    first = int(layer.capped)
    assert first > 5 and float(torch.linalg.eigvalsh(y.detach()).min()) >= 0.999e-6
    assert bool(x.grad.isfinite().all())
    layer(x)
    assert int(layer.capped) == 2 * first and "capped" not in layer.state_dict()
    layer.eval()(x)
    assert int(layer.capped) == 2 * first


def test_samples_shapes_and_types() -> None:
    x = batch(12)
    for metric in ("le", "ai", "bw"):
        layer = made(3, metric, track_running_stats=False)
        want = layer(x)
        torch.testing.assert_close(layer(x.view(3, 4, 3, 3)), want.view(3, 4, 3, 3))
        torch.testing.assert_close(layer(x.mT.contiguous().mT), want)
        narrow = made(3, metric, track_running_stats=False).float()(x.float())
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.double(), want, rtol=1e-5, atol=1e-5)
        evaluated = made(3, metric).eval()
        assert evaluated(x[:0]).shape == (0, 3, 3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(layer(x), want)


@pytest.mark.parametrize("metric", ["ai", "bw"])
def test_compiled(metric: str) -> None:
    layer = made(3, metric, bias=metric != "ai").eval()
    x = batch(4)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(torch.func.vmap(layer)(x[:, None])[:, 0], layer(x))


def test_as_spd_learn() -> None:
    """The flat metrics of spd_learn 0.2, where it is installed; it adds 1e-5 to the variance."""
    spd_learn = pytest.importorskip("spd_learn.modules")
    x = batch(16, 3, 10.0)
    for metric, theirs in (("le", "LEM"), ("lc", "LCM")):
        peer = spd_learn.SPDBatchNormLie(3, metric=theirs).double().train()
        ours = made(3, metric, bias=False, dispersion=False)
        found, want = ours(x).detach(), peer(x).detach()
        torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-3)


def test_misuse() -> None:
    bad = batch()
    bad[2, 0, 0] = -5.0
    layer = SPDBatchNorm(3, "ai").double()
    for call, match in (
        (lambda: SPDBatchNorm(3, "airm"), "metric='airm'"),
        (lambda: SPDBatchNorm(0), "n = 0"),
        (lambda: SPDBatchNorm(3, theta=0.0), "theta=0.0"),
        (lambda: SPDBatchNorm(3, momentum=1.5), "momentum=1.5"),
        (lambda: SPDBatchNorm(3, n_mean_steps=0), "n_mean_steps = 0"),
        (lambda: SPDBatchNorm(3, "ai", beta=-1.0), "beta"),
        (lambda: SPDBatchNorm(3, "ai", M=torch.eye(3)), "M belongs to metric='gbw'"),
        (lambda: SPDBatchNorm(3, "gbw", M=torch.eye(4)), r"`M` has shape \(4, 4\)"),
        (lambda: SPDBatchNorm(3, "gbw", M=-torch.eye(3)), "`M` is not positive definite"),
        (lambda: layer(batch(4, 2)), r"shape \(4, 2, 2\)"),
        (lambda: layer(batch().float()), "float32"),
        (lambda: layer(batch()[:0]), "no matrices to average over"),
        (lambda: layer(bad), "positive definite"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()


@pytest.mark.parametrize("metric", ["ai", "bw", "gbw"])
def test_float32_of_large_condition(metric: str) -> None:
    """Products of roots have the square of the condition, 1e10 here, which float32 does not hold."""
    x = batch(20, 4, 1e5)
    found = SPDBatchNorm(4, metric, bias=False)
    wide = SPDBatchNorm(4, metric, bias=False).double()
    with torch.no_grad():
        found.weight.fill_(0.2)
        wide.weight.fill_(0.2)
    torch.testing.assert_close(found(x.float()).double(), wide(x.float().double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "ai", "theta": float("nan")},
        {"metric": "bw", "theta": float("inf")},
        {"metric": "bw", "alpha": -5.0},
        {"metric": "lc", "beta": 7.0},
    ],
)
def test_numbers_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="SPDBatchNorm"):
        SPDBatchNorm(3, **options)


def test_parameters_have_one_type() -> None:
    layer = SPDBatchNorm(3, "gbw", M=2 * torch.eye(3, dtype=torch.float64), learn_M=True)
    assert {p.dtype for p in layer.parameters()} == {torch.get_default_dtype()}
