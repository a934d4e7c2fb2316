"""One intermediate tensor under one group element: invariant, equivariant or broken."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element
from geomlib.verify.fits import distortion, fit_linear, relative
from geomlib.verify.traces import Seen

__all__ = ["BAD", "Judged", "Rows", "judge_rows"]

#: Statuses of a tensor that does not transform.
BAD = ("broken", "nonfinite")
_ORDER = ("constant", "invariant", "equivariant", "not tested", "stretched", "broken", "nonfinite")
_TINY = 1e-300
_ROUND = 1e-10


@dataclass(frozen=True)
class Judged:
    """Status of one tensor under one element."""

    status: str
    residual: float
    reason: str = ""

    @property
    def rank(self) -> tuple[int, float]:
        """How bad it is; for sorting."""
        return _ORDER.index(self.status), self.residual


@dataclass(frozen=True)
class Rows:
    """How tensors are compared under one element.

    Args:
        g: the element.
        tol: largest residual of a sound tensor.
        generator: draws the halves and the mixtures of channels.
    """

    g: Element
    tol: float
    generator: Generator


def judge_rows(pairs: Sequence[tuple[Seen, Seen | None]], rules: Rows) -> Judged:
    """Compare a tensor at x and at g x over all samples.

    Args:
        pairs: the tensor in the trace of every x, and at the same place in the trace of g x.
        rules: element and tolerance.
    """
    whole = [(a.value, b.value) for a, b in pairs if b is not None]
    if len(whole) < len(pairs):
        return Judged("broken", float("nan"), "another sequence of calls")
    odd = next(((a.shape, b.shape) for a, b in whole if a.shape != b.shape), None)
    if odd is not None:
        return Judged("broken", float("nan"), f"shape {tuple(odd[0])} becomes {tuple(odd[1])}")
    if any(a.shape[1:] != whole[0][0].shape[1:] for a, _ in whole):
        return Judged("not tested", float("nan"), "the samples differ in shape")
    if not all(bool(torch.isfinite(x).all()) for pair in whole for x in pair):
        return Judged("nonfinite", float("nan"))
    found: list[Judged] = []
    for aligned in _alignments(whole, rules.g):
        found.append(_compare(*aligned, rules))
        if found[-1].status in ("constant", "invariant", "equivariant"):
            break
    best = min(found, key=lambda j: j.rank)
    if best.status in BAD and rules.g.nodes is not None and len(whole[0][0]) not in (1, len(rules.g.nodes)):
        # Edges made inside a model follow the numbers of the nodes, in an order and a direction of their own.
        return Judged("not tested", best.residual, "rows in an order of their own")
    return best


def _alignments(pairs: list[tuple[Tensor, Tensor]], g: Element) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of all samples with the permutation undone, undone on all axes, and in an order of their own."""
    a = [_rows(x) for x, _ in pairs]
    b = [_rows(x) for _, x in pairs]
    order = g.nodes
    if order is not None and any(len(order) in x.shape for x, _ in pairs):
        for first in (True, False):
            axes = [i for i, n in enumerate(pairs[0][1].shape) if n == len(order) and not (first and i)]
            undone = [_undo(x, order, axes) for _, x in pairs]
            yield torch.cat(a), torch.cat([_rows(x) for x in undone])
    yield torch.cat(a), torch.cat(b)
    if len(a[0]) > 1:
        yield torch.cat([_sorted(x) for x in a]), torch.cat([_sorted(x) for x in b])


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, 1) if x.dim() < 2 else x


def _undo(x: Tensor, order: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.index_select(axis, order)
    return x


def _sorted(x: Tensor) -> Tensor:
    """Return the rows by length: the order of edges made inside a model may follow the positions."""
    return x[torch.argsort(torch.linalg.vector_norm(x.flatten(1), dim=1), stable=True)]


def _compare(a: Tensor, b: Tensor, rules: Rows) -> Judged:
    size = torch.linalg.vector_norm(a)
    if float(size) <= _TINY and float(torch.linalg.vector_norm(b)) <= _TINY:
        return Judged("constant", 0.0, "zero")
    change = relative(a - b, b)
    if change < rules.tol:
        still = relative(a - a[:1], a) == 0.0 and a.shape[0] > 1
        return Judged("constant" if still else "invariant", change)
    affine = bool(rules.g.shift.any())
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    isometry = _orthogonal(rules.g)
    bent = distortion(flat_a, flat_b, affine=affine) if isometry else float("inf")
    fitted = _fitted(a, b, rules, affine=affine)
    if fitted is not None and fitted < rules.tol:
        if bent < rules.tol or not isometry:
            return Judged("equivariant", fitted)
        return Judged("stretched", fitted, f"linear, but lengths change by {bent:.0e}")
    if bent < rules.tol:
        return Judged("equivariant", bent, "lengths and angles kept")
    if fitted is None and not isometry:
        return Judged("not tested", float("nan"), f"{len(a)} rows for {flat_a.shape[1]} features")
    return Judged("broken", bent if fitted is None else fitted, "" if fitted is not None else "angles change")


def _fitted(a: Tensor, b: Tensor, rules: Rows, *, affine: bool) -> float | None:
    """Return the smallest held-out residual over the views that the number of rows allows."""
    best: float | None = None
    for x, y in _views(a, b, rules.generator):
        for ones in (False, True) if affine else (False,):
            fit = fit_linear(x, y, rules.generator, affine=ones)
            if fit.tested:
                best = fit.residual if best is None else min(best, fit.residual)
            if best is not None and best < rules.tol:
                return best
    return best


def _views(a: Tensor, b: Tensor, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all features where two rows per feature are there, else random mixtures along each possible channel axis.

    A representation that treats all channels alike acts on mixtures of channels too, and a fault in any one of them
    shows there.
    """
    allowed = (a.shape[0] - 8) // 2
    features = a[0].numel()
    if features <= allowed:
        yield a.flatten(1), b.flatten(1)
        return
    if a.dim() < 3:
        return
    for axis in range(1, a.dim()):
        others = features // a.shape[axis]
        mixed = min(a.shape[axis] - 1, allowed // others)
        if mixed < 1:
            continue
        mixture = torch.randn(a.shape[axis], mixed, generator=generator, dtype=torch.float64)
        yield tuple((torch.movedim(x, axis, -1) @ mixture).flatten(1) for x in (a, b))  # pyright: ignore[reportReturnType]


def _orthogonal(g: Element) -> bool:
    q = g.linear
    return not q.numel() or bool((q.mT @ q - torch.eye(len(q), dtype=q.dtype)).abs().amax() < _ROUND)
