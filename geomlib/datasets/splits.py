"""Reproducible splits into training, validation and test sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.files import write_atomic

__all__ = ["Split", "read_split", "split"]

_NAMES = ("train", "val", "test")
_FILE_KEYS = {name: (name, f"{name}_idx", f"idx_{name}") for name in _NAMES} | {
    "val": ("val", "val_idx", "idx_val", "valid", "valid_idx", "idx_valid", "validation")
}


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint sets of indices, (n,) int64 each.

    Raises:
        InvalidInput: an index is negative, repeated, or in two sets.
    """

    train: Tensor
    val: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        seen: dict[int, str] = {}
        for name in _NAMES:
            value = torch.as_tensor(getattr(self, name))
            if value.numel() and value.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
                raise InvalidInput(f"Split: {name} has {value.dtype} entries, expected integers.")
            object.__setattr__(self, name, value.reshape(-1).to(torch.int64))
            for index in getattr(self, name).tolist():
                if index < 0:
                    raise InvalidInput(f"Split: {name} holds the negative index {index}.")
                if index in seen:
                    raise InvalidInput(
                        f"Split: index {index} is in {seen[index]} and again in {name}; sets must be "
                        "disjoint."
                    )
                seen[index] = name

    def __repr__(self) -> str:
        return f"Split(train={len(self.train)}, val={len(self.val)}, test={len(self.test)})"

    def save(self, path: str | Path) -> None:
        """Write the indices as JSON, atomically, to be read by :func:`read_split`."""
        content = {name: getattr(self, name).tolist() for name in _NAMES}
        write_atomic(path, [json.dumps(content).encode()])


def split(
    n: int,
    train: float | None = None,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    *,
    order: Literal["random", "contiguous"] = "random",
    file: str | Path | None = None,
) -> Split:
    """Split n structures into training, validation and test sets.

    The permutation is numpy's legacy one, whose stream is frozen, so a seed means the same split on every
    version and machine.

    Args:
        n: number of structures.
        train: a count, or a fraction below 1. None in one place means "the rest".
        val: the same.
        test: the same. If all three are given, structures may be left over.
        seed: of the permutation.
        order: "random", or "contiguous": first train, then val, then test. Consecutive frames of a
            trajectory are correlated; contiguous blocks test more honestly.
        file: read the split from this file instead (see :func:`read_split`).

    Raises:
        InvalidInput: the parts do not fit into n, or more than one is left open.

    Example:
        >>> from geomlib.datasets import split
        >>> split(1200, 950, 50, 200, seed=0)
        Split(train=950, val=50, test=200)
        >>> split(100, 0.8, 0.1)
        Split(train=80, val=10, test=10)
    """
    if n < 0:
        raise InvalidInput(f"split: n = {n}, expected a number of structures.")
    if file is not None:
        return read_split(file, n)
    counts: dict[str, int | None] = {}
    for name, part in zip(_NAMES, (train, val, test), strict=True):
        if part is None:
            counts[name] = None
        elif (
            isinstance(part, bool)
            or part < 0
            or (isinstance(part, float) and part >= 1 and part != int(part))
        ):
            raise InvalidInput(
                f"split: {name} = {part}, expected a count, a fraction below 1, or None for the rest."
            )
        else:
            counts[name] = round(part * n) if isinstance(part, float) and part < 1 else int(part)
    open_parts = [name for name, count in counts.items() if count is None]
    if len(open_parts) > 1:
        raise InvalidInput(f"split: {' and '.join(open_parts)} are all None; leave at most one open.")
    used = sum(c for c in counts.values() if c is not None)
    if used > n:
        raise InvalidInput(f"split: {used} structures asked for ({counts}), but there are {n}.")
    sizes = [n - used if count is None else count for count in counts.values()]
    if order == "contiguous":
        indices = np.arange(n)
    elif order == "random":
        indices = np.random.RandomState(seed).permutation(n)  # a frozen stream, unlike Generator's
    else:
        raise InvalidInput(f"split: order = {order!r}, expected 'random' or 'contiguous'.")
    edges = np.cumsum([0, *sizes])
    parts = [torch.from_numpy(indices[a:b].astype(np.int64)) for a, b in pairwise(edges)]
    return Split(*parts)


def read_split(source: str | Path | Mapping[str, str | Path], n: int | None = None) -> Split:
    """Read a split from a file of indices.

    Args:
        source: a .json or .npz file with train, val, test (also train_idx, idx_train, valid ...), or a
            mapping from these names to text files with one index per line.
        n: number of structures; indices must be below.

    Raises:
        InvalidInput: the file is damaged, an index repeats, or does not fit.
    """
    sets: dict[str, Tensor] = {}
    if isinstance(source, Mapping):
        unknown = set(source) - set(_NAMES)
        if unknown:
            raise InvalidInput(f"read_split: unknown sets {sorted(unknown)}; expected train, val, test.")
        sets = {name: _text_indices(Path(path)) for name, path in source.items()}
        label = ", ".join(str(p) for p in source.values())
    else:
        path, label = Path(source), str(source)
        if not path.is_file():
            raise InvalidInput(f"{path}: no such file.")
        content = _indices(path)
        for name in _NAMES:
            key = next((k for k in _FILE_KEYS[name] if k in content), None)
            if key is not None:
                sets[name] = content[key]
        if not sets:
            raise InvalidInput(f"{path}: holds {', '.join(content) or 'nothing'}; expected train, val, test.")
    empty = torch.zeros(0, dtype=torch.int64)
    try:
        result = Split(*(sets.get(name, empty) for name in _NAMES))
    except InvalidInput as error:
        raise InvalidInput(f"{label}: {error}") from None
    for name in _NAMES:
        value = getattr(result, name)
        if n is not None and value.numel() and int(value.max()) >= n:
            raise InvalidInput(
                f"{label}: {name} holds index {int(value.max())}, but there are {n} structures."
            )
    return result


def _indices(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {
                    k: torch.from_numpy(np.asarray(archive[k]).astype(np.int64, casting="safe"))
                    for k in archive.files
                }
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return {
            str(k): torch.as_tensor(v, dtype=torch.int64) if not v else torch.as_tensor(v)
            for k, v in content.items()
        }
    except Exception as error:
        # Whatever a damaged archive raises, the reader of the message needs the file name.
        raise InvalidInput(f"{path}: cannot be read as a split ({type(error).__name__}: {error}).") from None


def _text_indices(path: Path) -> Tensor:
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file.")
    values = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        word = line.strip().rstrip(",")
        if not word:
            continue
        if not word.isdecimal():
            raise InvalidInput(f"{path}:{number}: got {word[:40]!r}, expected one index per line.")
        values.append(int(word))
    return torch.tensor(values, dtype=torch.int64)
