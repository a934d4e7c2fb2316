"""Maps between symmetric tensors: signed orbits of diagrams under permutations of the legs of a row."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from geomlib.algebra.diagrams.bases import LIMIT, Which, diagrams
from geomlib.algebra.diagrams.category import sign_of
from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.dimensions import dim_hom
from geomlib.algebra.diagrams.gram import gram_of, independent_rows
from geomlib.algebra.diagrams.groups import TensorGroup, tensor_group
from geomlib.errors import InvalidInput

__all__ = ["exchanged", "symmetric_transform"]


def exchanged(d: Diagram, leg: int) -> tuple[Diagram, int]:
    """Return the diagram with ``leg`` and the next leg of its row exchanged, and the sign that this gives its matrix.

    >>> exchanged(Diagram([(0, 1)], 2, 0, "symplectic"), 0)
    (F[01: 2 -> 0], -1)
    """
    at = list(range(d.legs))
    at[leg], at[leg + 1] = leg + 1, leg
    moved = Diagram([[at[x] for x in b] for b in d.blocks], d.k, d.l, d.kind, [at[x] for x in d.free])
    if d.kind == "symplectic":
        return moved, -1 if (leg, leg + 1) in d.blocks else 1
    if d.kind == "grood":
        return moved, sign_of(at[x] for x in d.free)
    if d.kind == "jellyfish":
        return moved, sign_of(min(at[x] for x in block) for block in d.blocks)
    return moved, 1


def symmetric_transform(
    group: str | TensorGroup,
    k: int,
    l: int,
    inputs: bool = True,
    outputs: bool = True,
    which: Which = "basis",
    *,
    limit: int = LIMIT,
) -> Tensor:  # (classes, D)
    r"""Return the matrix P whose rows sum diagrams over the orders of the legs of a row, with their signs.

    .. math:: N_i = \sum_d P_{id} M_d, \quad \operatorname{Sym}_l N_i = N_i \text{ (outputs)}, \quad
        N_i \operatorname{Sym}_k = N_i \text{ (inputs)}; \qquad w_M = P^\top w_N

    The rows are a basis of the equivariant maps with these symmetries. Sums that vanish, such as Omega on two legs of a
    symmetric tensor, have no row.

    **Group**: S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q).

    Args:
        group: the group, or its name.
        k: order of the input.
        l: order of the output.
        inputs: whether only the symmetric part of the input matters.
        outputs: whether the output is symmetric.
        which: list of diagrams that is summed, ``"basis"`` or ``"spanning"``; of O(n), SO(n) and Sp(n) with small n the
            basis is not closed under permutations of legs.
        limit: largest number of diagrams.

    Raises:
        InvalidInput: a basis that is not closed, or more diagrams than the limit.

    Source: E. Pearce-Crump, "Permutation equivariant neural networks for symmetric tensors", arXiv 2503.11276.

    >>> [len(symmetric_transform("S_n", k, l, which="spanning")) for k, l in ((2, 1), (2, 2), (3, 2), (3, 3))]
    [4, 9, 16, 31]
    """
    G = tensor_group(group)
    if G.kind in ("orbits", "product"):
        raise InvalidInput(f"symmetric_transform: the maps of {G} are no diagrams.")
    diagrams(G, k, l, which, limit=limit)  # refuses what is too large
    return _transform(G, k, l, bool(inputs), bool(outputs), which, limit).clone()


@lru_cache(maxsize=64)
def _transform(
    group: TensorGroup, k: int, l: int, inputs: bool, outputs: bool, which: Which, limit: int
) -> Tensor:
    found = diagrams(group, k, l, which, limit=limit)
    place = {d: i for i, d in enumerate(found)}
    swaps = [*(range(l - 1) if outputs else ()), *(range(l, l + k - 1) if inputs else ())]
    signs: dict[int, int] = {}
    classes: list[list[int]] = []
    for start in range(len(found)):
        if start in signs:
            continue
        signs[start], held, vanishes = 1, [start], False
        for i in held:  # grows while it is read
            for leg in swaps:
                moved, sign = exchanged(found[i], leg)
                j = place.get(moved)
                if j is None:
                    raise InvalidInput(
                        f"symmetric_transform: the basis of {group}, {k} -> {l}, is not closed under permutations of "
                        "legs, since n is small. Ask for which='spanning'."
                    )
                if j not in signs:
                    signs[j] = sign * signs[i]
                    held.append(j)
                elif signs[j] != sign * signs[i]:
                    vanishes = True
        if not vanishes:
            classes.append(held)
    made = torch.zeros(len(classes), len(found), dtype=torch.float64)
    for row, held in enumerate(classes):
        made[row, held] = torch.tensor([signs[i] for i in held], dtype=torch.float64)
    if group.n is None or len(found) == dim_hom(group, k, l):
        return made
    return made[independent_rows(made @ gram_of(found, group) @ made.T)]
