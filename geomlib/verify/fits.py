r"""Is there a linear map between two sets of rows? Least squares judged on rows it has not seen.

Rows of A are features at x, rows of B the same features at g x. A representation on the features is a matrix W
with :math:`B = A W`; an orthogonal one exists exactly where :math:`A A^\top = B B^\top`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = ["MOST_ROWS", "RANK_CUT", "Fit", "distortion", "fit_linear", "relative", "shown"]

#: Singular values below this fraction of the largest are noise.
RANK_CUT = 1e-11
#: Rows that are compared with each other.
MOST_ROWS = 200
# A row with more than this fraction of its length outside the span of the fitted rows says nothing about the fit.
_UNCOVERED = 1e-6


@dataclass(frozen=True)
class Fit:
    """Minimum-norm solution of B = A W.

    Args:
        matrix: W, (F, F'), from the rows of the first half.
        residual: relative error on the second half.
        rank: number of independent columns of A.
        tested: rows of the second half that lie in the span of the first.
    """

    matrix: Tensor
    residual: float
    rank: int
    tested: int


def relative(error: Tensor, scale: Tensor) -> float:
    """Return the ratio of two Frobenius norms, 0 where both vanish."""
    size = float(torch.linalg.vector_norm(scale))
    found = float(torch.linalg.vector_norm(error))
    return found / size if size > 0.0 else (0.0 if found == 0.0 else float("inf"))


def fit_linear(a: Tensor, b: Tensor, generator: Generator, *, affine: bool = False) -> Fit:
    r"""Fit W on a random half of the rows and evaluate :math:`\|A'W - B'\| / \|B'\|` on the others.

    Args:
        a: features at x, (R, F) float64.
        b: features at g x, (R, F') float64.
        generator: draws the halves.
        affine: append a column of ones to ``a``: features that are shifted too.

    >>> a = torch.randn(40, 3, dtype=torch.float64)
    >>> fit_linear(a, a.roll(1, 1), torch.Generator().manual_seed(0)).residual < 1e-12
    True
    >>> fit_linear(a, a.abs(), torch.Generator().manual_seed(0)).residual > 0.1
    True
    """
    if affine:
        # The column has the size of the features, so that the rank cut treats it as one of them.
        size = float(a.square().mean().sqrt()) or 1.0
        a = torch.cat([a, torch.full((a.shape[0], 1), size, dtype=a.dtype)], 1)
    order = torch.randperm(a.shape[0], generator=generator)
    first, second = order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]
    u, s, vh = torch.linalg.svd(a[first], full_matrices=False)
    rank = int((s > RANK_CUT * s.max()).sum()) if s.numel() else 0
    span = vh[:rank]
    w = span.mT @ ((u[:, :rank].mT @ b[first]) / s[:rank, None])
    rest, want = a[second], b[second]
    outside = torch.linalg.vector_norm(rest - (rest @ span.mT) @ span, dim=1)
    covered = outside <= _UNCOVERED * torch.linalg.vector_norm(rest, dim=1)
    residual = relative(rest[covered] @ w - want[covered], want[covered])
    return Fit(w, residual, rank, int(covered.sum()))


def distortion(a: Tensor, b: Tensor, *, affine: bool = False) -> float:
    r"""Return :math:`\|AA^\top - BB^\top\| / \|BB^\top\|`: zero exactly where B = A W with an orthogonal W.

    It needs no fit, hence any number of rows is enough, and `MOST_ROWS` are.

    Args:
        a: features at x, (R, F).
        b: features at g x, (R, F).
        affine: compare the rows relative to their mean, so that a shift does not count.

    >>> a = torch.randn(5, 100, dtype=torch.float64)
    >>> distortion(a, -a), round(distortion(a, 2 * a), 6)
    (0.0, 0.75)
    """
    if len(a) > MOST_ROWS:
        chosen = torch.linspace(0, len(a) - 1, MOST_ROWS).long()
        a, b = a[chosen], b[chosen]
    if affine:
        a, b = a - a.mean(0), b - b.mean(0)
    return relative(a @ a.mT - b @ b.mT, b @ b.mT)


def shown(x: float) -> str:
    """Return a residual as text; its round-off depends on where tensors lie in memory, so it is not printed.

    >>> shown(3.14e-5), shown(2e-16)
    ('3.1e-05', '< 1e-12')
    """
    return "< 1e-12" if x < 1e-12 else f"{x:.1e}"
