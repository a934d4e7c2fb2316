"""SPDFC and SPDConv: units beside SciPy, an orthonormal basis at the identity, convolution as a layer on windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from geomlib import InvalidInput
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.vech import unvech
from geomlib.layers import SPDFC, SPDMLR, SPDConv
from tests.layers.spd.oracles import logit, power, spd

OPTIONS = [
    ("le", 1.0, 1.0, 0.0),
    ("le", 1.0, 2.0, -0.3),
    ("ai", 1.0, 1.0, 0.0),
    ("ai", 0.5, 0.5, 0.4),
    ("lc", 1.0, 1.0, 0.0),
    ("lc", -0.5, 1.0, 0.0),
    ("bw", 1.0, 1.0, 0.0),
    ("bw", 0.5, 1.0, 0.0),
]


def shaken(layer):
    torch.nn.init.normal_(layer.shift, std=0.3)
    return layer.double()


def output(metric: str, v: np.ndarray, m: int, theta: float, alpha: float, beta: float) -> np.ndarray:
    """Return the matrix of coordinates v_ij, i <= j row by row, by the formulas of the specification."""
    V = np.zeros((m, m))
    i, j = np.triu_indices(m)
    if metric == "lc":
        V[j, i] = v
        low = np.tril(theta * V, -1) + np.diag(np.exp(theta * np.diag(V)))
        return power(low @ low.T, 1 / theta)
    if metric == "bw":
        V[i, j] = V[j, i] = v * np.where(i == j, 2.0, np.sqrt(2.0))
        return power(np.eye(m) + theta * V / 2, 2 / theta)
    mu = (1 / np.sqrt(alpha + m * beta) - 1 / np.sqrt(alpha)) / m
    V[i, j] = V[j, i] = v / np.where(i == j, np.sqrt(alpha), np.sqrt(2 * alpha))
    return expm(V + mu * v[i == j].sum() * np.eye(m))


@pytest.mark.parametrize(("metric", "theta", "alpha", "beta"), OPTIONS)
def test_the_formulas(metric: str, theta: float, alpha: float, beta: float) -> None:
    options = {"theta": theta, "alpha": alpha, "beta": beta}
    layer, x = shaken(SPDFC(3, 2, metric, **options)), spd(4, 3)
    units = SPDMLR(3, 3, metric, **options).double()
    units.load_state_dict(layer.state_dict())
    y, v = layer(x), units(x).detach()
    for found, coordinates in zip(y.detach(), v, strict=True):
        want = output(metric, coordinates.numpy(), 2, theta, alpha, beta)
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-10, atol=1e-10)
    assert bool((torch.linalg.eigvalsh(y) > 0).all())
    if metric != "bw" or theta == 1.0:  # the basis is orthonormal: coordinates are as long as the logarithm
        space = SPD(metric, **options)
        one = torch.eye(2, dtype=torch.float64)
        torch.testing.assert_close(space.sqdist(one, y), v.square().sum(-1), rtol=1e-9, atol=1e-9)


def test_the_end_of_an_incomplete_metric() -> None:
    """Where I + V/2 would leave the positive matrices, its eigenvalues stay at the floor."""
    layer = SPDFC(2, 2, "bw", floor=0.01).double()
    with torch.no_grad():
        layer.weight.mul_(100.0)
    y = layer(spd(8, 2))
    w = torch.linalg.eigvalsh(y.detach())
    assert float(w.min()) >= 0.01**2 * (1 - 1e-9) and bool((w.amin(-1) < 0.0101**2).any())


@pytest.mark.parametrize("metric", ["le", "ai", "lc", "bw"])
def test_derivatives(metric: str) -> None:
    layer = shaken(SPDFC(2, 2, metric))
    x = torch.stack([spd(2), 2.0 * torch.eye(2, dtype=torch.float64)]).requires_grad_()

    def f(x, weight, shift):
        return torch.func.functional_call(layer, {"weight": weight, "shift": shift}, (x,))

    assert torch.autograd.gradcheck(f, (x, layer.weight, layer.shift))
    assert torch.autograd.gradgradcheck(f, (x, layer.weight, layer.shift))


@pytest.mark.parametrize("metric", ["le", "ai", "lc", "bw"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 2, 1), (2, 1, 2)])
def test_a_convolution_is_a_sum_over_its_windows(metric: str, kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    layer = shaken(SPDConv(3, 2, 2, 2, kernel, metric, stride=stride, padding=padding))
    x = spd(2, 2, 5, 3)
    y = layer(x)
    points, directions = layer.points().detach(), layer.weight.detach()
    ends = torch.eye(3, dtype=torch.float64).expand(2, 2, padding, 3, 3)
    padded = torch.cat([ends, x, ends], dim=2)
    steps = (5 + 2 * padding - kernel) // stride + 1
    assert y.shape == (2, 2, steps, 2, 2)
    i, j = torch.triu_indices(3, 3)
    for b, o, t in [(0, 0, 0), (1, 1, steps - 1)]:
        v = []
        for u in range(3 * o, 3 * o + 3):
            total = 0.0
            for c in range(2):
                for k in range(kernel):
                    a = directions[u, c * kernel + k]
                    normal = torch.zeros(3, 3, dtype=torch.float64)
                    normal[j, i] = a
                    normal = normal + normal.mT if metric == "lc" else unvech(a)
                    total += logit(metric, padded[b, c, stride * t + k], points[u, c * kernel + k], normal)
            v.append(total)
        want = output(metric, np.array(v), 2, 1.0, 1.0, 0.0)
        np.testing.assert_allclose(y[b, o, t].detach().numpy(), want, rtol=1e-9, atol=1e-9)


def test_one_number_moves_all_points_of_a_unit() -> None:
    layer = shaken(SPDConv(2, 2, 3, 1, 2, "ai"))
    logs = SPD("le").chart(layer.points())
    lengths = logs.square().sum((-3, -2, -1)).sqrt()
    torch.testing.assert_close(lengths, layer.shift.abs(), rtol=1e-10, atol=1e-10)
    assert sum(p.numel() for p in layer.parameters()) == 3 * (3 * 2 * 3 + 1)


@pytest.mark.parametrize("metric", ["le", "ai", "lc", "bw"])
def test_batches_types_and_transforms(metric: str) -> None:
    layer, x = shaken(SPDConv(2, 3, 2, 2, 2, metric)), spd(3, 2, 4, 2)
    y = layer(x)
    torch.testing.assert_close(layer(x[1]), y[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x[None])[0], y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(layer)(x), y, rtol=1e-12, atol=1e-12)
    assert layer(x[:0]).shape == (0, 2, 3, 3, 3)
    narrow = layer.float()(x.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), y, rtol=2e-5, atol=2e-5)


def test_what_they_refuse() -> None:
    with pytest.raises(InvalidInput, match="'euclidean', expected one of"):
        SPDFC(3, 2, "euclidean")
    with pytest.raises(InvalidInput, match="out_chart=True needs a flat metric"):
        SPDFC(3, 2, "bw", out_chart=True)
    with pytest.raises(InvalidInput, match="no scalar product for m = 5"):
        SPDFC(2, 5, "le", beta=-0.3)
    with pytest.raises(InvalidInput, match="floor"):
        SPDFC(3, 2, "bw", floor=0.0)
    with pytest.raises(InvalidInput, match="stride = 0"):
        SPDConv(3, 2, 1, 1, 1, stride=0)
    with pytest.raises(InvalidInput, match="padding = -1"):
        SPDConv(3, 2, 1, 1, 1, padding=-1)
    layer = SPDConv(3, 2, 2, 1, 4).double()
    with pytest.raises(InvalidInput, match="3 steps of time, fewer than kernel_size = 4"):
        layer(spd(2, 3, 3))
    with pytest.raises(InvalidInput, match=r"expected \(..., 2, T, 3, 3\)"):
        layer(spd(3, 5, 3))
