"""Inner products of diagrams in closed form, exact ranks, conditioning, and orthonormal combinations."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geomlib.algebra.diagrams import modular
from geomlib.algebra.diagrams.bases import Which, diagrams, refuse
from geomlib.algebra.diagrams.category import sign_of, trace, transpose
from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.groups import Sp, TensorGroup, tensor_group
from geomlib.algebra.diagrams.matchings import crossings
from geomlib.errors import InvalidInput

__all__ = ["condition_number", "exact_rank", "gram", "gram_of", "independent_rows", "orthonormal_transform"]

_Ints = npt.NDArray[np.int64]

#: Diagrams of the largest Gram matrix: 7,000 of them take 0.4 GB.
GRAM_LIMIT = 7_000


def components(a: _Ints, b: _Ints) -> _Ints:  # (D, m), (E, m) -> (D, E)
    """Return the number of blocks of the join of every pair of partitions, given by growth strings."""
    m = a.shape[1]
    if m == 0:
        return np.zeros((len(a), len(b)), dtype=np.int64)

    def masks(rgs: _Ints) -> _Ints:
        return ((rgs[:, :, None] == rgs[:, None, :]) << np.arange(m)).sum(-1)

    below, found = masks(b), np.empty((len(a), len(b)), dtype=np.int64)
    rows = max(1, 2_000_000 // max(1, len(b) * m))
    for start in range(0, len(a), rows):
        # Legs that are joined, as bits; Warshall's closure over the legs.
        reach = masks(a[start : start + rows])[:, None, :] | below
        for j in range(m):
            reach = np.where((reach >> j) & 1, reach | reach[:, :, j : j + 1], reach)
        least = (reach & ((1 << np.arange(m)) - 1)) == 0
        found[start : start + rows] = least.sum(-1)
    return found


def _with_diagrams(group: str | TensorGroup) -> TensorGroup:
    G = tensor_group(group)
    G.size  # noqa: B018 - refuses S_n without a size
    if G.kind in ("orbits", "product"):
        raise InvalidInput(f"{G}: its maps are no diagrams; orbits are orthogonal as they are.")
    return G


def _strings(found: Sequence[Diagram], m: int) -> _Ints:
    return np.array([d.rgs for d in found], dtype=np.int64).reshape(len(found), m)


def gram_of(found: Sequence[Diagram], group: str | TensorGroup) -> Tensor:  # (D, D)
    r"""Return the inner products of the matrices of diagrams of one group, in float64, without these matrices.

    .. math:: \langle D_\pi, D_\sigma \rangle = n^{\#\text{blocks of the join}}, \quad
        \langle E_\beta, E_\gamma \rangle = n^{\#\text{loops}}, \quad
        \langle F_\beta, F_\gamma \rangle = \pm n^{\#\text{loops}}, \quad
        \langle H, H' \rangle = \pm n!\, n^{\#\text{loops}}

    Two jellyfish are orthogonal unless equal, and orthogonal to all partitions, as epsilons are to matchings.

    **Group**: S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q).

    Args:
        found: diagrams of equal orders; not orbit diagrams, which are orthogonal.
        group: the group, with a size.

    Raises:
        InvalidInput: a form of Sp(n) of one's own, which need not be orthogonal; orbit diagrams.

    >>> gram_of(diagrams("O(3)", 2, 2), "O(3)").tolist()
    [[9.0, 3.0, 3.0], [3.0, 9.0, 3.0], [3.0, 3.0, 9.0]]
    """
    G = _with_diagrams(group)
    n, size = G.size, len(found)
    if len({(d.k, d.l) for d in found}) > 1:
        raise InvalidInput("gram_of: diagrams of different orders have no inner product.")
    if isinstance(G, Sp) and not isinstance(G.form, str):
        raise InvalidInput(f"gram_of: the closed form holds for the named forms of Sp(n), not for {G}.")
    if any(d.kind.startswith("orbit") for d in found):
        raise InvalidInput(
            "gram_of: orbit diagrams are orthogonal; the square of the norm is n (n - 1) ... ."
        )
    made = torch.zeros(size, size, dtype=torch.float64)
    kinds: dict[str, list[int]] = {}
    for i, d in enumerate(found):
        kinds.setdefault(d.kind, []).append(i)
    for kind, places in kinds.items():
        at, of = torch.tensor(places), [found[i] for i in places]
        if kind == "jellyfish":
            block = math.factorial(n) * torch.eye(len(of), dtype=torch.float64)
        elif kind == "grood":
            block = _epsilons(of, n)
        else:
            strings = _strings(of, of[0].legs)
            joined = components(strings, strings)
            block = torch.from_numpy(float(n) ** joined)
            if kind == "symplectic":
                odd = np.array([_line_crossings(d) for d in of])
                signs = (odd[:, None] + odd + of[0].legs // 2 + joined) % 2
                block *= torch.from_numpy(1.0 - 2.0 * signs)
        made[at[:, None], at] = block
    return made


def _line_crossings(d: Diagram) -> int:
    return crossings(d.blocks, d.legs, 0)


def _epsilons(found: Sequence[Diagram], n: int) -> Tensor:
    """Two epsilons contracted: a path from each leg of one to a leg of the other, or zero."""
    flat = [Diagram.trusted(d.blocks, 0, d.legs, "grood", d.free) for d in found]
    turned = [transpose(d) for d in flat]
    made = torch.zeros(len(found), len(found), dtype=torch.float64)
    for i, upper in enumerate(turned):
        for j in range(i, len(flat)):
            traced = trace(upper, flat[j])
            if not traced.vanishes:
                sign = sign_of(a for a, _ in traced.joined) * sign_of(b for _, b in traced.joined)
                made[i, j] = made[j, i] = sign * math.factorial(n) * n**traced.loops
    return made


def gram(
    group: str | TensorGroup, k: int, l: int, which: Which = "basis", *, limit: int = GRAM_LIMIT
) -> Tensor:  # (D, D)
    """Return the Gram matrix of `diagrams`, see `gram_of`.

    Args:
        group: the group, with a size.
        k: order of the input.
        l: order of the output.
        which: ``"basis"`` or ``"spanning"``.
        limit: largest number of diagrams; the matrix has its square as many entries.

    Raises:
        InvalidInput: more diagrams than the limit.

    >>> gram("S_3", 1, 1).tolist()
    [[9.0, 3.0], [3.0, 3.0]]
    """
    G = _with_diagrams(group)
    refuse(G, k, l, which, limit)
    return _gram(G, k, l, which).clone()


@lru_cache(maxsize=32)
def _gram(group: TensorGroup, k: int, l: int, which: Which) -> Tensor:
    return gram_of(diagrams(group, k, l, which), group)


def condition_number(group: str | TensorGroup, k: int, l: int) -> float:
    """Return the condition number of the Gram matrix of the basis, every diagram divided by its norm.

    >>> round(condition_number("S_10", 2, 2), 1), round(condition_number("O(3)", 3, 3), 1)
    (19.2, 17.5)
    """
    values = torch.linalg.eigvalsh(_normed(gram(group, k, l))[0])
    return float(values[-1] / values[0]) if len(values) else 1.0


def _normed(g: Tensor) -> tuple[Tensor, Tensor]:
    norms = g.diagonal().sqrt()
    return g / norms[:, None] / norms, norms


@lru_cache(maxsize=64)
def _transform(group: TensorGroup, k: int, l: int, which: Which) -> Tensor:
    unit, norms = _normed(_gram(group, k, l, which))
    if which == "basis":
        lower = torch.linalg.cholesky(unit)
        eye = torch.eye(len(unit), dtype=torch.float64)
        return torch.linalg.solve_triangular(lower, eye, upper=False) / norms
    values, vectors = torch.linalg.eigh(unit)
    keep = len(diagrams(group, k, l, "basis"))  # the rank is known, so no tolerance is needed
    values, vectors = values[len(values) - keep :], vectors[:, len(unit) - keep :]
    return (vectors / values.sqrt()).T / norms


def orthonormal_transform(
    group: str | TensorGroup, k: int, l: int, which: Which = "basis", *, limit: int = GRAM_LIMIT
) -> Tensor:  # (dim, D)
    r"""Return the matrix T whose rows combine diagrams into orthonormal maps.

    .. math:: Q_i = \sum_d T_{id} M_d, \quad \langle Q_i, Q_j \rangle = \delta_{ij}, \quad T G T^\top = 1; \qquad
        w_M = T^\top w_Q

    Of a basis it is the inverse of the Cholesky factor of the Gram matrix G, so T is lower triangular and Q_i holds only
    diagrams up to the i-th; of a spanning set it comes from the eigenvectors of G.

    **Group**: S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q).

    Args:
        group: the group, with a size.
        k: order of the input.
        l: order of the output.
        which: list of diagrams that is combined, ``"basis"`` or ``"spanning"``.
        limit: largest number of diagrams.

    Raises:
        InvalidInput: more diagrams than the limit, or a form of one's own.

    >>> T, G = orthonormal_transform("S_3", 2, 2), gram("S_3", 2, 2)
    >>> torch.allclose(T @ G @ T.T, torch.eye(14, dtype=torch.float64))
    True
    """
    G = _with_diagrams(group)
    refuse(G, k, l, which, limit)
    return _transform(G, k, l, which).clone()


def independent_rows(g: Tensor) -> list[int]:
    """Return the first independent rows of a symmetric matrix of whole numbers, exactly.

    >>> independent_rows(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    [0]
    """
    remainders = [[int(v) % modular.PRIME for v in row] for row in g.tolist()]
    return modular.independent_rows(np.array(remainders, dtype=np.int64).reshape(g.shape))


def exact_rank(group: str | TensorGroup, k: int, l: int, which: Which = "basis") -> int:
    """Return the dimension of the span of `diagrams`, from their Gram matrix and without round-off.

    >>> exact_rank("SO(3)", 2, 3, "spanning"), exact_rank("O(2)", 3, 3, "spanning")
    (6, 10)
    """
    return len(independent_rows(gram(group, k, l, which)))
