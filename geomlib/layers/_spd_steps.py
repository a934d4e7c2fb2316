"""A fixed number of steps towards a mean of SPD matrices, differentiated as they are: the iteration of the literature."""

from __future__ import annotations

from torch import Tensor

from geomlib.algebra.manifolds.spectral import sym_sqrt_pair, symfun, symmetrize

__all__ = ["stepped_mean"]


def stepped_mean(x: Tensor, steps: int, metric: str) -> Tensor:  # (K, n, n) -> (n, n)
    r"""Return the arithmetic mean after some fixed-point steps.

    .. math:: G \leftarrow G^{1/2} \exp\Big(\tfrac1K \sum_k \log(G^{-1/2} X_k G^{-1/2})\Big) G^{1/2}, \qquad
              G \leftarrow G^{-1/2} \Big(\tfrac1K \sum_k (G^{1/2} X_k G^{1/2})^{1/2}\Big)^2 G^{-1/2}

    for the affine-invariant and the Bures-Wasserstein metric. The second always converges, the first for points that are not
    too far from each other.

    >>> import torch
    >>> x = torch.tensor([[[1.0]], [[9.0]]])
    >>> [round(stepped_mean(x, 1, metric).item(), 4) for metric in ("bw", "ai")]
    [4.0, 3.0]
    """
    mean = x.mean(0)
    for _ in range(steps):
        root, inverse = sym_sqrt_pair(mean)
        if metric == "ai":
            step = symfun(symmetrize(inverse @ x @ inverse), "log").mean(0)
            mean = symmetrize(root @ symfun(step, "exp") @ root)
        else:
            middle = symfun(symmetrize(root @ x @ root), "sqrt").mean(0)
            half = inverse @ middle
            mean = half @ half.mT
    return mean
