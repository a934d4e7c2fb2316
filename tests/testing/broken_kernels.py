"""Kernels, each with one fault, and the suite that must see it. Run by test_suites_catch.py, never by itself."""

from __future__ import annotations

import torch
from torch.autograd import Function

from geomlib.errors import InvalidInput
from geomlib.testing import KernelSuite


def reference(x, y):
    return (x.pow(3) * y).sum(-1)


def fused(x, y):
    return (x * x * x * y).sum(-1)


class TestGood(KernelSuite):
    kernel = staticmethod(fused)
    reference = staticmethod(reference)
    inputs = staticmethod(
        lambda rows, generator: {n: torch.randn(rows, 4, generator=generator) for n in "xy"}
    )


class TestFirstRow(TestGood):
    """test_values"""

    kernel = staticmethod(lambda x, y: fused(x, y) * (1.0 + 1e-3 * (torch.arange(x.shape[0]) == 32)))


class Doubled(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2.0 * grad


class TestDoubled(TestGood):
    """test_gradients"""

    kernel = staticmethod(lambda x, y: fused(Doubled.apply(x), y))


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3.0 * ctx.saved_tensors[0].detach() ** 2 * grad


class TestOnce(TestGood):
    """test_second_gradients"""

    kernel = staticmethod(lambda x, y: (Cube.apply(x) * y).sum(-1))


class TestHiding(TestGood):
    """test_nan_is_kept"""

    kernel = staticmethod(lambda x, y: fused(torch.nan_to_num(x), y))


class TestOverflow(TestGood):
    """test_large_shapes"""

    @staticmethod
    def kernel(x, y):
        if x.numel() > 2**31:
            return x.new_empty(x.numel() % 2**31)
        return fused(x, y)


class TestRefusing(TestGood):
    @staticmethod
    def kernel(x, y):
        if x.numel() > 2**31:
            raise InvalidInput("too many elements")
        return fused(x, y)
