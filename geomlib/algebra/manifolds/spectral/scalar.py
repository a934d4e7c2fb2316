"""The scalar functions and their first divided differences, right to rounding at equal, close and distant arguments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

__all__ = ["FUNCTIONS", "POSITIVE", "checked_function", "divided_difference", "loewner", "value"]

#: Names that ``symfun`` knows. ``"top"``, the step that keeps the largest eigenvalues, is for projectors.
FUNCTIONS = ("log", "sqrt", "invsqrt", "inv", "exp", "pow", "clamp")
#: Those that need positive eigenvalues.
POSITIVE = ("log", "sqrt", "invsqrt", "pow")


def checked_function(f: str, t: float | None) -> float:
    """Return the parameter of a function as a number, 0 where it takes none.

    Raises:
        InvalidInput: for an unknown name, a missing parameter or one too many.

    >>> checked_function("pow", 0.5)
    0.5
    """
    if f not in FUNCTIONS:
        raise InvalidInput(
            f"unknown spectral function {f!r}, expected one of {', '.join(FUNCTIONS)}.{closest(f, FUNCTIONS)}"
        )
    if f not in ("pow", "clamp"):
        if t is not None:
            raise InvalidInput(f"{f!r} takes no parameter, found t = {t}. Leave t out.")
        return 0.0
    if t is None or not abs(t) < math.inf:
        what = "the exponent" if f == "pow" else "the floor of the eigenvalues"
        raise InvalidInput(f"{f!r} needs a finite t, {what}; found {t}.")
    return float(t)


def value(f: str, w: Tensor, t: float = 0.0) -> Tensor:
    """Return f of every number.

    >>> value("pow", torch.tensor([4.0]), 0.5).tolist()
    [2.0]
    """
    if f == "log":
        return w.log()
    if f == "sqrt":
        return w.sqrt()
    if f == "invsqrt":
        return w.rsqrt()
    if f == "inv":
        return w.reciprocal()
    if f == "exp":
        return w.exp()
    if f == "pow":
        return w.pow(t)
    if f == "clamp":
        return w.clamp_min(t)
    places = torch.arange(w.shape[-1], device=w.device)  # "top": the t largest of ascending numbers
    return (places >= w.shape[-1] - int(t)).to(w.dtype).expand(w.shape)


def loewner(f: str, w: Tensor, t: float = 0.0) -> Tensor:  # (..., n) -> (..., n, n)
    """Return the matrix of first divided differences f[w_i, w_j].

    >>> loewner("sqrt", torch.tensor([1.0, 1.0])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    a, b = w[..., :, None], w[..., None, :]
    if f == "top":
        kept = value(f, w, t)
        across = kept[..., :, None] - kept[..., None, :]
        return torch.where(across == 0, 0.0, across / (a - b))
    return divided_difference(f, a, b, t)


def divided_difference(f: str, a: Tensor, b: Tensor, t: float = 0.0) -> Tensor:
    """Return (f(a) - f(b)) / (a - b), and f'(a) where a = b, for tensors that broadcast.

    >>> divided_difference("exp", torch.zeros(1), torch.zeros(1)).tolist()
    [1.0]
    """
    if f == "sqrt":
        return 1 / (a.sqrt() + b.sqrt())
    if f == "invsqrt":
        ra, rb = a.sqrt(), b.sqrt()
        return -1 / (ra * rb * (ra + rb))
    if f == "inv":
        return -1 / a / b
    if f == "log":
        u, ratio = _half_log_ratio(a, b)
        return torch.where(ratio == 0, 1 / a, 2 * u / torch.where(ratio == 0, 1.0, a - b))
    if f == "exp":
        half = 0.5 * (a - b)
        near = half.abs() < 0.5
        close = torch.exp(0.5 * (a + b)) * _sinhc(torch.where(near, half, 0.0))
        return torch.where(near, close, (a.exp() - b.exp()) / torch.where(near, 1.0, a - b))
    if f == "pow":
        u, ratio = _half_log_ratio(a, b)
        quotient = torch.sinh(t * u) / torch.where(ratio == 0, 1.0, torch.sinh(u))
        return (a.pow(0.5 * (t - 1)) * b.pow(0.5 * (t - 1))) * torch.where(ratio == 0, t, quotient)
    above_a, above_b = a > t, b > t  # "clamp"
    across = (a.clamp_min(t) - b.clamp_min(t)) / torch.where(above_a == above_b, 1.0, a - b)
    return torch.where(above_a == above_b, (above_a & above_b).to(across.dtype), across)


def _half_log_ratio(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return log(a / b) / 2 and (a - b) / (a + b), of which it is the inverse hyperbolic tangent."""
    ratio = (a - b) / (a + b)
    near = ratio.abs() < 0.5
    return torch.where(near, torch.atanh(torch.where(near, ratio, 0.0)), 0.5 * (a.log() - b.log())), ratio


def _sinhc(x: Tensor) -> Tensor:
    return torch.where(x == 0, 1.0, torch.sinh(x) / torch.where(x == 0, 1.0, x))
