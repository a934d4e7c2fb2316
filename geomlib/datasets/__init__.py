"""Data: packed structures, readers, splits, the embedded set.

Importing this package imports torch and numpy only; every reader is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader
from geomlib.datasets.structures import Structures

if TYPE_CHECKING:
    from geomlib.datasets.ase_db import read_ase_db
    from geomlib.datasets.cache import cache_dir, load_structures, save_structures
    from geomlib.datasets.comp6 import read_comp6
    from geomlib.datasets.deepmd import read_deepmd
    from geomlib.datasets.embedded_sets import dataset_card, list_datasets
    from geomlib.datasets.extxyz import iterate_extxyz, read_extxyz
    from geomlib.datasets.extxyz_write import write_extxyz
    from geomlib.datasets.generation import generate, single_points
    from geomlib.datasets.knowledge_graphs import KnowledgeGraph, knowledge_graph_task, read_knowledge_graph
    from geomlib.datasets.loading import load
    from geomlib.datasets.md17 import read_md17
    from geomlib.datasets.qm9 import read_qm9
    from geomlib.datasets.ranking import KnownTails, filtered_ranks, rank_scores
    from geomlib.datasets.splits import Split, read_split, split
    from geomlib.datasets.units import Units

__all__ = [
    "KnowledgeGraph",
    "KnownTails",
    "Split",
    "Structures",
    "Units",
    "cache_dir",
    "dataset_card",
    "filtered_ranks",
    "generate",
    "iterate_extxyz",
    "knowledge_graph_task",
    "list_datasets",
    "load",
    "load_structures",
    "rank_scores",
    "read_ase_db",
    "read_comp6",
    "read_deepmd",
    "read_extxyz",
    "read_knowledge_graph",
    "read_md17",
    "read_qm9",
    "read_split",
    "save_structures",
    "single_points",
    "split",
    "write_extxyz",
]

_HOMES = {
    "splits": ("Split", "read_split", "split"),
    "units": ("Units",),
    "cache": ("cache_dir", "load_structures", "save_structures"),
    "embedded_sets": ("dataset_card", "list_datasets"),
    "extxyz": ("iterate_extxyz", "read_extxyz"),
    "extxyz_write": ("write_extxyz",),
    "knowledge_graphs": ("KnowledgeGraph", "knowledge_graph_task", "read_knowledge_graph"),
    "loading": ("load",),
    "ranking": ("KnownTails", "filtered_ranks", "rank_scores"),
    "ase_db": ("read_ase_db",),
    "comp6": ("read_comp6",),
    "deepmd": ("read_deepmd",),
    "md17": ("read_md17",),
    "qm9": ("read_qm9",),
    "generation": ("generate", "single_points"),
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names}

__getattr__ = attribute_loader("geomlib.datasets", _LAZY)
