"""Layers on subspaces: their formulas by dense matrices, what normalisation promises, derivatives, compilation, misuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from geomlib import InvalidInput
from geomlib.algebra.manifolds.grassmann import Grassmann, block, block_exp, dominant_frame, projector
from geomlib.layers import GrBatchNorm, GrFC, GrMLR, GrPool, GrScale, GrTranslate
from geomlib.layers._grassmann import example_frames

N, P = 6, 2
SPACE = Grassmann(N, P)


def inputs(*lead: int, seed: int = 0, spread: float = 0.3, n: int = N, p: int = P) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(example_frames(g, *lead, n, p, spread=spread).double())[0]


def shaken(layer: torch.nn.Module, scale: float = 0.4) -> torch.nn.Module:
    with torch.no_grad():
        for w in layer.parameters():
            w.copy_(scale * torch.randn(w.shape))
    return layer.double()


def close(a: Tensor, b: Tensor, bound: float = 1e-12) -> None:
    assert a.shape == b.shape and float((a - b).detach().abs().max()) < bound


def test_translation_is_the_gyrosum():
    layer, x = shaken(GrTranslate(3, N, P), 0.25), inputs(4, 3)
    want = SPACE.add(layer.points().expand(4, -1, -1, -1), x)
    close(layer(x), want)
    close(layer(x[:, None])[:, 0], layer(x))  # any axes before the channels


def test_scaling():
    x = inputs(4, 3)
    layer = GrScale(3, N, P, elementwise=False).double()
    close(projector(layer(x)), projector(x))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0, 1.3])[:, None, None])
    for c, t in enumerate((0.5, -1.0, 1.3)):
        close(projector(layer(x)[:, c]), projector(SPACE.scale(x[:, c], t)), 1e-6 if t == 1.3 else 1e-12)
    free = shaken(GrScale(3, N, P))
    close(block(free(x)), free.weight * block(x))


@pytest.mark.parametrize(("size", "n", "p"), [(2, 9, 2), (4, 6, 2), (2, 9, 3), (3, 6, 1)])
def test_pooling_is_the_mean_projector(size, n, p):
    x = inputs(5, 2 * size, n=n, p=2)
    mean = projector(x).unflatten(1, (2, size)).mean(2)
    close(projector(GrPool(n, 2, size, p)(x)), projector(dominant_frame(mean, p)), 1e-11)
    close(GrPool(n, 2, size, p, view="proj")(x), projector(GrPool(n, 2, size, p)(x)), 1e-12)
    turns = torch.linalg.qr(torch.randn(5, 2 * size, 2, 2, dtype=torch.float64))[
        0
    ]  # other frames of the same subspaces
    close(GrPool(n, 2, size, p, view="proj")(x @ turns), projector(GrPool(n, 2, size, p)(x)), 1e-11)


def test_logits():
    x = inputs(5, 3)
    linear = shaken(GrMLR(4, 3, N, P))
    want = torch.einsum("bcij,kcij->bk", projector(x), linear.weight) + linear.bias
    close(linear(x), want)
    gyro = shaken(GrMLR(4, 3, N, P, "gyro"), 0.2)
    want = torch.zeros(5, 4, dtype=torch.float64)
    for k in range(4):
        for c in range(3):
            moved = SPACE.add(SPACE.neg(block_exp(gyro.bias[k, c])).expand(5, -1, -1), x[:, c])
            want[:, k] += (block(moved) * gyro.weight[k, c]).sum((-2, -1))
    close(gyro(x), want)
    # The formula of Riemannian logits, with a tangent that is carried to the point.
    P0 = block_exp(gyro.bias[0, 0])
    lift = torch.cat([torch.zeros(P, P), gyro.weight[0, 0]])
    carried = SPACE.transport(torch.eye(N, P).double(), P0, lift)
    one = GrMLR(1, 1, N, P, "gyro").double()
    with torch.no_grad():
        one.bias.copy_(gyro.bias[:1, :1])
        one.weight.copy_(gyro.weight[:1, :1])
    close(one(x[:, :1])[:, 0], SPACE.inner(P0, SPACE.log(P0.expand(5, -1, -1), x[:, 0]), carried))


def test_fully_connected():
    layer, x = shaken(GrFC(3, 2, N, P, 5, 2), 0.2), inputs(4, 3)
    head = GrMLR(2 * 3 * 2, 3, N, P, "gyro").double()
    head.load_state_dict(layer.state_dict())
    y = layer(x)
    assert y.shape == (4, 2, 5, 2)
    close(block(y), head(x).view(4, 2, 3, 2))


@pytest.mark.parametrize("lead", [(40,), (8, 5)])
@pytest.mark.parametrize("spread", [0.05, 0.25])
def test_normalisation_gives_the_mean_and_the_variance_it_promises(lead, spread):
    layer = GrBatchNorm(2, N, P, eps=0.0, iters=40).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.3, 0.5]))
        layer.bias.normal_(std=0.4)
    x = GrTranslate(2, N, P).double()(inputs(*lead, 2, spread=spread))
    y = layer(x).detach().flatten(0, -4)
    for c in range(2):
        bias = block_exp(layer.bias[c]).detach()
        mean = SPACE.mean(y[:, c], iters=60)
        assert float(SPACE.dist(mean, bias)) < 1e-10
        variance = SPACE.sqdist(bias.expand_as(y[:, c]), y[:, c]).mean()
        assert abs(float(variance) - float(layer.weight[c]) ** 2) < 1e-10


def test_running_statistics():
    """With momentum 1 they are those of the batch, and evaluation repeats training; they stay frames for ever."""
    layer, x = shaken(GrBatchNorm(2, N, P, momentum=1.0, iters=30), 0.3), inputs(30, 2)
    trained = layer(x)
    close(projector(layer.eval()(x)), projector(trained), 1e-10)
    other = GrBatchNorm(2, N, P).double()
    first = copy.deepcopy(other.state_dict())
    other.eval()(x)
    assert all(torch.equal(v, first[k]) for k, v in other.state_dict().items())
    other = GrBatchNorm(2, N, P, iters=0).train()
    for seed in range(50):
        other(inputs(6, 2, seed=seed).float())
    gram = other.running_mean.mT @ other.running_mean
    assert float((gram - torch.eye(P)).abs().max()) < 5e-7
    end = SPACE.mean(inputs(200, 2, seed=3).transpose(0, 1))
    assert float(SPACE.dist(other.running_mean.double(), end).max()) < 0.2


LAYERS = [GrTranslate, GrScale, GrPool, GrMLR, GrFC, GrBatchNorm]


@pytest.mark.parametrize("cls", LAYERS)
def test_derivatives_layouts_and_compilation(cls):
    layer, found = cls.example(torch.Generator().manual_seed(0))
    layer, x = layer.double(), torch.linalg.qr(found["x"].double())[0]
    y = layer(x)
    close(layer(x.mT.contiguous().mT), y, 1e-13)
    assert layer(x[:0]).shape == (0, *y.shape[1:])
    assert torch.allclose(layer(x[:1]), y[:1], rtol=0, atol=1e-13)
    names, weights = zip(*layer.named_parameters(), strict=True) if list(layer.parameters()) else ((), ())

    def call(a, *values):
        q = a @ torch.linalg.inv(torch.linalg.cholesky(a.mT @ a)).mT
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (q,))

    leaves = [x[:2].clone().requires_grad_(), *[w.detach().clone().requires_grad_() for w in weights]]
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, leaves, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("cls", [GrPool])
def test_compiled(cls):
    layer, found = cls.example(torch.Generator().manual_seed(0))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**found), layer(**found))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [GrTranslate, GrScale, GrMLR, GrFC, GrBatchNorm])
def test_compiled_at_length(cls):
    test_compiled(cls)


def test_training_batch_normalisation_through_the_mean():
    """Gradients of the whole layer in training, the mean of the batch included."""
    layer = shaken(GrBatchNorm(1, 4, 1, iters=3), 0.3).train()
    x = inputs(3, 1, n=4, p=1).requires_grad_()

    def call(a, w, b):
        q = a / a.norm(dim=-2, keepdim=True)
        return torch.func.functional_call(layer, {"weight": w, "bias": b}, (q,))

    leaves = (x, *[w.detach().clone().requires_grad_() for w in layer.parameters()])
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GrTranslate(0, 5, 2), "channels"),
        (lambda: GrTranslate(2, 5, 5), "0 < p < n"),
        (lambda: GrPool(5, 2, 2, view="both"), "view='both'"),
        (lambda: GrPool(6, 2, 1, 3), "span 2 at most"),
        (lambda: GrPool(6, 2, 4)(inputs(2, 3).float()), "3 channels do not divide"),
        (lambda: GrMLR(3, 2, 5, 2, "linear"), "kind='linear'"),
        (lambda: GrBatchNorm(2, 5, 2, momentum=2.0), "momentum=2.0"),
        (lambda: GrBatchNorm(2, N, P)(inputs(0, 2).float()), "no rows"),
        (lambda: GrTranslate(2, N, P)(inputs(4, 3).float()), r"expected \(\.\.\., 2, 6, 2\)"),
        (lambda: GrTranslate(2, N, P)(inputs(4, 2)), r"x.to\(torch.float32\)"),
        (lambda: GrScale(2, N, P)(2 * inputs(4, 2).float()), "not orthonormal"),
        (lambda: GrFC(2, 1, N, P, 4, 1)(inputs(4, 2).float() * torch.nan), "orthonormal"),
        (lambda: GrMLR(2, 2, N, P)(inputs(4, 2).long()), "torch.int64"),
    ],
)
def test_misuse(make, match):
    with pytest.raises(InvalidInput, match=match):
        make()
