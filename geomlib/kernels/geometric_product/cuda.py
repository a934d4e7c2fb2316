"""Products of multivectors by generated kernels: on a card, or, for tensors on a CPU, the same arithmetic interpreted.

Value, gradients and gradients of gradients are contractions of one form. Weights' gradients are summed over the rows of a
block by the thread of a channel, then over blocks in a second pass: no atomics, the same bits again.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.cuda.staged import StagedKernel
from geomlib.kernels.cuda.staged_run import Tiling, interpret_staged, partial_sum, tiling
from geomlib.kernels.cuda.staged_source import PARTS
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product import rows
from geomlib.kernels.geometric_product.cuda_programs import ROLES, Task, Term, kernel_of, work
from geomlib.kernels.geometric_product.plan import Form

__all__ = [
    "BLADES",
    "OPERATION",
    "STATEMENTS",
    "arithmetic",
    "evaluate",
    "kernels",
    "partial",
    "refusal",
    "run",
    "too_many_blades",
]

Maybe = Tensor | None

#: Most blades: beyond, items of three factors fit no block's shared memory, and straight-line code no instruction cache.
BLADES = 64
#: Statements of one kernel, by its entries and terms; what is more is shared out over several. A kernel of 3000 takes about
#: three seconds to compile.
STATEMENTS = 3200
_NAMES = ("g", "x", "y", "w")
_PRODUCT: Term = ("", "x", "y", "w")


def too_many_blades(blades: int) -> str | None:
    """Say so if there are more than the kernels serve."""
    if blades <= BLADES:
        return None
    return f"its kernels serve up to {BLADES} blades (6 generators), these multivectors have {blades}"


@lru_cache(maxsize=1024)
def refusal(form: Form, dtype: torch.dtype) -> str | None:
    """Say why a form is not served; None if it is."""
    too_many = too_many_blades(max(form.sizes[1:]))
    if too_many is not None:
        return too_many
    size = arithmetic(dtype).itemsize
    roles = "gxy" if form.unit else ROLES
    for k, role in enumerate(roles):
        names = ["" if r == role else r for r in _NAMES]
        if form.unit:
            names[3] = ""
        if kernel_of(form, ((role, (_term(names),)),), size) is None:
            what = f"rows of {form.sizes[1]} blades in {dtype} with {form.weights} weights and {form.sizes[0]} outputs"
            return f"{what} do not fit the shared memory of a block ({k + 1} of {len(roles)} passes)"
    return None


def _term(names: list[str]) -> Term:
    g, x, y, w = names
    return g, x, y, w


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the arithmetic: half precision is for storage."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def kernels(form: Form, tasks: tuple[Task, ...], size: int) -> list[tuple[tuple[Task, ...], StagedKernel]]:
    """Return kernels and what each computes; several of one role are added up.

    Args:
        form: what is summed.
        tasks: roles to derive by, with their terms.
        size: bytes of a number of the arithmetic.

    Raises:
        InvalidInput: a form that is not served.
    """
    tasks = tuple(task for task in tasks if task[1])
    if not tasks:
        return []
    found = kernel_of(form, tasks, size) if work(form, tasks) <= STATEMENTS or _single(tasks) else None
    if found is not None:
        return [(tasks, found)]
    if len(tasks) > 1:
        return [k for task in tasks for k in kernels(form, (task,), size)]
    role, terms = next(iter(tasks))
    if len(terms) > 1:
        return [k for term in terms for k in kernels(form, ((role, (term,)),), size)]
    raise InvalidInput(
        f"products of multivectors: {form.sizes} components do not fit the shared memory of a block. Use backend='torch'."
    )


def _single(tasks: tuple[Task, ...]) -> bool:
    return len(tasks) == 1 and len(tasks[0][1]) == 1


def evaluate(form: Form, tasks: tuple[Task, ...], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the derivatives by the roles of the tasks.

    Args:
        form: what is summed.
        tasks: roles and terms.
        given: arrays (B, C, *) by the names that the terms use; those in the role of weights (C, P).
    """
    some = next(t for t in given.values() if t.dim() == 3)
    (count, channels), dtype = some.shape[:2], some.dtype
    if form.unit:  # no channel has numbers of its own: rows of one channel fill the blocks best
        given = {n: t.reshape(-1, 1, t.shape[-1]) for n, t in given.items()}
    found: dict[str, Tensor] = {}
    for part, kernel in kernels(form, tasks, arithmetic(dtype).itemsize):
        made = run(kernel, given, dtype)
        for role, _ in part:
            name = "sums" if role == "w" else f"d{role}"
            found[role] = found[role] + made[name] if role in found else made[name]
    return {r: t if r == "w" else t.view(count, channels, t.shape[-1]) for r, t in found.items()}


def run(
    kernel: StagedKernel, given: dict[str, Tensor], dtype: torch.dtype, made: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the outputs of a kernel, and ``"sums"`` (C, sums) over rows.

    Args:
        kernel: what to run.
        given: inputs (B, C, *) and constants (C, *) by name.
        dtype: of all of them.
        made: memory for outputs; what is not given is made here.
    """
    some = given[kernel.inputs[0].name]
    count, channels = some.shape[:2]
    arrays = {p.name: given[p.name] for p in (*kernel.inputs, *kernel.constants)}
    made = dict(made or {})
    for part in kernel.outputs:
        if part.name not in made:
            made[part.name] = some.new_empty(count, channels, part.size)
    if not count or not channels:
        return made | {"sums": some.new_zeros(channels, kernel.sums)}
    how = tiling(kernel, count, channels)
    sums = some.new_empty(channels, kernel.sums)
    partial = some.new_empty(how.blocks if kernel.sums else 0, channels, kernel.sums, dtype=arithmetic(dtype))
    arrays |= made | {"partial": partial}
    _start(kernel, arrays, how, dtype)
    if kernel.sums:
        _finish(partial, sums)
    return made | {"sums": sums}


def _start(kernel: StagedKernel, arrays: dict[str, Tensor], how: Tiling, dtype: torch.dtype) -> None:
    if arrays[kernel.inputs[0].name].device.type == "cpu":
        interpret_staged(kernel, arrays, how)
        return
    from geomlib.kernels.cuda.staged_launch import launch_staged

    launch_staged(kernel, arrays, how, dtype)


def _finish(partial: Tensor, out: Tensor) -> None:
    if out.device.type == "cpu":
        partial_sum(partial, out, PARTS)
        return
    from geomlib.kernels.cuda.staged_launch import launch_partial_sum

    launch_partial_sum(partial, out)


def partial(form: Form, role: str, given: dict[str, Tensor]) -> Tensor:
    """Return the derivative of F by one role, from the other roles."""
    names = ["" if r == role or r not in given else r for r in _NAMES]
    return evaluate(form, ((role, (_term(names),)),), given)[role]


def _reference(form: Form, tensors: tuple[Tensor, ...]) -> Tensor:
    return rows.reference(form, tensors)


def _forward(form: Form, tensors: tuple[Tensor, ...]) -> Tensor:
    return partial(form, "g", dict(zip("xyw", tensors, strict=False)))


def _backward(
    form: Form, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    given = dict(zip("gxyw", (grad, *tensors), strict=False))
    tasks: list[Task] = []
    for role, need in zip("xyw", needs, strict=False):
        if need:
            tasks.append((role, (_term(["" if r == role or r not in given else r for r in _NAMES]),)))
    found = evaluate(form, tuple(tasks), given)
    return tuple(found.get(role) for role, _ in zip("xyw", needs, strict=False))


def _double_backward(
    form: Form,
    tangents: tuple[Maybe, ...],
    grad: Tensor,
    tensors: tuple[Tensor, ...],
    needs: tuple[bool, ...],
) -> tuple[Maybe, ...]:
    given = dict(zip("gxyw", (grad, *tensors), strict=False))
    names = dict(zip(given, given, strict=True))
    for role, tangent in zip("xyw", tangents, strict=False):
        if tangent is not None:
            given[f"t{role}"] = tangent
    tasks: list[Task] = []
    for role, need in zip("gxyw", needs, strict=False):
        terms: list[Term] = []
        for other in "xyw":
            if other != role and f"t{other}" in given:
                named = {**names, other: f"t{other}", role: ""}
                terms.append(_term([named.get(r, "") for r in _NAMES]))
        if need and terms:
            tasks.append((role, tuple(terms)))
    found = evaluate(form, tuple(tasks), given)
    zeros = {
        r: torch.zeros_like(given[r]) for r, n in zip("gxyw", needs, strict=False) if n and r not in found
    }
    return tuple(found.get(r, zeros.get(r)) for r, _ in zip("gxyw", needs, strict=False))


OPERATION = FusedOperation(_reference, _forward, _backward, _double_backward)
