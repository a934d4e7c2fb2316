"""The one entry point of the neighbour search."""

from __future__ import annotations

import difflib

from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.neighbors.checks import SearchInput, check_search_input
from geomlib.kernels.neighbors.pairs import HalfPairs
from geomlib.kernels.neighbors.reference import brute_force_pairs, count_candidates, dense_pairs

__all__ = ["half_pairs"]

_BACKENDS = ("auto", "torch", "vesin")
# Below this many candidate pairs one vectorised pass over the whole batch beats a call per structure.
_DENSE = 500_000
_FEW_CELLS = 16.0


def half_pairs(
    pos: Tensor,  # (N, 3)
    cutoff: float,
    batch: Tensor | None = None,  # (N,)
    cell: Tensor | None = None,  # (B, 3, 3) or (3, 3)
    pbc: Tensor | None = None,  # (B, 3) or (3,)
    *,
    backend: str = "auto",
) -> HalfPairs:
    r"""Return every unordered pair of atoms of the same structure closer than ``cutoff``, exactly once.

    .. math:: |x_j - x_i + S \cdot h| < r_c, \qquad h \text{ the rows of the cell of the structure}

    Any cell is right: triclinic, rotated, left-handed, thinner than the cutoff, one atom per cell; positions
    need not be wrapped. Different atoms at the same place (r = 0) are a pair like any other: what that means
    is the model's decision. There is no limit on the number of neighbours. The result is sorted by (i, j, S),
    so it is the same for the same input, and carries no gradient.

    Args:
        pos: positions in Å, (N, 3), float32 or float64; distances are always formed in float64.
        cutoff: distance in Å, positive; pairs at exactly this distance are left out.
        batch: structure of each atom, (N,) integers >= 0, in any order, gaps allowed. None is one structure.
        cell: lattice vectors as rows, (B, 3, 3) with B above the largest entry of ``batch``, or (3, 3) for
            all. Zeros where a structure has none.
        pbc: which vectors repeat, (B, 3) or (3,) boolean. None: all vectors that are not zero.
        backend: "torch" looks at every image of every pair (the specification), "vesin" uses a cell list
            on the CPU, "auto" takes one dense pass for small molecules and vesin otherwise.

    Returns:
        HalfPairs: ``i`` (P,), ``j`` (P,), ``shift`` (P, 3), int64, on the device of ``pos``.

    Raises:
        InvalidInput: positions or cell not finite, singular cell on periodic axes, cutoff not positive,
            lengths that do not match, a negative entry in ``batch``.

    Example:
        >>> import torch
        >>> from geomlib.kernels.neighbors import half_pairs
        >>> half_pairs(torch.zeros(1, 3), 1.5, cell=torch.eye(3)).shift.tolist()[:3]
        [[0, 0, 1], [0, 1, -1], [0, 1, 0]]
    """
    if backend not in _BACKENDS:
        close = difflib.get_close_matches(str(backend), _BACKENDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidInput(f"half_pairs: `backend` is {backend!r}, expected one of {_BACKENDS}.{hint}")
    args = check_search_input(pos, cutoff, batch, cell, pbc)
    if backend == "torch":
        return brute_force_pairs(args)
    if backend == "auto" and args.cell is None and _is_dense(args):
        return dense_pairs(args)
    # Imported here: a library with compiled code is not loaded for molecules.
    from geomlib.kernels.neighbors.cell_list import cell_list_pairs

    return cell_list_pairs(args)


def _is_dense(args: SearchInput) -> bool:
    """Say whether listing all pairs costs no more than a cell list."""
    n = args.pos.shape[0]
    if n * (n - 1) // 2 <= _DENSE:
        return True
    if args.batch is not None and count_candidates(args) <= _DENSE:
        return True
    # A drop of a few cutoffs: nearly every pair is a neighbour, cells would sort nothing out.
    extent = (args.pos.amax(0) - args.pos.amin(0)) / args.cutoff
    return float(extent.clamp(min=1).prod()) < _FEW_CELLS
