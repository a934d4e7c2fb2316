"""BilabelledLinear: matrices of its maps, one set of weights for graphs of all sizes, masks, symmetry, misuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geomlib import InvalidInput
from geomlib.algebra.diagrams.bilabelled import homomorphism_matrix
from geomlib.layers import BilabelledLinear
from geomlib.verify import check

ORDERS = [(1, 1, 3), (0, 1, 3), (1, 0, 3), (2, 1, 3), (1, 2, 2), (2, 2, 2), (0, 0, 1)]


def graphs(batch: int, n: int, seed: int = 0) -> Tensor:
    a = (torch.rand(batch, n, n, generator=torch.Generator().manual_seed(seed)) < 0.5).double().triu(1)
    return a + a.mT


def made(k: int, l: int, v: int, **options) -> BilabelledLinear:
    torch.manual_seed(0)
    layer = BilabelledLinear(k, l, 2, 3, vertices=v, **options).double()
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("k", "l", "v"), ORDERS)
@pytest.mark.parametrize("normalization", ["mean", "sum"])
def test_the_sum_of_its_matrices(k: int, l: int, v: int, normalization: str) -> None:
    layer, n = made(k, l, v, normalization=normalization), 4
    a, x = graphs(2, n), torch.randn(2, 2, *[n] * k, dtype=torch.float64)
    mean = normalization == "mean"
    for b in range(2):
        y = torch.zeros(3, n**l, dtype=torch.float64)
        for h, w in zip(layer.graphs, layer.weight, strict=True):
            y = y + w @ x[b].reshape(2, -1) @ homomorphism_matrix(h, a[b]).T / (n**h.summed if mean else 1)
        for h, w in zip(layer.shifts, layer.bias, strict=True):
            y = y + w[:, None] * homomorphism_matrix(h, a[b]).T / (n**h.summed if mean else 1)
        close(layer(x, a)[b].reshape(3, -1), y)
    close(layer(x, a[0])[0], layer(x, a)[0])


@pytest.mark.parametrize(("k", "l", "v"), [(1, 1, 3), (2, 1, 3), (1, 2, 2), (2, 0, 3)])
def test_one_set_of_weights_and_padded_batches(k: int, l: int, v: int) -> None:
    layer, sizes, n = made(k, l, v), [3, 5, 4], 6
    mask = torch.arange(n) < torch.tensor(sizes)[:, None]
    a, x = torch.full((3, n, n), 7.0).double(), torch.full((3, 2, *[n] * k), torch.nan).double()
    alone = []
    for i, m in enumerate(sizes):
        a[i, :m, :m] = graphs(1, m, i)[0]
        x[(i, slice(None), *[slice(m)] * k)] = torch.randn(2, *[m] * k, dtype=torch.float64)
        alone.append(layer(x[(slice(i, i + 1), slice(None), *[slice(m)] * k)], a[i, :m, :m])[0])
    y = layer(x, a, mask)
    assert bool(y.isfinite().all())
    for i, m in enumerate(sizes):
        inside = (i, slice(None), *[slice(m)] * l)
        close(y[inside], alone[i])
        y[inside] = 0.0
    assert not bool(y.any())


@pytest.mark.parametrize(("k", "l", "v"), [(1, 1, 3), (2, 1, 3), (0, 2, 2), (2, 0, 3)])
def test_symmetry(k: int, l: int, v: int) -> None:
    g = torch.Generator().manual_seed(0)
    inputs = {"x": torch.randn(3, 2, *[5] * k, generator=g), "adjacency": graphs(3, 5).float()}
    report = check(made(k, l, v).float(), example=inputs, trials=6, stress=False)
    assert report.verdict == "EXACT", report


def test_derivatives_and_small_inputs() -> None:
    layer = made(1, 1, 2)
    x, a = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True), graphs(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x, a))
    assert torch.autograd.gradgradcheck(layer, (x, a))
    assert layer(x[:0], a[:0]).shape == (0, 3, 3)
    close(layer(x.mT.contiguous().mT, a), layer(x, a))
    assert bool(layer(x[..., :1] * 1e150, a[:, :1, :1]).isfinite().all())
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    close(compiled(x.detach(), a.detach()), layer(x, a))


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: BilabelledLinear(1, 1, 2, 2, vertices=0), "Raise `vertices`"),
        (lambda: BilabelledLinear(1, 1, 0, 2), "in_channels"),
        (lambda: BilabelledLinear(1, 1, 2, 2, normalization="unit"), "'mean' or 'sum'"),
        (
            lambda: made(1, 1, 2)(torch.ones(1, 2, 3).double(), torch.ones(4, 4).double()),
            r"expected \(3, 3\)",
        ),
        (lambda: made(1, 1, 2)(torch.ones(1, 2, 3).double(), torch.ones(3, 3)), r"adjacency.to\(x\)"),
        (
            lambda: made(1, 1, 2)(torch.ones(1, 2, 3).double(), torch.ones(3, 3).double(), torch.ones(1, 3)),
            "bool",
        ),
    ],
)
def test_misuse(make, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        make()
