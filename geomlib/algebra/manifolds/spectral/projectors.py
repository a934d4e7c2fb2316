"""Projectors on leading eigenspaces: only the gap between what is kept and what is dropped enters their derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import require_square
from geomlib.algebra.manifolds.spectral.symfun import apply_spectrum, decompose
from geomlib.errors import InvalidInput

__all__ = ["flag_projectors", "top_projector"]


def top_projector(
    A: Tensor,  # (..., n, n)
    p: int,
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:
    r"""Return the projector on the span of the eigenvectors of the p largest eigenvalues.

    .. math:: \Pi = \sum_{i \text{ kept}} v_i v_i^T, \qquad D\Pi[E]_{ij} = \frac{E_{ij}}{w_i - w_j}

    in the eigenbasis, for i kept and j dropped (and transposed), 0 otherwise: eigenvalues may coincide among the kept and
    among the dropped ones, as they do when A is itself a projector.

    **Shapes** A and the result (..., n, n).

    Args:
        A: symmetric matrices.
        p: dimension of the subspace, 1 to n.
        eig_dtype: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.
        backend: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.

    Raises:
        InvalidInput: p out of range; in eager mode on the CPU NaN, infinity, asymmetry, or eigenvalues p and p + 1 that are
            equal to working precision.

    >>> top_projector(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2).diagonal().tolist()
    [0.0, 1.0, 1.0]
    """
    return flag_projectors(A, (p,), eig_dtype=eig_dtype, backend=backend).squeeze(-3)


def flag_projectors(
    A: Tensor,  # (..., n, n)
    dims: Sequence[int],
    *,
    eig_dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Tensor:  # (..., len(dims), n, n)
    r"""Return the projectors on the nested eigenspaces of a flag, by one decomposition.

    .. math:: A = \sum_i (\lambda_i - \lambda_{i+1})\, \Pi_{V_i}, \qquad V_1 \subset V_2 \subset \dots

    **Shapes** A (..., n, n) to (..., len(dims), n, n).

    Args:
        A: symmetric matrices.
        dims: dimensions of the subspaces, ascending, each 1 to n: the span of so many leading eigenvectors.
        eig_dtype: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.
        backend: as for :func:`~geomlib.algebra.manifolds.spectral.symfun`.

    Raises:
        InvalidInput: as :func:`top_projector`; dims that do not ascend.

    Source: the description of covariances by flags of eigenspaces, arXiv 2305.10583.

    >>> flag_projectors(torch.diag(torch.tensor([1.0, 3.0, 2.0])), (1, 2)).diagonal(dim1=-2, dim2=-1).tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    """
    require_square("A", A)
    n, given = A.shape[-1], list(dims)
    if not given or any(not 1 <= p <= n for p in given):
        raise InvalidInput(f"dimensions {given} of subspaces, expected at least one, each from 1 to n = {n}.")
    if sorted(set(given)) != given:
        raise InvalidInput(f"dims {given}: a flag has ascending dimensions, expected {sorted(set(given))}.")
    w, v = decompose(A, eig_dtype=eig_dtype, backend=backend)
    parts = [_projector(A, w, v, p, backend) for p in given]
    return torch.stack(parts, -3)


def _projector(A: Tensor, w: Tensor, v: Tensor, p: int, backend: str | None) -> Tensor:
    if p == A.shape[-1]:  # everything: a constant
        return torch.eye(p, dtype=A.dtype, device=A.device).expand(A.shape)
    return apply_spectrum(A, w, v, "top", p, backend=backend)
