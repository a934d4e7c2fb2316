"""EquivariantLinear: the fixtures' numbers, every basis and normalisation against dense matrices, masks, sizes, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from geomlib.algebra.diagrams import TensorGroup, dim_hom, tensor_group
from geomlib.errors import InvalidInput
from geomlib.layers.equivariant_linear import EquivariantLinear

CASES = json.loads((Path(__file__).parents[2] / "data" / "diagrams" / "layers_labels.json").read_text())
GROUPS = ("S_3", "S_5", "A_3", "B(2)", "O(2)", "O(3)", "SO(2)", "SO(3)", "Sp(2)", "Sp(4,block)", "O(1,2)")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[2] / "data" / "diagrams" / "layers.npz") as file:
        return {name: file[name] for name in file.files}


def group_of(case: dict) -> TensorGroup:
    text = {"S": "S_{}", "A": "A_{}"}.get(case["group"], case["group"] + "({})")
    return tensor_group(text.format(case["n"]))


def dense(layer: EquivariantLinear, n: int) -> tuple[Tensor, Tensor]:
    """Return the whole matrix (out, n^l, in, n^k) of a layer and its shift (out, n^l), from matrices of plain diagrams."""
    group = layer.group.sized(n)
    maps = torch.stack([d.matrix(group) for d in layer.maps.maps.diagrams])
    _, w = layer.diagram_weights(n)
    whole = torch.einsum("doi,dyx->oyix", w.double(), maps)
    if layer.bias is None:
        return whole, torch.zeros(layer.out_channels, n**layer.l, dtype=torch.float64)
    shifts = torch.stack([d.matrix(group) for d in layer.shifts.maps.diagrams])[..., 0]
    return whole, torch.einsum("do,dy->oy", layer.shifts(layer.bias, n).double(), shifts)


def randomised(layer: EquivariantLinear) -> EquivariantLinear:
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    return layer.double()


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
        layer = randomised(EquivariantLinear(group, k, l, 2, 3, basis=basis, normalization=normalization))
        assert layer.num_maps == dim_hom(group, k, l)
        n = group.size
        x = torch.randn(4, 2, *[n] * k, dtype=torch.float64)
        matrix, shift = dense(layer, n)
        want = torch.einsum("oyix,bix->boy", matrix, x.reshape(4, 2, -1)) + shift
        torch.testing.assert_close(layer(x).reshape(4, 3, -1), want, rtol=1e-11, atol=1e-11)
