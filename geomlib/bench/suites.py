"""The problems of `geomlib bench products`: products and convolutions of known models, harmonics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.bench.cases import Case, Function
from geomlib.bench.peers import channelwise_cuequivariance, channelwise_e3nn, missing, with_scatter
from geomlib.layers import ChannelwiseTensorProduct, SphericalHarmonics, TensorProductConv

__all__ = ["GROUPS", "PROBLEMS", "Problem", "cases"]

GROUPS = ("convolution", "product", "harmonics")


@dataclass(frozen=True)
class Problem:
    """A channel-wise product: features, filter, outputs.

    Args:
        features: irreps of the nodes.
        filter: irreps of the edges.
        out: irreps kept of the output.
    """

    features: str
    filter: str
    out: str


def _parity(l_max: int, mul: int) -> str:
    return "+".join(f"{mul}x{degree}{p}" for degree in range(l_max + 1) for p in "eo")


PROBLEMS = {
    "NequIP l=1": Problem(_parity(1, 32), "0e+1o", "0e+0o+1o+1e"),
    "MACE-medium": Problem("128x0e+128x1o", "0e+1o+2e+3o", "0e+1o+2e"),
    "MACE-large": Problem("128x0e+128x1o+128x2e", "0e+1o+2e+3o", "0e+1o+2e+3o"),
    "NequIP l=2": Problem(_parity(2, 64), "0e+1o+2e", "0e+0o+1o+1e+2e+2o"),
    "NequIP l=3": Problem(_parity(3, 32), "0e+1o+2e+3o", "0e+0o+1o+1e+2e+2o+3o+3e"),
}
"""Features, filter and outputs of models in use, with 1,000 edges and 50 nodes."""

_DEGREES = (1, 2, 3, 4, 6, 8)


def cases(group: str, rows: int = 1000, seed: int = 0) -> Iterator[Case]:
    """Yield the cases of a group, one at a time, since some need much memory.

    Args:
        group: one of :data:`GROUPS`.
        rows: number of edges, or of vectors.
        seed: of the inputs.

    >>> case = next(cases("product", rows=20))
    >>> case.name, case.inputs[0].shape
    ('NequIP l=1', torch.Size([20, 256]))
    """
    generator = torch.Generator().manual_seed(seed)
    if group == "harmonics":
        yield from (_harmonics(degree, rows, generator) for degree in _DEGREES)
    else:
        build = _convolution if group == "convolution" else _product
        yield from (build(name, problem, rows, generator) for name, problem in PROBLEMS.items())


def _layer(problem: Problem, backend: str) -> ChannelwiseTensorProduct:
    return ChannelwiseTensorProduct(
        problem.features, problem.filter, problem.out, shared_weights=False, backend=backend
    )


def _random(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator)


def _cuequivariance(problem: Problem, contenders: dict[str, Function]) -> None:
    if missing("cuequivariance_torch") is None:
        out = "+".join(f"1x{term}" for term in problem.out.split("+"))
        contenders["cuequivariance"] = channelwise_cuequivariance(problem.features, problem.filter, out)


def _product(name: str, problem: Problem, rows: int, generator: torch.Generator) -> Case:
    ours, plain = _layer(problem, "auto"), _layer(problem, "torch")
    contenders: dict[str, Function] = {"geomlib": ours, "geomlib, torch": plain}
    if missing("e3nn") is None:
        contenders["e3nn"] = channelwise_e3nn(ours.spec)
    _cuequivariance(problem, contenders)
    inputs = tuple(
        _random(rows, n, generator=generator)
        for n in (ours.irreps_in1.dim, ours.irreps_in2.dim, ours.weight_numel)
    )
    agree = tuple(n for n in ("geomlib, torch", "e3nn") if n in contenders)
    return Case("product", name, inputs, contenders, rows, agree=agree)


def _convolution(name: str, problem: Problem, rows: int, generator: torch.Generator) -> Case:
    ours, plain = (TensorProductConv(_layer(problem, b)) for b in ("auto", "torch"))
    nodes = max(1, rows // 20)
    edge_index = torch.randint(0, nodes, (2, rows), generator=generator)
    contenders: dict[str, Function] = {
        "geomlib": lambda x, y, w: ours(x, y, edge_index, w),
        "geomlib, torch": lambda x, y, w: plain(x, y, edge_index, w),
    }
    rivals: dict[str, Function] = {}
    if missing("e3nn") is None:
        rivals["e3nn"] = channelwise_e3nn(ours.product.spec)
    _cuequivariance(problem, rivals)
    contenders |= {n: with_scatter(product, edge_index, nodes) for n, product in rivals.items()}
    spec = ours.product.spec
    inputs = (
        _random(nodes, spec.irreps_in1.dim, generator=generator),
        _random(rows, spec.irreps_in2.dim, generator=generator),
        _random(rows, spec.weight_numel, generator=generator),
    )
    agree = tuple(n for n in ("geomlib, torch", "e3nn") if n in contenders)
    return Case("convolution", name, inputs, contenders, rows, agree=agree)


def _harmonics(degree: int, rows: int, generator: torch.Generator) -> Case:
    irreps = "+".join(f"1x{k}{'eo'[k % 2]}" for k in range(degree + 1))
    layer = SphericalHarmonics(irreps)
    contenders: dict[str, Function] = {"geomlib": layer}
    if missing("e3nn") is None:
        from e3nn import o3  # pyright: ignore[reportMissingImports]

        contenders["e3nn"] = lambda x: o3.spherical_harmonics(irreps, x, True, "component")  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType]
    if missing("sphericart") is None and missing("sphericart.torch") is None:
        from sphericart import torch as sphericart  # pyright: ignore[reportMissingImports]

        peer = sphericart.SphericalHarmonics(degree)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        contenders["sphericart"] = lambda x: peer(x[:, [2, 0, 1]])  # pyright: ignore[reportUnknownLambdaType]
    inputs = (_random(rows, 3, generator=generator),)
    return Case(
        "harmonics",
        f"l <= {degree}",
        inputs,
        contenders,
        rows,
        agree=("e3nn",) if "e3nn" in contenders else (),
    )
