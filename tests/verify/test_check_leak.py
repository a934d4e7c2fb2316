"""Narrower types: the tensor, the operation and the module are named, and only what explains the error is blamed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geomlib.verify import Report, check
from geomlib.verify.leak import built_in_float32, widened
from geomlib.verify.target import Target


def vectors(f, **kwargs) -> Report:
    return check(f, "O(3)", "vector", "vector", **{"trials": 4, "stress": False, **kwargs})


def skew(x: Tensor) -> Tensor:
    """Return an exactly equivariant map that mixes components, so that rounding shows."""
    return x * x.norm(dim=-1, keepdim=True)


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype | None):
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x if self.dtype is None else x.to(self.dtype).to(x.dtype)


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype | None):
        super().__init__()
        self.first, self.second = Cast(None), nn.Sequential(Cast(dtype), Cast(None))

    def forward(self, x: Tensor) -> Tensor:
        return skew(self.second(self.first(x)))


def test_a_cast_is_named_with_its_module_and_line() -> None:
    report = vectors(Net(torch.float32))
    assert report.verdict == "PRECISION LEAK", str(report)
    assert {f.verdict for f in report.fields} == {"PRECISION LEAK"} and not report.failures
    (leak,) = [text for text in report.leaks if text.startswith("second.0 (Cast)")]
    assert "aten._to_copy makes a float32 tensor of shape (10, 3), test_check_leak.py:" in leak
    assert "part of the computation is narrower than float64" in report.fields[0].reason
    assert vectors(Net(None)).verdict == "EXACT" and not vectors(Net(None)).leaks


def test_a_coarser_cast_is_broken_and_named() -> None:
    report = vectors(Net(torch.bfloat16))
    assert report.verdict == "BROKEN" and report.leaks[0].startswith("second.0 (Cast)")
    assert report.advice == "without the narrower type the function is exact"


class NarrowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return g.float().double() if g.dtype == torch.float64 else g


def test_casts_in_the_backward_pass() -> None:
    report = vectors(lambda x: skew(NarrowBackward.apply(x)))
    verdicts = {f.name: f.verdict for f in report.fields}
    assert verdicts == {"out": "EXACT", "d/d 0": "PRECISION LEAK"}, str(report)
    assert report.leaks and not report.failures


class Table(nn.Module):
    """Multiplies by an orthogonal matrix and its inverse."""

    def __init__(self, how: str):
        super().__init__()
        torch.manual_seed(0)
        q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
        if how == "parameter":
            self.q = nn.Parameter(q.float(), requires_grad=False)
        elif how == "attribute":
            self.q = q.float()
        elif how == "numpy":
            self.array = q.float().numpy()
        else:
            self.register_buffer("q", q.float() if how == "buffer" else q)

    def forward(self, x: Tensor) -> Tensor:
        q = (self.q if hasattr(self, "q") else torch.from_numpy(np.array(self.array))).to(x)
        return skew(x @ q @ q.mT)


@pytest.mark.parametrize("how", ["buffer", "parameter", "attribute", "numpy"])
def test_tables_built_in_float32(how: str) -> None:
    report = vectors(Table(how))
    assert report.verdict == "PRECISION LEAK", str(report)
    found = {
        "buffer": "buffer q of shape (3, 3) was built",
        "parameter": "parameter q of shape (3, 3) was built",
    }
    assert found.get(how, "a float32 tensor of shape (3, 3) from outside enters") in report.leaks[0]


def test_exact_tables_and_innocent_ones() -> None:
    assert vectors(Table("exact")).verdict == "EXACT"

    class Stretched(nn.Module):
        """A true fault of the size of float32, beside a table in float32 that does no harm."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centres", torch.linspace(0, 4, 8))
            self.width = torch.linspace(0.3, 0.9, 8)

        def forward(self, x: Tensor) -> Tensor:
            r = x.norm(dim=-1, keepdim=True)
            basis = torch.exp(-((r - self.centres) ** 2) * self.width.to(x)).sum(-1, keepdim=True)
            return x * basis * (1 + 2e-7 * torch.tensor([0.0, 0.0, 1.0]).to(x))

    report = vectors(Stretched())
    assert report.verdict == "BROKEN" and report.e64 < 4.8e-7 and not report.leaks, str(report)


def test_what_counts_as_a_table() -> None:
    net = nn.Module()
    net.register_buffer("third", torch.tensor([1 / 3, 2 / 3]).double())
    net.register_buffer("exact", torch.tensor([1 / 3], dtype=torch.float64))
    net.register_buffer("short", torch.tensor([0.5, 3.0, 0.0]).double())
    net.register_buffer("steps", torch.arange(3))
    net.weight = nn.Parameter(torch.randn(3))
    net.forward = lambda x: x
    assert list(built_in_float32(Target(net, {}, gradients=False))) == ["buffer third"]


def test_outputs_in_float32_are_judged_before_the_rounding() -> None:
    report = vectors(lambda x: skew(x).float())
    assert report.verdict == "EXACT" and report.e64 < 1e-15, str(report)
    assert any(
        "`out` is float32 for float64 inputs: judged before that rounding" in w for w in report.warnings
    )
    assert vectors(lambda x: skew(x.float())).verdict == "PRECISION LEAK"
    anisotropic = vectors(lambda x: (skew(x) * torch.tensor([1.0, 1.0, 1.0 + 1e-8]).to(x)).float())
    assert anisotropic.verdict == "EXACT"  # 1 + 1e-8 is 1 in float32
    table = torch.tensor([1.0, 1.0, 1.0 + 1e-8], dtype=torch.float64)
    assert vectors(lambda x: (skew(x) * table.to(x)).float()).verdict == "BROKEN"


def test_casts_do_nothing_inside_widened() -> None:
    x = torch.rand(3, dtype=torch.float64)
    with widened():
        assert x.float().dtype == torch.float64 and torch.zeros(2, dtype=torch.float32).dtype == torch.float64
        assert torch.equal(x.bfloat16(), x)
