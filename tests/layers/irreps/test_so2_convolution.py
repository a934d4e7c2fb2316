"""The convolution in edge frames: equal to the tensor product, exact symmetry, poles, derivatives, truncation."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput, verify
from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.wigner import aligning_rotation, wigner_matrices
from geomlib.layers import FullyConnectedTensorProduct, SO2Convolution, SphericalHarmonics, TensorProductConv

CASES = {
    "natural": ("3x0e+2x1o+2x2e", "2x0e+3x1o+1x2e"),
    "both parities": ("2x0e+1x0o+2x1o+2x1e+1x2e", "2x0e+2x0o+2x1e+1x1o+1x2e+1x2o"),
    "high": ("2x0e+2x3o+1x4e", "1x1o+2x3o+1x5o"),
    "repeated blocks": ("2x1o+1x0e+1x1o", "1x1o+2x0e+2x1o"),
}


def graph(irreps, nodes=5, edges=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, Irreps(irreps).dim, generator=g, dtype=torch.float64)
    vec = torch.randn(edges, 3, generator=g, dtype=torch.float64)
    # the poles, the other axes, and directions where the choice of the frame changes
    special = torch.tensor([[0, 1, 0], [0, -2, 0], [1, 0, 0], [0, 0, -3], [1, 1, 1], [1, 0, 1]]).double()
    vec[: len(special)] = special
    return x, torch.randint(0, nodes, (2, edges), generator=g), vec


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_tensor_product(name, group):
    irreps_in, irreps_out = CASES[name]
    layer = SO2Convolution(irreps_in, irreps_out, group=group).double()
    filters = Irreps.spherical_harmonics(Irreps(irreps_in).lmax + Irreps(irreps_out).lmax)
    product = FullyConnectedTensorProduct(irreps_in, filters, irreps_out).double()
    with torch.no_grad():
        layer.weight.copy_(layer.weight_of(product))
    x, edge_index, vec = graph(irreps_in)
    expected = TensorProductConv(product)(x, SphericalHarmonics(filters)(vec), edge_index)
    torch.testing.assert_close(layer(x, edge_index, vec), expected, rtol=0, atol=1e-11)
    if group == "O(3)":  # no more weights than paths
        assert layer.weight_numel == product.weight_numel


@pytest.mark.parametrize("m_max", [None, 0, 1])
@pytest.mark.parametrize("name", CASES)
def test_exactly_equivariant(name, m_max):
    layer = SO2Convolution(*CASES[name], m_max=m_max)
    x, edge_index, vec = graph(CASES[name][0])
    inputs = {"x": x.float(), "edge_index": edge_index, "edge_vec": vec.float()}
    inputs["scale"] = torch.randn(edge_index.shape[1], layer.scale_numel)
    assert verify.check(layer, example=inputs, trials=12).verdict == "EXACT"


def test_the_rotations_only_form_sees_handedness():
    layer = SO2Convolution("2x0e+2x1o+2x2e", "2x0e+2x1o", group="SO(3)")
    x, edge_index, vec = graph("2x0e+2x1o+2x2e")
    inputs = {
        "x": x.float(),
        "edge_index": edge_index,
        "edge_vec": vec.float(),
        "scale": torch.ones(12, layer.scale_numel),
    }
    assert verify.check(layer, example=inputs, trials=12).verdict == "EXACT"
    assert verify.check(layer, group="O(3)*S_n", example=inputs, trials=12).verdict == "BROKEN"


def test_the_frame_does_not_matter(monkeypatch):
    """Any turn about the edge gives the same result."""
    layer = SO2Convolution("2x0e+2x1o+1x1e+2x2e", "2x0e+2x1o+2x2e+1x2o").double()
    x, edge_index, vec = graph(layer.irreps_in)
    before = layer(x, edge_index, vec)
    angle = torch.rand(len(vec), dtype=torch.float64) * 6
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([c, o, s, o, i, o, -s, o, c], -1).unflatten(-1, (3, 3))
    module = "geomlib.layers.so2_convolution.aligning_rotation"
    monkeypatch.setattr(module, lambda d: turn @ aligning_rotation(d))
    torch.testing.assert_close(layer(x, edge_index, vec), before, rtol=0, atol=1e-12)


def test_frames_are_rotations_to_the_pole():
    _, _, vec = graph("0e", edges=200)
    d = vec / vec.norm(dim=-1, keepdim=True)
    r = aligning_rotation(d)
    torch.testing.assert_close(r @ r.mT, torch.eye(3).double().expand(200, 3, 3), rtol=0, atol=1e-15)
    assert bool((torch.linalg.det(r) > 0.9).all())
    pole = torch.tensor([0.0, 1.0, 0.0]).double().expand(200, 3)
    torch.testing.assert_close((r @ d[..., None])[..., 0], pole, rtol=0, atol=1e-15)
    assert len(wigner_matrices(0, r)) == 1


def test_derivatives_also_at_the_poles():
    layer = SO2Convolution("1x0e+1x1o+1x1e", "1x0e+1x1o").double()
    x, edge_index, vec = graph(layer.irreps_in, nodes=3, edges=8)
    scale = torch.rand(8, layer.scale_numel, dtype=torch.float64)
    keep = torch.tensor([0, 1, 4, 6, 7])  # both poles, and the diagonal, where the frame jumps
    edge_index, vec, scale = edge_index[:, keep], vec[keep], scale[keep]

    def run(x, vec, scale, w):
        return torch.func.functional_call(layer, {"weight": w}, (x, edge_index, vec, scale))

    inputs = (*(t.requires_grad_() for t in (x, vec, scale)), layer.weight)
    assert gradcheck(run, inputs) and gradgradcheck(run, inputs)


def test_orders_left_out():
    full, cut = (SO2Convolution("2x2e", "2x2e", m_max=m).double() for m in (2, 1))
    assert cut.weight_numel == 8 and full.weight_numel == 12
    with torch.no_grad():
        cut.weight.copy_(full.weight[:8])
        full.weight[8:] = 0.0
    x, edge_index, vec = graph("2x2e")
    torch.testing.assert_close(cut(x, edge_index, vec), full(x, edge_index, vec), rtol=0, atol=1e-12)


def test_odd_graphs():
    layer = SO2Convolution("2x0e+1x1o", "1x1o+1x0e+3x0o")
    x, vec = torch.randn(4, 5), torch.randn(3, 3)
    edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
    z = layer(x, edge_index, vec)
    assert not z[2:].any() and not z[:, 4:].any()  # isolated nodes, and a block that nothing reaches
    torch.testing.assert_close(layer(x, edge_index.int(), vec), z)
    assert torch.equal(layer(x, edge_index[:, :0], vec[:0]), torch.zeros(4, 7))
    assert layer(x[:0], edge_index[:, :0], vec[:0]).shape == (0, 7)
    strided = torch.randn(4, 10)[:, ::2]
    assert torch.equal(layer(strided, edge_index, vec), layer(strided.contiguous(), edge_index, vec))
    for size in (1e-30, 1e30):
        torch.testing.assert_close(layer(x, edge_index, vec * size), z, rtol=1e-3, atol=1e-4)


I3 = torch.tensor([[0, 1, 2], [1, 2, 0]])


def call(x=None, edge_index=I3, vec=None, scale=None, **options):
    x = torch.zeros(3, 3) if x is None else x
    vec = torch.ones(3, 3) if vec is None else vec
    return SO2Convolution("1o", "1o", **options)(x, edge_index, vec, scale)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "E(3)"}, "group"),
        ({"m_max": -1}, "m_max"),
        ({"x": torch.zeros(3, 4)}, "dimension 3"),
        ({"x": torch.zeros(1, 3, 3)}, "nodes, dim"),
        ({"x": torch.zeros(3, 3).double()}, r"layer\.to"),
        ({"vec": torch.ones(2, 3)}, "`edge_vec`"),
        ({"vec": torch.ones(3, 3).double()}, "`edge_vec`"),
        ({"vec": torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1]])}, "edge 1 has no length"),
        ({"scale": torch.ones(3, 3)}, "`scale`"),
        ({"edge_index": I3.float()}, "integers"),
        ({"edge_index": I3 + 1}, r"edge 1 of `edge_index` is \[2, 3\]"),
        ({"edge_index": I3 - 1}, r"edge 0 of `edge_index` is \[-1, 0\]"),
    ],
)
def test_misuse(options, words):
    with pytest.raises(InvalidInput, match=words):
        call(**options)


def test_other_products_are_refused():
    layer = SO2Convolution("2x1o", "2x1o")
    for product in (
        FullyConnectedTensorProduct("2x1o", "0e", "1x1o"),
        FullyConnectedTensorProduct("2x1o", "2x0e", "2x1o"),
        FullyConnectedTensorProduct("2x1o", "0o", "2x1o"),
        FullyConnectedTensorProduct("2x1o", "0e", "2x1o", internal_weights=False),
    ):
        with pytest.raises(InvalidInput, match="weight_of"):
            layer.weight_of(product)
