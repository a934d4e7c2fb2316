"""Claims besides equivariance: gradients are derivatives, forces conserve energy, compilation changes nothing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch
from torch import Generator, Tensor

from geomlib.verify.conservative import derivatives_among
from geomlib.verify.derivatives import TOLERANCE, derivative_error, second_derivative_error
from geomlib.verify.target import Target
from geomlib.verify.values import Tree

__all__ = ["agree", "compiled_failures", "gradient_failures", "nondeterministic"]


def gradient_failures(target: Target, tree: Tree, generator: Generator) -> tuple[list[str], list[str]]:
    """Return what is wrong with first and second derivatives, and what could not be tested.

    Args:
        target: the callable; its gradients must be switched on.
        tree: float64 inputs with cotangents.
        generator: draws directions.
    """
    found = derivative_error(target, tree, generator)
    if found is None:
        return [], []
    if not found[0] <= TOLERANCE:
        return [
            f"the gradient with respect to {found[1]} is not the derivative of the output: central "
            f"differences differ by {found[0]:.1e}, allowed {TOLERANCE:.0e}"
        ], []
    second = second_derivative_error(target, tree, generator, derivatives_among(target.graph(tree)[1]))
    if isinstance(second, str):
        return [], [second]
    if second is not None and not second[0] <= TOLERANCE:
        return [
            f"the second derivative with respect to {second[1]} is wrong, training on forces will go astray: "
            f"central differences of the gradient differ by {second[0]:.1e}, allowed {TOLERANCE:.0e}"
        ], []
    return [], []


def compiled_failures(target: Target, tree: Tree) -> list[str]:
    """Return what ``torch.compile`` changes: values, or which outputs carry a gradient."""
    plain = target.attached(tree, compiled=False)
    try:
        compiled = target.attached(tree, compiled=True)
    except Exception as error:
        return [f"torch.compile fails: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"]
    failures: list[str] = []
    for name, x in plain.items():
        if name not in compiled:
            failures.append(f"output `{name}` is missing under torch.compile")
        elif x.requires_grad and not compiled[name].requires_grad:
            failures.append(f"output `{name}` loses its gradient under torch.compile")
        elif not torch.allclose(x.detach().double(), compiled[name].detach().double(), rtol=1e-9, atol=1e-11):
            failures.append(f"output `{name}` differs under torch.compile")
    return failures


def agree(a: Tensor, b: Tensor) -> bool:
    """Return whether two evaluations at the same input agree: bitwise, on a GPU to the order of its atomics."""
    if a.shape != b.shape:
        return False
    if a.is_cuda:
        return torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-14, equal_nan=True)
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


def nondeterministic(results: list[dict[str, Tensor]]) -> set[str]:
    """Return the outputs in which evaluations at the same input differ."""
    first, *others = results
    return {n for n, x in first.items() if any(n not in other or not agree(x, other[n]) for other in others)}
