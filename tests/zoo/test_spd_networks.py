"""SPDNet and the gyro networks: formulas by hand, charts, every head and metric, gradients, training, misuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geomlib import InvalidInput, create_model, verify
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import primitives, symfun
from geomlib.layers import LogEig, ReEig
from geomlib.layers._spd import example_spd
from geomlib.zoo.gyro_recurrent import GyroRecurrent, GyroRecurrentCell
from geomlib.zoo.gyro_spdnet import GyroSPDNet
from geomlib.zoo.spdnet import HEADS, NORMS, SPDNet

SMALL = {"n": 4, "windows": 3, "parts": 2, "classes": 3, "reduced": 3, "channels": 2}
METRICS = ("le", "lc", "ai")


def shaken(model: nn.Module, size: float = 0.2) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator))
    return model.double()


def spd(*shape: int) -> torch.Tensor:
    return example_spd(torch.Generator().manual_seed(2), shape[-1], *shape[:-2]).double()


def test_spdnet_is_its_layers():
    """Congruence, rectifier, logarithm, linear layer, in turn: the fused end gives what the layers give."""
    model = shaken(SPDNet(6, (5, 3), 4, floor=0.6))
    x = y = spd(5, 6, 6)
    felt = []
    for congruence in model.maps:
        w = congruence.frame()
        torch.testing.assert_close(w @ w.mT, torch.eye(len(w)).double(), rtol=0, atol=1e-12)
        y = w @ y @ w.mT
        lam, v = torch.linalg.eigh(y)
        felt.append(bool((lam < 0.6).any()))
        y = (v * lam.clamp_min(0.6)[:, None]) @ v.mT
    assert any(felt)
    lam, v = torch.linalg.eigh(y)
    log = (v * lam.log()[:, None]) @ v.mT
    i, j = torch.triu_indices(3, 3)
    vector = log[:, i, j] * (1 + (2**0.5 - 1) * (i != j).double())
    torch.testing.assert_close(model(x), model.head(vector), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("relative", [False, True])
def test_one_function_is_two_layers(relative):
    model = shaken(SPDNet(6, (3,), 4, floor=0.3, relative=relative))
    x = spd(5, 6, 6)
    layers = nn.Sequential(
        model.maps[0], ReEig(3, 0.3, relative=relative), LogEig(3, vector=True), model.head
    )
    torch.testing.assert_close(model(x), layers(x), rtol=1e-12, atol=1e-12)
    one, two = (torch.autograd.grad(f(x).square().sum(), list(model.parameters())) for f in (model, layers))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("head", HEADS)
def test_heads(head):
    model = shaken(
        SPDNet(5, (3,), 4, head=head, floor=0.05, theta=0.5 if head in ("bw", "euclidean") else 1.0)
    )
    x = spd(5, 5, 5)
    assert model(x).shape == (5, 4)
    assert verify.check(model, example={"cov": x}, trials=3, stress=False).verdict == "EXACT"
    if head in ("ai", "lc", "le"):
        bare = shaken(SPDNet(3, (), 4, head=head))  # no congruence: the classifier alone
        y = spd(5, 3, 3)
        space, planes = SPD(head), bare.head
        want = torch.stack(
            [space.logits(y, p[0], a[0]) for p, a in zip(planes.points(), _normals(planes), strict=True)], -1
        )
        torch.testing.assert_close(bare(y), want, rtol=1e-10, atol=1e-11)


def _normals(planes: nn.Module) -> torch.Tensor:
    """Return the symmetric tangents of the hyperplanes at the identity."""
    from geomlib.algebra.manifolds.vech import from_triangle, unvech

    if planes.metric != "lc":
        return unvech(planes.weight)
    lower = from_triangle(planes.weight).tril()
    # Of A the logit of "lc" reads [A] + D(A) / 2: the coordinates of the chart.
    return lower + lower.mT


@pytest.mark.parametrize("bn", NORMS)
def test_normalised(bn):
    model = shaken(SPDNet(5, (3,), 4, bn=bn), 0.05)
    x = spd(20, 5, 5)
    model.train()
    model(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    torch.testing.assert_close(model(x)[3:5], model(x[3:5]), rtol=1e-10, atol=1e-11)


def test_flat_networks_take_one_chart(monkeypatch):
    """One decomposition, of the small matrices after the congruence, for the log-Euclidean ones; none for Cholesky."""
    calls = []
    for name in ("eigh", "forward", "whole"):
        found = getattr(primitives, name)
        monkeypatch.setattr(
            primitives, name, lambda *a, _f=found, _n=name: calls.append((_n, a[0].shape)) or _f(*a)
        )
    x = spd(5, 3, 2, 4, 4)
    for kind in (GyroSPDNet, GyroRecurrent):
        for metric, sizes in (("le", {(5, 3, 2, 3, 3)}), ("lc", set())):
            calls.clear()
            shaken(kind(metric=metric, **SMALL))(x)
            found = [(n, tuple(shape)) for n, shape in calls if len(shape) == 5]  # others are of the frames
            names = [n for n, _ in found]
            assert {shape for _, shape in found} == sizes and len(set(names)) == len(names)


@pytest.mark.parametrize("metric", METRICS)
def test_gyro_spdnet_by_its_definition(metric):
    """Translation, scaling, convolution and hyperplanes as gyro operations of `SPD`, one sample at a time."""
    model = shaken(GyroSPDNet(metric=metric, hidden=2, **SMALL))
    x = spd(2, 3, 2, 4, 4)
    space = SPD(metric)
    reduced = model.congruence(x)  # (B, windows, channels, d, d)
    moved = space.add(model.translate.point(), reduced)
    tangent = space.chart(moved) if metric != "ai" else symfun(moved, "log")
    scaled = model.scale.factors() * tangent
    points = space.unchart(scaled) if metric != "ai" else symfun(scaled, "exp")
    flat = metric != "ai"
    conv, head = model.conv, model.head
    conv.in_chart = conv.out_chart = head.in_chart = False
    want = head.values(conv(points.transpose(1, 2)).flatten(1, 2))
    conv.in_chart = conv.out_chart = head.in_chart = flat
    torch.testing.assert_close(model(x), want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_the_cell_is_its_gyro_formula(metric):
    """In coordinates the cell does what gyro operations do on points."""
    cell = shaken(GyroRecurrentCell(3, 2, metric))
    space = SPD(metric)
    x, h = spd(5, 2, 3, 3), spd(4, 2, 3, 3)[:1].expand(5, -1, -1, -1)
    point = space.unchart if metric != "ai" else (lambda s: symfun(s, "exp"))
    u, s = cell.entered(x), cell.entered(h)
    found = point(cell(cell.input_scale(u), cell.vector(u), s))
    gates = cell.gates(torch.cat([cell.vector(u), cell.vector(s)], -1)).sigmoid()
    z, r = gates[:, :2], gates[:, 2:]
    kept = point(cell.state_scale.factors() * cell.entered(space.scale(h, r)))
    seen = point(cell.input_scale.factors() * u)
    step = point(cell.translate.step())
    candidate = point(cell.entered(space.add(step, space.add(kept, seen))).asinh())
    line = space.add(h, space.scale(space.add(space.neg(h), candidate), z))
    torch.testing.assert_close(found, line, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found, space.geodesic(h, candidate, z), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", [GyroSPDNet, GyroRecurrent])
@pytest.mark.parametrize("metric", METRICS)
def test_gyro_networks_are_exact(kind, metric):
    model = shaken(kind(metric=metric, **SMALL))
    x = spd(4, 3, 2, 4, 4)
    assert model(x).shape == (4, 3)
    assert verify.check(model, example={"cov": x}, trials=3, stress=False).verdict == "EXACT"
    assert model(x[:0]).shape == (0, 3)
    single = model.float()(x[:1].float())
    torch.testing.assert_close(single.double(), model.double()(x[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_order_of_time_matters_to_the_recurrence(metric):
    model = shaken(GyroRecurrent(metric=metric, **SMALL))
    x = spd(2, 3, 2, 4, 4)
    assert float((model(x) - model(x.flip(1))).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    "model",
    [SPDNet(4, (3,), 3, head="lc"), GyroSPDNet(metric="ai", **SMALL), GyroRecurrent(metric="le", **SMALL)],
)
def test_config_builds_the_same_model(model):
    again = create_model(**model.config)
    again.load_state_dict(model.state_dict())
    x = (spd(4, 4, 4) if isinstance(model, SPDNet) else spd(4, 3, 2, 4, 4)).float()
    assert torch.equal(model(x), again(x))


def test_training_tells_three_kinds_apart():
    """Matrices with one large direction among three, turned by a common rotation: told apart after a few steps."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    label = torch.arange(30) % 3
    scales = (
        torch.ones(30, 4) + 3 * nn.functional.one_hot(label, 4) + 0.3 * torch.rand(30, 4, generator=generator)
    )
    cov = (turn * scales[:, None]) @ turn.mT
    sequence = cov[:, None, None].expand(30, 3, 2, 4, 4)
    torch.manual_seed(0)
    for model, x in (
        (SPDNet(4, (4,), 3), cov),
        (GyroSPDNet(metric="le", **SMALL), sequence),
        (GyroRecurrent(**SMALL), sequence),
    ):
        optimizer = torch.optim.Adam(model.parameters(), 2e-2)
        for _ in range(40):
            loss = nn.functional.cross_entropy(model(x), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert float(loss.detach()) < 0.3 and bool((model(x).argmax(-1) == label).all())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SPDNet, GyroSPDNet, GyroRecurrent])
def test_compiled_and_mapped(kind):
    model, inputs = kind.example(torch.Generator().manual_seed(0))
    x = inputs["cov"]
    want = model.eval()(x)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), want, rtol=1e-5, atol=1e-6)
    compiled(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    mapped = torch.func.vmap(lambda one: torch.func.functional_call(model, values, (one[None],))[0])
    torch.testing.assert_close(mapped(x), want, rtol=1e-5, atol=1e-6)


def test_misuse():
    for options, match in (
        ({"head": "log"}, "head='log'.*'logeig'"),
        ({"bn": "aii"}, "bn='aii'.*'ai'"),
        ({"dims": (30, 40)}, "must not grow"),
        ({"floor": 0.0}, "floor"),
        ({"classes": 0}, "classes"),
    ):
        with pytest.raises(InvalidInput, match=match):
            SPDNet(**options)
    with pytest.raises(InvalidInput, match="kernel_size=9"):
        GyroSPDNet(kernel_size=9)
    for kind in (GyroSPDNet, GyroRecurrent):
        with pytest.raises(InvalidInput, match="metric"):
            kind(metric="bw")
        with pytest.raises(
            InvalidInput, match=r"`cov` has shape \(2, 4, 4\), expected \(samples, 3, 2, 4, 4\)"
        ):
            kind(**SMALL)(torch.eye(4).expand(2, 4, 4))
    model = SPDNet(4, (3,), 3)
    with pytest.raises(
        InvalidInput, match=r"SPDNet: `cov` has shape \(2, 5, 5\), expected \(samples, 4, 4\)"
    ):
        model(torch.eye(5).expand(2, 5, 5))
    with pytest.raises(InvalidInput, match=r"float64.*model.to"):
        model(torch.eye(4).double()[None])
    bad = torch.eye(4).expand(3, 4, 4).clone()
    bad[1, 2, 2] = torch.nan
    with pytest.raises(InvalidInput, match=r"\[1\]"):
        model(bad)
    with pytest.raises(InvalidInput, match="positive definite"):
        SPDNet(4, (), 3, head="ai")(torch.diag(torch.tensor([1.0, 1.0, 1.0, -1.0]))[None])
