r"""Bures-Wasserstein tangents carried to the identity and back, along the commuting points of their base.

At P the tangent P X + X P has the squared length :math:`\operatorname{tr} X P X`. Parallel transport to the identity
multiplies its entry (i, j) in the eigenbasis of P by :math:`\sqrt{2 / (p_i + p_j)}`, so it takes X to

.. math:: V = v\, \big(\phi_{ij} \circ v^\top X v\big)\, v^\top, \qquad \phi_{ij} = \sqrt{2 (p_i + p_j)},

whose squared length at the identity, :math:`|V|_F^2 / 4`, is the same. This is the square root of the map
:math:`X \mapsto 2 (P X + X P)`, a spectral function of a matrix of n² rows, and its derivatives are those of one: divided
differences, nothing is divided by differences of eigenvalues.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.spectral import decompose, derivative_symfun

__all__ = ["from_identity", "to_identity"]


def to_identity(
    P: Tensor,  # (n, n)
    X: Tensor,  # (K, n, n)
    spectrum: tuple[Tensor, Tensor] | None = None,
) -> Tensor:  # (K, n, n)
    """Return the tangents P X + X P at one point, carried to the identity.

    Args:
        P: the point.
        X: symmetric matrices.
        spectrum: eigenvalues and eigenvectors of P, where they are known.

    >>> to_identity(2 * torch.eye(1), torch.ones(3, 1, 1)).flatten().tolist()  # sqrt(2 (2 + 2))
    [2.8284270763397217, 2.8284270763397217, 2.8284270763397217]
    """
    return _apply(P, X, "sqrt", spectrum)


def from_identity(
    P: Tensor,  # (n, n)
    V: Tensor,  # (K, n, n)
    spectrum: tuple[Tensor, Tensor] | None = None,
) -> Tensor:  # (K, n, n)
    """Return X, such that P X + X P is the tangent V at the identity carried to P.

    Args:
        P: the point.
        V: symmetric matrices.
        spectrum: eigenvalues and eigenvectors of P, where they are known.

    >>> P, X = torch.diag(torch.tensor([1.0, 4.0])), torch.ones(1, 2, 2)
    >>> torch.allclose(from_identity(P, to_identity(P, X)), X)
    True
    """
    return _apply(P, V, "invsqrt", spectrum)


def _apply(P: Tensor, X: Tensor, f: str, spectrum: tuple[Tensor, Tensor] | None = None) -> Tensor:
    p, v = decompose(P) if spectrum is None else spectrum
    out: Tensor = _Transport.apply(P, p, v, X, f)
    return out


def _phi(p: Tensor) -> Tensor:
    return (2 * (p[..., :, None] + p[..., None, :])).sqrt()


def _evaluated(p: Tensor, v: Tensor, X: Tensor, f: str) -> Tensor:
    phi = _phi(p)
    inner = v.mT @ symmetrize(X.to(p.dtype)) @ v
    return symmetrize(v @ (inner * phi if f == "sqrt" else inner / phi) @ v.mT).to(X.dtype)


def _pairing(p: Tensor, v: Tensor, X: Tensor, H: Tensor, f: str) -> Tensor:
    """Return the gradient of <H, out> with respect to P, in closed form."""
    phi = _phi(p)
    a, b = phi[:, None, :], phi[None, :, :]  # of (i, j) and (k, j)
    slope = 2 / (a + b) if f == "sqrt" else -2 / (a * b * (a + b))
    x, h = (v.mT @ symmetrize(t.to(p.dtype)) @ v for t in (X, H))
    # sum over the batch of h_ij x_kj, one product of matrices for every j
    sums = h.permute(2, 1, 0).contiguous() @ x.permute(2, 0, 1).contiguous()  # (j, i, k)
    return symmetrize(v @ (2 * (slope.permute(2, 0, 1) * sums).sum(0)) @ v.mT)


def _pairing_of_any_order(P: Tensor, X: Tensor, H: Tensor, f: str) -> Tensor:
    """Return the same by the function of the matrix of n² rows, differentiable without end."""
    n = P.shape[-1]
    unit = torch.eye(n, dtype=P.dtype, device=P.device)
    big = 2 * (torch.kron(P, unit) + torch.kron(unit, P))
    x, h = symmetrize(X).flatten(-2), symmetrize(H).flatten(-2)
    found = 2 * derivative_symfun(big, f, symmetrize(h.mT @ x)).view(n, n, n, n)
    return symmetrize(torch.einsum("ijkj->ik", found) + torch.einsum("ijil->jl", found))


class _Transport(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(P: Tensor, p: Tensor, v: Tensor, X: Tensor, f: str) -> Tensor:
        return _evaluated(p, v, X, f)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.f = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Any, ...]:
        P, p, v, X = ctx.saved_tensors
        again = torch.is_grad_enabled()  # a gradient of the gradient will be asked for
        to_p = to_x = None
        if ctx.needs_input_grad[0]:
            to_p = _pairing_of_any_order(P, X, G, ctx.f) if again else _pairing(p, v, X, G, ctx.f).to(P.dtype)
        if ctx.needs_input_grad[3]:
            to_x = _Transport.apply(P, p, v, G, ctx.f) if again else _evaluated(p, v, G, ctx.f)
        return to_p, None, None, to_x, None
