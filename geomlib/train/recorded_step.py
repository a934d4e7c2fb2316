"""Loss, scores and gradients of a training step by replaying its recording."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from geomlib.kernels.capture import Replay

__all__ = ["RecordedStep"]


class RecordedStep:
    """A training step recorded once per set of shapes: the loss, its sums and its gradients down to the weights.

    The loss it returns is connected to the weights, so optimisers, clipping and distributed training work as usual; it can
    be differentiated once.

    Args:
        model: on the CPU.
        evaluate: ``(inputs, training) -> loss (), sums``; reads the inputs and the model, branches on neither's values.

    >>> model = nn.Linear(2, 1)
    >>> step = RecordedStep(model, lambda inputs, training: (model(inputs["x"]).square().mean(), torch.zeros(1)))
    >>> loss, _ = step({"x": torch.ones(3, 2)})
    >>> loss.backward()
    >>> model.weight.grad.shape
    torch.Size([1, 2])
    """

    def __init__(
        self, model: nn.Module, evaluate: Callable[[dict[str, Tensor], bool], tuple[Tensor, Tensor]]
    ) -> None:
        self.model, self.evaluate = model, evaluate
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.replay = Replay(self._record, lambda: itertools.chain(model.parameters(), model.buffers()))

    def __call__(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the loss (), with a graph to the weights where gradients are enabled, and the sums."""
        training = torch.is_grad_enabled() and self.model.training
        loss, sums, gradients = self.replay(inputs, key=training)
        loss = _Attach.apply(loss, gradients, *self.parameters) if training else loss.clone()
        return loss, sums.clone()

    def _record(self, inputs: dict[str, Tensor], training: Any) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        with torch.set_grad_enabled(training):
            loss, sums = self.evaluate(inputs, training)
            gradients: list[Tensor | None] = []
            if training:
                gradients = list(torch.autograd.grad(loss, self.parameters, allow_unused=True))
        return loss.detach(), sums.detach(), gradients


class _Attach(Function):
    """Gives a loss the gradients that were computed with it."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Fresh tensors: the next replay overwrites the recorded ones.
        known = [g for g in ctx.gradients if g is not None]
        scaled = iter(torch._foreach_mul(known, grad.to(known[0].dtype)))
        return None, None, *(None if g is None else next(scaled) for g in ctx.gradients)
