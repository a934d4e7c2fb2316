r"""Exponentials and logarithms: rotors of up to three generators, motors of projective space, and beyond.

For n <= 3 the square of a bivector is a number q. For n = 4 with one null generator it is :math:`q + t I` with
:math:`I^2 = 0`, a dual number that commutes with bivectors, so a function of the square is :math:`f(q) + f'(q)\,t\,I`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomlib.algebra.clifford.products import check_multivectors
from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.algebra.clifford.algebra import CliffordAlgebra

__all__ = ["exp", "log", "project_unit"]

#: Below this |q| functions of the square are summed as series.
_SMALL = 0.05
_TERMS = 10


def _cosine(q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return :math:`\cosh\sqrt q`, :math:`\sinh\sqrt q/\sqrt q` and the derivative of the latter, smooth in q."""
    small = q.abs() < _SMALL
    far = torch.where(small, torch.ones_like(q), q)
    root = far.abs().sqrt()
    c = torch.where(far > 0, torch.cosh(torch.where(far > 0, root, 0)), torch.cos(root))
    s = torch.where(far > 0, torch.sinh(torch.where(far > 0, root, 0)), torch.sin(root)) / root
    near = torch.where(small, q, torch.zeros_like(q))
    series = [
        _sum(near, [1 / math.factorial(2 * k) for k in range(_TERMS)]),
        _sum(near, [1 / math.factorial(2 * k + 1) for k in range(_TERMS)]),
        _sum(near, [(k + 1) / math.factorial(2 * k + 3) for k in range(_TERMS)]),
    ]
    exact = [c, s, (c - s) / (2 * far)]
    found = [torch.where(small, a, b) for a, b in zip(series, exact, strict=True)]
    return found[0], found[1], found[2]


def _sum(x: Tensor, coefficients: list[float]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _is_dual(alg: CliffordAlgebra) -> bool:
    return alg.n == 4 and alg.r == 1


def _only(alg: CliffordAlgebra, what: str, x: Tensor, grades: tuple[int, ...]) -> None:
    check_multivectors(what, alg.size, x)
    other = [k for k, g in enumerate(alg.grades) if g not in grades]
    if other and bool((x.detach()[..., other] != 0).any()):
        raise InvalidInput(
            f"{what}: expected grades {', '.join(map(str, grades))} only; extract them, or use alg.space, to drop the rest."
        )


def exp(alg: CliffordAlgebra, x: Tensor) -> Tensor:
    r"""Return :math:`\exp(B) = \sum_k B^k / k!` of bivectors.

    In closed form for n <= 3 and for n = 4 with one null generator, which covers rotors and rigid motions; otherwise by a
    series of the bivector divided by :math:`2^s`, squared s times.

    Raises:
        InvalidInput: another grade than 2 is not zero.
    """
    _only(alg, "exp", x, (2,))
    if alg.n > 3 and not _is_dual(alg):
        return _scaled_exp(alg, x)
    square = alg.gp(x, x)
    c, s, slope = _cosine(square[..., :1])
    out = s * x
    if _is_dual(alg):
        t = square[..., -1:]
        # cosh' = s / 2 in the variable q
        pseudo = alg.gp(_pseudoscalar(alg, x, t * slope), x)
        out = out + pseudo + _pseudoscalar(alg, x, t * s / 2)
    return torch.cat([out[..., :1] + c, out[..., 1:]], -1)


def _pseudoscalar(alg: CliffordAlgebra, like: Tensor, value: Tensor) -> Tensor:
    return torch.cat([like.new_zeros(*value.shape[:-1], alg.size - 1), value], -1)


def _scaled_exp(alg: CliffordAlgebra, x: Tensor) -> Tensor:
    """Scale, sum, square; twelve terms of a bivector of length 1/8 reach float64."""
    length = float(torch.linalg.vector_norm(x.detach(), dim=-1).amax()) if x.numel() else 0.0
    if not math.isfinite(length):
        raise InvalidInput("exp: a bivector is not finite.")
    times = max(0, math.ceil(math.log2(max(length, 1e-300))) + 3)
    small = x * 2.0**-times
    # A product is bounded by the sum of absolute components, at most 2^(n/2) lengths.
    terms = 12 + alg.n
    one = torch.zeros_like(x)
    one[..., 0] = 1
    total = one
    for k in range(terms, 0, -1):
        total = one + alg.gp(small, total) / k
    for _ in range(times):
        total = alg.gp(total, total)
    return total


def project_unit(alg: CliffordAlgebra, x: Tensor) -> Tensor:
    r"""Return even multivectors scaled so that :math:`x\,\tilde x = 1`, such as motors after an optimiser's step.

    For n = 4 with one null generator the scale is a dual number, which also meets the Study condition.

    Raises:
        InvalidInput: another algebra with n > 3, an odd part, or a multivector whose square is not positive.
    """
    _solved(alg, "project_unit")
    _only(alg, "project_unit", x, tuple(range(0, alg.n + 1, 2)))
    square = alg.gp(x, alg.reverse(x))
    s = square[..., :1]
    if bool((s.detach() <= 0).any()):
        raise InvalidInput("project_unit: x ~x is not positive somewhere, so no multiple of x has x ~x = 1.")
    root = s.rsqrt()
    out = root * x
    if _is_dual(alg):
        out = out - alg.gp(_pseudoscalar(alg, x, square[..., -1:] * root / (2 * s)), x)
    return out


def _solved(alg: CliffordAlgebra, what: str) -> None:
    if alg.n > 3 and not _is_dual(alg):
        raise InvalidInput(
            f"{what}: defined for n <= 3, and for n = 4 with one null generator; {alg} has n = {alg.n}, r = {alg.r}."
        )


def log(alg: CliffordAlgebra, x: Tensor) -> Tensor:
    r"""Return the bivector B of smallest angle with :math:`\exp(B) = x`, for rotors and motors with :math:`x\,\tilde x = 1`.

    Raises:
        InvalidInput: an algebra with n > 3 other than n = 4 with one null generator, an odd part, a multivector that is not
            normalised, or one that is no exponential of a bivector of that algebra or of many alike (a full turn, -1).
    """
    _solved(alg, "log")
    _only(alg, "log", x, tuple(range(0, alg.n + 1, 2)))
    unit = alg.gp(x, alg.reverse(x)).detach()
    one = torch.zeros_like(unit)
    one[..., 0] = 1
    size = x.detach().square().sum(-1, keepdim=True).clamp(min=1)
    if bool(((unit - one).abs() > 1e4 * torch.finfo(x.dtype).eps * size).any()):
        raise InvalidInput("log: x ~x is not 1; use project_unit first.")
    planes = [k for k, g in enumerate(alg.grades) if g == 2]
    if not planes:
        return torch.zeros_like(x)
    b = alg.embed(x[..., planes], 2)
    c, square = x[..., :1], alg.gp(b, b)
    q = square[..., :1]
    # Where the angle is not small, cos < 0 with no plane to turn in has no logarithm or too many.
    if bool(((c.detach() < 0) & (q.detach() > -torch.finfo(x.dtype).eps)).any()):
        raise InvalidInput(
            "log: a rotor is minus one or minus a boost, which has no unique real bivector logarithm."
        )
    ratio, slope = _arc(c, q)
    out = ratio * b
    if _is_dual(alg):
        p = x[..., -1:]
        out = out + alg.gp(_pseudoscalar(alg, x, p * slope), b)
    return out


def _arc(c: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\theta/\sin\theta`, and its derivative along the dual part of the cosine.

    :math:`q = -\sin^2\theta`; for boosts, q > 0, angles are imaginary.
    """
    small = (q.abs() < _SMALL) & (c > 0)
    far = torch.where(small, torch.ones_like(q), q)
    root = far.abs().sqrt()
    cosine = torch.where(small, torch.full_like(c, 2.0), c)
    turn = torch.atan2(root, cosine) / root
    boost = torch.asinh(root) / root
    ratio = torch.where(far > 0, boost, turn)
    slope = (1 - cosine * ratio) / far
    near = torch.where(small, q, torch.zeros_like(q))
    arcsin = [
        (-1.0) ** k * math.factorial(2 * k) / (4.0**k * math.factorial(k) ** 2 * (2 * k + 1))
        for k in range(2 * _TERMS)
    ]
    # sqrt(1 + q) asinh(sqrt q) / sqrt q = 1 + q / 3 - 2 q^2 / 15 + ...: each coefficient from the one before.
    product = [1.0, 1.0 / 3.0]
    for k in range(2, 2 * _TERMS):
        product.append(-product[-1] * (2 * k - 2) / (2 * k + 1))
    found = torch.where(small, _sum(near, arcsin), ratio)
    return found, torch.where(small, -_sum(near, product[1:]), slope)  # (1 - product) / q
