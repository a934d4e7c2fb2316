"""The logarithm of matrices whose small eigenvalues are raised to a floor: two spectral functions, one decomposition."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import first_bad, named, require_square, symmetrize, values_known
from geomlib.algebra.manifolds.plain import plain_reverse
from geomlib.algebra.manifolds.spectral import apply_spectrum, decompose, derivative_symfun, primitives
from geomlib.errors import InvalidInput

__all__ = ["rectified_log"]


def rectified_log(
    A: Tensor,  # (..., n, n)
    floor: float = 1e-4,
    *,
    relative: bool = False,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:  # (..., n, n)
    r"""Return the logarithm of symmetric matrices whose eigenvalues below a floor are raised to it.

    .. math:: \log \max(A, \varepsilon) = v\, \mathrm{diag}(\log \max(w, \varepsilon))\, v^T

    Equal to ``symfun(symfun(A, "clamp", floor), "log")`` with derivatives of every order, at half the cost: both functions
    share their eigenvectors. A need not be positive definite.

    **Shapes** A and the result (..., n, n).

    Args:
        A: symmetric matrices.
        floor: :math:`\varepsilon > 0`.
        relative: measure the floor by the mean eigenvalue of each matrix, which then has to be positive.
        eig_dtype: in which eigenvalues and functions of them are computed.
        backend: "auto", "torch", "cpu" or "cuda"; None takes that of the context.

    Raises:
        InvalidInput: a floor that is not positive; a relative floor of a matrix without a positive trace; matrices as
            :func:`~geomlib.algebra.manifolds.spectral.symfun` refuses.

    >>> rectified_log(torch.diag(torch.tensor([math.e, -3.0])), floor=1.0).abs().round(decimals=4)
    tensor([[1., 0.],
            [0., 0.]])
    """
    if not (floor > 0 and math.isfinite(floor)):
        raise InvalidInput(f"rectified_log: floor = {floor!r}, expected a positive number.")
    if relative:
        require_square("A", A)
        mean = A.diagonal(dim1=-2, dim2=-1).mean(-1)
        if values_known(mean) and bool((mean <= 0).any()):
            raise InvalidInput(
                f"rectified_log: {named('A', first_bad(mean > 0))} has no positive trace, which a relative floor needs. Use "
                "relative=False."
            )
        mean = mean[..., None, None]
        unit = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        return rectified_log(A / mean, floor, eig_dtype=eig_dtype, backend=backend) + mean.log() * unit
    w, v = decompose(A, eig_dtype=eig_dtype, backend=backend)
    if plain_reverse():
        apply: Any = _RectifiedLog.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return apply(A, w, v, float(floor), backend)
    raised = apply_spectrum(A, w, v, "clamp", floor, backend=backend)
    return apply_spectrum(raised, w.clamp_min(floor), v, "log", backend=backend)


class _RectifiedLog(Function):
    """The composition as one function: the derivatives of its parts share the decomposition too."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, w: Tensor, v: Tensor, floor: float, backend: str | None) -> Tensor:
        ctx.save_for_backward(A, w, v)
        ctx.floor, ctx.backend = floor, backend
        return symmetrize((v * w.clamp_min(floor).log().unsqueeze(-2)) @ v.mT).to(A.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        A, w, v = ctx.saved_tensors
        (G,), floor = grads, ctx.floor
        if (
            torch.is_grad_enabled()
        ):  # a gradient of the gradient will be asked for: by functions that have one
            options: dict[str, Any] = {"eig_dtype": w.dtype, "backend": ctx.backend}
            raised = apply_spectrum(A, w, v, "clamp", floor, backend=ctx.backend)
            inner = derivative_symfun(raised, "log", G, **options)
            return derivative_symfun(A, "clamp", inner, floor, **options), None, None, None, None
        inner = primitives.derivative(w.clamp_min(floor), v, "log", 0.0, G, ctx.backend)
        return primitives.derivative(w, v, "clamp", floor, inner, ctx.backend), None, None, None, None
