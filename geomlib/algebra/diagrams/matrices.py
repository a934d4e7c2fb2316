"""Diagrams as matrices: the entries that differ from zero, and the dense array."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from geomlib.algebra.diagrams.diagram import Diagram
from geomlib.algebra.diagrams.groups import TensorGroup
from geomlib.algebra.permutations import permutation_table
from geomlib.errors import InvalidInput

__all__ = ["MAX_BYTES", "entries", "matrix", "require_group"]

#: Bytes of the largest dense matrix that is written without being asked twice.
MAX_BYTES = 4 * 2**30

#: Kinds of diagrams that belong to the tensors of each kind of group.
_KINDS = {
    "S": ("partition", "orbit"),
    "A": ("partition", "orbit", "orbit+", "orbit-", "jellyfish"),
    "B": ("partition", "orbit"),
    "O": ("brauer",),
    "Lorentz": ("brauer",),
    "SO": ("brauer", "grood"),
    "Sp": ("symplectic",),
}


def require_group(d: Diagram, group: TensorGroup) -> int:
    """Return n, after checking that the diagram is an equivariant map of this group.

    Raises:
        InvalidInput: a kind of another group, odd blocks in B(n), a number of blocks or of free legs that does not
            fit n.
    """
    n, t = group.size, len(d.blocks)
    allowed = _KINDS.get(group.kind, ())
    if d.kind not in allowed:
        raise InvalidInput(
            f"{d!r} of kind {d.kind!r} is not a map of {group}; expected {' or '.join(allowed)}."
        )
    if group.kind == "B" and any(len(block) % 2 for block in d.blocks):
        raise InvalidInput(f"{d!r}: B({n}) takes partitions whose blocks all have even size.")
    if d.kind == "grood" and len(d.free) != n:
        raise InvalidInput(f"{d!r} has {len(d.free)} free legs; epsilon of SO({n}) has {n}.")
    if d.kind in ("jellyfish", "orbit+", "orbit-") and (n < 2 or t not in (n - 1, n)):
        raise InvalidInput(f"{d!r} has {t} blocks; of A_{n} it must have {n - 1} or {n}, and n >= 2.")
    return n


def entries(d: Diagram, group: TensorGroup) -> tuple[Tensor, Tensor]:  # (nnz,), (nnz,)
    """Return the positions and values of the entries other than zero, in the flat (n^l, n^k) matrix.

    Raises:
        InvalidInput: a diagram of another group, or more entries than memory holds.

    >>> from geomlib.algebra.diagrams import Diagram, S
    >>> entries(Diagram([(0, 1)], 1, 1), S(3))[0].tolist()
    [0, 4, 8]
    """
    n = require_group(d, group)
    strides = [n ** (d.legs - 1 - leg) for leg in range(d.legs)]
    steps = torch.tensor([sum(strides[leg] for leg in block) for block in d.blocks], dtype=torch.int64)
    if d.kind in ("orbit", "orbit+", "orbit-", "jellyfish"):
        _affordable(d, math.perm(n, len(d.blocks)))
        rows, sign = permutation_table(n, len(d.blocks))
        if d.kind == "orbit":
            sign = torch.ones_like(sign)
        elif d.kind != "jellyfish":
            keep = sign == (1 if d.kind == "orbit+" else -1)
            rows, sign = rows[keep], sign[keep].abs()
        return (rows * steps).sum(1), sign.double()
    parts = [_factor(d, block, group, strides) for block in d.blocks]
    if d.kind == "grood":
        rows, sign = permutation_table(n, n)
        parts.append(((rows * torch.tensor([strides[leg] for leg in d.free])).sum(1), sign.double()))
    _affordable(d, math.prod(len(part[0]) for part in parts))
    where, value = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.float64)
    for positions, values in parts:
        where = (where[:, None] + positions).flatten()
        value = (value[:, None] * values).flatten()
    return where, value


def _factor(
    d: Diagram, block: Sequence[int], group: TensorGroup, strides: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the positions and values of one block: equal legs, or the form on a pair within one row."""
    n = group.size
    same_row = block[0] >= d.l or block[-1] < d.l
    if not same_row or d.kind == "partition" or group.kind not in ("Lorentz", "Sp"):
        step = sum(strides[leg] for leg in block)
        return torch.arange(n) * step, torch.ones(n, dtype=torch.float64)
    form = group.forms()[0 if block[0] < d.l else 1]
    i, j = (torch.from_numpy(a) for a in form.numpy().nonzero())
    return i * strides[block[0]] + j * strides[block[1]], form[i, j]


def _affordable(d: Diagram, count: int, per_entry: int = 16) -> None:
    if count * per_entry > MAX_BYTES:
        raise InvalidInput(
            f"{d!r}: {count:,} entries would take {count * per_entry / 1e9:.3g} GB; apply the diagram "
            "to tensors instead of writing its matrix."
        )


def matrix(d: Diagram, group: TensorGroup, dtype: torch.dtype = torch.float64) -> Tensor:  # (n^l, n^k)
    r"""Return the matrix of a diagram, row (i_1 .. i_l) and column (j_1 .. j_k), first index slowest.

    **Group**: the one given; :math:`\rho_l(g) M = M \rho_k(g)` for all its elements.

    Args:
        d: the diagram.
        group: a group of its kind, with a size.
        dtype: type of the matrix.

    Raises:
        InvalidInput: a diagram of another group, or a matrix larger than `MAX_BYTES`.

    >>> from geomlib.algebra.diagrams import SO, Diagram
    >>> matrix(Diagram([], 1, 1, "grood", [0, 1]), SO(2)).tolist()
    [[0.0, 1.0], [-1.0, 0.0]]
    """
    n = require_group(d, group)
    _affordable(d, n**d.legs, torch.empty(0, dtype=dtype).element_size())
    flat = torch.zeros(n**d.legs, dtype=dtype)
    if d.kind == "partition" or (d.kind == "brauer" and group.kind != "Lorentz"):
        # Ones on the diagonal of every block: a view whose strides are sums of strides.
        steps = [sum(n ** (d.legs - 1 - leg) for leg in block) for block in d.blocks]
        flat.as_strided([n] * len(steps), steps).fill_(1.0)
        return flat.reshape(n**d.l, n**d.k)
    where, value = entries(d, group)
    flat[where] = value.to(dtype)
    return flat.reshape(n**d.l, n**d.k)
