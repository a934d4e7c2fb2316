r"""The Bures-Wasserstein distance of a covariance to a product of factors, with exact gradients at every rank."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import require_spd, symmetrize
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.errors import InvalidInput

__all__ = ["bures_wasserstein_loss", "nuclear_norm"]


def bures_wasserstein_loss(
    W: Tensor,  # (..., n, r)
    Sigma: Tensor,  # (..., n, n)
    tau: float = 0.0,
) -> Tensor:  # (...)
    r"""Return the squared Bures-Wasserstein distance of W Wᵀ to a covariance.

    .. math:: L(W) = |W|_F^2 + \operatorname{tr} \Sigma - 2\, \big|\Sigma^{1/2} W\big|_*, \qquad
              \nabla_W L = 2\, \big(W - \Sigma^{1/2} U V^\top\big), \qquad \Sigma^{1/2} W = U S V^\top

    The norm is the sum of the singular values. The gradient is that of the thin decomposition, so W may have any number of
    columns and W Wᵀ may be singular, where roots of it have no derivative. The minimum over factors of r columns is the sum of
    the n - r smallest eigenvalues of :math:`\Sigma`.

    Where W itself has not full rank the loss has a kink (it falls on all sides as the columns move out of their span); there
    the gradient is the symmetric one, with U Vᵀ the sum over the positive singular values. At W = 0 it is 0: start elsewhere,
    or take ``tau``, which replaces each singular value s by :math:`\sqrt{s^2 + \tau}`, that is the root of
    :math:`\Sigma^{1/2} W W^\top \Sigma^{1/2} + \tau 1`: the loss is then smooth, and everything below
    :math:`2 n \sqrt{\tau}` of it is the price.

    **Group** O(n) on the rows of W and on both sides of :math:`\Sigma`, O(r) on the columns of W. **Shapes** W (..., n, r) and
    Sigma (..., n, n) to (...).

    Args:
        W: factors.
        Sigma: covariances, positive definite.
        tau: smoothing, in the units of the square of :math:`\Sigma`'s entries; 0 for none.

    Raises:
        InvalidInput: shapes or types that do not fit, a negative ``tau``; in eager mode on the CPU also covariances that are
            not positive definite.

    Source: Bréchet, Papagiannouli, An and Montúfar, *Critical points and convergence analysis of generative deep linear
    networks trained with Bures-Wasserstein loss*, arXiv 2303.03027.

    >>> Sigma = torch.diag(torch.tensor([4.0, 1.0, 0.25]))
    >>> bures_wasserstein_loss(torch.tensor([[2.0], [0.0], [0.0]]), Sigma)
    tensor(1.2500)
    """
    require_spd("Sigma", Sigma)
    if W.dim() < 2 or W.shape[-2] != Sigma.shape[-1] or W.dtype != Sigma.dtype or 0 in W.shape[-2:]:
        raise InvalidInput(
            f"bures_wasserstein_loss: `W` is {W.dtype} of shape {tuple(W.shape)}, expected {Sigma.dtype} of shape "
            f"(..., {Sigma.shape[-1]}, r) to go with `Sigma` of shape {tuple(Sigma.shape)}."
        )
    if not tau >= 0:
        raise InvalidInput(f"bures_wasserstein_loss: tau={tau}, expected 0 or more.")
    B = symfun(Sigma, "sqrt") @ W
    n, r = B.shape[-2:]
    if tau:
        wide = B.double()  # in float32 a small tau is lost beside the largest entry
        gram = wide.mT @ wide if r <= n else wide @ wide.mT
        unit = torch.eye(min(n, r), dtype=wide.dtype, device=B.device)
        root = symfun(symmetrize(gram) + tau * unit, "sqrt")
        norm = (root.diagonal(dim1=-2, dim2=-1).sum(-1) + (n - min(n, r)) * tau**0.5).to(B.dtype)
    else:
        norm = nuclear_norm(B)
    return W.square().sum((-2, -1)) + Sigma.diagonal(dim1=-2, dim2=-1).sum(-1) - 2 * norm


def nuclear_norm(B: Tensor) -> Tensor:  # (..., n, r) -> (...)
    r"""Return the sum of the singular values, with the gradient U Vᵀ of the thin decomposition and its derivative.

    Singular values below :math:`\max(n, r)\,\epsilon` times the largest, with the rounding of the type of B, count as zero:
    their directions take no part in the gradient. Second derivatives are those along matrices of the same rank; third ones
    raise an error.

    >>> nuclear_norm(torch.tensor([[3.0, 0.0], [0.0, -2.0], [0.0, 0.0]]))
    tensor(5.)
    """
    return _NuclearNorm.apply(B)[0]  # type: ignore[no-any-return]


def _thin(B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, s and V of the thin decomposition, in float64, with s = 0 and columns of zeros below the threshold."""
    U, s, Vh = torch.linalg.svd(B.double(), full_matrices=False)
    kept = s > max(B.shape[-2:]) * torch.finfo(B.dtype).eps * s[..., :1]
    s = torch.where(kept, s, 0.0)
    return U * kept[..., None, :], s, Vh.mT * kept[..., None, :]


class _NuclearNorm(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(B: Tensor) -> tuple[Tensor, Tensor]:
        U, s, V = _thin(B)
        return s.sum(-1).to(B.dtype), (U @ V.mT).to(B.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Tensor:
        B, isometry = ctx.saved_tensors
        if torch.is_grad_enabled() and B.requires_grad:
            isometry = _Isometry.apply(B)[0]
        return grad[..., None, None] * isometry


class _Isometry(Function):
    """U Vᵀ of the thin decomposition."""

    generate_vmap_rule = True

    @staticmethod
    def forward(B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        U, s, V = _thin(B)
        return (U @ V.mT).to(B.dtype), U, s, V

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, G: Tensor, *_: Any) -> Tensor:
        """Return the derivative in direction G, which is its own transpose: the Hessian of the norm is symmetric."""
        B, U, s, V = ctx.saved_tensors
        with torch.no_grad():
            out = _isometry_slope(U, s, V, G)
        return _Last.apply(out, B, G)


def _isometry_slope(U: Tensor, s: Tensor, V: Tensor, G: Tensor) -> Tensor:
    """Return the derivative of U Vᵀ in direction G."""
    g = G.double()
    left, right = U.mT @ g, g @ V  # (..., k, r), (..., n, k)
    core = left @ V
    sums = s[..., :, None] + s[..., None, :]
    # Pairs of zero singular values meet columns of zeros: any finite factor will do.
    turn = (core - core.mT) / torch.where(sums > 0, sums, 1.0)
    inverse = torch.where(s > 0, 1 / torch.where(s > 0, s, 1.0), 0.0)
    out = U @ turn @ V.mT
    out = out + (right - U @ core) * inverse[..., None, :] @ V.mT
    out = out + U @ (inverse[..., None] * (left - core @ V.mT))
    return out.to(G.dtype)


class _Last(Function):
    """The first argument, tied to the others: its derivative is refused wherever it is asked for."""

    generate_vmap_rule = True

    @staticmethod
    def forward(out: Tensor, B: Tensor, G: Tensor) -> Tensor:
        return out.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("nuclear_norm: third derivatives are not implemented.")
