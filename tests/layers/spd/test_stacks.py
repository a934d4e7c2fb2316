"""Stacks of layers on SPD matrices: charts are never left, and everything torch does to modules works."""

from __future__ import annotations

import copy
import io
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from geomlib.kernels.dispatch import use_backend
from geomlib.layers import (
    SPDFC,
    SPDMLR,
    BiMap,
    GyroScale,
    GyroTranslate,
    LogEig,
    ReEig,
    SPDConv,
    SPDResidual,
)
from geomlib.testing import LayerSuite
from tests.layers.spd.oracles import spd


class Decompositions(TorchDispatchMode):
    """Counts eigendecompositions and Cholesky factorisations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("_linalg_eigh", "linalg_cholesky_ex", "linalg_eigh"):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def stack(metric: str, charts: bool) -> nn.Sequential:
    """Return five layers of one metric; with charts only the first one leaves the matrices."""
    torch.manual_seed(0)
    layers = [SPDFC(5, 4, metric, out_chart=charts)]
    layers += [SPDFC(4, 4, metric, in_chart=charts, out_chart=charts)]
    layers += [GyroTranslate(4, metric, in_chart=charts, out_chart=charts)]
    layers += [GyroScale(4, metric, in_chart=charts, out_chart=charts)]
    if metric == "le":
        layers += [SPDResidual(4, metric, in_chart=charts, out_chart=charts)]
    net = nn.Sequential(*layers, SPDMLR(4, 3, metric, in_chart=charts)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


@pytest.mark.parametrize(("metric", "eigen", "cholesky"), [("le", 1, 0), ("lc", 0, 2)])
def test_a_stack_of_flat_layers_leaves_its_chart_once(metric: str, eigen: int, cholesky: int) -> None:
    """One logarithm in all, or one Cholesky factor and one that checks the input; none backwards; the same numbers."""
    x, inside, outside = spd(6, 5), stack(metric, True), stack(metric, False)
    with use_backend("torch"):
        with Decompositions() as count:
            y = inside(x)
            y.square().sum().backward()
        with Decompositions() as more:
            z = outside(x)
    assert count.seen["_linalg_eigh"] + count.seen["linalg_eigh"] == eigen
    assert count.seen["linalg_cholesky_ex"] == cholesky
    assert sum(more.seen.values()) > 4 * (eigen + cholesky)  # each layer by itself
    torch.testing.assert_close(y, z, rtol=1e-10, atol=1e-10)


def test_sequences_stay_in_the_chart_too() -> None:
    first = SPDConv(3, 4, 2, 3, 2, out_chart=True)
    net = nn.Sequential(first, SPDConv(4, 2, 3, 1, 3, in_chart=True, out_chart=True)).double()
    x = spd(2, 2, 6, 3)
    with use_backend("torch"), Decompositions() as count:
        y = net(x)
    assert y.shape == (2, 1, 3, 2, 2) and count.seen["_linalg_eigh"] + count.seen["linalg_eigh"] == 1


class Network(nn.Module):
    """All layers in one."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(BiMap(6, 5), ReEig(5, 0.3), SPDFC(5, 4, "ai"), GyroTranslate(4, "ai"))
        self.middle = nn.Sequential(SPDResidual(4), GyroScale(4, "le"), SPDFC(4, 3, "bw"), GyroScale(3, "lc"))
        self.conv = SPDConv(3, 2, 1, 2, 1, "lc")
        self.logits, self.log = SPDMLR(3, 2, "bw"), LogEig(2, vector=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # (..., T, 6, 6)
        y = self.middle(self.head(x))
        return self.logits(y), self.log(self.conv(y.unsqueeze(-4)))


def network() -> Network:
    torch.manual_seed(0)
    net = Network()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.double()


def gradients(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    out = net(x)
    return list(torch.autograd.grad(sum(y.square().sum() for y in out), [x, *net.parameters()]))


class Small(nn.Sequential):
    """What SPD networks in the literature are made of."""

    def __init__(self) -> None:
        super().__init__(BiMap(4, 3), ReEig(3, 0.3), SPDMLR(3, 2, "ai"))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (super().forward(x),)


@pytest.mark.parametrize(("make", "n"), [(Small, 4), pytest.param(network, 6, marks=pytest.mark.slow)])
def test_compiles_into_one_graph(make: type, n: int) -> None:
    net, x = make().double(), spd(2, 3, n).requires_grad_()
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(x), net(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for a, b in zip(gradients(compiled, x), gradients(net, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_export_with_a_free_batch_size() -> None:
    net, x = network(), spd(4, 3, 6)
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for a, b in zip(exported(x[:2]), net(x[:2]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_forward_mode() -> None:
    net, x = network(), spd(2, 3, 6)
    v = spd(2, 3, 6, seed=1)
    _, slopes = torch.func.jvp(net, (x,), (v,))
    h = 1e-6
    with torch.no_grad():
        pairs = zip(net(x + h * v), net(x - h * v), strict=True)
    for found, (more, less) in zip(slopes, pairs, strict=True):
        torch.testing.assert_close(found, (more - less) / (2 * h), rtol=1e-6, atol=1e-7)


def test_copies_files_and_types() -> None:
    net, x = network(), spd(2, 3, 6)
    want = net(x)
    file, other, twin = io.BytesIO(), Network().double(), copy.deepcopy(net)
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert not list(net.buffers())  # constants are made in the type that is asked for
    for found in (other(x), twin(x)):
        assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    for a, b in zip(twin.float()(x.float()), want, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = twin(x.float())
    for a, b in zip(low, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
    for a, b in zip(torch.func.vmap(net)(x), want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_everything_trains_together() -> None:
    net = network()
    x = torch.cat([spd(20, 1, 6), spd(20, 1, 6, seed=1, low=1.0)])
    label = torch.arange(40) // 20
    step = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.01)
    losses = []
    for _ in range(15):
        step.zero_grad()
        logits, vectors = net(x)
        loss = nn.functional.cross_entropy(logits[:, 0] + vectors.flatten(1)[:, :2], label)
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


ALL = [BiMap, ReEig, LogEig, SPDMLR, SPDFC, SPDConv, SPDResidual, GyroTranslate, GyroScale]
TESTS = [name for name in dir(LayerSuite) if name.startswith("test_")]


@pytest.mark.slow
@pytest.mark.parametrize("layer", ALL)
@pytest.mark.parametrize("name", TESTS)
def test_the_suite_of_layers(layer: type, name: str) -> None:
    # What is compiled is plain torch: beside other kernels it differs by more than the rounding of one algorithm.
    with use_backend("torch" if name == "test_compile" else "auto"):
        getattr(type("Suite", (LayerSuite,), {"layer": layer})(), name)()
