"""Convolutions and normalisations of fields: the authors' outputs and gradients, brute force, what they do not respect."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.layers import (
    CliffordBatchNorm,
    CliffordConv1d,
    CliffordConv2d,
    CliffordConv3d,
    CliffordGroupNorm,
    MVGroupNorm,
    RotationConv1d,
    RotationConv2d,
    RotationConv3d,
    RotationConvTranspose1d,
    RotationConvTranspose2d,
    RotationConvTranspose3d,
)
from geomlib.verify import check
from tests.algebra.clifford.common import load
from tests.layers.multivectors.reference import close, compare

CONVOLUTIONS = [RotationConv1d, RotationConv2d, RotationConv3d]
TRANSPOSED = [RotationConvTranspose1d, RotationConvTranspose2d, RotationConvTranspose3d]
CLIFFORD = [CliffordConv1d, CliffordConv2d, CliffordConv3d]


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomised(layer, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    return layer.double()


def test_the_reference():
    d = load("gcan_layers")
    compare(RotationConv2d(2, 3, 3, padding=1), d, "g3conv")
    compare(RotationConvTranspose2d(2, 3, 4, stride=2, padding=1), d, "g3convT")
    compare(MVGroupNorm(4, 2), d, "g3groupnorm_scale0")
    compare(MVGroupNorm(4, 2, True, eps=0), d, "g3groupnorm_scale1")
    compare(CliffordGroupNorm(CliffordAlgebra(2), 4, 2, legacy=True), d, "cliffgroupnorm")
    compare(
        CliffordBatchNorm(CliffordAlgebra(2), 4, track_running_stats=False, legacy=True), d, "cliffbatchnorm"
    )


def rotations(layer):  # (first, second, *kernel, 3, 3)
    """Scaled rotation matrices by scipy, which wants unit quaternions with the scalar last."""
    w = torch.stack(list(layer.weights), -1).detach()
    assert float(w.square().sum(-1).min()) > 1e-3
    q = torch.cat([w[..., 1:], w[..., :1]], -1).flatten(0, -2).numpy()
    matrix = torch.from_numpy(Rotation.from_quat(q).as_matrix()).view(*w.shape[:-1], 3, 3)
    return matrix * layer.scale_param.detach()[..., None, None]


def test_kernels_are_scaled_rotations():
    layer = randomised(RotationConv2d(3, 2, 3))
    w = torch.stack(list(layer.weights)).detach().square().sum(0)
    shrunk = layer.kernel().detach().permute(0, 2, 4, 5, 1, 3)
    exact = rotations(layer)
    # |w|^2 / (|w|^2 + 1e-4) multiplies what differs from the identity.
    identity = layer.scale_param.detach()[..., None, None] * torch.eye(3)
    close(shrunk, identity + (exact - identity) * (w / (w + 1e-4))[..., None, None], 1e-12)


def test_convolution_by_hand():
    layer = randomised(RotationConv1d(2, 4, 3, stride=2, padding=1, groups=2))
    matrix = layer.kernel().detach().permute(0, 2, 4, 1, 3)  # (out, in / groups, u, 3, 3)
    x = randn(3, 2, 6, 3)
    out = layer(x)
    assert out.shape == (3, 4, 3, 3)
    for o in range(4):
        for p in range(3):
            wanted = torch.stack([b[o] for b in layer.bias]).expand(3, 3).clone()
            for u in range(3):
                if 0 <= (place := 2 * p + u - 1) < 6:
                    wanted = wanted + x[:, o // 2, place] @ matrix[o, 0, u].T
            close(out[:, o, p], wanted, 1e-13)


def test_transposed_convolution_by_hand_turns_back():
    layer = randomised(RotationConvTranspose1d(2, 3, 4, stride=2, padding=1))
    matrix = layer.kernel().detach().permute(0, 2, 4, 1, 3)  # (in, out, v, 3, 3)
    x = randn(2, 2, 5, 3)
    wanted = torch.stack(list(layer.bias), 1)[None, :, None].repeat(2, 1, 10, 1)
    for i in range(2):
        for o in range(3):
            for u in range(5):
                for v in range(4):
                    if 0 <= (p := 2 * u + v - 1) < 10:
                        wanted[:, o, p] += x[:, i, u] @ matrix[i, o, v]  # R^T x
    close(layer(x), wanted, 1e-13)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_rotation_convolutions_of_any_dimension(dims):
    """The transpose is the adjoint of the convolution with the same parameters."""
    space = (6, 8, 4)[:dims]
    conv = randomised(CONVOLUTIONS[dims - 1](2, 4, 4, stride=2, padding=1, groups=2, bias=False))
    back = TRANSPOSED[dims - 1](4, 2, 4, stride=2, padding=1, groups=2, bias=False).double()
    back.load_state_dict(conv.state_dict())
    x = randn(3, 2, *space, 3)
    y = randn(3, 4, *(s // 2 for s in space), 3, seed=1)
    close((conv(x) * y).sum(), (x * back(y)).sum(), 1e-12)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding(mode):
    layer = randomised(RotationConv2d(2, 3, 3, padding=1, padding_mode=mode))
    plain = randomised(RotationConv2d(2, 3, 3))
    x = randn(2, 2, 5, 6, 3)
    wider = torch.nn.functional.pad(x.movedim(-1, 1).flatten(1, 2), (1, 1, 1, 1), mode=mode)
    close(layer(x), plain(wider.unflatten(1, (3, 2)).movedim(1, -1)), 1e-13)
    if mode == "circular":  # shifts of the grid move the output
        close(layer(x.roll((1, 2), (2, 3))), layer(x).roll((1, 2), (2, 3)), 1e-13)


@pytest.mark.parametrize("signature", [(0, 1), (2, 0), (0, 2), (1, 1, 1), (3, 0)], ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_clifford_convolution_by_products(signature, dims):
    alg = CliffordAlgebra(*signature)
    layer = randomised(CLIFFORD[dims - 1](alg, 2, 4, 2, groups=2))
    space = (3, 2, 4)[:dims]
    x = randn(2, 2, *space, alg.size)
    out = layer(x)
    weight = layer.weight.detach().movedim(0, -1)  # (out, in / groups, *kernel, 2^n)
    wanted = layer.bias.detach().T[None, :, None].repeat(2, 1, 1, 1)
    wanted = wanted.view(2, 4, *[1] * dims, alg.size).repeat(1, 1, *(s - 1 for s in space), 1)
    for shift in torch.cartesian_prod(*[torch.arange(2)] * dims).view(-1, dims).tolist():
        window = x[
            (slice(None), slice(None), *(slice(s, s + n - 1) for s, n in zip(shift, space, strict=True)))
        ]
        for o in range(4):
            w = weight[(o, 0, *shift)]
            wanted[:, o] += alg.gp(window[:, o // 2], w.expand_as(window[:, o // 2]))
    close(out, wanted, 1e-12)


def test_no_more_symmetry_than_declared():
    vectors = {"group": "SO(3)*S_n", "inputs": {"x": "node:vector"}, "outputs": "node:vector"}
    x = randn(3, 2, 5, 5, 3)
    kernels = (RotationConv2d(2, 2, 3, bias=False), RotationConvTranspose2d(2, 2, 2, bias=False))
    for layer in (*kernels, randomised(MVGroupNorm(2))):
        found = check(layer, **vectors, example={"x": x.float()}, trials=4, stress=False)
        assert found.verdict == "BROKEN", layer
    still = MVGroupNorm(2, scale_norm=True, bias=False)
    assert still.symmetry.group == "O(3)*S_n"
    assert check(still, example={"x": x.float()}, trials=4, stress=False).verdict == "EXACT"
    assert MVGroupNorm(2).symmetry.group == MVGroupNorm(2, components=4, bias=False).symmetry.group == "S_n"


def test_group_norm_of_vectors():
    layer = MVGroupNorm(4, 2, True, components=4, dims=1, bias=False).double()
    x = 5 + randn(3, 4, 7, 4)
    y = layer(x)
    for g in (slice(0, 2), slice(2, 4)):
        close(y[:, g].mean((1, 2)), torch.zeros(3, 4, dtype=torch.float64), 1e-13)
        close(y[:, g].norm(dim=-1).mean((1, 2)), torch.ones(3, dtype=torch.float64), 1e-5)
    close(layer(x[:1]), y[:1], 1e-13)


@pytest.mark.parametrize("signature", [(0, 1), (2, 0), (3, 0)], ids=str)
def test_whitening_whitens_and_the_legacy_form_does_not(signature):
    alg = CliffordAlgebra(*signature)
    mix = torch.eye(alg.size) + 0.4 * randn(alg.size, alg.size) / alg.size**0.5
    x = 3 + randn(6, 4, 50, alg.size) @ mix
    one = torch.eye(alg.size, dtype=torch.float64)

    def covariance(y):
        y = y.reshape(-1, alg.size)
        return (y - y.mean(0)).T @ (y - y.mean(0)) / len(y)

    batch = CliffordBatchNorm(alg, 4).double()
    y = batch(x)
    group = CliffordGroupNorm(alg, 4, 2).double()(x)
    for found in (y[:, 1], group[0, :2], group[5, 2:]):
        close(covariance(found.detach()), one, 2e-3)
        close(found.detach().reshape(-1, alg.size).mean(0), torch.zeros(alg.size, dtype=torch.float64), 1e-12)
    old = CliffordBatchNorm(alg, 4, legacy=True).double()(x)
    assert float((covariance(old[:, 1].detach()) - one).abs().max()) > 0.05


def test_group_norm_does_not_mix_samples():
    alg = CliffordAlgebra(2)
    x = randn(5, 4, 3, 3, 4)
    layer = randomised(CliffordGroupNorm(alg, 4, 2))
    close(layer(x)[3:4], layer(x[3:4]), 1e-12)
    old = randomised(CliffordGroupNorm(alg, 4, 2, legacy=True))
    assert float((old(x)[3:4] - old(x[3:4])).detach().abs().max()) > 0.1


def test_affine_of_each_channel():
    alg = CliffordAlgebra(2)
    x = randn(5, 3, 20, 4)
    for kind in (CliffordBatchNorm, CliffordGroupNorm):
        plain, layer = kind(alg, 3, affine=False).double(), randomised(kind(alg, 3))
        white = plain(x)
        for c in range(3):
            close(layer(x)[:, c], white[:, c] @ layer.weight[:, :, c].T + layer.bias[:, c], 1e-12)


def test_running_statistics():
    alg = CliffordAlgebra(0, 1)
    layer = CliffordBatchNorm(alg, 2, momentum=0.25, eps=1e-6).double()
    x = 2 + randn(50, 2, 30, 2) @ randn(2, 2)
    for _ in range(60):
        layer(x)
    rows = x.transpose(0, 1).flatten(1, 2)
    centred = rows - rows.mean(1, keepdim=True)
    close(layer.running_mean.T, rows.mean(1), 1e-6)
    close(layer.running_cov.permute(2, 0, 1), centred.mT @ centred / 1500, 1e-6)
    trained = layer(x)
    close(layer.eval()(x), trained, 1e-5)
    close(layer(x[:1]), trained[:1], 1e-5)
    free = CliffordBatchNorm(alg, 2, track_running_stats=False).double().eval()
    assert float((free(x[:1]) - free(x)[:1]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_factorisation_fails(dtype):
    """Constant, proportional, tiny and huge blades: covariances of rank 0 and 1."""
    alg = CliffordAlgebra(3)
    g = torch.Generator().manual_seed(0)
    line = torch.randn(6, 2, 9, 1, generator=g).to(dtype) * torch.randn(8, generator=g).to(dtype)
    huge = 1e15 if dtype == torch.float32 else 1e100
    cases = [torch.zeros_like(line), torch.ones_like(line), line, 1e-15 * line, huge * line, line + 1e6]
    for x in cases:
        for layer in (
            CliffordBatchNorm(alg, 2),
            CliffordGroupNorm(alg, 2),
            MVGroupNorm(2, 1, True, components=8, dims=1),
        ):
            layer = layer.to(dtype)
            x = x.detach().requires_grad_()
            y = layer(x)
            grads = torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))
            assert all(bool(torch.isfinite(t).all()) for t in (y, *grads))


def test_second_derivatives():
    alg = CliffordAlgebra(0, 1)
    layers = [
        (randomised(RotationConv1d(1, 2, 2)), randn(1, 1, 3, 3)),
        (randomised(RotationConvTranspose1d(1, 1, 2)), randn(1, 1, 2, 3)),
        (randomised(MVGroupNorm(2, 1, True, dims=1)), randn(1, 2, 2, 3)),
        (randomised(CliffordConv1d(alg, 1, 2, 2)), randn(1, 1, 3, 2)),
        (randomised(CliffordBatchNorm(alg, 1, track_running_stats=False)), randn(3, 1, 2, 2)),
        (randomised(CliffordGroupNorm(alg, 2)), randn(2, 2, 3, 2)),
    ]
    for layer, x in layers:
        x.requires_grad_()
        assert torch.autograd.gradcheck(layer, x) and torch.autograd.gradgradcheck(layer, x)


def test_empty_strided_and_double():
    alg = CliffordAlgebra(2)
    fields = [
        (randomised(RotationConv2d(2, 3, 3, padding=1)), 3),
        (randomised(RotationConvTranspose2d(2, 3, 2)), 3),
        (randomised(MVGroupNorm(2, 2, True)), 3),
        (randomised(CliffordConv2d(alg, 2, 3, 3)), 4),
        (randomised(CliffordGroupNorm(alg, 2)), 4),
        (randomised(CliffordBatchNorm(alg, 2)).eval(), 4),
    ]
    for layer, components in fields:
        x = randn(3, 2, 5, 4, components)
        out = layer(x)
        assert len(layer(x[:0])) == 0
        spread = torch.stack([x] * 2, -1)[..., 1]
        close(layer(spread), out, 1e-14)
        close(layer(x[1:2]), out[1:2], 1e-13)
        close(layer.float()(x.float()).double(), out.detach(), 2e-4)


@pytest.mark.parametrize("make", [0, 1, 2, 3, 4])
def test_compiled_without_graph_breaks(make):
    alg = CliffordAlgebra(2)
    layer, components = [
        (RotationConv2d(2, 2, 3), 3),
        (MVGroupNorm(2, 1, True), 3),
        (CliffordConv2d(alg, 2, 2, 3), 4),
        (CliffordBatchNorm(alg, 2), 4),
        (CliffordGroupNorm(alg, 2), 4),
    ][make]
    layer = randomised(layer)
    x = randn(2, 2, 4, 4, components).requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    out, wanted = compiled(x), layer(x)
    close(out, wanted.detach(), 1e-12)
    (a,), (b,) = (torch.autograd.grad(z.square().sum(), x) for z in (out, wanted))
    close(a, b, 1e-11)


def test_misuse_is_named():
    alg = CliffordAlgebra(2)
    with pytest.raises(InvalidInput, match="groups=2 does not divide in_channels=3"):
        RotationConv2d(3, 2, 3, groups=2)
    with pytest.raises(InvalidInput, match="out_channels=0"):
        RotationConvTranspose1d(1, 0, 3)
    with pytest.raises(InvalidInput, match="kernel_size="):
        CliffordConv2d(alg, 1, 1, (3, 3, 3))
    with pytest.raises(InvalidInput, match="stride=0"):
        RotationConv1d(1, 1, 3, stride=0)
    with pytest.raises(InvalidInput, match="padding_mode='mirror'"):
        CliffordConv1d(alg, 1, 1, 3, padding_mode="mirror")
    with pytest.raises(InvalidInput, match="expected a CliffordAlgebra"):
        CliffordBatchNorm(3, 4)
    with pytest.raises(InvalidInput, match="eps=0"):
        CliffordGroupNorm(alg, 4, eps=0)
    with pytest.raises(InvalidInput, match="components=0"):
        MVGroupNorm(2, components=0)
    with pytest.raises(InvalidInput, match="one value per channel"):
        CliffordBatchNorm(alg, 2)(torch.randn(1, 2, 4))
    with pytest.raises(InvalidInput, match="n1, n2, 3"):
        RotationConv2d(2, 2, 3)(torch.randn(1, 2, 5, 3))
    with pytest.raises(InvalidInput, match=r"batch, 2, \*space, 4"):
        CliffordGroupNorm(alg, 2)(torch.randn(1, 2, 5, 3))
    with pytest.raises(InvalidInput, match="Cast one"):
        CliffordGroupNorm(alg, 2)(torch.randn(1, 2, 5, 4, dtype=torch.float64))
