"""The printed text itself, run by an emulator of blocks, warps and shuffles; its arguments are those a card would get."""

from __future__ import annotations

import pytest
import torch

from geomlib.kernels.tensor_product import cuda

from .emulate import Emulator, needs_compiler
from .problems import HIGH, MIXED, WIDE, arguments, close, derivatives, generated, specified

pytestmark = needs_compiler


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    found = Emulator(tmp_path)
    monkeypatch.setattr(cuda, "_run", found.run)
    monkeypatch.setattr(cuda, "ordered_sum", found.ordered_sum)
    return found


@pytest.mark.parametrize(
    ("spec", "nodes", "edges", "shared", "dtype"),
    [
        (MIXED, 5, 13, False, torch.float64), (MIXED, 4, 11, True, torch.float64), (MIXED, 2, 90, False, torch.float64),
        (WIDE, 3, 7, False, torch.float64), (WIDE, 3, 7, False, torch.float32), (HIGH, 3, 5, False, torch.float64),
    ],
)  # fmt: skip
def test_value_and_two_derivatives(emulator, spec, nodes, edges, shared, dtype):
    leaves, source, target = arguments(spec, nodes, edges, shared=shared, dtype=dtype)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    found = derivatives(lambda t: generated(spec, t, source, target), leaves)
    expected = derivatives(lambda t: specified(spec, t, source, target), exact)
    for a, b in zip(found, expected, strict=True):
        close(a.double(), b, 1e-12 if dtype == torch.float64 else 5e-6)
    names = [name for name, _ in emulator.launches]
    assert names.count("contract") >= 2 and names.count("pulls") >= 2
    assert ("gather" in names) == (spec is MIXED and not shared)
    if edges == 90:
        assert any(grid[2] > 1 for _, grid in emulator.launches)


def test_a_missing_argument_is_noticed(emulator, tmp_path):
    with pytest.raises(AssertionError, match="takes 4 arguments, 3 were given"):
        from geomlib.kernels.cuda.source import print_ordered_sum

        emulator.start(print_ordered_sum(torch.float64), "ordered_sum", (1, 1, 1), 32, (0, 0, 0))
