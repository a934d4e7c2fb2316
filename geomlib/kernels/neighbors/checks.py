"""What a neighbour search accepts, brought into one form."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["SearchInput", "check_search_input"]

# A cell counts as singular when a height is below this fraction of its longest vector.
_FLAT = 1e-9
# More pairs than fit into any memory: the lattice vectors are wrong, most likely in another unit.
_MOST_PAIRS = 1e10


class SearchInput(NamedTuple):
    """Checked arguments: float64 positions without gradient, one cell and periodicity per structure."""

    pos: Tensor  # (N, 3) float64
    cutoff: float
    batch: Tensor | None  # (N,) int64, None = one structure
    cell: Tensor | None  # (B, 3, 3) float64, None = nothing periodic
    pbc: Tensor | None  # (B, 3) bool, None = nothing periodic

    def cpu(self) -> SearchInput:
        """Return the same input on the CPU."""
        batch, cell, pbc = (None if x is None else x.cpu() for x in (self.batch, self.cell, self.pbc))
        return SearchInput(self.pos.cpu(), self.cutoff, batch, cell, pbc)


def check_search_input(
    pos: Tensor,  # (N, 3)
    cutoff: float,
    batch: Tensor | None,  # (N,)
    cell: Tensor | None,  # (B, 3, 3) or (3, 3)
    pbc: Tensor | None,  # (B, 3) or (3,)
) -> SearchInput:
    """Check the arguments of :func:`geomlib.kernels.neighbors.half_pairs` and normalise them.

    Raises:
        InvalidInput: naming the argument, what was found, what was expected.
    """
    if not isinstance(pos, Tensor) or pos.ndim != 2 or pos.shape[1] != 3 or not pos.is_floating_point():
        raise InvalidInput(
            f"half_pairs: `pos` must be a floating point tensor of shape (N, 3), got {_describe(pos)}."
        )
    cutoff = float(cutoff)
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise InvalidInput(f"half_pairs: `cutoff` must be a positive finite distance in Å, got {cutoff}.")
    pos = pos.detach().double()
    # One sum is enough in the good case; it is only non-finite when something is wrong (or absurdly large).
    if not math.isfinite(pos.sum().item()):
        _locate_non_finite(pos)
    if batch is not None:
        batch = _check_batch(batch, pos)
    if cell is None:
        if pbc is not None and bool(torch.as_tensor(pbc).any()):
            raise InvalidInput(
                "half_pairs: `pbc` is True on some axis but `cell` is None. Pass the cell, or pbc=None."
            )
        return SearchInput(pos, cutoff, batch, None, None)
    n_batch = 0 if batch is None or not batch.numel() else int(batch.max()) + 1
    cell, pbc = _check_cell(cell, pbc, n_batch, pos.device)
    if not bool(pbc.any()):
        return SearchInput(pos, cutoff, batch, None, None)
    _refuse_crowded_cells(pos, cutoff, batch, cell, pbc)
    return SearchInput(pos, cutoff, batch, cell, pbc)


def _describe(x: object) -> str:
    return f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__


def _locate_non_finite(pos: Tensor) -> None:
    bad = ~torch.isfinite(pos).all(dim=1)
    if bool(bad.any()):
        atom = int(bad.nonzero()[0])
        raise InvalidInput(
            f"half_pairs: `pos` of atom {atom} is not finite: {pos[atom].tolist()} "
            f"({int(bad.sum())} such atoms). It would lose its neighbours; repair or drop the structure."
        )


def _check_batch(batch: Tensor, pos: Tensor) -> Tensor:
    integer = isinstance(batch, Tensor) and not (
        batch.is_floating_point() or batch.is_complex() or batch.dtype == torch.bool
    )
    if not integer or batch.ndim != 1:
        raise InvalidInput(
            f"half_pairs: `batch` must be an integer tensor of shape (N,), got {_describe(batch)}."
        )
    if batch.shape[0] != pos.shape[0]:
        raise InvalidInput(
            f"half_pairs: `batch` has {batch.shape[0]} entries but `pos` has {pos.shape[0]} atoms."
        )
    if batch.device != pos.device:
        raise InvalidInput(f"half_pairs: `batch` is on {batch.device} but `pos` is on {pos.device}.")
    batch = batch.long()
    if batch.numel() and int(batch.min()) < 0:
        atom = int((batch < 0).nonzero()[0])
        raise InvalidInput(f"half_pairs: `batch` of atom {atom} is {int(batch[atom])}; it must be >= 0.")
    return batch


def _check_cell(
    cell: Tensor, pbc: Tensor | None, n_batch: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    if not isinstance(cell, Tensor) or cell.shape[-2:] != (3, 3) or cell.ndim not in (2, 3):
        raise InvalidInput(
            "half_pairs: `cell` must have shape (B, 3, 3) or (3, 3), rows being lattice vectors; "
            f"got {_describe(cell)}."
        )
    n = cell.shape[0] if cell.ndim == 3 else max(n_batch, 1)
    if n_batch > n:
        raise InvalidInput(
            f"half_pairs: `cell` holds {n} cells but `batch` refers to structure {n_batch - 1}. "
            "Pass one cell per structure (zeros for molecules), or a single (3, 3) cell for all."
        )
    cell = cell.detach().to(device=device, dtype=torch.float64).expand(n, 3, 3)
    if not bool(torch.isfinite(cell).all()):
        graph = int((~torch.isfinite(cell).all(dim=(1, 2) if cell.ndim == 3 else 1)).nonzero()[0])
        raise InvalidInput(f"half_pairs: `cell` of structure {graph} is not finite: {cell[graph].tolist()}.")
    if pbc is None:
        pbc = (cell != 0).any(dim=-1)
    else:
        pbc = torch.as_tensor(pbc, device=device)
        if pbc.dtype != torch.bool or pbc.shape not in ((3,), (n, 3)):
            raise InvalidInput(
                f"half_pairs: `pbc` must be boolean of shape ({n}, 3) or (3,), got {_describe(pbc)}."
            )
        pbc = pbc.expand(n, 3)
    if bool(pbc.any()):
        _refuse_flat_cells(cell, pbc)
    return cell, pbc


def _refuse_crowded_cells(
    pos: Tensor, cutoff: float, batch: Tensor | None, cell: Tensor, pbc: Tensor
) -> None:
    # Half pairs of a crystal: n atoms, each with n / volume neighbours per Å^3 of the sphere.
    if batch is None:
        atoms = torch.full((cell.shape[0],), float(pos.shape[0]), dtype=torch.float64, device=pos.device)
    else:
        atoms = torch.bincount(batch, minlength=cell.shape[0])[: cell.shape[0]].double()
    volume = torch.linalg.det(cell).abs()
    pairs = atoms.square() * (2.0 / 3.0 * math.pi * cutoff**3) / volume
    bad = pbc.all(-1) & (pairs > _MOST_PAIRS)
    if bool(bad.any()):
        graph = int(bad.nonzero()[0])
        raise InvalidInput(
            f"half_pairs: structure {graph} has {int(atoms[graph])} atoms in a `cell` of {float(volume[graph]):.3g} Å^3: "
            f"{float(pairs[graph]):.0e} pairs within {cutoff} Å. Lattice vectors are lengths in Å; check the unit."
        )


def _refuse_flat_cells(cell: Tensor, pbc: Tensor) -> None:
    # Volume spanned by the periodic vectors only: the determinant of their Gram matrix, others replaced by 1.
    length = cell.norm(dim=-1)
    unit = cell / length.where(length > 0, torch.ones_like(length)).unsqueeze(-1)
    unit = unit * pbc.unsqueeze(-1)
    gram = unit @ unit.transpose(-1, -2) + torch.diag_embed((~pbc).to(cell.dtype))
    bad = (pbc & (length == 0)).any(-1) | (torch.linalg.det(gram) < _FLAT**2)
    if bool(bad.any()):
        graph = int(bad.nonzero()[0])
        raise InvalidInput(
            f"half_pairs: structure {graph} is periodic along {pbc[graph].tolist()} but its `cell` is "
            f"singular: {cell[graph].tolist()}. Give independent lattice vectors, or set `pbc` to False "
            "where there is none."
        )
