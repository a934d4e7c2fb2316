"""One call that proves or refutes a declared symmetry."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from geomlib.algebra.symmetry import Outputs, Symmetry
from geomlib.errors import InvalidInput
from geomlib.verify.arguments import flat_outputs, flat_types, holds_tensors
from geomlib.verify.report import Report
from geomlib.verify.session import Options, Session, name_of
from geomlib.verify.state import preserved_state, reseed

__all__ = ["check"]


def check(
    target: Callable[..., Any],
    group: str | None = None,
    inputs: Any = None,
    outputs: Any = None,
    *,
    symmetry: Symmetry | None = None,
    example: Any = None,
    trials: int = 24,
    seed: int | None = 0,
    gradients: bool = True,
    stress: bool = True,
    exact: bool = True,
    rtol: float | None = None,
    conservative: bool | None = None,
    compiled: bool = False,
    trial: int | None = None,
    explain: bool = True,
) -> Report:
    r"""Test whether :math:`f(\rho_{in}(g) x) = \rho_{out}(g) f(x)` holds to float64 round-off.

    The tolerance is not chosen: errors are compared with the target's own float32 round-off, scaled to
    float64 (see :mod:`geomlib.verify.statistic`). The target is copied; inputs and global
    state are left as is.

    Args:
        target: a module (tested in evaluation mode) or any callable that follows the dtype of its inputs; modules
            that it is bound to or closes over are copied too.
        group: for example ``"E(3)*S_n"``; by default that of ``target.symmetry``.
        inputs: types by argument name, in the shape of the inputs where those are nested, or one type for a single
            positional argument. Tensors in their place are taken as ``example``.
        outputs: one type, a tuple, or a dict of types.
        symmetry: all of the above in one object.
        example: one set of inputs: a dict of arguments, a tuple of positional ones, a dataclass, a ``Data`` or
            ``Batch`` of PyG; by default from ``target.example(generator)``, else made from the types.
        trials: random group elements, at least a quarter of them from every component.
        seed: seed of every random choice; ``None`` draws one, which the report names.
        gradients: test the gradients too: their equivariance, and that they are derivatives of the outputs.
        stress: test special geometries and sizes, other amplitudes, far translations, edge order, memory layout and
            batch composition, as far as the declared types make them possible.
        exact: whether round-off is the tolerance.
        rtol: tolerance where ``exact=False``.
        conservative: whether forces must be the gradient of an energy; by default an output named ``forces`` must.
        compiled: whether ``torch.compile`` must change neither values nor which outputs carry a gradient (seconds).
        trial: number of the trial to repeat, from the replay line of a report.
        explain: after a failure, look for what still holds and for the first submodule that breaks (seconds).

    Returns:
        A `Report`; ``report.ok``, ``print(report)`` and ``report.raise_if_failed()``.

    Raises:
        InvalidInput: no declaration, no inputs, or types that do not fit the tensors.

    >>> import torch
    >>> check(lambda x: x * x.norm(dim=-1, keepdim=True), "O(3)", "vector", "vector").verdict
    'EXACT'
    >>> check(torch.tanh, "O(3)", "vector", "vector").verdict
    'BROKEN'
    """
    if isinstance(target, type):
        raise InvalidInput(f"verify.check: {target.__name__} is a class. Pass an instance.")
    if not callable(target):
        raise InvalidInput(
            f"verify.check: the target is {type(target).__name__}, expected a module or a function."
        )
    if holds_tensors(inputs):
        inputs, example = None, inputs
    types = None if inputs is None else flat_types(inputs, "0")
    answers = None if outputs is None else flat_outputs(outputs)
    declared = _declaration(target, group, types, answers, symmetry, exact, rtol)
    if conservative is None:
        conservative = declared.conservative
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    options = Options(
        trials, seed, gradients, stress, conservative, compiled, trial, types is not None, explain
    )
    with preserved_state():
        reseed(seed)
        return Session(target, declared, example, options).report()


def _declaration(
    target: Any,
    group: str | None,
    inputs: Mapping[str, str] | None,
    outputs: Outputs | None,
    symmetry: Symmetry | None,
    exact: bool,
    rtol: float | None,
) -> Symmetry:
    own = symmetry if symmetry is not None else getattr(target, "symmetry", None)
    if own is not None and not isinstance(own, Symmetry):
        raise InvalidInput(
            f"verify.check: symmetry is {type(own).__name__}, expected geomlib.algebra.Symmetry."
        )
    if own is None and (group is None or inputs is None or outputs is None):
        given = {"group": group, "inputs": inputs, "outputs": outputs}
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise InvalidInput(
            f"verify.check: {name_of(target)} declares no symmetry, so {missing} must be given, "
            "for example group='E(3)*S_n', inputs={'pos': 'node:point'}, outputs='graph:scalar'."
        )
    if own is None:
        return Symmetry(
            cast(str, group), cast("Mapping[str, str]", inputs), cast(Outputs, outputs), exact, rtol
        )
    changed: dict[str, Any] = {"group": group, "inputs": inputs, "outputs": outputs}
    changed = {name: value for name, value in changed.items() if value is not None}
    if group is not None and group != own.group:
        changed["breaks"] = ()
    return replace(own, **changed) if changed else own
