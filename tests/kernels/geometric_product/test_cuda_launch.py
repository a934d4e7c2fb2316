"""What is handed to cuda-core for kernels of multivectors, with a recorder in its place."""

from __future__ import annotations

import torch

from geomlib.kernels.cuda import launcher, staged_launch
from geomlib.kernels.cuda.staged_run import tiling
from geomlib.kernels.geometric_product import cuda
from tests.kernels.cuda.test_launch import compiled, core

from .cuda_problems import FORMS, PASSES, algebra, leaves_of

__all__ = ["core"]


def recorded(monkeypatch):
    monkeypatch.setattr(launcher, "build", lambda k, dtype, arch, text: compiled(text(k, dtype, None), arch))


def test_a_gradient(core, monkeypatch):
    """Addresses and three strides of everything that has rows, then sizes; all of 64 bits, no host value is asked for."""
    recorded(monkeypatch)
    form = FORMS["weighted"](algebra((3, 0)))
    _, y, w = (t.detach() for t in leaves_of(form, 300, 28, torch.float32))
    y = y[:1].expand(300, -1, -1)
    ((_, kernel),) = cuda.kernels(form, PASSES["backward"], 4)
    how = tiling(kernel, 300, 28)
    g, dx, dy = (torch.empty(300, 28, 8) for _ in range(3))
    blades = torch.empty(8, 300, 28).permute(1, 2, 0)
    arrays = {"x": blades, "y": y, "w": w.mT.contiguous().mT, "g": g, "dx": dx, "dy": dy}
    arrays["partial"] = torch.empty(how.blocks, 28, 20)
    staged_launch.launch_staged(kernel, arrays, how, torch.float32)
    (_, stream, grid, block, name, numbers) = core[-1]
    assert (stream, grid, block, name) == ((0, 4711), (how.blocks, 1, 1), 128, "form_xyw")
    assert all(type(n) is int for n in numbers)
    strides = {"g": (224, 8, 1), "y": (0, 8, 1), "x": (28, 1, 8400)}
    given = [n for p in kernel.inputs for n in (arrays[p.name].data_ptr(), *strides[p.name])]
    made = [n for p in kernel.outputs for n in (arrays[p.name].data_ptr(), 224, 8, 1)]
    assert numbers[: len(given)] == tuple(given)
    assert numbers[len(given) + 1 : -6] == tuple(made)  # weights were copied: their rows had gaps
    assert numbers[-6:] == (arrays["partial"].data_ptr(), 300, 28, how.width, how.per, how.tiles)
    code = next(c for kind, c in core if kind == "load").decode()
    assert code.startswith("sm_90|") and code.count("const io_t* __restrict__") == 4


def test_loaded_once_and_summed_by_few_blocks(core, monkeypatch):
    recorded(monkeypatch)
    for _ in range(2):
        staged_launch.launch_partial_sum(torch.zeros(7, 28, 20), torch.zeros(28, 20))
    assert [entry[0] for entry in core].count("load") == 1
    (_, _, grid, block, name, numbers) = core[-1]
    assert (grid, block, name, numbers[2:]) == ((18, 1, 1), 256, "partial_sum", (7, 560))


def test_an_axis_of_one_says_nothing():
    form = FORMS["weighted"](algebra((2, 0)))
    ((_, kernel),) = cuda.kernels(form, PASSES["forward"], 4)
    one = torch.empty(50, 3, 4)[:, 1:2], torch.empty(50, 1, 4), torch.empty(1, 10), torch.empty(50, 1, 4)
    arrays = dict(zip(("x", "y", "w", "dg"), one, strict=True))
    numbers = staged_launch.staged_arguments(kernel, arrays, tiling(kernel, 50, 1))
    assert numbers[1:4] == (12, 12, 1)
