"""Products for the tests of the CUDA kernels."""

from __future__ import annotations

import torch

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels.tensor_product import cuda, reference
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.plan import plan_of

#: Multiplicities that fit no warp, filters with multiplicities, paths without weights, two paths into one block.
MIXED = ProductSpec.from_instructions(
    "3x0e+5x1o+2x2e", "2x0e+1o", "3x0e+5x1o+5x1e+2x1o+5x1o",
    [(0, 0, 0, "uvu", True), (1, 0, 1, "uvu", True), (1, 1, 2, "uvu", False), (2, 1, 3, "uvu", True),
     (1, 0, 4, "uvu", False), (1, 0, 4, "uvu", True)],
)  # fmt: skip
#: More channels than a block has threads, and a remainder.
WIDE = ProductSpec.from_instructions("150x0e+150x1o", "0e+1o", "150x1o+150x0e", [
    (0, 1, 0, "uvu", True), (1, 0, 0, "uvu", True), (1, 1, 1, "uvu", True)])  # fmt: skip
#: More than 32 components of the filter.
HIGH = ProductSpec.from_instructions(
    "2x3o",
    "0e+1o+2e+3o+4e+5o",
    "2x0e+2x2e",
    [(0, 3, 0, "uvu", True), (0, 5, 1, "uvu", True), (0, 1, 1, "uvu", True)],
)


def channelwise_spec(one: str, two: str, keep: str) -> ProductSpec:
    """The product of message passing: every path into the irreps kept, one block of the output each."""
    first, second, kept = Irreps(one), Irreps(two), Irreps(keep)
    found = [
        (a, b, r.mul, ir)
        for a, r in enumerate(first)
        for b, s in enumerate(second)
        for ir in r.ir * s.ir
        if ir in kept
    ]
    paths = [(a, b, c, "uvu", True) for c, (a, b, _, _) in enumerate(found)]
    return ProductSpec.from_instructions(one, two, Irreps([(m, ir) for _, _, m, ir in found]), paths)


def arguments(spec, nodes, edges, *, shared=False, dtype=torch.float64, seed=0, device="cpu"):
    """Features, filters, weights and edges at random; the last node receives nothing."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, spec.irreps_in1.dim, generator=g, dtype=torch.float64)
    y = torch.randn(edges, spec.irreps_in2.dim, generator=g, dtype=torch.float64)
    w = torch.randn(1 if shared else edges, spec.weight_numel, generator=g, dtype=torch.float64)
    source = torch.randint(0, max(1, nodes), (edges,), generator=g)
    target = torch.randint(0, max(1, nodes - 1), (edges,), generator=g)
    leaves = [t.to(device=device, dtype=dtype).requires_grad_() for t in (x, y, w)]
    return leaves, source.to(device), target.to(device)


def generated(spec, leaves, source, target):
    """The product by generated kernels."""
    x, y, w = leaves
    rows = DeviceRows.edges(source, target, x.shape[0], x.shape[0])
    return cuda.channelwise(plan_of(spec), rows, x, y, w)


def specified(spec, leaves, source, target):
    """The product in torch."""
    x, y, w = leaves
    messages = reference.tensor_product(spec, (x[source], y, w))
    return messages.new_zeros(x.shape[0], messages.shape[1]).index_add(0, target, messages)


def derivatives(product, leaves, orders=2, seed=1):
    """Value, then gradients of a random functional of it, then of a random functional of those, and so on."""
    g = torch.Generator().manual_seed(seed)

    def like(t):
        return torch.randn(t.shape, generator=g, dtype=torch.float64).to(t)

    out = product(leaves)
    found = [out]
    cotangent = like(out).requires_grad_()
    inputs, values = [*leaves, cotangent], [(out, cotangent)]
    for order in range(orders):
        total = sum((v * c).sum() for v, c in values)
        grads = torch.autograd.grad(
            total, inputs, create_graph=order < orders - 1, materialize_grads=True, allow_unused=True
        )
        found += grads
        values = [(v, like(v)) for v in grads]
    return [t.detach() for t in found]


def close(a, b, tolerance):
    """Relative to the largest entry."""
    assert a.shape == b.shape and a.dtype == b.dtype
    if b.numel():
        assert float((a - b).detach().abs().max()) <= tolerance * float(
            b.detach().abs().max().clamp(min=1e-30)
        )
