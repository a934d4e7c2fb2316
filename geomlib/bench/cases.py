"""What is measured: an operation with its contenders, which must agree before they are timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geomlib.errors import GeomlibError

__all__ = ["TASKS", "Case", "Disagreement", "timed_functions"]

TASKS = ("forward", "backward", "double backward")
Function = Callable[..., Tensor]


class Disagreement(GeomlibError):
    """Two contenders do not compute the same thing, so their times mean nothing."""


@dataclass(frozen=True)
class Case:
    """One operation of tensors, by several libraries.

    Args:
        group: kind of operation, ``convolution``.
        name: problem, ``MACE-large``.
        inputs: tensors that all contenders take; those that require a gradient get one.
        contenders: by library; ``geomlib`` is one of them.
        rows: what a time is divided by, edges or rows.
        base: the contender that the others are checked against.
        agree: contenders that compute the same numbers; another basis or weight order is left out.
    """

    group: str
    name: str
    inputs: tuple[Tensor, ...]
    contenders: dict[str, Function]
    rows: int
    base: str = "geomlib"
    agree: tuple[str, ...] = field(default=())

    def check(self, tolerance: float = 1e-4) -> None:
        """Compare values.

        Raises:
            Disagreement: two contenders differ by more than round-off of float32.
        """
        want = self.contenders[self.base](*self.inputs).detach()
        for name in self.agree:
            found = self.contenders[name](*self.inputs).detach()
            error = float((found - want).abs().max() / want.abs().max()) if want.numel() else 0.0
            if found.shape != want.shape or not error <= tolerance:
                raise Disagreement(
                    f"{self.group}, {self.name}: {name} differs from {self.base} by {error:.1e}."
                )


def timed_functions(function: Function, inputs: Sequence[Tensor], task: str) -> Callable[[], object]:
    """Return what is timed: the value, its gradient alone, or the gradient of the gradient alone.

    Graphs are built before and kept, as in training, where every pass comes once per step.
    """
    if task == "forward":

        def forward() -> Tensor:
            with torch.no_grad():
                return function(*inputs)

        return forward
    leaves = [x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs]
    wanted = [x for x in leaves if x.requires_grad]
    y = function(*leaves)
    generator = torch.Generator().manual_seed(1)
    g = torch.randn(y.shape, generator=generator, dtype=y.dtype).requires_grad_()
    if task == "backward":
        return lambda: torch.autograd.grad(y, wanted, g, retain_graph=True)
    first = torch.autograd.grad(y, wanted, g, create_graph=True)
    tangents = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in wanted]
    return lambda: torch.autograd.grad(first, [*wanted, g], tangents, retain_graph=True)
