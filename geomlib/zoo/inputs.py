"""Checks of a batch of structures, made once at the door of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.edges import EdgeList

__all__ = ["check_edges", "check_inputs", "check_volume"]

#: Charges beyond this (e) would overflow float32 inside a model.
_LARGEST_CHARGE = 1e6


def check_inputs(
    z: Tensor,
    pos: Tensor,
    batch: Tensor | None,
    cell: Tensor | None,
    charge: Tensor | None,
    max_z: int,
    num_graphs: int | None = None,
) -> int:
    """Refuse inputs that a potential cannot answer; return the number of structures.

    Raises:
        InvalidInput: names the argument, the structure and the atom, what was found and what was expected.
    """
    for name, value in (("z", z), ("pos", pos), ("batch", batch), ("cell", cell), ("charge", charge)):
        if not isinstance(value, Tensor) and not (value is None and name not in ("z", "pos")):
            raise InvalidInput(f"{name}: expected a tensor, got {type(value).__name__}.")
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
    size = _check_batch(batch, atoms, num_graphs)
    _check_per_structure(cell, charge, size)
    if atoms == 0:
        return size
    low, high = z.aminmax()
    if int(low) < 0 or int(high) >= max_z:
        _blame(
            batch,
            (z < 0) | (z >= max_z),
            "z",
            lambda n: f"atomic number {int(z[n])}, the model knows 0..{max_z - 1}",
        )
    # A sum is finite only if every term is; the exact search runs only on failure.
    if not torch.isfinite(pos.detach().sum()) and not bool(torch.isfinite(pos).all()):
        _blame(
            batch,
            ~torch.isfinite(pos).all(-1),
            "pos",
            lambda n: f"coordinates {pos[n].tolist()} are not finite",
        )
    return size


def _check_batch(batch: Tensor | None, atoms: int, num_graphs: int | None) -> int:
    if batch is not None and (batch.shape != (atoms,) or batch.dtype != torch.int64):
        raise InvalidInput(
            f"batch: expected int64 of shape ({atoms},), got {batch.dtype} of shape {tuple(batch.shape)}."
        )
    if num_graphs is not None and num_graphs < 0:
        raise InvalidInput(f"num_graphs: expected 0 or more structures, got {num_graphs}.")
    if batch is None or not atoms:
        low, high = 0, 0 if batch is None and (atoms or num_graphs is None) else -1
    else:
        low, high = (int(x) for x in batch.aminmax())
    size = high + 1 if num_graphs is None else num_graphs
    if low < 0 or high >= size:
        raise InvalidInput(f"batch: structures {low}..{high} found, expected 0..{size - 1}.")
    return size


def _check_per_structure(cell: Tensor | None, charge: Tensor | None, size: int) -> None:
    if cell is not None:
        if cell.shape not in ((3, 3), (size, 3, 3)):
            raise InvalidInput(f"cell: expected (3, 3) or ({size}, 3, 3), got {tuple(cell.shape)}.")
        if not bool(torch.isfinite(cell).all()):
            bad = int((~torch.isfinite(cell)).reshape(-1, 9).any(1).nonzero()[0])
            raise InvalidInput(f"cell: structure {bad}: a lattice vector is not finite.")
    if charge is None:
        return
    if charge.shape != (size,):
        raise InvalidInput(
            f"charge: expected one number per structure, ({size},), got {tuple(charge.shape)}."
        )
    if not bool((charge.detach().abs() <= _LARGEST_CHARGE).all()):
        bad = int((~(charge.abs() <= _LARGEST_CHARGE)).nonzero()[0])
        raise InvalidInput(
            f"charge: structure {bad}: every total charge must be finite and at most {_LARGEST_CHARGE:g} e, "
            f"got {charge[bad].item()}."
        )


def check_edges(
    edges: EdgeList,
    shift: Tensor | None,  # (P, 3)
    batch: Tensor | None,  # (N,)
    cell: Tensor | None,
) -> None:
    """Refuse edges given by the caller that reach outside the atoms or from one structure into another.

    Raises:
        InvalidInput: names the argument and the edge.
    """
    i, j = edges.i, edges.j
    if i.shape != j.shape or i.dtype != torch.int64 or j.dtype != torch.int64:
        raise InvalidInput(
            f"pairs: expected i and j as int64 of one shape (P,), got {i.dtype} {tuple(i.shape)} and "
            f"{j.dtype} {tuple(j.shape)}."
        )
    if shift is not None and shift.shape != (edges.num_pairs, 3):
        raise InvalidInput(
            f"shift: expected ({edges.num_pairs}, 3), one row per edge, got {tuple(shift.shape)}."
        )
    if not edges.num_pairs:
        return
    if int(torch.minimum(i, j).min()) < 0 or int(torch.maximum(i, j).max()) >= edges.num_nodes:
        raise InvalidInput(f"pairs: an index lies outside the atoms 0..{edges.num_nodes - 1}.")
    if shift is not None and cell is None and bool(shift.any()):
        raise InvalidInput("shift: not zero, but no `cell` was given. Pass the cell these shifts count.")
    if batch is not None and not torch.equal(batch[i], batch[j]):
        n = int((batch[i] != batch[j]).nonzero()[0])
        a, b = int(i[n]), int(j[n])
        raise InvalidInput(
            f"edge {n} joins atom {a} of structure {int(batch[a])} and atom {b} of structure {int(batch[b])}. "
            "Edges stay inside one structure."
        )


def check_volume(cell: Tensor) -> None:  # (B, 3, 3) or (3, 3)
    """Refuse a stress that would be divided by no volume.

    Raises:
        InvalidInput: names the first structure whose lattice vectors span no volume.
    """
    cell = cell.detach().double().reshape(-1, 3, 3)
    flat = torch.linalg.det(cell).abs() <= 1e-12 * cell.norm(dim=-1).prod(-1)
    if bool(flat.any()):
        raise InvalidInput(
            f"stress: structure {int(flat.nonzero()[0])} has no volume: its `cell` has a zero or dependent lattice "
            "vector. Give three vectors, or leave out stress."
        )


def _blame(batch: Tensor | None, bad: Tensor, argument: str, describe: Callable[[int], Any]) -> None:
    """Raise for the first bad atom, counted within its structure."""
    n = int(bad.nonzero()[0])
    graph = 0 if batch is None else int(batch[n])
    local = n if batch is None else int((batch[:n] == graph).sum())
    raise InvalidInput(f"{argument}: structure {graph}, atom {local}: {describe(n)}.")
