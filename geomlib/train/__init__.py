"""Training: settings, batches, the loop through Lightning, evaluation and plots.

Lightning and matplotlib are imported when a run starts; the rest needs torch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader

if TYPE_CHECKING:
    from geomlib.train.batching import Batch, Packer
    from geomlib.train.config import TrainConfig
    from geomlib.train.data import StructuresModule
    from geomlib.train.evaluation import Predictions, evaluate, predict
    from geomlib.train.loader import EpochLoader
    from geomlib.train.losses import LossWeights
    from geomlib.train.module import PotentialModule
    from geomlib.train.references import Reference, fit_reference
    from geomlib.train.run import RunResult, train
    from geomlib.train.schedule import Schedule

__all__ = [
    "Batch",
    "EpochLoader",
    "LossWeights",
    "Packer",
    "PotentialModule",
    "Predictions",
    "Reference",
    "RunResult",
    "Schedule",
    "StructuresModule",
    "TrainConfig",
    "evaluate",
    "fit_reference",
    "predict",
    "train",
]

_HOMES = {
    "batching": ("Batch", "Packer"),
    "config": ("TrainConfig",),
    "data": ("StructuresModule",),
    "evaluation": ("Predictions", "evaluate", "predict"),
    "loader": ("EpochLoader",),
    "losses": ("LossWeights",),
    "module": ("PotentialModule",),
    "references": ("Reference", "fit_reference"),
    "run": ("RunResult", "train"),
    "schedule": ("Schedule",),
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names}

__getattr__ = attribute_loader("geomlib.train", _LAZY)
