"""A small knowledge graph, written as an archive: places of a grid, their neighbours, and their mirror images."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

STEPS = {"right": (1, 0), "up": (0, 1), "diagonal": (1, 1), "far": (2, 0)}


def grid_facts(side: int = 6) -> list[tuple[str, str, str]]:
    """Facts of translations of a grid, and of `mirror`, an involution."""
    places = [(x, y) for x in range(side) for y in range(side)]

    def name(x: int, y: int) -> str:
        return f"place {x},{y}"

    facts = [
        (name(x, y), step, name(x + i, y + j))
        for step, (i, j) in STEPS.items()
        for x, y in places
        if max(x + i, y + j) < side
    ]
    return facts + [(name(x, y), "mirror", name(side - 1 - x, y)) for x, y in places]


def parts_of(facts: list[tuple[str, str, str]], seed: int = 0) -> dict[str, list[tuple[str, str, str]]]:
    """A fifth each to validate and to test, but the first fact of an entity to train."""
    order = np.random.default_rng(seed).permutation(len(facts))
    parts: dict[str, list[tuple[str, str, str]]] = {"train": [], "valid": [], "test": []}
    seen: set[str] = set()
    for k, i in enumerate(order):
        h, _, t = facts[i]
        part = "train" if not {h, t} <= seen or k % 5 > 1 else ("valid" if k % 5 else "test")
        seen |= {h, t}
        parts[part].append(facts[i])
    return parts


def text_of(facts: list[tuple[str, str, str]], end: str = "\n") -> bytes:
    return "".join("\t".join(fact) + end for fact in facts).encode()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """Write members of these names and contents."""
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def grid_archive(folder: Path, name: str = "grid", end: str = "\n", side: int = 6) -> Path:
    parts = parts_of(grid_facts(side))
    return archive(folder / f"{name}.tar.gz", {f"{p}.txt": text_of(f, end) for p, f in parts.items()})
