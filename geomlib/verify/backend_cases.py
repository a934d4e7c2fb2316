"""In how many ways autograd and users call an operation: sizes, memory layouts, and which gradients are asked for."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import torch
from torch import Generator, Tensor

from geomlib.errors import InvalidInput
from geomlib.verify.arguments import call, holds_tensors
from geomlib.verify.values import Tree, leaves, map_leaves, outputs_of, replaced, rounded

__all__ = ["Case", "Quantities", "Results", "cases_of", "evaluated", "sized_inputs", "typed"]

#: Tensors of one kind by name: outputs, gradients by input, second gradients by input or cotangent.
Quantities: TypeAlias = "dict[str, Tensor]"
Layout: TypeAlias = "Callable[[Tensor], Tensor]"


def _plain(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def _gaps(x: Tensor) -> Tensor:
    return torch.stack([x, torch.full_like(x, float("nan"))], -1)[..., 0]


def _transposed(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT if x.dim() > 1 else x.flip(0).contiguous().flip(0)


@dataclass(frozen=True)
class Case:
    """One way to call an operation.

    Args:
        label: for the table.
        tree: float64 arguments.
        wrt: inputs that want a gradient.
        cotangents: one per differentiable output, float64.
        tangents: one per gradient, float64.
        active: outputs that are used; the others get no gradient at all.
        pushed: gradients that are differentiated again.
        layout: how inputs and cotangents lie in memory.
        ones: use an expanded one as the cotangent.
        order: how often to differentiate.
    """

    label: str
    tree: Tree
    wrt: tuple[str, ...]
    cotangents: Quantities
    tangents: Quantities
    active: tuple[str, ...]
    pushed: tuple[str, ...]
    layout: Layout = _plain
    ones: bool = False
    order: int = 2

    def spoiled(self, name: str) -> Case:
        """Return the case with a NaN in the middle of one input, without derivatives."""
        x = leaves(self.tree)[name].clone()
        if x.numel():
            x.view(-1)[x.numel() // 2] = float("nan")
        return replace(self, tree=replaced(self.tree, {name: x}), order=0)


def _none() -> dict[str, Quantities]:
    return {}


@dataclass
class Results:
    """What one implementation gave: quantities by kind, an error, an input it changed."""

    found: dict[str, Quantities] = field(default_factory=_none)
    error: str = ""
    touched: str = ""


def typed(tree: Tree, dtype: torch.dtype) -> Tree:
    """Return the tree with floating tensors in another type."""
    return map_leaves(tree, lambda _, x: x.to(dtype) if x.is_floating_point() else x)


def evaluated(function: Callable[..., Any], case: Case, dtype: torch.dtype) -> Results:
    """Evaluate value, gradient and gradient of gradient of one case; failures are part of the result."""
    results = Results()
    laid = {n: case.layout(x.to(dtype)) for n, x in leaves(case.tree).items() if x.is_floating_point()}
    given = {n: x.detach().requires_grad_(n in case.wrt) for n, x in laid.items()}
    before = {n: x.detach().clone() for n, x in given.items()}
    try:
        _differentiated(function, case, given, dtype, results)
    except Exception as error:  # an operation may fail in any way; the row says how
        results.error = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error) else ''}"
        )
    changed = [
        n
        for n, x in given.items()
        if not torch.equal(torch.nan_to_num(x.detach()), torch.nan_to_num(before[n]))
    ]
    results.touched = f"input `{changed[0]}` is modified in place" if changed else ""
    return results


def _differentiated(
    function: Callable[..., Any], case: Case, given: Quantities, dtype: torch.dtype, results: Results
) -> None:
    with torch.enable_grad():
        out = outputs_of(call(function, replaced(case.tree, given)))
        results.found["forward"] = {n: x.detach() for n, x in out.items()}
        active = [n for n in case.active if n in out]
        if case.order < 1 or not active or not case.wrt:
            return
        cotangents = [_cotangent(case, n, out[n], dtype) for n in active]
        gradients = torch.autograd.grad(
            [out[n] for n in active], [given[n] for n in case.wrt], cotangents,
            create_graph=case.order > 1, allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        results.found["backward"] = {f"d/d {n}": g.detach() for n, g in zip(case.wrt, gradients, strict=True)}
        if case.order < 2:
            return
        chosen = [n for n, g in zip(case.wrt, gradients, strict=True) if n in case.pushed and g.requires_grad]
        pushed = [g for n, g in zip(case.wrt, gradients, strict=True) if n in chosen]
        tangents = [_tangent(case, n, dtype) for n in chosen]
        names = [*(f"d/d {n}" for n in case.wrt), *(f"d/d cotangent of {n}" for n in active)]
        at = [*(given[n] for n in case.wrt), *cotangents]
        if pushed:
            second = torch.autograd.grad(pushed, at, tangents, allow_unused=True, materialize_grads=True)
        else:
            second = [torch.zeros_like(x) for x in at]
        results.found["double backward"] = {n: x.detach() for n, x in zip(names, second, strict=True)}


def _cotangent(case: Case, name: str, out: Tensor, dtype: torch.dtype) -> Tensor:
    if case.ones:
        return torch.ones((), dtype=dtype, requires_grad=case.order > 1).expand_as(out)
    c = case.layout(case.cotangents[name].to(dtype)).detach()
    return c.requires_grad_(case.order > 1)


def _tangent(case: Case, name: str, dtype: torch.dtype) -> Tensor:
    t = case.tangents[name].to(dtype)
    return torch.ones((), dtype=dtype).expand_as(t) if case.ones else case.layout(t)


def sized_inputs(
    inputs: Any, sizes: Sequence[int], generator: Generator
) -> tuple[dict[int, Tree], list[str]]:
    """Return arguments by number of rows, rounded to what float32 can hold, and what could not be done.

    Raises:
        InvalidInput: no floating tensor.
    """
    notes: list[str] = []
    if callable(inputs):
        made = {rows: _tree(inputs(rows, generator)) for rows in sorted(set(sizes))}
    else:
        tree = _tree(inputs)
        found = [x for x in leaves(tree).values()]
        lengths = {len(x) if x.dim() else None for x in found}
        whole = len(found[0]) if found and found[0].dim() else 1
        made = {whole: tree}
        if len(lengths) == 1 and None not in lengths:
            smaller = [rows for rows in sizes if rows < whole]
            made |= {rows: map_leaves(tree, lambda _, x, rows=rows: x[:rows]) for rows in smaller}
        else:
            notes.append(
                " sizes: the inputs have no first axis in common; pass (rows, generator) -> inputs to vary them"
            )
    if not any(x.is_floating_point() for tree in made.values() for x in leaves(tree).values()):
        raise InvalidInput("verify.compare: the inputs hold no floating tensor.")
    return {rows: rounded(tree) for rows, tree in sorted(made.items())}, notes


def _tree(inputs: Any) -> Tree:
    if isinstance(inputs, Mapping):
        return {str(n): x for n, x in cast("Mapping[Any, Any]", inputs).items()}
    if isinstance(inputs, (tuple, list)):
        return {str(i): x for i, x in enumerate(cast("list[Any]", inputs))}
    if holds_tensors(inputs):
        return {"0": inputs}
    raise InvalidInput(
        f"verify.compare: inputs is {type(inputs).__name__}, expected arguments by name, a tuple of arguments, or a "
        "function (rows, generator) that returns them."
    )


def cases_of(
    reference: Callable[..., Any],
    trees: Mapping[int, Tree],
    constants: Sequence[str],
    derivatives: int,
    generator: Generator,
) -> list[Case]:
    """Return every case: all sizes as they are, and the largest one in every layout."""
    cases = [
        _case(reference, f"rows {rows}", tree, constants, derivatives, generator)
        for rows, tree in trees.items()
    ]
    base = cases[-1]
    for label, layout in (("gaps in memory", _gaps), ("transposed memory", _transposed)):
        cases.append(replace(base, label=label, layout=layout))
    cases.append(replace(base, label="expanded gradient", ones=True))
    spread = {
        n: x[:1].expand_as(x).clone() if x.dim() and len(x) else x
        for n, x in leaves(base.tree).items()
        if n in base.wrt
    }
    cases.append(replace(base, label="expanded inputs", tree=replaced(base.tree, spread), layout=_expanded))
    if derivatives and len(base.wrt) > 1:
        cases += [replace(base, label=f"only {n} wants a gradient", wrt=(n,), pushed=(n,)) for n in base.wrt]
    if derivatives > 1 and len(base.wrt) > 1:
        cases += [replace(base, label=f"only d/d {n} is used", pushed=(n,)) for n in base.wrt]
    if derivatives and len(base.active) > 1:
        cases += [replace(base, label=f"only output {n} is used", active=(n,)) for n in base.active]
    return cases


def _expanded(x: Tensor) -> Tensor:
    """Return the same values with stride 0 where all rows are equal."""
    same = x.dim() > 0 and len(x) > 1 and torch.equal(x, x[:1].expand_as(x))
    return _plain(x[:1]).expand_as(x) if same else _plain(x)


def _case(
    reference: Callable[..., Any],
    label: str,
    tree: Tree,
    constants: Sequence[str],
    derivatives: int,
    generator: Generator,
) -> Case:
    found = leaves(tree)
    missing = [n for n in constants if n not in found]
    if missing:
        raise InvalidInput(f"verify.compare: constants {missing} are not among the inputs {sorted(found)}.")
    wrt = tuple(n for n, x in found.items() if x.is_floating_point() and n not in constants)
    given = {
        n: x.detach().clone().requires_grad_(n in wrt) for n, x in found.items() if x.is_floating_point()
    }
    try:
        with torch.enable_grad():
            out = outputs_of(call(reference, replaced(tree, given)))
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(
            f"verify.compare: the reference fails with {label}: {type(error).__name__}: {error}"
        ) from error
    active = tuple(n for n, x in out.items() if x.requires_grad)

    def draw(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float32).double()

    return Case(
        label,
        tree,
        wrt,
        {n: draw(out[n]) for n in active},
        {n: draw(found[n]) for n in wrt},
        active,
        wrt,
        order=derivatives if active else 0,
    )
