"""Memory for kernels: the same tensors whoever allocates them."""

from __future__ import annotations

import pytest
import torch

from geomlib.kernels.arrays import _LARGE, empty, zeros


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 3, _LARGE // 16 + 1])
def test_shapes_types_and_zeros(rows: int, dtype: torch.dtype) -> None:
    a, b = empty(rows, 4, dtype=dtype), zeros(rows, 4, dtype=dtype)
    for t in (a, b):
        assert t.shape == (rows, 4) and t.dtype == dtype and t.is_contiguous() and not t.requires_grad
    assert not bool(b.any())
    a.fill_(1.0)
    assert a.data_ptr() != b.data_ptr() or not rows
    assert float(a.sum(dtype=torch.float64)) == 4 * rows and not bool(b.any())


def test_large_memory_serves_autograd() -> None:
    x = zeros(_LARGE // 4 + 1, dtype=torch.float32).requires_grad_()
    (x + 1).square().sum().backward()
    assert x.grad is not None and float(x.grad[-1]) == 2.0
