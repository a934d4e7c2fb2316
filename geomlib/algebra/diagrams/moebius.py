r"""Between diagrams and orbits: sums over coarser partitions, and their inverse by Möbius' formula."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import factorial

import torch
from torch import Tensor

from geomlib.algebra.diagrams.bases import LIMIT, Which, diagrams
from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.groups import TensorGroup, tensor_group
from geomlib.algebra.diagrams.partitions import set_partitions
from geomlib.errors import InvalidInput

__all__ = ["moebius_row", "orbit_diagrams", "orbit_transform"]

_GROUPS = ("S", "A", "B")


def moebius_row(rgs: Sequence[int]) -> dict[tuple[int, ...], int]:
    r"""Return the coefficients of an orbit diagram in the diagrams of all coarser partitions.

    .. math:: X_\pi = \sum_{\sigma \ge \pi} \mu(\pi,\sigma) D_\sigma, \qquad
        \mu(\pi,\sigma) = \prod_{B \in \sigma} (-1)^{b-1} (b-1)!

    where b counts the blocks of :math:`\pi` in the block B.

    >>> moebius_row((0, 1, 2))
    {(0, 0, 0): 2, (0, 0, 1): -1, (0, 1, 0): -1, (0, 1, 1): -1, (0, 1, 2): 1}
    """
    row: dict[tuple[int, ...], int] = {}
    for merged in set_partitions(max(rgs, default=-1) + 1):
        weight = 1
        for b in Counter(merged).values():
            weight *= (-1) ** (b - 1) * factorial(b - 1)
        row[tuple(merged[block] for block in rgs)] = weight
    return row


def _permutations(group: str | TensorGroup) -> TensorGroup:
    G = tensor_group(group)
    if G.kind not in _GROUPS:
        raise InvalidInput(f"{G}: orbit diagrams belong to S_n, A_n and B(n).")
    return G


def orbit_diagrams(
    group: str | TensorGroup, k: int, l: int, which: Which = "basis", *, limit: int = LIMIT
) -> list[Diagram]:
    """Return the orbit diagrams, in the order of `diagrams`: X in place of D; in A_n X+ and X- in place of D and J.

    **Group**: S_n, A_n, B(n).

    Args:
        group: the group.
        k: order of the input.
        l: order of the output.
        which: ``"basis"`` or ``"spanning"``.
        limit: largest number of diagrams to list.

    Raises:
        InvalidInput: a group of matrices, or more diagrams than the limit.

    >>> orbit_diagrams("A_2", 1, 0)
    [X+[0: 1 -> 0], X-[0: 1 -> 0]]
    """
    G = _permutations(group)
    found = diagrams(G, k, l, which, limit=limit)
    halved = {d.blocks for d in found if d.kind == "jellyfish"}
    kinds = {"jellyfish": "orbit-", "partition": "orbit"}
    return [
        Diagram.trusted(
            d.blocks, k, l, "orbit+" if d.kind == "partition" and d.blocks in halved else kinds[d.kind]
        )
        for d in found
    ]


def orbit_transform(
    group: str | TensorGroup, k: int, l: int, which: Which = "basis", *, limit: int = LIMIT
) -> tuple[Tensor, Tensor]:  # (D, D), (D, D)
    r"""Return the matrices between orbit diagrams X and diagrams D, both in canonical order.

    .. math:: X = M D, \quad D = Z X; \qquad w_D = M^\top w_X

    **Group**: S_n, A_n, B(n).

    Args:
        group: the group.
        k: order of the input.
        l: order of the output.
        which: ``"basis"`` or ``"spanning"``.
        limit: largest number of diagrams to list.

    Returns:
        M and its inverse Z, float64; their entries are whole numbers, halves for A_n.

    Raises:
        InvalidInput: a group of matrices, or more diagrams than the limit.

    Source: E. Pearce-Crump, arXiv 2212.08648, 2301.10152 (both bases); G.-C. Rota, "On the foundations of combinatorial
    theory I", 1964.

    >>> M, Z = orbit_transform("S_4", 1, 1)
    >>> M.tolist(), Z.tolist()  # rows: different, equal
    ([[1.0, -1.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]])
    """
    G = _permutations(group)
    found = diagrams(G, k, l, which, limit=limit)
    place = {(d.kind, d.rgs): i for i, d in enumerate(found)}
    size = len(found)
    moebius = torch.zeros(size, size, dtype=torch.float64)
    zeta = torch.zeros(size, size, dtype=torch.float64)
    for i, d in enumerate(found):
        if d.kind == "jellyfish":
            continue
        row = moebius_row(d.rgs)
        at = torch.tensor([place["partition", rgs] for rgs in row])
        moebius[i, at] = torch.tensor(list(row.values()), dtype=torch.float64)
        zeta[i, at] = 1.0
    for i, d in enumerate(found):
        if d.kind != "jellyfish":
            continue
        # X = X+ + X- and J = X+ - X-, where D stands in the place of X+ and J in that of X-.
        j = place["partition", d.rgs]
        zeta[:, i] = zeta[:, j]
        zeta[i, j], zeta[i, i] = 1.0, -1.0
        moebius[j] /= 2
        moebius[i] = moebius[j]
        moebius[j, i], moebius[i, i] = 0.5, -0.5
    return moebius, zeta
