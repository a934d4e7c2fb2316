"""Channel-wise products by generated kernels: on a card, or, for tensors on a CPU, the same arithmetic interpreted.

Every result is a sum in a fixed order: an output row over its edges by one thread per channel; the gradient of the features
in a second pass over the edges by sender; the gradient of a filter over channels by shuffles within a warp, then over warps.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.cuda.interpret import Lists, interpret, ordered_sum
from geomlib.kernels.cuda.program import Kernel
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.tensor_product import reference
from geomlib.kernels.tensor_product.cuda_paths import Budget
from geomlib.kernels.tensor_product.cuda_programs import Term, contract
from geomlib.kernels.tensor_product.cuda_pulls import pulls
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.layout import ir_mul, mul_ir, weights_by_channel
from geomlib.kernels.tensor_product.plan import Plan, Rows, plan_of

__all__ = ["OPERATION", "Static", "channelwise", "convolution", "kernels", "refusal", "rows"]

Maybe = Tensor | None

#: What a thread takes on, by the size of the arithmetic's type: measured by compiling, no spills on sm_80 and sm_90.
BUDGET = {4: Budget(100, 1200), 8: Budget(48, 600)}
#: Fewer blocks than this leave a card idle: edges of a node are then split over several.
BLOCKS = 1024
#: Entries of a table beyond which straight-line code takes too long to compile: about 10 s for all kernels per 1000.
ENTRIES = 4000


@dataclass(frozen=True, eq=False)
class Static:
    """What the operation depends on besides tensors."""

    plan: Plan
    rows: DeviceRows


def refusal(spec: ProductSpec) -> str | None:
    """Say why a product is not served; None if it is."""
    plan = plan_of(spec)
    if plan is None:
        return "its kernels serve products whose paths all have the mode 'uvu'"
    entries = plan.forward.entry_c.shape[0]
    if entries > ENTRIES:
        return f"its table has {entries} entries, straight-line kernels serve up to {ENTRIES}"
    return None


@functools.lru_cache(maxsize=512)
def kernels(
    plan: Plan, kind: str, terms: tuple[tuple[Term, ...], ...], size: int, shared: bool
) -> tuple[Kernel, Kernel | None]:
    """Return ``"value"``, ``"features"`` (gradient with respect to them alone) or ``"pulls"``, and what adds up messages.

    Args:
        plan: the product.
        kind: which contraction.
        terms: what is multiplied; for pulls, terms of the gradients of weights, filter and features.
        size: bytes of a number of the arithmetic.
        shared: all rows have the same weights.
    """
    spec, weights, budget = plan.spec, plan.spec.weight_numel, BUDGET[size]
    one, two, out = spec.irreps_in1.dim, spec.irreps_in2.dim, spec.irreps_out.dim
    strides = dict.fromkeys(("a", "ta"), one) | dict.fromkeys(("y", "ty", "gy"), two) | {"g": out}
    strides |= dict.fromkeys(("w", "tw", "gw"), weights)
    if kind == "value":
        return contract(plan.forward, weights, terms[0], strides, out, budget, shared=shared), None
    if kind == "features":
        return contract(plan.backward, weights, terms[0], strides, one, budget, shared=shared), None
    by_weight, by_filter, by_feature = terms
    return pulls(plan.forward, weights, (by_weight, by_filter, by_feature), strides, budget, shared=shared)


def rows(spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the product of rows."""
    return channelwise(_plan(spec), DeviceRows.pairwise(x.shape[0], x.device), x, y, weight)


def convolution(
    spec: ProductSpec, x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor, nodes: int, grouped: Rows | DeviceRows | None
) -> Tensor:  # fmt: skip
    """Return the product summed over the edges of a graph; ``grouped`` holds its edges if they were sorted before."""
    if grouped is None:
        grouped = DeviceRows.edges(edge_index[0], edge_index[1], x.shape[0], nodes, checked=True)
    elif isinstance(grouped, Rows):
        grouped = DeviceRows.of(grouped, x.shape[0], x.device)
    return channelwise(_plan(spec), grouped, x, y, weight)


def _plan(spec: ProductSpec) -> Plan:
    plan, reason = plan_of(spec), refusal(spec)
    if plan is None or reason is not None:
        raise InvalidInput(f"tensor_product: {reason}. Use backend='auto' or 'torch'.")
    return plan


def channelwise(plan: Plan, rows: DeviceRows, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the product of rows, or its sum over the edges of a graph, in the public layout.

    Args:
        plan: the product.
        rows: which rows meet; all share the weights if these have one row.
        x: features (N, dim 1).
        y: filters (E, dim 2).
        weight: (E, n), or (1, n) for all.
    """
    spec = plan.spec
    w = weights_by_channel(weight, spec, 0)
    return mul_ir(OPERATION(Static(plan, rows), ir_mul(x, spec.irreps_in1), y, w), spec.irreps_out)


def _reference(static: Static, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the same in torch: features and output with channels inside, weights by channel."""
    a, y, w = tensors
    spec, lists = static.plan.spec, static.rows.by_target
    x, weight = mul_ir(a, spec.irreps_in1), weights_by_channel(w, spec, 0, inverse=True)
    value = reference.tensor_product(
        spec, (x[lists.other], y[lists.edge], weight.expand(len(y), -1)[lists.edge])
    )
    total = value.new_zeros(static.rows.num_out, spec.irreps_out.dim)
    return ir_mul(total.index_add(0, static.rows.target, value), spec.irreps_out)


def forward(static: Static, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the product, summed over edges."""
    given = dict(zip("ayw", tensors, strict=True))
    return _contract(static, "value", [("a", "y", "w")], given, static.rows.num_out)


def backward(
    static: Static, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    """Return the gradients of ``<grad, product>`` that are needed."""
    given = dict(zip("gayw", (grad, *tensors), strict=True))
    return _gradients(
        static, given, (needs[2], needs[1], needs[0]), ([("a", "y", "")], [("a", "", "w")], [("", "y", "w")])
    )


def double_backward(
    static: Static,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    """Return the gradients, with respect to ``(grad, *tensors)``, of ``sum <tangent, gradient>``."""
    names = ("g", "a", "y", "w", "ta", "ty", "tw")
    given = {n: t for n, t in zip(names, (grad, *tensors, *tangents), strict=True) if t is not None}

    def present(terms: Sequence[Term]) -> list[Term]:
        return [term for term in terms if all(n in given for n in term if n)]

    dg: Maybe = None
    if needs[0]:
        terms = present([("ta", "y", "w"), ("a", "ty", "w"), ("a", "y", "tw")])
        dg = _contract(static, "value", terms, given, static.rows.num_out)
    by_weight = present([("ta", "y", ""), ("a", "ty", "")])
    by_filter = present([("ta", "", "w"), ("a", "", "tw")])
    by_feature = present([("", "ty", "w"), ("", "y", "tw")])
    return dg, *_gradients(static, given, (needs[3], needs[2], needs[1]), (by_weight, by_filter, by_feature))


def _gradients(
    static: Static, given: dict[str, Tensor], wanted: tuple[bool, bool, bool], terms: tuple[list[Term], list[Term], list[Term]]
) -> tuple[Maybe, Maybe, Maybe]:  # fmt: skip
    """Return the gradients of features, filter and weights; terms and what is wanted in the opposite order."""
    by_weight, by_filter, by_feature = (t if want else [] for t, want in zip(terms, wanted, strict=True))
    spec, da = static.plan.spec, None
    messages = bool(by_weight or by_filter) and not _shared(given) and _messages_pay(spec)
    if by_feature and not messages:
        again = [("g", y, w) for _, y, w in by_feature]
        da, by_feature = _contract(static, "features", again, given, given["a"].shape[0]), []
    found = _pulls(static, by_weight, by_filter, by_feature, given)
    da, dy, dw = (da if found[0] is None else found[0]), found[1], found[2]
    missing = zip((da, dy, dw), "ayw", reversed(wanted), strict=True)
    da, dy, dw = (torch.zeros_like(given[n]) if t is None and want else t for t, n, want in missing)
    return da, dy, dw


def _messages_pay(spec: ProductSpec) -> bool:
    """Messages are written and read once; a second pass would read the weights, and a row of g, for every edge again."""
    return 2 * spec.irreps_in1.dim <= spec.weight_numel + spec.irreps_out.dim


def _contract(static: Static, kind: str, terms: list[Term], given: dict[str, Tensor], nodes: int) -> Tensor:
    some = given["y"]
    width = static.plan.spec.irreps_out.dim if kind == "value" else static.plan.spec.irreps_in1.dim
    kernel, _ = _kernels(static, kind, (tuple(terms),), given) if terms else (None, None)
    if kernel is None or not nodes or not some.shape[0]:
        return some.new_zeros(nodes, width)
    lists = static.rows.by_target if kind == "value" else static.rows.by_source
    return _summed_over_edges(kernel, lists, given, nodes, width)


def _summed_over_edges(
    kernel: Kernel, lists: Lists, given: dict[str, Tensor], nodes: int, width: int
) -> Tensor:
    some = given["y"]
    parts = _parts(nodes * kernel.units, some.shape[0], nodes)
    new = torch.empty if len(kernel.columns("out")) == width else torch.zeros
    out = new(parts, nodes, width, dtype=_real(some.dtype), device=some.device)
    _run(kernel, lists, given | {"out": out}, parts, some.dtype)
    return _summed(out, some.dtype)


def _pulls(
    static: Static,
    by_weight: list[Term],
    by_filter: list[Term],
    by_feature: list[Term],
    given: dict[str, Tensor],
) -> tuple[Maybe, Maybe, Maybe]:
    """Return gradients of features, filter and weights; None where there are no terms."""
    y, w, nodes, edges = given["y"], given["w"], static.rows.num_out, given["y"].shape[0]
    if not edges or not (by_weight or by_filter or by_feature):
        return None, None, None
    kernel, add = _kernels(static, "pulls", (tuple(by_weight), tuple(by_filter), tuple(by_feature)), given)
    if kernel is None:
        return None, None, None
    parts, shared = _parts(nodes * kernel.units, edges, nodes), _shared(given)
    real, made = _real(y.dtype), dict(given)
    if by_weight:
        new = torch.empty if len(kernel.columns("gw")) == w.shape[1] else torch.zeros
        shape, dtype = ((parts, nodes, w.shape[1]), real) if shared else (w.shape, w.dtype)
        made["gw"] = new(shape, dtype=dtype, device=w.device)
    if by_filter:
        # Programs need not reach every component of the filter.
        made["gy"] = torch.zeros(kernel.slots, edges, y.shape[1], dtype=real, device=y.device)
    if by_feature:
        width = next(a.stride for a in kernel.arrays if a.name == "m")
        made["m"] = torch.empty(edges, width, dtype=real, device=y.device)
    _run(kernel, static.rows.by_target, made, parts, y.dtype)
    da, dw = None, made.get("gw")
    if add is not None:
        a = given["a"]
        da = _summed_over_edges(add, static.rows.by_source, made, a.shape[0], a.shape[1])
    if shared and dw is not None:
        dw = dw.flatten(0, 1).sum(0, keepdim=True).to(w.dtype)
    return da, _summed(made["gy"], y.dtype) if by_filter else None, dw


def _kernels(
    static: Static, kind: str, terms: tuple[tuple[Term, ...], ...], given: dict[str, Tensor]
) -> tuple[Kernel | None, Kernel | None]:
    kernel, add = kernels(static.plan, kind, terms, _real(given["y"].dtype).itemsize, _shared(given))
    return (kernel, add) if kernel.programs else (None, None)


def _shared(given: dict[str, Tensor]) -> bool:
    return given["w"].shape[0] == 1 and given["y"].shape[0] != 1


def _real(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the arithmetic: half precision is for storage."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _parts(blocks: int, edges: int, nodes: int) -> int:
    """Return over how many blocks to split the edges of a node, from sizes alone: asking the card would make it wait."""
    return max(1, min(-(-BLOCKS // blocks), edges // (4 * nodes), 64))


def _summed(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """Add up the first dimension in order."""
    if partial.shape[0] == 1 and partial.dtype == dtype:
        return partial[0]
    out = torch.empty(partial.shape[1:], dtype=dtype, device=partial.device)
    if partial.device.type == "cpu":
        ordered_sum(partial, out)
    elif out.numel():
        from geomlib.kernels.cuda.launcher import launch_ordered_sum

        launch_ordered_sum(partial, out)
    return out


def _run(kernel: Kernel, lists: Lists, arrays: dict[str, Tensor], parts: int, dtype: torch.dtype) -> None:
    if lists.start.device.type == "cpu":
        interpret(kernel, lists, {a.name: arrays[a.name].contiguous() for a in kernel.arrays}, parts)
        return
    from geomlib.kernels.cuda.launcher import launch

    launch(kernel, lists, arrays, parts, dtype)


OPERATION = FusedOperation(_reference, forward, backward, double_backward)
