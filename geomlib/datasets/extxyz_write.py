"""Extended XYZ: writing, so that reading gives back the same bits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.datasets.elements import SYMBOLS
from geomlib.datasets.frames import CHARGE_KEYS, ENERGY_KEYS, FORCES_KEYS, STRESS_KEYS, VIRIAL_KEYS
from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.files import write_atomic

__all__ = ["write_extxyz"]

_BARE = re.compile(r"""[^\s="'{}\[\],:\\]+\Z""")
_TAKEN = {"Lattice", "Properties", "pbc", "species", "pos", "positions", "element", "Z", "numbers"}
_TAKEN |= {*ENERGY_KEYS, *FORCES_KEYS, *STRESS_KEYS, *VIRIAL_KEYS, *CHARGE_KEYS}


def write_extxyz(path: str | Path, structures: Structures) -> None:
    """Write structures as extended XYZ, atomically (see :func:`geomlib.files.write_atomic`).

    Numbers are written so that float64, int64 and bool come back bit for bit; float32 comes back as float64
    of the same value.

    Args:
        path: the file to write or replace.
        structures: what to write; eV, Å.

    Raises:
        InvalidInput: nothing to write, or a name or shape the format cannot hold.
        CheckpointError: the file could not be written; the previous one is unchanged.
    """
    path = Path(path)
    if len(structures) == 0 or int(structures.num_atoms.min()) == 0:
        raise InvalidInput(
            f"write_extxyz: {path}: expected at least one structure, each with at least one atom."
        )
    atom_extra = {k: v for k, v in structures.extra.items() if k not in structures.graph_extra}
    # A per-atom column may share the name of a total, so `charge` is only taken in the comment line.
    for name in (*structures.extra, *structures.text):
        taken = _TAKEN - set(CHARGE_KEYS) if name in atom_extra else _TAKEN
        if name in taken or not _BARE.match(name):
            raise InvalidInput(
                f"write_extxyz: {path}: the name {name!r} cannot be stored; rename it with "
                "Structures.replace."
            )
    for name, value in atom_extra.items():
        if value.dim() > 2 or value.is_complex() or value.shape[1:].numel() == 0:
            raise InvalidInput(
                f"write_extxyz: {path}: per-atom extra {name!r} of shape {tuple(value.shape)} has no "
                "column form."
            )
        if value.dim() == 2 and value.shape[1] == 1:
            raise InvalidInput(
                f"write_extxyz: {path}: flatten per-atom extra {name!r} of shape (N, 1) to (N,)."
            )
    write_atomic(path, (_frame(one, atom_extra.keys()).encode() for one in structures))


def _frame(one: Structures, atom_names: Any) -> str:
    columns: list[tuple[str, str, Tensor]] = [("pos", "R", one.pos)]
    if one.forces is not None:
        columns.append(("forces", "R", one.forces))
    columns += [(name, _kind(one.extra[name]), one.extra[name]) for name in atom_names]
    properties = "".join(f":{n}:{k}:{1 if v.dim() == 1 else v.shape[1]}" for n, k, v in columns)
    words = [f"Properties=species:S:1{properties}"]
    if bool(one.cell.any()):
        words.insert(0, f'Lattice="{_numbers(one.cell[0])}"')
    words.append('pbc="' + " ".join("T" if p else "F" for p in one.pbc[0].tolist()) + '"')
    if one.energy is not None:
        words.append(f"energy={_numbers(one.energy)}")
    if one.stress is not None:
        words.append(f'stress="{_numbers(one.stress[0])}"')
    if bool(one.charge.any()):
        words.append(f"charge={_numbers(one.charge)}")
    words += [f"{name}={_graph_value(one.extra[name][0])}" for name in one.extra if name in one.graph_extra]
    words += [
        f"{name}={_quote('_JSON ' + json.dumps(value[0]))}" for name, value in one.text.items() if value[0]
    ]
    symbols = [SYMBOLS[z] for z in one.z.tolist()]
    table = [_rows(v) for _, _, v in columns]
    lines = [" ".join(row) for row in zip(symbols, *table, strict=True)]
    return f"{len(symbols)}\n{' '.join(words)}\n" + "\n".join(lines) + "\n"


def _kind(value: Tensor) -> str:
    return "R" if value.is_floating_point() else "L" if value.dtype == torch.bool else "I"


def _word(value: Any) -> str:
    return ("T" if value else "F") if isinstance(value, bool) else repr(value)


def _numbers(value: Tensor) -> str:
    return " ".join(_word(v) for v in value.reshape(-1).tolist())


def _rows(value: Tensor) -> list[str]:
    table = value.tolist()
    return [" ".join(map(_word, row)) for row in table] if value.dim() == 2 else [_word(v) for v in table]


def _graph_value(value: Tensor) -> str:
    if value.dim() == 0:
        return _word(value.item())
    if value.dim() == 1 and value.numel() > 1:
        return f'"{_numbers(value)}"'
    return _quote("_JSON " + json.dumps(value.tolist()))


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
