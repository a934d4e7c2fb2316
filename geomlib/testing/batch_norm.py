"""What a Riemannian batch normalisation promises: mean, variance, running values, a batch of one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.testing.asserting import require
from geomlib.testing.drawing import relative, report

__all__ = ["assert_bn"]


def assert_bn(
    layer: nn.Module,
    x: Tensor,  # (K, ...), points of one batch
    *,
    mean: Callable[[Tensor], Tensor] | None = None,
    sqdist: Callable[[Tensor, Tensor], Tensor] | None = None,
    point: Tensor | None = None,
    deviation: Tensor | None = None,
    tol: float = 1e-10,
) -> dict[str, float]:
    r"""Fail unless a layer normalises points of a manifold as it says.

    * In training the Fréchet mean of the output is ``point`` and its mean squared distance from there ``deviation``\ ².
    * The order of the batch does not matter, and a batch of one goes to ``point``.
    * With momentum one, evaluation after training on a batch gives what training gave.
    * Running values move, and a copy made from the state dict evaluates as the layer does.
    * Gradients of the input and the weights are finite.

    The layer itself is left as it was.

    Args:
        layer: it has ``momentum``; from :class:`~geomlib.layers.SPDBatchNorm` the rest is asked as well.
        x: points, the batch first, in float64 if ``tol`` is to hold.
        mean: of points along the first axis; ``layer.space().mean`` by default.
        sqdist: of two batches of points; ``layer.space().sqdist`` by default.
        point: where the mean goes; ``layer.bias_point()`` by default.
        deviation: its mean squared distance's root; ``layer.deviation()`` by default.
        tol: relative error allowed.

    Returns:
        The errors by name.

    Raises:
        AssertionError: naming the promises that are broken.

    >>> from geomlib.layers import SPDBatchNorm
    >>> from geomlib.testing import random_spd
    >>> max(assert_bn(SPDBatchNorm(3, "le").double(), random_spd(20, 3)).values()) < 1e-13
    True
    """
    __tracebackhide__ = True
    layer = copy.deepcopy(layer).train()
    about: Any = layer
    with torch.no_grad():
        target = (about.bias_point() if point is None else point).detach()
        size = torch.as_tensor(about.deviation() if deviation is None else deviation).detach()
        average = about.space().mean if mean is None else mean
        squared = about.space().sqdist if sqdist is None else sqdist
    about.momentum = 1.0
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    start = x.detach().clone().requires_grad_()
    trained = layer(start)
    trained.square().sum().backward()
    grads = [start.grad, *(p.grad for p in layer.parameters() if p.requires_grad)]
    require(
        all(g is not None and bool(g.isfinite().all()) for g in grads),
        f"{type(layer).__name__}: gradients of the input or of weights are missing or not finite.",
    )
    y, axes = trained.detach(), target.dim()
    with torch.no_grad():
        after = layer.state_dict()
        require(
            any(not torch.equal(before[name], after[name]) for name in before),
            f"{type(layer).__name__}: training changed none of {', '.join(before)}.",
        )
        other = copy.deepcopy(layer)
        for value in other.state_dict().values():
            value.zero_()
        other.load_state_dict(after)
        served = layer.eval()(x)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        shuffled = layer.train()(x[order])
        errors = {
            "mean": relative(average(y), target, axes),
            "variance": relative(squared(target.expand_as(y), y).mean(), size.square(), 0),
            "order": relative(shuffled, y[order], axes),
            "batch of one": relative(layer(x[:1])[0], target, axes),
            "evaluation": relative(served, y, axes),
            "state": relative(other.eval()(x), served, axes),
        }
    return report(type(layer).__name__, errors, dict.fromkeys(errors, tol))
