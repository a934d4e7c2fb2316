"""Other libraries' forms of the operations, built where they are installed."""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec

__all__ = ["channelwise_cuequivariance", "channelwise_e3nn", "missing", "with_scatter"]

Function = Callable[..., Tensor]


def missing(package: str) -> str | None:
    """Return why a peer cannot be measured here, or None."""
    return None if importlib.util.find_spec(package) else f"{package} is not installed"


def channelwise_e3nn(spec: ProductSpec) -> Function:
    """Return e3nn's product of the same paths; weights in the same order."""
    from e3nn import o3

    instructions = [(p.first, p.second, p.out, p.mode, p.weighted) for p in spec.paths]
    irreps = [str(r) for r in (spec.irreps_in1, spec.irreps_in2, spec.irreps_out)]
    product: Any = o3.TensorProduct(*irreps, instructions, shared_weights=False, internal_weights=False)
    return product


def channelwise_cuequivariance(in1: str, in2: str, out: str) -> Function:
    """Return cuEquivariance's channel-wise product, by what it has without a GPU; paths in its own order."""
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    product: Any = cuet.ChannelWiseTensorProduct(
        cue.Irreps("O3", in1), cue.Irreps("O3", in2), [term.ir for term in cue.Irreps("O3", out)], layout=cue.mul_ir,
        shared_weights=False, internal_weights=False, method="naive",
    )  # fmt: skip
    return lambda x, y, w: product(x, y, w)


def with_scatter(product: Function, edge_index: Tensor, nodes: int) -> Function:
    """Return the convolution as it is written with a product of rows: gather, multiply, ``index_add``."""
    source, target = edge_index

    def convolution(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        messages = product(x[source], y, w)
        return messages.new_zeros(nodes, messages.shape[1]).index_add(0, target, messages)

    return convolution
