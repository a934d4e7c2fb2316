"""What is handed to cuda-core, with a recorder in its place: stream, grid, block, 64-bit arguments, one load per kernel."""

from __future__ import annotations

import contextlib
import threading
import types

import pytest
import torch

from geomlib.kernels.cuda import launcher
from geomlib.kernels.cuda.compiler import Binary
from geomlib.kernels.cuda.source import print_kernel
from geomlib.kernels.tensor_product import cuda
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.plan import plan_of

from .problems import MIXED, WIDE, arguments


def compiled(source, arch):
    return Binary(f"{arch}|{source}".encode(), arch, {}, False)


@pytest.fixture
def core(monkeypatch):
    """cuda-core that records."""
    log: list[tuple] = []

    class Code:
        def __init__(self, code):
            self.code = code

        @staticmethod
        def from_cubin(code):
            log.append(("load", code))
            return Code(code)

        def get_kernel(self, name):
            return name, self.code

    class Device:
        def __init__(self, index):
            self.index = index

        def set_current(self):
            log.append(("device", threading.get_ident()))

    def launch(stream, config, kernel, *numbers):
        log.append(("launch", stream.__cuda_stream__(), config.grid, config.block, kernel[0], numbers))

    def config(grid, block):
        return types.SimpleNamespace(grid=grid, block=block)

    fake = types.SimpleNamespace(ObjectCode=Code, Device=Device, launch=launch, LaunchConfig=config)

    monkeypatch.setattr(launcher.importlib, "import_module", {"cuda.core": fake}.__getitem__)
    monkeypatch.setattr(launcher, "compile_source", compiled)
    monkeypatch.setattr(launcher, "build", lambda k, dtype, arch: compiled(print_kernel(k, dtype), arch))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: types.SimpleNamespace(cuda_stream=4711))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(launcher, "_thread", threading.local())
    launcher._loaded.cache_clear()
    yield log
    launcher._loaded.cache_clear()


def start(spec, nodes, edges, kind, terms, extra, parts=1):
    (x, y, w), source, target = arguments(spec, nodes, edges, dtype=torch.float32)
    rows = DeviceRows.edges(source, target, nodes, nodes)
    kernel, _ = cuda.kernels(plan_of(spec), kind, terms, 4, False)
    g = torch.zeros(nodes, spec.irreps_out.dim)
    arrays = {"a": x.detach(), "y": y.detach(), "w": w.detach(), "g": g, **extra}
    launcher.launch(kernel, rows.by_target, arrays, parts, torch.float32)
    return kernel, rows, arrays


def test_a_contraction(core):
    out = torch.zeros(3, 5, MIXED.irreps_out.dim)
    kernel, rows, arrays = start(MIXED, 5, 9, "value", ((("a", "y", "w"),),), {"out": out}, parts=3)
    (_, stream, grid, block, name, numbers) = core[-1]
    assert stream == (0, 4711) and grid == (5, kernel.units, 3) and block == 32 and name == "contract"
    lists = rows.by_target
    expected = (lists.start, lists.other, lists.edge, None, arrays["a"], arrays["y"], arrays["w"], out)
    assert numbers == tuple(0 if t is None else t.data_ptr() for t in expected)
    assert all(type(n) is int for n in numbers)
    code = next(c for kind, c in core if kind == "load").decode()
    assert code.startswith("sm_90|") and code.count("const long long* __restrict__") == 3


def test_rows_of_partial_sums_are_told(core):
    gy, gw = torch.zeros(4, 9, 9), torch.zeros(9, MIXED.weight_numel)
    terms = ((("a", "y", ""),), (("a", "", "w"),), ())
    kernel, _, _ = start(MIXED, 5, 9, "pulls", terms, {"gy": gy, "gw": gw})
    numbers = core[-1][-1]
    assert numbers[3] == 9 and kernel.slots == 3  # multiplicities 3, 5, 2: one program, one warp each
    assert numbers[-1] == gy.data_ptr()


def test_rows_are_aligned_and_without_gaps():
    """Four numbers are read at once where all threads read the same; a view may begin anywhere."""
    kernel, _ = cuda.kernels(plan_of(WIDE), "value", ((("a", "y", "w"),),), 4, False)
    (x, y, w), _, _ = arguments(WIDE, 4, 6, dtype=torch.float32)
    shifted = torch.cat([torch.zeros(1), y.detach().flatten()])[1:].view_as(y)
    wide = torch.cat([x.detach(), x.detach()], 1)[:, : x.shape[1]]
    assert shifted.data_ptr() % 16 and not wide.is_contiguous()
    out = torch.zeros(1, 4, 600)
    found = launcher.prepared(kernel, {"a": wide, "y": shifted, "w": w.detach(), "out": out})
    assert found["y"].data_ptr() % 16 == 0 and torch.equal(found["y"], y) and torch.equal(found["a"], x)
    assert found["a"].is_contiguous() and found["out"] is out


def test_many_channels_take_several_blocks(core):
    kernel, _, _ = start(WIDE, 4, 6, "value", ((("a", "y", "w"),),), {"out": torch.zeros(1, 4, 600)})
    assert core[-1][2] == (4, 2, 1) and core[-1][3] == 128 == kernel.block


def test_loaded_once_and_current_in_every_thread(core):
    def run():
        launcher.launch_ordered_sum(torch.zeros(3, 1000), torch.zeros(1000))

    run(), run()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    kinds = [entry[0] for entry in core]
    assert kinds.count("load") == 1 and kinds.count("launch") == 3 and kinds.count("device") == 2
    assert core[-1][2:4] == ((4, 1, 1), 256) and core[-1][-1][2:] == (3, 1000)
