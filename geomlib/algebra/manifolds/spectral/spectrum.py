"""Eigenvalues whose gradients are right for every symmetric function of them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import first_bad, named, require_square, symmetrize, values_known
from geomlib.algebra.manifolds.spectral import primitives
from geomlib.algebra.manifolds.spectral.transforms import variant
from geomlib.errors import InvalidInput

__all__ = ["spectrum"]


def spectrum(
    A: Tensor,  # (..., n, n)
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:  # (..., n)
    r"""Return the eigenvalues of symmetric matrices, ascending.

    .. math:: dw_i = (v^T dA\, v)_{ii}, \qquad \bar A = v\, \mathrm{diag}(\bar w)\, v^T

    Where eigenvalues coincide, single ones have no derivative, but every smooth symmetric function of them does, and the
    gradient is that. Second derivatives through single eigenvalues exist where they are distinct only; at coincident ones a
    symmetric function is differentiated when it is written with :func:`~geomlib.algebra.manifolds.spectral.symfun`, as
    trace(f(A)).

    **Shapes** A (..., n, n) to (..., n), of the dtype of A.

    Args:
        A: symmetric matrices.
        eig_dtype: in which they are computed.
        backend: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.

    Raises:
        InvalidInput: A is not square or not real; in eager mode on the CPU NaN, infinity or asymmetry, and a second derivative
            at eigenvalues equal to working precision (elsewhere it is NaN).

    >>> A = torch.eye(2, requires_grad=True)
    >>> spectrum(A).square().sum().backward()
    >>> A.grad.tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    require_square("A", A)
    return variant(_Spectrum, _SpectrumJvp)(A, eig_dtype, backend)[0].to(A.dtype)


class _Spectrum(Function):
    """Eigenvalues and eigenvectors; the vectors are for the derivatives of gradients."""

    @staticmethod
    def forward(A: Tensor, eig_dtype: torch.dtype, backend: str | None) -> tuple[Tensor, Tensor]:
        return primitives.eigh(A, eig_dtype, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.dtype = inputs[0].dtype
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, gw: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None, None, None]:
        w, v = ctx.saved_tensors
        if gw is None and gv is None:
            return None, None, None
        grad = torch.zeros_like(v) if gw is None else (v * gw.unsqueeze(-2)) @ v.mT
        if gv is not None:
            _require_distinct(w)
            grad = grad + v @ (_inverse_gaps(w) * (v.mT @ gv)) @ v.mT
        return symmetrize(grad).to(ctx.dtype), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], A: Tensor, *rest: Any) -> tuple[Any, Any]:
        return variant(_Spectrum, _SpectrumJvp)(A.movedim(in_dims[0], 0), *rest), (0, 0)


class _SpectrumJvp(_Spectrum):
    @staticmethod
    def jvp(ctx: Any, dA: Tensor | None, *_: Any) -> tuple[Tensor | None, Tensor | None]:
        if dA is None:
            return None, None
        w, v = ctx.saved_tensors
        inner = v.mT @ symmetrize(dA.to(w.dtype)) @ v
        return inner.diagonal(dim1=-2, dim2=-1), v @ (_inverse_gaps(w) * inner)


def _inverse_gaps(w: Tensor) -> Tensor:
    """Return 1 / (w_j - w_i), NaN where they are equal to working precision, and 0 on the diagonal."""
    own = torch.eye(w.shape[-1], dtype=torch.bool, device=w.device)
    gaps = w[..., None, :] - w[..., :, None]
    open_ = gaps.abs() > _least_gap(w)[..., None, None]
    return torch.where(own, 0.0, torch.where(open_, 1 / torch.where(open_, gaps, 1.0), torch.nan))


def _least_gap(w: Tensor) -> Tensor:
    return w.shape[-1] * torch.finfo(w.dtype).eps * w.abs().amax(-1)


def _require_distinct(w: Tensor) -> None:
    if not values_known(w) or w.numel() == 0 or w.shape[-1] == 1:
        return
    good = w.diff(dim=-1).amin(-1) > _least_gap(w)
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"spectrum: a second derivative at {named('A', where)}, whose eigenvalues {w[where].tolist()} coincide: single "
            "ones have none there. Write the function as trace(symfun(A, ...)), whose derivatives exist to any order."
        )
