"""Path weights of low rank: a weighted product as a few plain ones, which the matrix basis makes cheap for many generators."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.products import check_multivectors
from geomlib.errors import InvalidInput
from geomlib.kernels.geometric_product import geometric_product

__all__ = ["low_rank_gp", "path_weights"]


def low_rank_gp(
    x: Tensor,  # (..., C, 2^n)
    y: Tensor,  # (..., C, 2^n)
    factors: Tensor,  # (3, R, C, n + 1)
    alg: CliffordAlgebra,
    *,
    backend: str | None = None,
) -> Tensor:  # (..., C, 2^n)
    r"""Multiply channel by channel, with weights of paths that are sums of R products of one factor per grade.

    .. math:: w_{c,\,p(g,h,k)} = \sum_r a_{rcg}\, b_{rch}\, d_{rck}, \qquad
              z = \sum_r b_r \cdot \big((a_r \cdot x)\,(d_r \cdot y)\big)

    Here g, h, k are the grades of x, z and y. All paths have weights, R products of the algebra compute them.

    **Group** Pin(p,q,r). **Shapes** ``x`` and ``y`` (..., C, 2^n) to the same; ``factors`` (3, R, C, n + 1): of x, of z, of y.

    Args:
        x: left factor.
        y: right factor.
        factors: of the grades.
        alg: the algebra.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: shapes, types or a backend that do not fit.

    Source: the weights of Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg, factors = CliffordAlgebra(2), torch.ones(3, 1, 4, 3)
    >>> x = torch.randn(5, 4, 4)
    >>> torch.allclose(low_rank_gp(x, x, factors, alg), alg.gp(x, x), atol=1e-5)
    True
    """
    check_multivectors("low_rank_gp", alg.size, x, y)
    channels = x.shape[-2] if x.dim() > 1 else 0
    if factors.dim() != 4 or factors.shape[0] != 3 or factors.shape[2:] != (channels, alg.n + 1):
        raise InvalidInput(
            f"low_rank_gp: factors of shape {tuple(factors.shape)}, expected (3, rank, {channels}, {alg.n + 1})."
        )
    a, b, d = factors[..., torch.tensor(alg.grades, device=factors.device)]  # (R, C, 2^n)
    return (b * geometric_product(a * x.unsqueeze(-3), d * y.unsqueeze(-3), alg, backend=backend)).sum(-3)


def path_weights(factors: Tensor, alg: CliffordAlgebra) -> Tensor:  # (3, R, C, n + 1) -> (C, paths)
    """Return the weights of `weighted_gp` that give the same product.

    >>> path_weights(torch.ones(3, 2, 1, 3), CliffordAlgebra(2)).unique()
    tensor([2.])
    """
    left, out, right = torch.tensor(alg.paths, device=factors.device).T
    a, b, d = factors
    return (a[..., left] * b[..., out] * d[..., right]).sum(0)
