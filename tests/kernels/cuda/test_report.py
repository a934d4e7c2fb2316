"""Looking at the kernels of a product."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.cuda.compiler import missing_compiler
from geomlib.kernels.tensor_product.cuda_report import PASSES, kernels_of, report, sources

from .problems import MIXED, WIDE


def test_every_pass_is_there():
    assert set(kernels_of(MIXED)) == {*PASSES, "messages added up"}
    texts = sources(MIXED, torch.float64)
    assert all("double real_t" in text for text in texts.values())
    assert all(text.count("__global__") == 1 for text in texts.values())
    assert "asm" in sources(MIXED, torch.float16)["forward"] and "asm" not in texts["forward"]


@pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))
def test_report(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path))
    lines = report(WIDE, arch="sm_80")
    assert [line.kernel for line in lines] == list(kernels_of(WIDE))
    assert all(line.block == 128 and 16 <= line.registers <= 128 and line.spilled == 0 for line in lines)
    assert len(list((tmp_path / "kernels").iterdir())) == len(lines)


def test_products_without_kernels():
    other = ProductSpec.from_instructions("2x0e", "2x0e", "2x0e", [(0, 0, 0, "uuu", True)])
    with pytest.raises(InvalidInput, match="'uvu'"):
        kernels_of(other)
    with pytest.raises(InvalidInput, match="expected one of"):
        kernels_of(MIXED, torch.int8)
    nothing = ProductSpec.from_instructions("0x0e", "0e", "0x0e", [(0, 0, 0, "uvu", True)])
    assert kernels_of(nothing) == {}
