"""Layers of multivectors write gradients of inputs whose memory is not in the order of their axes."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.dispatch import use_backend
from geomlib.layers import MVGELU, MVGeometricProduct, MVLayerNorm, MVLinear, MVRMSNorm, MVSiLU

ALGEBRA = CliffordAlgebra(2, 1)
LAYERS = {
    "norm": lambda: MVLayerNorm(ALGEBRA, 3),
    "rms": lambda: MVRMSNorm(ALGEBRA, 3),
    "silu": lambda: MVSiLU(ALGEBRA, 3),
    "gelu": lambda: MVGELU(ALGEBRA, 3),
    "linear": lambda: MVLinear(ALGEBRA, 3, 2),
    "product": lambda: MVGeometricProduct(ALGEBRA, 3),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (2, 1, 0), (0, 2, 1)])
def test_gradient_of_permuted_memory(name: str, order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = torch.randn(7, 3, 8, dtype=torch.float64)
    back = [order.index(k) for k in range(3)]
    strided = x.permute(order).contiguous().permute(back)
    assert torch.equal(strided, x) and not strided.is_contiguous()
    with use_backend("torch"):
        plain = x.clone().requires_grad_()
        cotangent = torch.randn_like(layer(plain))
        want = torch.autograd.grad(layer(plain), plain, cotangent)[0]
    permuted = strided.requires_grad_()
    found = torch.autograd.grad(layer(permuted), permuted, cotangent)[0]
    torch.testing.assert_close(found, want, atol=1e-12, rtol=1e-12)
