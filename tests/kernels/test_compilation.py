"""What compiling the kernels costs: one compilation per type of the features, and a fresh start in seconds."""

import gc
import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from geomlib import create_model
from geomlib.kernels.edges import EdgeList, edge_message
from geomlib.kernels.geometry import bond_geometry
from geomlib.layers import (
    ChannelwiseTensorProduct,
    ElementwiseTensorProduct,
    FullyConnectedTensorProduct,
    SphericalHarmonics,
    TensorProductConv,
)
from tests.kernels.test_fused import CASES

pytest.importorskip("numba")

from numba import types

from geomlib.kernels.jit import jit

ROOT = Path(__file__).resolve().parents[2]


def kernels():
    for folder in ("cartesian", "dual", "edges", "geometry", "harmonics", "tensor_product"):
        module = importlib.import_module(f"geomlib.kernels.{folder}.cpu")
        for name in module.__all__:
            yield f"{folder}.{name}", getattr(module, name).dispatcher


def strided(t, dtype):
    """The same values, not contiguous."""
    return torch.stack([t.detach(), t.detach()], -1).to(dtype)[..., 0].requires_grad_()


def transposed(t, dtype):
    """The same values, the last axis first in memory: `empty_like` would keep that order."""
    t = t.detach().to(dtype)
    return t.movedim(-1, 0).contiguous().movedim(0, -1).requires_grad_()


def twice(operation, tensors):
    """Return all first and second derivatives of an operation."""
    y = operation(*tensors)
    wanted = [t for t in tensors if t.requires_grad]
    first = torch.autograd.grad(y, wanted, torch.ones((), dtype=y.dtype).expand_as(y), create_graph=True)
    total = torch.stack([g.pow(2).sum() for g in first]).sum()
    second = torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
    return *first, *second


def use_products(dtype):
    """Products of all modes and convolutions of every layout; harmonics."""
    for layout in (strided, transposed):
        for product in (
            ChannelwiseTensorProduct("4x0e+4x1o", "0e+1o", shared_weights=False, backend="cpu"),
            ElementwiseTensorProduct("4x0e+4x1o", "4x0e+4x1o", backend="cpu"),
            FullyConnectedTensorProduct(
                "4x0e+4x1o", "2x0e+1o", "3x0e+2x1o", shared_weights=False, backend="cpu"
            ),
        ):
            x, y = (layout(torch.randn(5, r.dim), dtype) for r in (product.irreps_in1, product.irreps_in2))
            w = [layout(torch.randn(5, product.weight_numel), dtype)] if product.weight_numel else []
            twice(product, [x, y, *w])
        conv = TensorProductConv(
            ChannelwiseTensorProduct("4x0e+4x1o", "0e+1o", shared_weights=False, backend="cpu")
        )
        for edges in (torch.tensor([[0, 1, 2], [1, 0, 0]]), torch.zeros(2, 0, dtype=torch.int32)):
            x, y = layout(torch.randn(3, 16), dtype), layout(torch.randn(edges.shape[1], 4), dtype)
            w = layout(torch.randn(edges.shape[1], conv.product.weight_numel), dtype)
            twice(lambda x, y, w, e=edges, f=conv: f(x, y, e, w), [x, y, w])
        twice(SphericalHarmonics("0e+1o+2e"), [layout(torch.randn(4, 3), dtype)])


def use_everything(dtype):
    """Call every kernel: odd memory orders, no edges, one atom, a periodic cell, a recorded call."""
    for case in CASES.values():
        operation, tensors = case()
        for layout in (strided, transposed):
            twice(lambda *t, f=operation: f(*t, backend="cpu"), [layout(t, dtype) for t in tensors])
    for layout in (strided, transposed):
        length, direction = bond_geometry(
            layout(torch.randn(4, 3), dtype), loop=True, second_order=False, backend="cpu"
        )
        (length.sum() + direction.pow(2).sum()).backward()
    use_products(dtype)
    pairs = torch.tensor([[0, 1], [1, 2], [2, 0]]).T  # its rows are not contiguous
    weight, x = torch.randn(4, 3, 2, dtype=dtype, requires_grad=True), torch.randn(3, 9, 2, dtype=dtype)
    edge_message(weight, x, EdgeList.from_edge_index(pairs, 3, loops=True), backend="cpu").sum().backward()
    model = create_model("tensornet", channels=4, layers=1, num_radial=4, cutoff=3.0).to(dtype)
    for atoms, cell in ((1, None), (5, None), (5, 4.0 * torch.eye(3, dtype=dtype))):
        pos = torch.rand(atoms, 3, dtype=dtype) + torch.arange(atoms)[:, None]
        out = model(torch.full((atoms,), 8), pos, cell=cell)
        (out["energy"].sum() + out["forces"].pow(2).sum()).backward()


def test_every_kernel_is_compiled_once_per_type_of_the_features():
    """A second compilation is a memory order, or a type of an index or a scalar, that slipped through."""
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        use_everything(dtype)
    for name, dispatcher in kernels():
        features = Counter(
            " and ".join(
                sorted({str(a.dtype) for a in signature if isinstance(a, types.Array)} - {"int64", "uint64"})
            )
            for signature in dispatcher.signatures
        )
        assert features == {"float32": 1, "float64": 1}, (name, dispatcher.signatures)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_where_one_input_only_wants_them(name):
    """Kernels that serve one gradient are called without those that serve the others."""
    torch.manual_seed(0)
    operation, tensors = CASES[name]()
    for chosen in range(len(tensors)):
        inputs = [t.detach().requires_grad_(k == chosen) for k, t in enumerate(tensors)]
        ours, reference = (
            twice(lambda *t, b=backend: operation(*t, backend=b).pow(2), inputs)
            for backend in ("cpu", "torch")
        )
        for a, b in zip(ours, reference, strict=True):
            torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("switch", [gc.disable, gc.enable])
def test_the_collector_is_as_it_was_after_a_compilation(switch):
    @jit
    def good(x):
        x[0] = x[0] + x[0]

    @jit
    def bad(x):
        x.nothing()

    x = torch.ones(2).numpy()
    try:
        switch()
        before = gc.isenabled()
        good(x)
        assert gc.isenabled() == before
        with pytest.raises(Exception, match="nothing"):
            bad(x)
        assert gc.isenabled() == before
    finally:
        gc.enable()
    assert float(x[0]) == 2.0


@pytest.mark.slow
def test_a_fresh_start_takes_seconds():
    """CPU seconds of one thread with an empty cache: energies and forces under 6, a training step under 12."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "cold_start.py"), "--repeats", "1"],
        capture_output=True, text=True, check=True, timeout=500,
    )  # fmt: skip
    times = {(r["task"], r["cache"]): r["cpu_s"] for r in json.loads(done.stdout)["rows"]}
    assert times["energy+forces", "empty"] < 6.0
    assert times["training step", "empty"] < 12.0
    for task in ("energy+forces", "training step"):
        assert times[task, "kept"] < 0.6 * times[task, "empty"]
