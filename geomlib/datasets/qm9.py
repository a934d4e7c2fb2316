"""QM9: 134k small molecules, in any of the forms it is passed around."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.datasets.arrays import read_npy
from geomlib.datasets.qm9_forms import QM9_TARGETS, decode, molecules
from geomlib.datasets.structures import Structures
from geomlib.datasets.units import HARTREE
from geomlib.errors import InvalidInput

__all__ = ["QM9_TARGETS", "qm9_atomrefs", "read_qm9", "read_uncharacterized"]

# B3LYP/6-31G(2df,p) energies of the isolated atoms in Hartree, published with the data set (atomref.txt).
_ATOMREFS = {
    "U0": {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730},
    "U": {1: -0.498857, 6: -37.845355, 7: -54.582445, 8: -75.063163, 9: -99.717314},
    "H": {1: -0.497912, 6: -37.844411, 7: -54.581501, 8: -75.062219, 9: -99.716370},
    "G": {1: -0.510927, 6: -37.861317, 7: -54.598897, 8: -75.079532, 9: -99.733544},
}


def qm9_atomrefs(target: str = "U0") -> dict[int, float]:
    """Return the energies of isolated atoms in eV, by atomic number, for U0, U, H or G.

    Raises:
        InvalidInput: the target has no atomic reference.
    """
    if target not in _ATOMREFS:
        raise InvalidInput(
            f"qm9_atomrefs: {target!r} has no atomic references; expected {', '.join(_ATOMREFS)}."
        )
    return {z: value * HARTREE for z, value in _ATOMREFS[target].items()}


def read_qm9(
    path: str | Path,
    *,
    target: str = "U0",
    exclude: str | Path | Iterable[int] | None = None,
    limit: int | None = None,
) -> Structures:
    """Read QM9.

    Accepted: a folder or tar archive (.tar, .tar.bz2, .tar.gz) of the original files
        (`dsgdb9nsd_000001.xyz`, with Fortran's
    ``*^`` exponents), one such file, gdb9.sdf with gdb9.sdf.csv beside it, an extended XYZ file with the
    targets in its comment lines, and .npz with N, R, Z (in eV) or padded positions, charges, num_atoms (in
    Hartree). Archives are read in place: no file is unpacked, and members with absolute or escaping names
    are refused.

    All targets are in `extra` with the units of :data:`QM9_TARGETS`, `gdb_index` (1-based) where the source
    has it, Mulliken charges as `charges`; `energy` is `target`.

    Args:
        path: file or folder.
        target: which of U0, U, H, G becomes `energy`.
        exclude: 1-based indices to leave out: uncharacterized.txt, a .npy file, or numbers. By convention
            3,054 molecules that fail a consistency check.
        limit: stop after so many molecules.

    Raises:
        InvalidInput: damaged or unsafe file; the message names file and line.

    Source: R. Ramakrishnan et al., "Quantum chemistry structures and properties of 134 kilo molecules", Sci.
        Data 1, 140022
    (2014).
    """
    path = Path(path)
    if target not in _ATOMREFS:
        raise InvalidInput(f"read_qm9: target {target!r}, expected {', '.join(_ATOMREFS)}.")
    if not path.exists():
        raise InvalidInput(f"{path}: no such file.")
    skip = _excluded(exclude)
    kept: list[dict[str, Any]] = []
    seen: dict[int, str] = {}
    left_out = 0
    for molecule in molecules(path):
        index = molecule.get("gdb_index")
        if index is not None:
            if index in seen:
                raise InvalidInput(
                    f"{molecule['where']}: gdb index {index} occurs twice, first in {seen[index]}."
                )
            seen[index] = molecule["where"]
            if index in skip:
                left_out += 1
                continue
        kept.append(molecule)
        if limit is not None and len(kept) >= limit:
            break
    if not kept:
        raise InvalidInput(f"{path}: no QM9 molecules found ({left_out} excluded).")
    if skip and not seen:
        raise InvalidInput(f"{path}: has no gdb indices, so `exclude` cannot be applied.")
    note = f"; {left_out} excluded" if skip else ""
    source = f"{path}: {len(kept)} structures, QM9, energy from {target!r}, Hartree converted to eV{note}"
    return _pack(kept, target, source)


def _pack(molecules: list[dict[str, Any]], target: str, source: str) -> Structures:
    counts = [len(m["z"]) for m in molecules]
    targets = [t for t in QM9_TARGETS if all(t in m for m in molecules)]
    extra: dict[str, Any] = {t: np.array([m[t] for m in molecules]) for t in targets}
    graph = set(targets)
    if all(m.get("gdb_index") is not None for m in molecules):
        extra["gdb_index"] = np.array([m["gdb_index"] for m in molecules])
        graph.add("gdb_index")
    if all("charges" in m for m in molecules):
        extra["charges"] = np.concatenate([m["charges"] for m in molecules])
    values: dict[str, Any] = {
        "z": np.concatenate([m["z"] for m in molecules]),
        "pos": np.concatenate([m["pos"] for m in molecules]),
        "ptr": np.concatenate([[0], np.cumsum(counts)]),
    }
    if target in extra:
        values["energy"] = extra[target].copy()
    text = {"smiles": tuple(m["smiles"] for m in molecules)} if all("smiles" in m for m in molecules) else {}
    return Structures(**values, extra=extra, graph_extra=frozenset(graph), text=text, source=source)


def _excluded(exclude: str | Path | Iterable[int] | None) -> frozenset[int]:
    if exclude is None:
        return frozenset()
    if not isinstance(exclude, (str, Path)):
        return frozenset(int(i) for i in exclude)
    return read_uncharacterized(exclude)


def read_uncharacterized(path: str | Path) -> frozenset[int]:
    """Return the 1-based indices in uncharacterized.txt, a text file of numbers, or a .npy file.

    Raises:
        InvalidInput: no such file, or no index in it.
    """
    path = Path(path)
    if path.suffix == ".npy":
        array = read_npy(path)
        if array.dtype.kind not in "iu":
            raise InvalidInput(f"{path}: type {array.dtype}, expected integer indices.")
        return frozenset(int(i) for i in array.reshape(-1))
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    first = (line.split()[:1] for line in decode(path.read_bytes(), str(path)).splitlines())
    # Headings and the closing count are no rows: a row is an index and SMILES, or a bare index.
    rows = [w[0] for w in first if w and w[0].isdecimal()]
    if not rows:
        raise InvalidInput(f"{path}: no line starts with an index.")
    return frozenset(int(w) for w in rows)
