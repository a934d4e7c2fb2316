"""Matrices that are what a function asks for, or a typed error that names the matrix of the batch."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false
from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = [
    "first_bad",
    "mean_weights",
    "require_spd",
    "require_square",
    "require_symmetric",
    "symmetrize",
    "values_known",
]

#: Asymmetry, relative to the largest entry, that is taken for a mistake and not for rounding: float32 products of
#: matrices of condition number 1e4 stay below it, and so do the finite differences of gradcheck.
ASYMMETRY = 1e-3


def symmetrize(A: Tensor) -> Tensor:  # (..., n, n) -> (..., n, n)
    """Return half the sum of a matrix and its transpose.

    >>> symmetrize(torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return 0.5 * (A + A.mT)


def values_known(*tensors: Tensor) -> bool:
    """Return whether reading values is possible and cheap: plain tensors on the CPU, outside of traces and transforms.

    >>> values_known(torch.ones(2))
    True
    """
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        return False
    return all(t.is_cpu and type(t) in (Tensor, torch.nn.Parameter) for t in tensors)


def first_bad(good: Tensor) -> tuple[int, ...]:  # (...) bool
    """Return the index of the first matrix of a batch that is not good.

    >>> first_bad(torch.tensor([[True, True], [True, False]]))
    (1, 1)
    """
    return tuple((~good).nonzero()[0].tolist())


def named(name: str, where: tuple[int, ...]) -> str:
    """Say which matrix of which argument: matrix [3] of `A`, or the argument alone."""
    if not where:
        return f"`{name}`"
    index = ", ".join(str(i) for i in where)
    return f"matrix [{index}] of `{name}`"


def mean_weights(points: Tensor, weights: Tensor | None, check: bool = True) -> Tensor:  # (..., K)
    """Return the weights of K points (..., K, n, m), equal by default, refusing what is no weights of them.

    Raises:
        InvalidInput: no points; weights of another number, negative, NaN or all zero, where values are known.

    >>> mean_weights(torch.ones(2, 3, 3), None)
    tensor([1., 1.])
    """
    if points.ndim < 3 or points.shape[-3] == 0:
        raise InvalidInput(f"`points` has shape {tuple(points.shape)}, expected (..., K, n, n) with K > 0.")
    if weights is None:
        return torch.ones(points.shape[-3], dtype=points.dtype, device=points.device)
    if weights.ndim == 0 or weights.shape[-1] != points.shape[-3]:
        raise InvalidInput(
            f"`weights` has shape {tuple(weights.shape)}, expected (..., {points.shape[-3]}), one for each of the points."
        )
    if check and values_known(weights) and not bool(((weights >= 0).all(-1) & (weights.sum(-1) > 0)).all()):
        raise InvalidInput("`weights` must not be negative, NaN or all zero.")
    return weights


def require_square(name: str, A: Tensor) -> None:
    """Refuse what is no batch of square matrices of floating numbers.

    Raises:
        InvalidInput: naming the argument and its shape or type.

    >>> require_square("A", torch.eye(3))
    """
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.shape[-1] == 0:
        raise InvalidInput(f"`{name}` has shape {tuple(A.shape)}, expected square matrices (..., n, n).")
    if not A.dtype.is_floating_point:
        raise InvalidInput(
            f"`{name}` has dtype {A.dtype}, expected a real floating type such as torch.float64."
        )


def require_symmetric(name: str, A: Tensor, unit: float = 0.0) -> None:
    """Refuse matrices that are not symmetric, or not finite, where values are known.

    An asymmetry below a thousandth of the largest entry passes: functions of symmetric matrices take the mean of a matrix and
    its transpose.

    Args:
        name: of the argument.
        A: matrices (..., n, n).
        unit: what one is here, for logarithms and the like: a few roundings of it pass, so that zero may be noise.

    Raises:
        InvalidInput: naming the argument and the matrix.

    >>> require_symmetric("A", torch.eye(3))
    """
    require_square(name, A)
    if not values_known(A) or A.numel() == 0:
        return
    size = A.detach().abs().amax((-2, -1))
    good = size.isfinite()
    if not bool(good.all()):
        raise InvalidInput(f"{named(name, first_bad(good))} holds NaN or infinity, expected finite numbers.")
    apart = (A.detach() - A.detach().mT).abs().amax((-2, -1))
    good = apart <= ASYMMETRY * size + 8 * A.shape[-1] * torch.finfo(A.dtype).eps * unit
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"{named(name, where)} is not symmetric: entries differ from the transpose by {apart[where]:.3g}, the largest is "
            f"{size[where]:.3g}. If only rounding is meant, pass symmetrize({name})."
        )


def require_spd(name: str, A: Tensor) -> None:
    """Refuse matrices that are not symmetric positive definite to working precision, where values are known.

    A matrix passes if its Cholesky factorisation in float64 exists and no pivot is lost to rounding.

    Raises:
        InvalidInput: naming the argument, the matrix, its eigenvalues and a fix.

    >>> require_spd("P", torch.eye(3))
    """
    require_symmetric(name, A)
    if not values_known(A) or A.numel() == 0:
        return
    exact = symmetrize(A.detach().double())
    factor, info = torch.linalg.cholesky_ex(exact)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square()
    least = A.shape[-1] * torch.finfo(torch.float64).eps * exact.diagonal(dim1=-2, dim2=-1)
    good = (info == 0) & (pivots > least).all(-1)
    if not bool(good.all()):
        where = first_bad(good)
        raise not_positive(name, where, torch.linalg.eigvalsh(exact[where]))


def not_positive(name: str, where: tuple[int, ...], w: Tensor) -> InvalidInput:
    """Word the error for a matrix with these eigenvalues (ascending)."""
    return InvalidInput(
        f"{named(name, where)} is not positive definite to working precision: its eigenvalues run from {w[0]:.3g} to "
        f"{w[-1]:.3g}. Add jitter relative to its trace, A + 1e-6 * trace(A) / n * I, or raise its small eigenvalues by "
        "symfun(A, 'clamp', floor)."
    )
