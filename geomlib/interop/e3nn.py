"""Modules of e3nn as layers of geomlib, with their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from geomlib.errors import InvalidInput
from geomlib.layers.activation import Activation
from geomlib.layers.batch_norm import BatchNorm
from geomlib.layers.gate import Gate
from geomlib.layers.linear import Linear
from geomlib.layers.norms import Norm, NormActivation
from geomlib.layers.spherical_harmonics import SphericalHarmonics
from geomlib.layers.tensor_product import TensorProduct
from geomlib.layers.tensor_square import TensorSquare

__all__ = ["from_e3nn"]


def from_e3nn(module: Any) -> nn.Module:
    """Return a module of e3nn as a geomlib layer with the same weights and results.

    Known are ``o3.TensorProduct`` with its subclasses (``o3.TensorSquare`` too), ``o3.Linear``, ``o3.Norm``,
    ``o3.SphericalHarmonics``, ``nn.Activation``, ``nn.Gate``, ``nn.NormActivation`` and ``nn.BatchNorm``.

    Args:
        module: of e3nn.

    Raises:
        InvalidInput: none of them, or an option that geomlib does not have.

    Example:
        >>> import pytest
        >>> o3 = pytest.importorskip("e3nn.o3")
        >>> theirs = o3.FullyConnectedTensorProduct("2x0e+1o", "1o", "2x1o+1e")
        >>> import torch; x, y = torch.randn(4, 5), torch.randn(4, 3)
        >>> torch.allclose(from_e3nn(theirs)(x, y), theirs(x, y), atol=1e-5)
        True
    """
    for kind in type(module).__mro__:
        convert = _CONVERTERS.get(kind.__name__)
        if convert is not None and kind.__module__.split(".")[0] == "e3nn":
            layer = convert(module)
            layer.train(module.training)
            return layer
    raise InvalidInput(
        f"from_e3nn: expected an e3nn.o3.TensorProduct or one of {', '.join(_CONVERTERS)}, got {type(module).__name__}. "
        "Convert the parts of a larger module one by one."
    )


def _with_state(layer: nn.Module, module: nn.Module, *names: str) -> nn.Module:
    """Copy parameters and buffers of these names, with their type and device."""
    for name in names:
        theirs, ours = getattr(module, name, None), getattr(layer, name, None)
        if isinstance(theirs, Tensor) and isinstance(ours, Tensor) and theirs.numel():
            ours.data = theirs.detach().clone()
            ours.requires_grad_(theirs.requires_grad)
    return layer


def _rows(module: Any) -> list[tuple[Any, ...]]:
    # The stored path_weight is the final constant in front of the unit-norm coupling, which stands under a square root.
    return [
        (i.i_in1, i.i_in2, i.i_out, i.connection_mode, i.has_weight, i.path_weight**2)
        for i in module.instructions
    ]


def _product(module: Any) -> nn.Module:
    layer = TensorProduct(
        str(module.irreps_in1), str(module.irreps_in2), str(module.irreps_out), _rows(module),
        irrep_normalization="none", path_normalization="none", internal_weights=module.internal_weights,
        shared_weights=module.shared_weights,
    )  # fmt: skip
    return _with_state(layer, module, "weight", "output_mask")


def _square(module: Any) -> nn.Module:
    layer = TensorSquare(
        str(module.irreps_in), str(module.irreps_out), irrep_normalization="none", instructions=_rows(module),
        path_normalization="none", internal_weights=module.internal_weights, shared_weights=module.shared_weights,
    )  # fmt: skip
    return _with_state(layer, module, "weight", "output_mask")


def _linear(module: Any) -> nn.Module:
    if module.internal_weights and module.weight_numel and module.weight.dim() != 1:
        raise InvalidInput(
            "from_e3nn: o3.Linear with f_in and f_out; geomlib's Linear has no further channels."
        )
    paths = [i for i in module.instructions if i.i_in != -1]
    shifted = {i.i_out for i in module.instructions if i.i_in == -1}
    layer = Linear(
        str(module.irreps_in), str(module.irreps_out), internal_weights=module.internal_weights,
        shared_weights=module.shared_weights, instructions=[(i.i_in, i.i_out) for i in paths],
        biases=[k in shifted for k in range(len(module.irreps_out))],
    )  # fmt: skip
    layer.factors = [float(i.path_weight) for i in paths]
    return _with_state(layer, module, "weight", "bias", "output_mask")


def _norm(module: Any) -> nn.Module:
    return Norm(str(module.irreps_in), squared=module.squared)


def _harmonics(module: Any) -> nn.Module:
    if not module.normalize or module.normalization in ("component", "norm", "integral"):
        return SphericalHarmonics(
            [ir.l for mul, ir in module.irreps_out for _ in range(mul)],
            bool(module.normalize),
            module.normalization,
        )
    raise InvalidInput(
        f"from_e3nn: normalization {module.normalization!r} of o3.SphericalHarmonics is unknown."
    )


def _functions(activation: Any) -> tuple[list[Any], list[float | None]]:
    """Return the functions of an e3nn Activation and its factors, which come from random numbers."""
    acts = list(activation.acts)
    return (
        [None if a is None else a.f for a in acts],
        [None if a is None else 1.0 if a._is_id else float(a.cst) for a in acts],
    )


def _activation(module: Any) -> nn.Module:
    acts, factors = _functions(module)
    return Activation(str(module.irreps_in), acts, factors)


def _gate(module: Any) -> nn.Module:
    (scalars, one), (gates, two) = _functions(module.act_scalars), _functions(module.act_gates)
    return Gate(
        str(module.act_scalars.irreps_in), scalars, str(module.act_gates.irreps_in), gates,
        str(module.irreps_gated), (one, two),
    )  # fmt: skip


def _norm_activation(module: Any) -> nn.Module:
    layer = NormActivation(
        str(module.irreps_in), module.scalar_nonlinearity, module.normalize,
        module.epsilon if module.normalize else None, module.bias,
    )  # fmt: skip
    return _with_state(layer, module, "biases")


def _batch_norm(module: Any) -> nn.Module:
    layer = BatchNorm(
        str(module.irreps), eps=module.eps, momentum=module.momentum, affine=module.affine, reduce=module.reduce,
        instance=module.instance, include_bias=module.include_bias, normalization=module.normalization,
    )  # fmt: skip
    return _with_state(layer, module, "weight", "bias", "running_mean", "running_var")


_CONVERTERS: dict[str, Callable[[Any], nn.Module]] = {
    "TensorSquare": _square,
    "TensorProduct": _product,
    "Linear": _linear,
    "Norm": _norm,
    "SphericalHarmonics": _harmonics,
    "Activation": _activation,
    "Gate": _gate,
    "NormActivation": _norm_activation,
    "BatchNorm": _batch_norm,
}
