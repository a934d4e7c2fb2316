r"""Characters of a finite group, computed from its multiplication table.

Class sums multiply as :math:`C_r C_s = \sum_t a_{rst} C_t`; the common eigenvectors of the matrices :math:`a_r` are the
central characters :math:`\omega_s = |C_s|\,\chi(C_s)/\chi(1)` (Burnside; Dixon, Numer. Math. 10, 446, 1967).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["classes", "real_characters"]

_CLOSE = 1e-6


def classes(matrices: Tensor) -> tuple[Tensor, Tensor]:  # (N, n, n) -> (N,), (N, N)
    """Return the number of the conjugacy class of every element, and the multiplication table.

    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> classes(torch.stack([eye, -eye]))[1]
    tensor([[0, 1],
            [1, 0]])
    """
    products = torch.einsum("aij,bjk->abik", matrices, matrices).flatten(2)
    table = torch.cdist(products.flatten(0, 1), matrices.flatten(1)).argmin(1).view(len(matrices), -1)
    one = int((table == torch.arange(len(matrices))).all(1).nonzero()[0])
    inverse = (table == one).int().argmax(1)
    everything = torch.arange(len(matrices))
    orbit = table[table[everything[:, None], everything[None]], inverse[:, None]]  # g h g^-1 at [g, h]
    return torch.unique(orbit.amin(0), return_inverse=True)[1], table


def real_characters(matrices: Tensor) -> Tensor:  # (N, n, n) -> (K, N)
    r"""Return the characters of the real irreducible representations; a pair of complex ones is summed.

    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> real_characters(torch.stack([eye, -eye])).sort(0).values
    tensor([[ 1., -1.],
            [ 1.,  1.]], dtype=torch.float64)
    """
    label, table = classes(matrices)
    count, order = int(label.max()) + 1, len(matrices)
    sizes = torch.bincount(label).double()
    # a[r, s, t]: in how many ways one fixed element of class t is a product of elements of classes r and s.
    ways = torch.zeros(count, count, count, dtype=torch.float64)
    rows, columns = label[:, None].expand(order, order), label[None].expand(order, order)
    ways.index_put_(
        (rows, columns, label[table]), torch.ones(order, order, dtype=torch.float64), accumulate=True
    )
    ways = ways / sizes
    mixture = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    vectors = torch.linalg.eig(torch.einsum("r,rst->st", mixture, ways)).eigenvectors.T
    one = int(label[(table == torch.arange(order)).all(1).nonzero()[0, 0]])
    omega = vectors / vectors[:, one : one + 1]
    dims = (order / (omega.abs().square() / sizes).sum(1)).sqrt()
    found: list[Tensor] = []
    for chi in (dims[:, None] * omega / sizes)[:, label]:
        real = chi.real if float(chi.imag.abs().amax()) < _CLOSE else 2.0 * chi.real
        if not any(float((real - other).abs().amax()) < _CLOSE for other in found):
            found.append(_snapped(real))
    return torch.stack(found)


def _snapped(x: Tensor) -> Tensor:
    """Return whole numbers where the values are whole."""
    return torch.where((x - x.round()).abs() < _CLOSE, x.round(), x)
