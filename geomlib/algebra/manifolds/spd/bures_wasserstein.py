r"""The Bures-Wasserstein metric: optimal transport of centred Gaussians, and its generalised form.

With :math:`P = L L^T` the optimal map from P to Q is :math:`T = L^{-T} (L^T Q L)^{1/2} L^{-1}`, so that T P T = Q, and

.. math::
    \operatorname{Log}_P Q = (T - I) P + P (T - I), \qquad
    d^2(P, Q) = \operatorname{tr} P + \operatorname{tr} Q - 2 \operatorname{tr} (P^{1/2} Q P^{1/2})^{1/2}
              = \|P^{1/2} - O\, Q^{1/2}\|_F^2

with O the orthogonal polar factor of :math:`P^{1/2} Q^{1/2}`; the last form keeps all digits of small distances. Exp is
defined while I + L_P[V] is positive definite. R. Bhatia, T. Jain, Y. Lim: On the Bures-Wasserstein distance between
positive definite matrices, Expositiones Mathematicae 2019, arXiv 1712.01504; the generalised metric: A. Han et al.,
Learning with symmetric positive definite matrices via generalized Bures-Wasserstein geometry, arXiv 2110.10464.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportConstantRedefinition=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import first_bad, named, symmetrize, values_known
from geomlib.algebra.manifolds.spd.bures_transport import carried
from geomlib.algebra.manifolds.spd.cholesky import cholesky, congruence, unwhiten
from geomlib.algebra.manifolds.spd.mean import wasserstein_mean
from geomlib.algebra.manifolds.spd.metric import Metric, stretched, trace_pair
from geomlib.algebra.manifolds.spectral import lyapunov, polar, symfun
from geomlib.algebra.manifolds.spectral.transforms import variant
from geomlib.errors import InvalidInput

__all__ = ["BuresWasserstein", "bw_sqdist", "optimal_map", "optimal_step"]


def _plus_identity(X: Tensor, factor: float = 1.0) -> Tensor:
    return X + factor * torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)


def optimal_map(P: Tensor, Q: Tensor) -> Tensor:  # (..., n, n)
    """Return the SPD matrix T with T P T = Q.

    >>> optimal_map(torch.tensor([[4.0]]), torch.tensor([[9.0]]))
    tensor([[1.5000]])
    """
    L = cholesky(P)
    return unwhiten(L, symfun(congruence(L.mT, Q), "sqrt"))


def optimal_step(P: Tensor, Q: Tensor) -> Tensor:  # (..., n, n)
    """Return T - I.

    >>> optimal_step(torch.tensor([[4.0]]), torch.tensor([[9.0]]))
    tensor([[0.5000]])
    """
    return _plus_identity(optimal_map(P, Q), -1.0)


def bw_sqdist(P: Tensor, Q: Tensor) -> Tensor:  # (...)
    """Return the squared Bures-Wasserstein distance; its gradients are I - T in closed form, of every order.

    >>> bw_sqdist(torch.tensor([[4.0]]), torch.tensor([[9.0]]))
    tensor(1.)
    """
    pair = torch.broadcast_tensors(symmetrize(P), symmetrize(Q))
    return variant(_Sqdist, _SqdistJvp)(*pair)


class _Sqdist(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(P: Tensor, Q: Tensor) -> Tensor:
        p, q = symfun(P, "sqrt"), symfun(Q, "sqrt")
        gap = p - polar(p @ q) @ q
        return gap.square().sum((-2, -1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        g = grads[0][..., None, None]
        P, Q = ctx.saved_tensors
        dP = -g * optimal_step(P, Q) if ctx.needs_input_grad[0] else None
        return dP, -g * optimal_step(Q, P) if ctx.needs_input_grad[1] else None


class _SqdistJvp(_Sqdist):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        P, Q = ctx.saved_tensors
        found = torch.zeros_like(P[..., 0, 0])
        for A, B, t in ((P, Q, tangents[0]), (Q, P, tangents[1])):
            if t is not None:
                found = found - trace_pair(optimal_step(A, B), t)
        return found


class BuresWasserstein(Metric):
    """The metric 1/2 <L_P[V], W>, where X = L_P[V] solves P X + X P = V."""

    name = "bw"
    complete = False

    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return (I + X) P (I + X) with X = L_P[V]."""
        return congruence(_inside(_plus_identity(lyapunov(P, V))), P)

    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return (T - I) P + P (T - I)."""
        return 2 * symmetrize(optimal_step(P, Q) @ P)

    def exp0(self, V: Tensor) -> Tensor:
        """Return (I + V/2)^2."""
        root = _inside(_plus_identity(V / 2))
        return root @ root.mT

    def log0(self, P: Tensor) -> Tensor:
        """Return 2 (P^1/2 - I)."""
        return 2 * _plus_identity(symfun(P, "sqrt"), -1.0)

    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the squared distance."""
        return bw_sqdist(P, Q)

    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:
        """Return 1/2 <L_P[V], W>."""
        return trace_pair(lyapunov(P, V), W) / 2

    def inner0(self, V: Tensor, W: Tensor) -> Tensor:
        """Return tr VW / 4."""
        return trace_pair(V, W) / 4

    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return V carried along the geodesic; there is no closed form, the differential equation is integrated."""
        return carried(P, optimal_step(P, Q), V)

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return D P D with D = (1 - t) I + t T."""
        s = stretched(t)
        return congruence(_inside(_plus_identity(s * optimal_step(P, Q))), P)

    def rgrad(self, P: Tensor, G: Tensor) -> Tensor:
        """Return 2 (P G + G P)."""
        return 4 * symmetrize(P @ G)

    def mean(self, points: Tensor, weights: Tensor, iters: int, tol: float, order: int) -> Tensor:
        """Return the barycentre."""
        return wasserstein_mean(points, weights, iters, tol, order)

    def logit(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        """Return 1/2 <Log_P S, L_P(L A L^T)>, which is 1/2 tr(((L^T S L)^1/2 - L^T L) A)."""
        L = cholesky(P)
        return trace_pair(symfun(congruence(L.mT, S), "sqrt") - L.mT @ L, A) / 2


def _inside(D: Tensor) -> Tensor:
    """Return D, which must be positive definite; NaN where it is not and values cannot be read."""
    info = torch.linalg.cholesky_ex(D.detach())[1]
    if values_known(D) and bool((info != 0).any()):
        raise InvalidInput(
            f"SPD(metric='bw'): {named('V', first_bad(info == 0))} leaves the domain of exp, where I + X is positive definite "
            "and X solves P X + X P = V (of a geodesic, V is t log(P, Q)): geodesics of this metric end at singular matrices. "
            "Shorten the tangent."
        )
    return torch.where((info == 0)[..., None, None], D, torch.nan)
