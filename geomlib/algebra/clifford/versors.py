"""Norms, inverses and actions of versors."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomlib.algebra.clifford.products import check_multivectors, left_matrix
from geomlib.algebra.representations.exterior import compound
from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.algebra.clifford.algebra import CliffordAlgebra

__all__ = ["bounded", "inverse", "orthogonal_action", "smooth_root", "versor_action"]


def bounded(x: Tensor) -> Tensor:
    """Return x with components clamped where the sum of their squares would overflow."""
    limit = (torch.finfo(x.dtype).max / (4 * max(x.shape[-1], 1))) ** 0.5
    return x.clamp(-limit, limit)


def smooth_root(q: Tensor) -> Tensor:
    """Return ``(q^2 + 1e-16)^(1/4)`` without forming the square, which may overflow."""
    return torch.hypot(q, torch.full_like(q, 1e-8)).sqrt()


def versor_action(alg: CliffordAlgebra, w: Tensor, x: Tensor, parity: int | None) -> Tensor:
    """Return w alpha^k(x) w^-1.

    Raises:
        InvalidInput: a parity other than 0 and 1.
    """
    check_multivectors("versor_action", alg.size, w, x)
    if parity not in (None, 0, 1):
        raise InvalidInput(f"versor_action: parity {parity}: expected 0, 1 or None.")
    if parity is None:
        flipped = alg.involute(w.detach())
        odd = (w.detach() - flipped).square().sum(-1, keepdim=True)
        even = (w.detach() + flipped).square().sum(-1, keepdim=True)
        moved = torch.where(odd > even, alg.involute(x), x)
    else:
        moved = alg.involute(x) if parity else x
    return alg.gp(alg.gp(w, moved), alg.versor_inverse(w))


def inverse(alg: CliffordAlgebra, x: Tensor) -> Tensor:
    """Return the solution of x y = 1.

    Raises:
        InvalidInput: a multivector without inverse.
    """
    check_multivectors("inverse", alg.size, x)
    one = torch.zeros_like(x)
    one[..., 0] = 1
    found, info = torch.linalg.solve_ex(left_matrix(alg.metric, "gp", x), one.unsqueeze(-1))
    if bool((info != 0).any()):
        raise InvalidInput(
            "inverse: a multivector has none; a null vector or a product with one cannot be inverted."
        )
    return found.squeeze(-1)


def orthogonal_action(alg: CliffordAlgebra, matrix: Tensor) -> Tensor:
    """Return the block diagonal matrix of the compounds of ``matrix``.

    Raises:
        InvalidInput: not square of size n.
    """
    n = alg.n
    if matrix.dim() < 2 or tuple(matrix.shape[-2:]) != (n, n):
        raise InvalidInput(f"orthogonal_action: expected (..., {n}, {n}), got {tuple(matrix.shape)}.")
    out = matrix.new_zeros(*matrix.shape[:-2], alg.size, alg.size)
    for g, part in enumerate(alg.grade_slices):
        out[..., part, part] = compound(matrix, g)
    return out
