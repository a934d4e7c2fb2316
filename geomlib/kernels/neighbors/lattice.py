"""Lattice arithmetic shared by the neighbour searches."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["complete_cell", "image_counts", "wrap"]

# Cells from the origin at which a position in float64 still resolves 1e-4 of a cell.
_FARTHEST = 1e11


def complete_cell(cell: Tensor, pbc: Tensor) -> Tensor:  # (3, 3), (3,) -> (3, 3)
    """Replace the non-periodic vectors by unit vectors orthogonal to all periodic ones.

    The vectors along which nothing repeats carry no information (many files hold zeros there);
    orthogonal ones make wrapping and plane heights exact for slabs, wires and molecules.
    """
    if bool(pbc.all()):
        return cell
    # The last right singular vectors span the orthogonal complement of the periodic rows.
    complement = torch.linalg.svd(cell[pbc], full_matrices=True).Vh[int(pbc.sum()) :]
    out = cell.clone()
    out[~pbc] = complement
    return out


def image_counts(cell: Tensor, pbc: Tensor, cutoff: float) -> list[int]:  # completed cell
    """Return the number of images to look at on each side of every axis, for wrapped positions.

    Two wrapped atoms differ by less than one cell along an axis, so an image :math:`S_k` can only be near
    when :math:`|S_k| < r_c / d_k + 1` with :math:`d_k` the distance of the lattice planes.
    """
    heights = 1.0 / torch.linalg.inv(cell).norm(dim=0)
    return [
        int(cutoff / h + 1e-9) + 1 if p else 0 for h, p in zip(heights.tolist(), pbc.tolist(), strict=True)
    ]


def wrap(pos: Tensor, cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:  # (n, 3), completed cell
    """Return wrapped positions and the whole lattice vectors (n, 3) int64 that were taken away.

    Raises:
        InvalidInput: an atom is so many cells away that its place in the cell is lost in float64.
    """
    offset = torch.floor(pos @ torch.linalg.inv(cell)) * pbc
    if pos.numel() and float(offset.abs().max()) > _FARTHEST:
        atom = int(offset.abs().amax(1).argmax())
        raise InvalidInput(
            f"half_pairs: `pos` has an atom {pos[atom].tolist()} Å, more than {_FARTHEST:.0e} cells from the "
            "origin: its place inside the cell is lost to rounding. Wrap the positions before."
        )
    return pos - offset @ cell, offset.long()
