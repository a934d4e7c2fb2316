r"""The text format of graph classification sets: graphs with tags of nodes, a class each, and ten folds.

The first line is the number of graphs. Every graph is a line ``nodes class``, then one line per node,
``tag m j1 ... jm`` with its m neighbours, numbered from 0 within the graph. Folds are lists of graphs, one number a line, in
``10fold_idx/train_idx-k.txt`` and ``test_idx-k.txt``, k from 1 to 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geomlib.errors import InvalidInput

__all__ = ["FOLDS", "GraphSet", "read_folds", "read_graphs"]

Array = np.ndarray[Any, Any]

FOLDS = 10


@dataclass(frozen=True)
class GraphSet:
    """Undirected graphs, one after another.

    Args:
        node_ptr: nodes node_ptr[g] to node_ptr[g+1] - 1 are those of graph g.
        edge_ptr: likewise for edges.
        tags: of every node, numbered from 0 in the order of ``tag_values``.
        edges: (2, E) numbered within each graph, both directions, sorted by source.
        labels: of every graph, numbered from 0 in the order of ``label_values``.
        tag_values: as the file has them, sorted.
        label_values: as the file has them, sorted.
    """

    node_ptr: Array
    edge_ptr: Array
    tags: Array
    edges: Array
    labels: Array
    tag_values: Array
    label_values: Array

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Array:
        """Number of nodes of every graph."""
        return np.diff(self.node_ptr)


class _Lines:
    """Lines of a file as whole numbers, with errors that say where."""

    def __init__(self, file: Path) -> None:
        self.file, self.number = file, 0
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file}: cannot be read as plain text ({error}).") from None
        self.lines = iter(text.splitlines())

    def fail(self, found: str, expected: str) -> InvalidInput:
        return InvalidInput(f"{self.file}, line {self.number}: {found}; expected {expected}.")

    def integers(self, expected: str) -> list[int]:
        """Return the numbers of the next line."""
        self.number += 1
        line = next(self.lines, None)
        if line is None:
            raise self.fail("the file ends here", f"{expected}. The file is cut; get it again")
        try:
            return [int(word) for word in line.split()]
        except ValueError:
            raise self.fail(
                f"{line[:60]!r} is not a list of whole numbers", f"{expected} (real attributes are not read)"
            ) from None

    def rest(self) -> Iterator[str]:
        for line in self.lines:
            self.number += 1
            yield line


def read_graphs(file: str | Path) -> GraphSet:
    """Return the graphs of a file.

    Raises:
        InvalidInput: no such file, or a line that breaks the format, with its number; a neighbour that does not exist, is the
            node itself, is listed twice, or does not list the node in turn.
    """
    lines = _Lines(Path(file))
    head = lines.integers("the number of graphs")
    if len(head) != 1 or head[0] < 1:
        raise lines.fail(f"{head}", "one number, how many graphs follow")
    tags: list[int] = []
    labels: list[int] = []
    node_ptr, edge_ptr = [0], [0]
    edges: list[Array] = []
    for graph in range(head[0]):
        line = lines.integers(f"'nodes class' of graph {graph}")
        if len(line) != 2 or line[0] < 1:
            raise lines.fail(
                f"{line}",
                f"'nodes class' of graph {graph}, two numbers, the first at least 1 (was a node line left over?)",
            )
        nodes, label = line
        first = lines.number + 1
        found = [_neighbours(lines, graph, i, nodes, tags) for i in range(nodes)]
        pairs = np.array([(i, j) for i, row in enumerate(found) for j in row], dtype=np.int64).reshape(-1, 2)
        _check_symmetric(lines.file, pairs, nodes, first)
        labels.append(label)
        edges.append(pairs.T)
        node_ptr.append(node_ptr[-1] + nodes)
        edge_ptr.append(edge_ptr[-1] + len(pairs))
    if left := next((line for line in lines.rest() if line.strip()), None):
        raise lines.fail(f"{left[:60]!r} after the last graph", f"nothing, line 1 says {head[0]} graphs")
    tag_values, tag = np.unique(np.array(tags), return_inverse=True)
    label_values, number = np.unique(np.array(labels), return_inverse=True)
    return GraphSet(
        np.array(node_ptr),
        np.array(edge_ptr),
        tag,
        np.concatenate(edges, 1),
        number,
        tag_values,
        label_values,
    )


def _neighbours(lines: _Lines, graph: int, node: int, nodes: int, tags: list[int]) -> list[int]:
    expected = f"'tag m j1 ... jm' of node {node} of graph {graph}, neighbours within 0..{nodes - 1}"
    line = lines.integers(expected)
    if len(line) < 2 or line[1] != len(line) - 2:
        raise lines.fail(f"{line[:8]} announces other than {max(len(line) - 2, 0)} neighbours", expected)
    near = line[2:]
    if any(not 0 <= j < nodes for j in near):
        raise lines.fail(f"neighbour {next(j for j in near if not 0 <= j < nodes)} does not exist", expected)
    if node in near or len(set(near)) < len(near):
        raise lines.fail("a node that is its own neighbour, or one listed twice", expected)
    tags.append(line[0])
    return sorted(near)


def _check_symmetric(file: Path, pairs: Array, nodes: int, first: int) -> None:
    code = pairs[:, 0] * nodes + pairs[:, 1]
    back = pairs[:, 1] * nodes + pairs[:, 0]
    alone = ~np.isin(code, back)
    if alone.any():
        i, j = (int(k) for k in pairs[alone][0])
        raise InvalidInput(
            f"{file}, line {first + i}: node {i} lists {j}, but node {j} (line {first + j}) does not list {i}; expected an "
            "undirected graph: list every edge at both ends."
        )


def read_folds(folder: str | Path, graphs: int) -> list[tuple[Array, Array]]:
    """Return the ten published folds as numbers of graphs: train and test of each.

    A graph need not be in any test set; it is never in train and test of one fold.

    Args:
        folder: that holds ``train_idx-1.txt`` to ``test_idx-10.txt``.
        graphs: how many there are.

    Raises:
        InvalidInput: a file is absent or empty, a number is no graph or occurs twice, or train and test overlap.
    """
    found: list[tuple[Array, Array]] = []
    for k in range(1, FOLDS + 1):
        train, test = (_indices(Path(folder) / f"{part}_idx-{k}.txt", graphs) for part in ("train", "test"))
        if both := sorted({*train.tolist()} & {*test.tolist()}):
            raise InvalidInput(
                f"{Path(folder) / f'test_idx-{k}.txt'}: graphs {both[:5]} are in train_idx-{k}.txt too; expected sets apart."
            )
        found.append((train, test))
    return found


def _indices(file: Path, graphs: int) -> Array:
    lines = _Lines(file)
    seen: dict[int, int] = {}
    for line in lines.rest():
        if not line.strip():
            continue
        word = line.strip()
        if not word.isdigit() or int(word) >= graphs:
            raise lines.fail(f"{word[:60]!r}", f"the number of a graph, 0..{graphs - 1}")
        if int(word) in seen:
            raise lines.fail(f"graph {word} again, after line {seen[int(word)]}", "every graph once")
        seen[int(word)] = lines.number
    if not seen:
        raise InvalidInput(f"{file}: no numbers; expected one graph a line.")
    return np.array(list(seen), dtype=np.int64)
