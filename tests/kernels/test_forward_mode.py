"""Operators without forward-mode derivatives refuse them: torch alone would return tangents of zero."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from geomlib import InvalidInput
from geomlib.kernels import gaunt
from geomlib.kernels.gaunt import SignalProduct
from geomlib.kernels.geometric_product.traced import traced_form
from geomlib.kernels.harmonics import operators

SIGNALS = SignalProduct("gaunt", (0, 1), (0, 1), (0, 1, 2), channels=2)
OPERATORS = {
    "multivectors": (lambda x: traced_form("gp", (1, 1, 1), None, x[:, None], x[:, None]), 8),
    "harmonics": (lambda x: operators._value(x[:, :3], (0, 1, 2), True, "component", ""), 8),
    "signals": (lambda x: gaunt._operator(x, x, SIGNALS.key, "sparse", ""), 8),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_tangents_are_refused(name: str) -> None:
    operator, size = OPERATORS[name]
    x = torch.randn(3, size)
    assert bool(operator(x).any())
    with pytest.raises(InvalidInput, match="forward-mode"):
        torch.func.jvp(operator, (x,), (x,))
    with forward_ad.dual_level(), pytest.raises(InvalidInput, match="forward-mode"):
        operator(forward_ad.make_dual(x, x))
