"""Modules of e3nn as layers of geomlib, with their weights."""

from __future__ import annotations

from typing import Any

import torch

from geomlib.errors import InvalidInput
from geomlib.layers.tensor_product import TensorProduct

__all__ = ["from_e3nn"]


def from_e3nn(module: Any) -> TensorProduct:
    """Return an ``e3nn.o3.TensorProduct`` (any subclass) as a geomlib layer with the same weights and results.

    Args:
        module: of e3nn.

    Raises:
        InvalidInput: not a tensor product.

    Example:
        >>> import pytest
        >>> o3 = pytest.importorskip("e3nn.o3")
        >>> theirs = o3.FullyConnectedTensorProduct("2x0e+1o", "1o", "2x1o+1e")
        >>> x, y = torch.randn(4, 5), torch.randn(4, 3)
        >>> torch.allclose(from_e3nn(theirs)(x, y), theirs(x, y), atol=1e-5)
        True
    """
    names = ("irreps_in1", "irreps_in2", "irreps_out", "instructions", "internal_weights", "shared_weights")
    if any(not hasattr(module, name) for name in names):
        raise InvalidInput(f"from_e3nn: expected an e3nn.o3.TensorProduct, got {type(module).__name__}.")
    # The stored path_weight is the final constant in front of the unit-norm coupling, which stands under a square root.
    rows = [
        (i.i_in1, i.i_in2, i.i_out, i.connection_mode, i.has_weight, i.path_weight**2)
        for i in module.instructions
    ]
    layer = TensorProduct(
        str(module.irreps_in1), str(module.irreps_in2), str(module.irreps_out), rows, irrep_normalization="none",
        path_normalization="none", internal_weights=module.internal_weights, shared_weights=module.shared_weights,
    )  # fmt: skip
    if module.internal_weights:
        with torch.no_grad():
            layer = layer.to(module.weight.dtype)
            layer.weight.copy_(module.weight)
    return layer
