r"""Knowledge graphs: WN18RR, FB15k-237, UMLS and Nations from their files, and graphs of one's own; which tail is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.types import closest
from geomlib.datasets._numbers import at_least_one
from geomlib.datasets._shared import shared_path
from geomlib.datasets.knowledge_graph_files import PARTS, Fact, read_parts
from geomlib.datasets.queries import RankedQueries, SampledTails
from geomlib.datasets.ranking import KnownTails
from geomlib.datasets.tasks import SPLITS, Samples, SampleSet, Task
from geomlib.errors import InvalidInput

__all__ = [
    "COUNTS",
    "FB15K_237",
    "NATIONS",
    "UMLS",
    "WN18RR",
    "KnowledgeGraph",
    "knowledge_graph_task",
    "read_knowledge_graph",
]

#: Facts of train, valid and test, entities and relations.
COUNTS = {
    "FB15k-237": (272115, 17535, 20466, 14541, 237),
    "WN18RR": (86835, 3034, 3134, 40943, 11),
    "nations": (1592, 199, 201, 14, 55),
    "umls": (5216, 652, 661, 135, 46),
}
_FOLDER = Path("data/kg")
_HOW = (
    "These graphs are not ours to ship: copy NAME.tar.gz of github.com/TimDettmers/ConvE, which has train.txt, valid.txt and "
    "test.txt."
)
_SOURCE = (
    "Dettmers, Minervini, Stenetorp and Riedel, Convolutional 2D knowledge graph embeddings, arXiv 1707.01476; files of "
    "github.com/TimDettmers/ConvE"
)


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """Facts as numbers of entities and relations, which are sorted by name.

    Args:
        name: of the graph.
        entities: names, of all three parts.
        relations: likewise.
        facts: ``"train"``, ``"val"`` and ``"test"`` to (N, 3) int64: head, relation, tail, in the order of the files.
    """

    name: str
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    facts: Mapping[str, Tensor]

    def queries(self, part: str) -> dict[str, Tensor]:
        """Return both questions about every fact: (h, r) asks for t, and (t, r + R) for h, with R relations.

        Returns:
            ``head``, ``relation`` and ``tail`` (2N,): first all facts, then all reversed ones.

        Raises:
            InvalidInput: no such part.
        """
        if part not in self.facts:
            raise InvalidInput(
                f"{self.name}: part {part!r}, expected one of {', '.join(self.facts)}.{closest(part, self.facts)}"
            )
        h, r, t = self.facts[part].unbind(1)
        pairs = {"head": (h, t), "relation": (r, r + len(self.relations)), "tail": (t, h)}
        return {name: torch.cat(pair) for name, pair in pairs.items()}

    @cached_property
    def known(self) -> KnownTails:
        """Return the answers to all queries, of all three parts."""
        found = [self.queries(part) for part in self.facts]
        return KnownTails(*(torch.cat([q[name] for q in found]) for name in ("head", "relation", "tail")))

    def report(self) -> dict[str, int]:
        """Return what a reader of scores should know: facts given twice, facts of two parts, entities never trained on.

        Returns:
            ``duplicates`` within a part; ``val in train``, ``test in train`` and ``test in val``: facts of one part that are
            in another; ``val unseen`` and ``test unseen``: facts with an entity or relation that no training fact has.
        """
        rows = {part: [tuple(row) for row in facts.tolist()] for part, facts in self.facts.items()}
        sets = {part: set(r) for part, r in rows.items()}
        train = self.facts["train"]
        seen = {x for h, _, t in sets["train"] for x in (h, t)}
        ways = set(train[:, 1].tolist())
        found = {"duplicates": sum(len(r) - len(sets[part]) for part, r in rows.items())}
        for a, b in (("val", "train"), ("test", "train"), ("test", "val")):
            found[f"{a} in {b}"] = sum(row in sets[b] for row in rows[a])
        for part in ("val", "test"):
            found[f"{part} unseen"] = sum(not ({h, t} <= seen and r in ways) for h, r, t in rows[part])
        return found


def read_knowledge_graph(name: str, path: str | Path | None = None) -> KnowledgeGraph:
    """Return a graph from its files.

    Args:
        name: ``"WN18RR"``, ``"FB15k-237"``, ``"umls"`` or ``"nations"``, whose counts are insisted on; or a name of your own
            with a path.
        path: archive NAME.tar.gz, or a folder that holds it, or one that holds train.txt, valid.txt and test.txt; by default
            ``data/kg`` below ``$GEOMLIB_SHARED``.

    Raises:
        InvalidInput: nothing there (the message says how to get it), a wrong line, or other counts than published.

    Source: Dettmers, Minervini, Stenetorp and Riedel, *Convolutional 2D knowledge graph embeddings*, arXiv 1707.01476;
    Toutanova and Chen (2015) for FB15k-237.
    """
    if name not in COUNTS and path is None:
        raise InvalidInput(
            f"knowledge graph {name!r} is unknown; {', '.join(COUNTS)} are known, and any name with a `path`."
            f"{closest(name, COUNTS)}"
        )
    found = shared_path(name, path, _FOLDER, _HOW)
    if found.is_dir() and not (found / "train.txt").exists():
        if not (found / f"{name}.tar.gz").is_file():
            raise InvalidInput(f"{name}: {found / f'{name}.tar.gz'} is not there. {_HOW}")
        found = found / f"{name}.tar.gz"
    files = [found] if found.is_file() else [found / f"{part}.txt" for part in PARTS]
    stamp = tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.exists())
    return _read(name, found.resolve(), stamp)


@lru_cache(maxsize=2)
def _read(name: str, path: Path, stamp: tuple[tuple[int, int], ...]) -> KnowledgeGraph:
    """Return the graph of a file; ``stamp`` makes a file that has changed another one."""
    parts = read_parts(path)
    everything = [fact for part in PARTS for fact in parts[part]]
    entities = sorted({x for h, _, t in everything for x in (h, t)})
    relations = sorted({r for _, r, _ in everything})
    counts = (*(len(parts[part]) for part in PARTS), len(entities), len(relations))
    if name in COUNTS and counts != COUNTS[name]:
        raise InvalidInput(
            f"{path}: {counts} facts of train, valid and test, entities and relations; {name} has {COUNTS[name]}. It is "
            f"another graph or another copy: read it under another name, or get the published one. {_HOW}"
        )
    entity = {x: i for i, x in enumerate(entities)}
    relation = {x: i for i, x in enumerate(relations)}

    def numbers(facts: list[Fact]) -> Tensor:
        return torch.tensor([(entity[h], relation[r], entity[t]) for h, r, t in facts], dtype=torch.int64)

    facts = {split: numbers(parts[part]) for split, part in zip(SPLITS, PARTS, strict=True)}
    return KnowledgeGraph(name, tuple(entities), tuple(relations), facts)


def _maker(name: str, own: str | None = None) -> Callable[..., dict[str, Tensor]]:
    def make(n: int, seed: int, path: str | None = None, negatives: int = 0) -> dict[str, Tensor]:
        """Return n queries of one part of the graph, in random order: that of the seed, as make_task counts them.

        Args:
            n: number of queries, all different facts or directions.
            seed: of the order; 3 s, 3 s + 1 and 3 s + 2 are of train, val and test.
            path: see read_knowledge_graph.
            negatives: entities drawn for every batch to train against; 0 for all there are.
        """
        at_least_one(name, n=n)
        part = SPLITS[seed % 3]
        queries = read_knowledge_graph(name, path or own).queries(part)
        have = len(queries["head"])
        if n > have:
            raise InvalidInput(
                f"{name}: {n} queries of {part} were asked for, there are {have}, two for every fact."
            )
        order = torch.randperm(have, generator=torch.Generator().manual_seed(seed))[:n]
        return {key: value[order] for key, value in queries.items()}

    return make


def _server(name: str, own: str | None = None) -> Callable[[Samples, str, Mapping[str, Any]], SampleSet]:
    def serve(samples: Samples, part: str, options: Mapping[str, Any]) -> SampleSet:
        graph = read_knowledge_graph(name, options.get("path") or own)
        if part != "train":
            return RankedQueries(samples, graph.known)
        negatives = options.get("negatives", 0)
        if not isinstance(negatives, int) or negatives < 0:
            raise InvalidInput(
                f"{name}: negatives={negatives!r}, expected a whole number, 0 for all entities."
            )
        return SampledTails(samples, len(graph.entities), negatives) if negatives else samples

    return serve


def _task(name: str, task: str, title: str, counts: tuple[int, ...], path: str | None = None) -> Task:
    train, val, test = (2 * c for c in counts[:3])
    return Task(
        name=task,
        title=title,
        make=_maker(name, path),
        inputs=("head", "relation"),
        target="tail",
        loss="ranking",
        sizes=(train, val, test),
        serve=_server(name, path),
        source=_SOURCE if path is None else "",
    )


def knowledge_graph_task(name: str, path: str | Path) -> Task:
    """Return the problem of completing a graph of your own, for :func:`~geomlib.datasets.tasks.register_task`.

    Args:
        name: of the task.
        path: archive or folder with train.txt, valid.txt and test.txt.

    Raises:
        InvalidInput: files that are not there or wrong.
    """
    graph = read_knowledge_graph(name, path)
    counts = tuple(len(facts) for facts in graph.facts.values())
    title = f"the missing entity of a fact, {len(graph.entities)} entities, {len(graph.relations)} relations"
    return _task(name, name, title, counts, str(path))


UMLS = _task("umls", "umls", "the missing entity of a fact about medical concepts", COUNTS["umls"])
NATIONS = _task("nations", "nations", "the missing country of a fact between countries", COUNTS["nations"])
FB15K_237 = _task("FB15k-237", "fb15k_237", "the missing entity of a fact of Freebase", COUNTS["FB15k-237"])
WN18RR = _task("WN18RR", "wn18rr", "the missing word sense of a fact of WordNet", COUNTS["WN18RR"])
