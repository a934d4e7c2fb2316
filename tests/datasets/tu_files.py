"""Small sets of graphs in the raw text format, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def written(adjacency: np.ndarray, tags: list[int], label: int) -> list[str]:
    rows = [f"{len(tags)} {label}"]
    for tag, row in zip(tags, adjacency, strict=True):
        near = np.flatnonzero(row)
        rows.append(" ".join(map(str, [tag, len(near), *near])))
    return rows


def small_set(
    folder: Path, graphs: int = 40, tags: tuple[int, ...] = (3, 5, 9), name: str = "TINY"
) -> tuple[Path, list, list]:
    """Random graphs of 1 to 7 nodes with classes -1 and 4, and ten folds of which two graphs are in no test set."""
    rng = np.random.default_rng(0)
    found, labels, lines = [], [], [str(graphs)]
    for g in range(graphs):
        n = int(rng.integers(1, 8))
        upper = np.triu(rng.random((n, n)) < 0.5, 1)
        adjacency, label = (upper | upper.T).astype(int), (-1, 4)[g % 2]
        own = rng.choice(tags, n).tolist()
        lines += written(adjacency, own, label)
        found.append((adjacency, own))
        labels.append(label)
    place = folder / name
    (place / "10fold_idx").mkdir(parents=True)
    (place / f"{name}.txt").write_text("\n".join(lines) + "\n")
    tested = rng.permutation(graphs)[: graphs // 10 * 10 - 10].reshape(10, -1)
    for k, test in enumerate(tested, 1):
        train = np.setdiff1d(np.arange(graphs), test)
        for part, index in (("train", train), ("test", test)):
            (place / f"10fold_idx/{part}_idx-{k}.txt").write_text("\r\n".join(map(str, index)) + "\r\n")
    return folder, found, labels
