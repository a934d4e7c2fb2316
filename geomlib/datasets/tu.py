r"""Graph classification on the TU sets: molecules, proteins and collaborations, with ten published folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.types import closest
from geomlib.datasets._numbers import at_least_one
from geomlib.datasets._shared import shared_path
from geomlib.datasets.tasks import SPLITS, Task
from geomlib.datasets.tu_format import GraphSet, read_folds, read_graphs
from geomlib.errors import InvalidInput

__all__ = ["ENZYMES", "IMDB_B", "MUTAG", "PROTEINS", "graph_arrays", "make_tu", "read_tu", "tu_split"]

Array = np.ndarray[Any, Any]

_FOLDER = Path("data/graphs/tu_dgcnn")
_HOW = (
    "These sets are not ours to ship: copy the folder `data` of github.com/muhanzhang/pytorch_DGCNN, which has NAME/NAME.txt "
    "and NAME/10fold_idx."
)
FEATURES = ("auto", "tags", "degree", "both")
#: One part in ten of a training fold is for validation.
_EVERY = 10


def read_tu(name: str, path: str | Path | None = None) -> tuple[GraphSet, list[tuple[Array, Array]]]:
    """Return the graphs of a set and its ten folds, pairs of numbers of graphs to train and to test on.

    Args:
        name: of the set: ``"MUTAG"``, ``"ENZYMES"``, ``"PROTEINS"``, ``"NCI1"``, ``"IMDBBINARY"`` or another in the format
            of :mod:`~geomlib.datasets.tu_format`.
        path: folder that holds the folder of the set; by default ``data/graphs/tu_dgcnn`` below ``$GEOMLIB_SHARED``.

    Raises:
        InvalidInput: the set is not there (the message says how to get it), or a line of it is wrong.
    """
    folder = shared_path(name, path, _FOLDER, _HOW) / name
    if not folder.is_dir():
        known = sorted(p.name for p in folder.parent.iterdir() if p.is_dir())
        raise InvalidInput(
            f"{name}: {folder} is not there, only {', '.join(known) or 'nothing'}. {_HOW}{closest(name, known)}"
        )
    graphs = read_graphs(folder / f"{name}.txt")
    return graphs, read_folds(folder / "10fold_idx", len(graphs))


def tu_split(folds: list[tuple[Array, Array]], fold: int, split: str, *, hold_out: bool = True) -> Array:
    """Return the numbers of the graphs of one part of a fold.

    Args:
        folds: of :func:`read_tu`.
        fold: 0..9.
        split: ``"train"``, ``"val"`` or ``"test"``; validation is a tenth of the training part, the same whatever the sizes.
        hold_out: set that tenth apart; otherwise all is for training, and there is no validation.

    Raises:
        InvalidInput: no such fold or split.
    """
    if not 0 <= fold < len(folds) or split not in SPLITS:
        raise InvalidInput(
            f"tu: fold={fold}, split={split!r}, expected 0..{len(folds) - 1} and one of {', '.join(SPLITS)}."
        )
    train, test = folds[fold]
    if split == "test":
        return test
    held = len(train) // _EVERY if hold_out else 0
    order = np.random.default_rng(np.random.SeedSequence(fold)).permutation(train)
    return order[:held] if split == "val" else order[held:]


def graph_arrays(graphs: GraphSet, index: Array, features: str = "auto") -> dict[str, Tensor]:
    r"""Return some graphs as padded tensors.

    Features of a node are its tag, one-hot, and its degree d: :math:`d / (n - 1)` and :math:`\log(1 + d)`.

    Args:
        graphs: of :func:`read_tu`.
        index: numbers of the graphs.
        features: ``"tags"``, ``"degree"``, ``"both"``, or ``"auto"``: tags where there is more than one, otherwise degrees.

    Returns:
        ``x`` (n, features, N) with N the nodes of the largest graph of the set and zeros behind a graph's own nodes;
        ``edges`` (n, 2, E), both directions, -1 behind a graph's own edges; ``nodes`` (n,), how many each has;
        ``label`` (n,).

    Raises:
        InvalidInput: unknown features.
    """
    if features not in FEATURES:
        raise InvalidInput(
            f"tu: features={features!r}, expected one of {', '.join(FEATURES)}.{closest(features, FEATURES)}"
        )
    if features == "auto":
        features = "tags" if len(graphs.tag_values) > 1 else "degree"
    kinds = len(graphs.tag_values) if features != "degree" else 0
    width = kinds + (2 if features != "tags" else 0)
    sizes, counts = graphs.sizes, np.diff(graphs.edge_ptr)
    x = np.zeros((len(index), width, sizes.max()))
    edges = np.full((len(index), 2, counts.max()), -1, dtype=np.int64)
    for row, g in enumerate(index.tolist()):
        n = int(sizes[g])
        own = graphs.edges[:, graphs.edge_ptr[g] : graphs.edge_ptr[g + 1]]
        edges[row, :, : own.shape[1]] = own
        if kinds:
            x[row, graphs.tags[graphs.node_ptr[g] : graphs.node_ptr[g + 1]], np.arange(n)] = 1.0
        if features != "tags":
            degree = np.bincount(own[0], minlength=n).astype(float)
            x[row, kinds, :n], x[row, kinds + 1, :n] = degree / max(n - 1, 1), np.log1p(degree)
    arrays = {"x": x, "edges": edges, "nodes": sizes[index], "label": graphs.labels[index]}
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def make_tu(
    n: int,
    seed: int,
    name: str = "MUTAG",
    fold: int = 0,
    split: str | None = None,
    hold_out: bool = True,
    features: str = "auto",
    path: str | None = None,
) -> dict[str, Tensor]:
    """Return graphs of one part of a fold of a TU set, in random order.

    Args:
        n: number of graphs, all different.
        seed: of the order; the same seed gives the same samples.
        name: see :func:`read_tu`.
        fold: 0..9.
        split: ``"train"``, ``"val"`` or ``"test"``; by default that of the seed, as
            :func:`~geomlib.datasets.tasks.make_task` counts them: the three sets have seeds 3 s, 3 s + 1 and 3 s + 2.
        hold_out: see :func:`tu_split`.
        features: see :func:`graph_arrays`.
        path: see :func:`read_tu`.

    Returns:
        ``x``, ``edges``, ``nodes`` and ``label``, see :func:`graph_arrays`.

    Raises:
        InvalidInput: no files, an unknown fold, split or features, or fewer graphs than samples.

    Source: Morris, Kriege, Bause, Kersting, Mutzel and Neumann, *TUDataset: A collection of benchmark datasets for learning
    with graphs*, arXiv 2007.08663; files and folds of github.com/muhanzhang/pytorch_DGCNN.
    """
    at_least_one(name, n=n)
    graphs, folds = read_tu(name, path)
    split = SPLITS[seed % 3] if split is None else split
    index = tu_split(folds, fold, split, hold_out=hold_out)
    if n > len(index):
        raise InvalidInput(
            f"{name}: {n} graphs of {split} were asked for, fold {fold} has {len(index)} "
            f"({'a tenth of the training part is held out' if hold_out else 'nothing is held out'})."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    return graph_arrays(graphs, rng.permutation(index)[:n], features)


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return accuracies of the majority class, and of the nearest graph by counts of nodes and edges and mean features."""

    def summary(s: Mapping[str, Tensor]) -> Tensor:
        nodes = s["nodes"].double()
        links = (s["edges"][:, 0] >= 0).sum(-1).double()
        return torch.cat([torch.stack([nodes.log(), links.log1p()], -1), s["x"].sum(-1) / nodes[:, None]], -1)

    label, truth = train["label"], test["label"]
    seen, asked = summary(train), summary(test)
    middle, width = seen.mean(0), seen.std(0, correction=0)
    seen, asked = ((v - middle) / torch.where(width > 0, width, 1.0) for v in (seen, asked))
    nearest = label[torch.cdist(asked, seen).argmin(-1)]
    return {
        "majority class": float((truth == torch.bincount(label).argmax()).double().mean()),
        "nearest by counts": float((truth == nearest).double().mean()),
    }


def _named(name: str) -> Callable[..., dict[str, Tensor]]:
    def make(
        n: int,
        seed: int,
        fold: int = 0,
        hold_out: bool = True,
        features: str = "auto",
        path: str | None = None,
    ) -> dict[str, Tensor]:
        return make_tu(n, seed, name, fold, hold_out=hold_out, features=features, path=path)

    return make


def _task(task: str, name: str, title: str, sizes: tuple[int, int, int]) -> Task:
    return Task(
        name=task,
        title=title,
        make=_named(name),
        inputs=("x", "edges", "nodes"),
        target="label",
        loss="cross_entropy",
        sizes=sizes,
        baselines=_baselines,
        source="Morris et al., arXiv 2007.08663; files and folds of github.com/muhanzhang/pytorch_DGCNN",
    )


# Sizes are those of a fold: all the published folds of a set have the same.
MUTAG = _task("mutag", "MUTAG", "whether a molecule is mutagenic", (153, 17, 18))
PROTEINS = _task("proteins", "PROTEINS", "whether a protein is an enzyme", (902, 100, 111))
ENZYMES = _task("enzymes", "ENZYMES", "which of six classes an enzyme is of", (486, 54, 60))
IMDB_B = _task("imdb_b", "IMDBBINARY", "the genre of the films of an actor's circle", (810, 90, 100))
