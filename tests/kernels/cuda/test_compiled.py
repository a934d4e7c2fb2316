"""Machine code without a card: NVRTC for sm_80 and sm_90, registers within budget, no spills, no stack; the cache."""

from __future__ import annotations

import re
import warnings

import pytest
import torch

from geomlib.errors import CheckpointError, MissingDependency
from geomlib.kernels.cuda import build as builder
from geomlib.kernels.cuda import compiler
from geomlib.kernels.cuda.build import build
from geomlib.kernels.cuda.compiler import Usage, compile_source, missing_compiler, usage_of
from geomlib.kernels.cuda.source import DTYPES, print_ordered_sum
from geomlib.kernels.tensor_product import cuda
from geomlib.kernels.tensor_product.cuda_report import PASSES
from geomlib.kernels.tensor_product.plan import plan_of

from .problems import HIGH, MIXED, WIDE, channelwise_spec

needs_nvrtc = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))

ARCHITECTURES = ("sm_80", "sm_90")
PROBLEMS = {
    "MACE-medium": channelwise_spec("128x0e+128x1o", "0e+1o+2e+3o", "0e+1o+2e"),
    "MACE-large": channelwise_spec("128x0e+128x1o+128x2e", "0e+1o+2e+3o", "0e+1o+2e+3o"),
    "NequIP l=2": channelwise_spec("64x0o+64x0e+64x1o+64x1e+64x2o+64x2e", "0e+1o+2e", "0o+0e+1o+1e+2o+2e"),
}
#: Registers that a thread may use: forward and double backward of the specification, one thread per channel.
BUDGETS = {"MACE-medium": (80, 128), "MACE-large": (128, 168), "NequIP l=2": (239, 255)}


def usage(spec, kind, dtype, arch, shared=False):
    """The worst of the kernels of one pass."""
    found = cuda.kernels(plan_of(spec), *kind, 8 if dtype == torch.float64 else 4, shared)
    reports = [build(k, dtype, arch, keep=False).usage[k.name] for k in found if k is not None]
    return Usage(
        *(max(getattr(r, n) for r in reports) for n in ("registers", "spill_stores", "spill_loads", "stack"))
    )


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_registers_of_single_precision(name, arch):
    for label, kind in PASSES.items():
        used = usage(PROBLEMS[name], kind, torch.float32, arch)
        assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0), label
        budget = {"forward": BUDGETS[name][0], "double backward": BUDGETS[name][1]}.get(label, 255)
        assert used.registers <= budget, f"{label}: {used.registers} registers, at most {budget}"


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_double_precision_is_split_until_nothing_spills(name, arch):
    for label, kind in PASSES.items():
        used = usage(PROBLEMS[name], kind, torch.float64, arch)
        assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0), label
    split, _ = cuda.kernels(plan_of(PROBLEMS["NequIP l=2"]), *PASSES["forward"], 8, False)
    assert len(split.programs) > 1


@needs_nvrtc
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("spec", [MIXED, WIDE, HIGH])
def test_odd_products_compile(spec, shared, dtype):
    for label, kind in PASSES.items():
        used = usage(spec, kind, dtype, "sm_90", shared)
        assert used.spill_stores == used.spill_loads == 0, label


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_second_stage_compiles(dtype, arch):
    used = compile_source(print_ordered_sum(dtype), arch, keep=False).usage["ordered_sum"]
    assert used.spill_stores == 0 and used.registers <= 40


@needs_nvrtc
def test_a_spill_is_reported():
    """The reading of the log can fail: 200 values kept through a loop, 32 registers."""
    values = "\n".join(f"double v{k} = p[{k}];" for k in range(200))
    loop = "\n".join(f"v{k} = fma(v{k}, v{(k + 1) % 200}, p[i]);" for k in range(200))
    stores = "\n".join(f"p[{k}] = v{k};" for k in range(200))
    head = 'extern "C" __global__ void __launch_bounds__(1024, 2) k(double* p, int n)'
    source = f"{head} {{ {values} for (int i = 0; i < n; ++i) {{ {loop} }} {stores} }}"
    used = compile_source(source, "sm_90", keep=False).usage["k"]
    assert used.spill_stores > 0 and used.spill_loads > 0 and used.registers <= 32


def test_fewer_blocks_are_asked_for_until_nothing_spills(monkeypatch):
    """With an assembler that spills below 100 registers."""
    kernel, _ = cuda.kernels(plan_of(WIDE), *PASSES["forward"], 4, False)
    asked: list[str] = []

    def fake(source, arch, keep):
        bounds = re.search(r"__launch_bounds__\((.*?)\)", source)[1]
        asked.append(bounds)
        registers = 48 if "," not in bounds else 65536 // (128 * int(bounds.split(",")[1]))
        used = Usage(registers, max(0, 100 - registers), 0, 0)
        return compiler.Binary(bounds.encode(), arch, {"contract": used}, False)

    monkeypatch.setattr(builder, "compile_source", fake)
    assert build(kernel, torch.float32, "sm_90").code == b"128, 5"
    assert asked == ["128", "128, 7", "128, 5"]


def test_a_log_that_is_not_understood():
    with pytest.raises(CheckpointError, match="not understood"):
        usage_of("ptxas info : Compiling entry function 'k' for 'sm_200'\nUsed many registers")
    assert usage_of("") == {}


@needs_nvrtc
def test_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path))
    source = print_ordered_sum(torch.float32)
    first = compile_source(source, "sm_90")
    (file,) = (tmp_path / "kernels").iterdir()
    assert not first.cached and file.suffix == ".cubin"
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_compiled", None)  # nothing is compiled
        again = compile_source(source, "sm_90")
    assert again.cached and again.code == first.code and again.usage == first.usage
    for other in ((source + "\n", "sm_90"), (source, "sm_80")):
        assert not compile_source(*other).cached
    assert not compile_source(source, "sm_90", about="another table").cached
    monkeypatch.setattr(compiler, "GENERATOR", compiler.GENERATOR + 1)
    assert not compile_source(source, "sm_90").cached
    assert len(list((tmp_path / "kernels").iterdir())) == 5


@needs_nvrtc
@pytest.mark.parametrize("damage", ["shorten", "flip", "empty", "head", "other"])
def test_damaged_files_are_compiled_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path))
    source = print_ordered_sum(torch.float32)
    first = compile_source(source, "sm_90")
    (file,) = (tmp_path / "kernels").iterdir()
    blob = bytearray(file.read_bytes())
    if damage == "shorten":
        blob = blob[:-5]
    elif damage == "flip":
        blob[-100] ^= 1
    elif damage == "empty":
        blob = bytearray()
    elif damage == "head":
        blob = bytearray(b"[1]\n") + blob
    else:
        blob = bytearray(bytes(blob).replace(b'"key": "', b'"key": "0', 1))
    file.write_bytes(blob)
    with pytest.warns(UserWarning, match="damaged"):
        found = compile_source(source, "sm_90")
    assert found.code == first.code and not found.cached
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compile_source(source, "sm_90").cached


@needs_nvrtc
def test_without_a_place_for_the_cache(tmp_path, monkeypatch):
    """Kernels are compiled all the same, with a warning that says what is wrong."""
    (tmp_path / "file").write_text("")
    source = print_ordered_sum(torch.float32)
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not kept.*set GEOMLIB_DATA"):
        assert compile_source(source, "sm_90").code
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kernels").write_text("a file where a folder is needed")
    with pytest.warns(UserWarning, match="not kept.*could not be written"):
        assert compile_source(source, "sm_90").code


def test_without_the_packages(monkeypatch):
    monkeypatch.setattr(compiler, "missing_compiler", lambda: "cuda-core is not installed (pip install ...)")
    with pytest.raises(MissingDependency, match="cuda-core is not installed"):
        compile_source("", "sm_90")


def test_which_package_is_missing(monkeypatch):
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    compiler.missing_compiler.cache_clear()
    try:
        assert compiler.missing_compiler() == "cuda-core is not installed (pip install 'geomlib-torch[cuda]')"
    finally:
        compiler.missing_compiler.cache_clear()
