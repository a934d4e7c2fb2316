"""Checks of a batch of structures, made once at the door of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["check_inputs"]


def check_inputs(
    z: Tensor,
    pos: Tensor,
    batch: Tensor | None,
    cell: Tensor | None,
    charge: Tensor | None,
    max_z: int,
    size: int,
) -> None:
    """Refuse inputs that a potential cannot answer.

    Raises:
        InvalidInput: names the argument, the structure and the atom, what was found and what was expected.
    """
    if z.dim() != 1 or z.dtype not in (torch.int64, torch.int32):
        raise InvalidInput(
            f"z: expected atomic numbers (N,) as int64, got {z.dtype} of shape {tuple(z.shape)}."
        )
    if pos.dim() != 2 or pos.shape[-1] != 3 or not pos.is_floating_point():
        raise InvalidInput(
            f"pos: expected floating positions (N, 3) in Å, got {pos.dtype} of shape {tuple(pos.shape)}."
        )
    atoms = pos.shape[0]
    if z.shape[0] != atoms:
        raise InvalidInput(f"z has {z.shape[0]} atoms, pos has {atoms}. Give one atomic number per position.")
    if batch is not None and (batch.shape != (atoms,) or batch.dtype != torch.int64):
        raise InvalidInput(
            f"batch: expected int64 of shape ({atoms},), got {batch.dtype} of shape {tuple(batch.shape)}."
        )
    if cell is not None and cell.shape not in ((3, 3), (size, 3, 3)):
        raise InvalidInput(f"cell: expected (3, 3) or ({size}, 3, 3), got {tuple(cell.shape)}.")
    if charge is not None and charge.shape != (size,):
        raise InvalidInput(
            f"charge: expected one number per structure, ({size},), got {tuple(charge.shape)}."
        )
    if atoms == 0:
        return
    low, high = z.aminmax()
    if int(low) < 0 or int(high) >= max_z:
        _blame(
            batch,
            (z < 0) | (z >= max_z),
            "z",
            lambda n: f"atomic number {int(z[n])}, the model knows 0..{max_z - 1}",
        )
    if batch is not None:
        low, high = batch.aminmax()
        if int(low) < 0 or int(high) >= size:
            raise InvalidInput(f"batch: structures {int(low)}..{int(high)} found, expected 0..{size - 1}.")
    # A sum is finite only if every term is; the exact search runs only on failure.
    if not torch.isfinite(pos.detach().sum()) and not bool(torch.isfinite(pos).all()):
        _blame(
            batch,
            ~torch.isfinite(pos).all(-1),
            "pos",
            lambda n: f"coordinates {pos[n].tolist()} are not finite",
        )
    if charge is not None and not bool(torch.isfinite(charge).all()):
        raise InvalidInput("charge: every total charge must be finite.")


def _blame(batch: Tensor | None, bad: Tensor, argument: str, describe: object) -> None:
    """Raise for the first bad atom, counted within its structure."""
    n = int(bad.nonzero()[0])
    graph = 0 if batch is None else int(batch[n])
    local = n if batch is None else int((batch[:n] == graph).sum())
    raise InvalidInput(f"{argument}: structure {graph}, atom {local}: {describe(n)}.")  # type: ignore[operator]
