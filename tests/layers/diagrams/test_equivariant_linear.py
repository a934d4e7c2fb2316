"""EquivariantLinear: the fixtures' numbers, every basis and normalisation against dense matrices, masks, sizes, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from geomlib.algebra.diagrams import Sp, TensorGroup, dim_hom, tensor_group
from geomlib.errors import InvalidInput
from geomlib.layers.equivariant_linear import EquivariantLinear
from tests.layers.diagrams.common import doubled

CASES = json.loads((Path(__file__).parents[2] / "data" / "diagrams" / "layers_labels.json").read_text())
GROUPS = ("S_3", "S_5", "A_3", "B(2)", "O(2)", "O(3)", "SO(2)", "SO(3)", "Sp(2)", "Sp(4,block)", "O(1,2)")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[2] / "data" / "diagrams" / "layers.npz") as file:
        return {name: file[name] for name in file.files}


def group_of(case: dict) -> TensorGroup:
    kind, n = case["group"], case["n"]
    return tensor_group(f"{kind}_{n}" if kind in "SA" else f"{kind}({n})")


def dense(layer: EquivariantLinear, n: int) -> tuple[Tensor, Tensor]:
    """Return the whole matrix (out, n^l, in, n^k) of a layer and its shift (out, n^l), from matrices of plain diagrams."""
    group = layer.group.sized(n)
    maps = torch.stack([d.matrix(group) for d in layer.maps.maps.diagrams])
    _, w = layer.diagram_weights(n)
    whole = torch.einsum("doi,dyx->oyix", w.double(), maps)
    if layer.bias is None:
        return whole, torch.zeros(layer.out_channels, n**layer.l, dtype=torch.float64)
    held = layer.shifts
    assert held is not None
    shifts = torch.stack([d.matrix(group) for d in held.maps.diagrams])[..., 0]
    return whole, torch.einsum("do,dy->oy", held(layer.bias, n).double(), shifts)


@pytest.mark.parametrize("backend", ["auto", "grouped"])
@pytest.mark.parametrize("name", CASES)
def test_fixture(arrays, name: str, backend: str) -> None:
    case = CASES[name]
    w, x, y, up = (torch.from_numpy(arrays[f"{name}/{key}"]) for key in ("W", "x", "y", "upstream"))
    sizes = (case["k"], case["l"], case["c_in"], case["c_out"])
    options = {"bias": False, "normalization": "sum", "backend": backend}
    layer = EquivariantLinear(group_of(case), *sizes, **options).double()
    layer.set_diagram_weights(case["labels"], w)
    x = x.requires_grad_()
    out = layer(x)
    torch.testing.assert_close(out, y, rtol=1e-10, atol=1e-10)
    gx, gw = torch.autograd.grad((out * up).sum(), [x, layer.weight])
    torch.testing.assert_close(gx, torch.from_numpy(arrays[f"{name}/grad_x"]), rtol=1e-10, atol=1e-10)
    where = [layer.labels.index(label) for label in case["labels"]]
    torch.testing.assert_close(gw[where], torch.from_numpy(arrays[f"{name}/grad_W"]), rtol=1e-10, atol=1e-10)
    narrow = layer.float()(x.detach().float())
    torch.testing.assert_close(narrow.double(), y, rtol=1e-4, atol=1e-4 * float(y.detach().abs().max()))


@pytest.mark.parametrize("text", GROUPS)
@pytest.mark.parametrize("basis", ["diagram", "orbit", "orthonormal"])
@pytest.mark.parametrize("normalization", ["mean", "unit", "sum"])
def test_every_parametrisation_is_its_dense_matrix(text: str, basis: str, normalization: str) -> None:
    group = tensor_group(text)
    if basis == "orbit" and group.kind not in ("S", "A", "B"):
        with pytest.raises(InvalidInput, match="orbit"):
            EquivariantLinear(group, 2, 2, 1, 1, basis=basis)
        return
    for k, l in ((2, 2), (1, 3), (2, 0), (0, 2)):
        layer = doubled(EquivariantLinear(group, k, l, 2, 3, basis=basis, normalization=normalization))
        assert layer.num_maps == dim_hom(group, k, l)
        n = group.size
        x = torch.randn(4, 2, *[n] * k, dtype=torch.float64)
        matrix, shift = dense(layer, n)
        want = torch.einsum("oyix,bix->boy", matrix, x.reshape(4, 2, -1)) + shift
        torch.testing.assert_close(layer(x).reshape(4, 3, -1), want, rtol=1e-11, atol=1e-11)


def test_parameters_and_text() -> None:
    layer = EquivariantLinear("S_4", 2, 2, 16, 32)
    assert (
        sum(p.numel() for p in layer.parameters())
        == dim_hom("S_4", 2, 2) * 16 * 32 + dim_hom("S_4", 0, 2) * 32
    )
    assert {name: tuple(v.shape) for name, v in layer.state_dict().items()} == {
        "weight": (15, 32, 16),
        "bias": (2, 32),
    }
    assert repr(layer) == "EquivariantLinear(S_4, 2 -> 2, 16 -> 32 channels, 15 maps)"
    assert repr(EquivariantLinear("S_3", 2, 2, 1, 1, basis="orbit", symmetric=(True, False))).endswith(
        "1 -> 1 channels, 10 maps, symmetric input, orbit)"
    )
    assert [EquivariantLinear(f"S_{n}", 3, 3, 1, 1).num_maps for n in (4, 6)] == [187, 203]
    assert EquivariantLinear("O(3)", 1, 1, 1, 1).bias is None  # no invariant vector


def test_initial_size() -> None:
    """Means keep the size of their input whatever n is, maps of norm one keep it too."""
    for group, k, l, n in (("S_n", 1, 1, 50), ("O(5)", 2, 2, 5), ("Sp(4)", 1, 1, 4)):
        layer = EquivariantLinear(group, k, l, 256, 256)
        y = layer(torch.randn(8, 256, *[n] * k))
        assert 0.5 < float(y.detach().std()) < 2.0


@pytest.mark.parametrize("normalization", ["mean", "unit", "sum"])
def test_weights_serve_every_size(normalization: str) -> None:
    layer = doubled(EquivariantLinear("S_n", 2, 2, 2, 2, normalization=normalization))
    labels = layer.labels
    for n in (1, 2, 3, 6):
        x = torch.randn(2, 2, n, n, dtype=torch.float64)
        scale = {
            "mean": [n ** -len(d.cut()[2]) for d in layer.maps.maps.diagrams],
            "unit": [n ** (-len(d.blocks) / 2) for d in layer.maps.maps.diagrams],
            "sum": [1.0] * 15,
        }[normalization]
        want = torch.zeros(2, 2, n, n, dtype=torch.float64)
        for label, w, s in zip(labels, layer.weight, scale, strict=True):
            a, b, c, d = label[1]  # outputs i, j and inputs p, q, entry by entry
            for i, j, p, q in np.ndindex(n, n, n, n):
                values = dict[int, set[int]]()
                for block, index in ((a, i), (b, j), (c, p), (d, q)):
                    values.setdefault(block, set()).add(index)
                if all(len(v) == 1 for v in values.values()) and n <= 3:
                    want[:, :, i, j] += s * x[:, :, p, q] @ w.T
        matrix, shift = dense(layer, n)
        if n <= 3:
            got = layer(x) - shift.view(2, n, n)
            torch.testing.assert_close(got, want.detach(), rtol=1e-11, atol=1e-11)
        want = torch.einsum("oyix,bix->boy", matrix, x.flatten(2)) + shift
        torch.testing.assert_close(layer(x).flatten(2), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("basis", "norm"), [("diagram", "mean"), ("diagram", "unit"), ("orbit", "mean")])
@pytest.mark.parametrize("orders", [(2, 2), (1, 2), (0, 2), (2, 0), (3, 1), (0, 0)])
def test_a_padded_batch_is_the_unpadded_one(basis: str, norm: str, orders: tuple[int, int]) -> None:
    k, l = orders
    layer = doubled(EquivariantLinear("S_n", k, l, 2, 3, basis=basis, normalization=norm))
    sizes = [4, 1, 3, 5]
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    x = torch.randn(4, 2, *[5] * k, dtype=torch.float64)
    if k:
        for row, n in zip(x, sizes, strict=True):
            for axis in range(1, k + 1):
                row.narrow(axis, n, 5 - n).fill_(float("nan"))  # what is not there is not read
    y = layer(x, mask)
    for b, n in enumerate(sizes):
        alone = layer(
            x[b : b + 1, (slice(None), *[slice(n)] * k)[0]][(slice(None), slice(None), *[slice(n)] * k)], n=n
        )
        inside = (b, slice(None), *[slice(n)] * l)
        torch.testing.assert_close(y[inside], alone[0], rtol=1e-11, atol=1e-11)
        outside = y[b].clone()
        outside[inside[1:]] = 0.0
        assert not l or not outside.any()
    full = torch.ones(4, 5, dtype=torch.bool)
    z = torch.randn(4, 2, *[5] * k, dtype=torch.float64)
    torch.testing.assert_close(layer(z, full), layer(z, n=5).expand(4, 3, *[5] * l), rtol=1e-11, atol=1e-11)


def test_signed_permutations_take_masks_too() -> None:
    large, small = (doubled(EquivariantLinear(f"B({n})", 2, 2, 1, 2, which="spanning")) for n in (5, 3))
    small.load_state_dict(large.state_dict())
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    mask = torch.arange(5).expand(2, 5) < 3
    torch.testing.assert_close(large(x, mask)[..., :3, :3], small(x[..., :3, :3]))
    with pytest.raises(InvalidInput, match="no powers of n"):
        EquivariantLinear("S_5", 2, 2, 1, 2, basis="orbit", normalization="unit")(x.float(), mask)


@pytest.mark.parametrize("text", ["S_3", "S_5", "A_3", "A_2", "B(2)", "SO(2)", "O(2)", "Sp(2)"])
def test_bases_agree_after_the_transform(text: str) -> None:
    """The same map in every basis and normalisation, and orthonormal maps are orthonormal and span the same."""
    group, n = tensor_group(text), tensor_group(text).size
    first = doubled(EquivariantLinear(group, 2, 2, 2, 3))
    x = torch.randn(3, 2, n, n, dtype=torch.float64)
    bases = ["diagram", "orthonormal"] + (["orbit"] if group.kind in "SAB" else [])
    shifts = [d.label for d in first.shifts.maps.diagrams], first.shifts(first.bias, n)
    for basis in bases:
        for normalization in ("mean", "unit", "sum"):
            other = EquivariantLinear(group, 2, 2, 2, 3, basis=basis, normalization=normalization).double()
            other.set_diagram_weights(*first.diagram_weights(), *shifts)
            torch.testing.assert_close(other(x), first(x), rtol=1e-9, atol=1e-9)
    maps = torch.stack([d.matrix(group) for d in first.maps.maps.diagrams]).flatten(1)
    rows = EquivariantLinear(group, 2, 2, 1, 1, basis="orthonormal").maps.rows @ maps
    torch.testing.assert_close(rows @ rows.mT, torch.eye(len(rows), dtype=torch.float64), rtol=0, atol=1e-10)
    assert int(torch.linalg.matrix_rank(torch.cat([rows, maps]))) == len(rows)


@pytest.mark.parametrize(
    ("text", "n"),
    [("S_n", 5), ("S_n", 2), ("S_3", None), ("A_3", None), ("B(2)", None), ("O(2)", None), ("SO(2)", None),
     ("SO(3)", None), ("Sp(2)", None), ("Sp(4,block)", None), ("O(1,2)", None)],
)  # fmt: skip
def test_two_layers_fuse_to_one(text: str, n: int | None) -> None:
    first = doubled(
        EquivariantLinear(text, 1, 2, 2, 3)
        if text in ("S_n", "SO(3)", "A_3")
        else EquivariantLinear(text, 2, 2, 2, 3)
    )
    then = doubled(EquivariantLinear(text, 2, 2, 3, 2))
    one = first.fuse(then, n)
    x = torch.randn(3, 2, *[n or first.group.size] * first.k, dtype=torch.float64)
    torch.testing.assert_close(one(x), then(first(x)), rtol=1e-11, atol=1e-11)


def test_fusion_with_a_form_of_ones_own() -> None:
    form = torch.tensor([[0.0, 2, 1, 0], [-2, 0, 0, 1], [-1, 0, 0, 3], [0, -1, -3, 0]])
    first, then = (doubled(EquivariantLinear(Sp(4, form), 2, 2, 2, 2)) for _ in range(2))
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(first.fuse(then)(x), then(first(x)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("text", "k", "l", "full", "both"),
    [("S_n", 2, 1, 5, 4), ("S_n", 2, 2, 15, 9), ("S_n", 3, 2, 52, 16), ("S_n", 3, 3, 203, 31), ("O(3)", 2, 2, 3, 2),
     ("O(3)", 3, 1, 3, 1), ("O(3)", 3, 3, 15, 2), ("O(4)", 4, 2, 15, 2), ("O(4)", 4, 4, 105, 3)],
)  # fmt: skip
def test_symmetric_tensors(text: str, k: int, l: int, full: int, both: int) -> None:
    """Counts of the spec; symmetric outputs; the antisymmetric part of an input changes nothing."""
    assert EquivariantLinear(text, k, l, 1, 1).num_maps == full
    layer = doubled(EquivariantLinear(text, k, l, 1, 2, symmetric=(True, True)))
    assert layer.num_maps == both
    if k + l > 5:
        return
    n = layer.group.n or 4
    x = torch.randn(2, 1, *[n] * k, dtype=torch.float64)
    y = layer(x)
    if l > 1:
        torch.testing.assert_close(y, y.mT)
    torch.testing.assert_close(layer(x.mT), y)


def test_maps_that_vanish_between_symmetric_tensors_are_left_out() -> None:
    assert (
        EquivariantLinear("Sp(4)", 2, 2, 1, 1, symmetric=(True, True)).num_maps == 1
    )  # Omega is antisymmetric
    with pytest.raises(InvalidInput, match="no linear maps"):
        EquivariantLinear("SO(3)", 2, 1, 1, 1, symmetric=(True, False))  # only epsilon


@pytest.mark.parametrize("text", ["S_n", "A_3", "SO(2)", "Sp(2)"])
def test_inputs_of_every_shape(text: str) -> None:
    layer = doubled(
        EquivariantLinear(text, 2, 1, 2, 3) if text in ("S_n", "A_3") else EquivariantLinear(text, 2, 2, 2, 3)
    )
    n = layer.group.n or 4
    whole = torch.randn(5, 2, n, n, dtype=torch.float64)
    y = layer(whole)
    assert layer(whole[:0]).shape == (0, *y.shape[1:])
    torch.testing.assert_close(layer(whole[2:3]), y[2:3])
    torch.testing.assert_close(layer(whole.mT.contiguous().mT), y)
    spread = torch.zeros(5, 4, n, 2 * n, dtype=torch.float64)[:, ::2, :, ::2].copy_(whole)
    torch.testing.assert_close(layer(spread), y)
    row = torch.randn(1, 2, 1, 1, dtype=torch.float64).expand(5, 2, n, n)
    torch.testing.assert_close(layer(row), layer(row.contiguous()))
    assert torch.isfinite(layer(torch.zeros_like(whole))).all()
    assert torch.isfinite(layer.float()(1e30 * whole.float())).all()


def test_one_node() -> None:
    layer = doubled(EquivariantLinear("S_n", 2, 2, 1, 1))
    y = layer(torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64))
    torch.testing.assert_close(y.flatten()[0], 2.0 * layer.weight.sum() + layer.bias.sum())


@pytest.mark.parametrize("basis", ["diagram", "orbit", "orthonormal"])
def test_derivatives(basis: str) -> None:
    layer = doubled(EquivariantLinear("A_3", 1, 2, 1, 2, basis=basis))
    x = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)

    def of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    arguments = (x, layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(of, arguments)
    assert torch.autograd.gradgradcheck(of, arguments)


def test_double_is_exact() -> None:
    narrow = EquivariantLinear("S_7", 2, 1, 2, 2, basis="orthonormal")
    wide = EquivariantLinear("S_7", 2, 1, 2, 2, basis="orthonormal").double()
    wide.load_state_dict(narrow.state_dict())
    x = torch.randn(2, 2, 7, 7, dtype=torch.float64)
    assert torch.equal(narrow.float().double().maps.rows, wide.maps.rows)
    assert torch.equal(narrow(x), wide(x)) and narrow(x).dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: EquivariantLinear("O(3)", 1, 2, 1, 1), r"O\(3\) has no linear maps 1 -> 2 but zero.*parity"),
        (lambda: EquivariantLinear("S_n", 5, 5, 1, 1), r"115,975 maps.*(MB|GB)"),
        (lambda: EquivariantLinear("Sp(3)", 1, 1, 1, 1), "even"),
        (lambda: EquivariantLinear("S_n", 1, 1, 0, 1), "in_channels = 0"),
        (lambda: EquivariantLinear("S_n", 1, -1, 1, 1), "order"),
        (lambda: EquivariantLinear("S_n", 1, 1, 1, 1, basis="orbits"), "Did you mean 'orbit'"),
        (lambda: EquivariantLinear("S_n", 1, 1, 1, 1, normalization="means"), "Did you mean 'mean'"),
        (lambda: EquivariantLinear("S_n", 1, 1, 1, 1, basis="orthonormal"), "size of S_n"),
        (lambda: EquivariantLinear("S_n", 1, 1, 1, 1, basis="orbit", normalization="unit"), "size of S_n"),
        (lambda: EquivariantLinear("S_n", 1, 1, 1, 1, which="basis"), "depends on n"),
        (lambda: EquivariantLinear("S_3", 1, 1, 1, 1, which="span"), "Did you mean 'spanning'"),
        (lambda: EquivariantLinear("O(3)", 1, 1, 1, 1, basis="orbit"), "permutations"),
        (lambda: EquivariantLinear("U(3)", 1, 1, 1, 1), "unknown"),
    ],
)
def test_what_cannot_be_built_is_refused(make, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()


def test_what_does_not_fit_is_refused() -> None:
    fixed, free = EquivariantLinear("S_5", 2, 2, 2, 1), EquivariantLinear("S_n", 2, 1, 2, 1)
    mask = torch.ones(3, 4, dtype=torch.bool)
    for call, says in (
        (lambda: fixed(torch.randn(3, 2, 4, 4)), r"axes of length 4.*S_n.*5 dimensions.*Build it with 'S_n'"),
        (lambda: free(torch.randn(3, 2, 4, 5)), r"lengths \(4, 5\)"),
        (lambda: free(torch.randn(3, 1, 4, 4)), r"expected \(B, 2, n, n\)"),
        (lambda: free(torch.randn(3, 2, 4)), r"expected \(B, 2, n, n\)"),
        (lambda: free(torch.randn(3, 2, 4, 4).double()), "float64 and the weights are torch.float32"),
        (lambda: free(torch.ones(3, 2, 4, 4, dtype=torch.int64)), "int64"),
        (lambda: free(torch.randn(3, 2, 4, 4), mask.float()), r"expected bool \(3, 4\)"),
        (lambda: free(torch.randn(3, 2, 4, 4), mask[:2]), r"expected bool \(3, 4\)"),
        (lambda: EquivariantLinear("O(4)", 2, 2, 2, 1)(torch.randn(3, 2, 4, 4), mask), "Drop `mask`"),
        (lambda: EquivariantLinear("S_n", 0, 1, 2, 1)(torch.randn(3, 2)), "Pass n="),
        (lambda: free.diagram_weights(), "Pass n="),
        (lambda: fixed.set_diagram_weights([["D", [0, 1, 2, 5]]], torch.ones(1, 1, 2)), "no diagram"),
        (lambda: fixed.set_diagram_weights([["D", [0, 0, 0, 0]]], torch.ones(1, 2, 1)), "shape"),
        (lambda: fixed.fuse(free), "must be equal"),
        (lambda: free.fuse(EquivariantLinear("S_n", 1, 1, 1, 1)), "Pass n="),
        (
            lambda: EquivariantLinear("S_5", 2, 2, 1, 1, symmetric=(True, True)).set_diagram_weights(
                [["D", [0, 1, 0, 1]]], torch.ones(1, 1, 1)
            ),
            "symmetric",
        ),
    ):
        with pytest.raises(InvalidInput, match=says):
            call()


@pytest.mark.parametrize(("group", "k", "l"), [("S_n", 2, 2), ("S_n", 1, 2), ("S_n", 0, 2), ("O(3)", 2, 2)])
def test_without_derivatives_the_numbers_are_the_same(group: str, k: int, l: int) -> None:
    """Shifts are added in place, and what is kept follows weights, sizes and types."""
    torch.manual_seed(0)
    layer = EquivariantLinear(group, k, l, 2, 3)
    assert layer.bias is not None
    for n, dtype in ((3, torch.float32), (3, torch.float64), (40 if group == "S_n" else 3, torch.float64)):
        layer = layer.to(dtype)
        torch.nn.init.normal_(layer.bias)  # changed in place
        x = torch.randn(2, 2, *[n] * k, dtype=dtype)
        given = x.clone()
        with torch.no_grad():
            found = layer(x, n=n)
        dense = EquivariantLinear(group, k, l, 2, 3, backend="dense").to(dtype)
        dense.load_state_dict(layer.state_dict())
        small = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(found, layer(x, n=n), rtol=small, atol=10 * small)
        if n == 3:
            torch.testing.assert_close(found, dense(x, n=n), rtol=small, atol=10 * small)
        assert torch.equal(x, given)
