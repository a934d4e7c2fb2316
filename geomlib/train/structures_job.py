"""Training on structures: energies, forces and stress of molecules and crystals."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.train.config import TrainConfig
from geomlib.train.data import StructuresModule, drop_large_forces
from geomlib.train.evaluation import predict, report, table
from geomlib.train.fitting import schedule_of, seed_all
from geomlib.train.losses import LossWeights
from geomlib.train.module import PotentialModule
from geomlib.train.parser import Parsed
from geomlib.train.plots import learning_curve, parity_plot
from geomlib.train.references import Reference, fit_reference
from geomlib.train.report import describe_run
from geomlib.train.sets import SPLIT, fingerprint, read_sets
from geomlib.zoo.registry import create_model

__all__ = ["StructuresJob"]


class StructuresJob:
    """Data, model and loss of a run on structures.

    Args:
        parsed: settings of the run.
        folder: of the run.

    Raises:
        InvalidInput: data or model do not exist or do not fit.
    """

    def __init__(self, parsed: Parsed, folder: Path) -> None:
        config = parsed.config
        self.config = config
        self.sets, self.parts = read_sets(config, folder if config.resume else None)
        seed_all(config)
        net, reference = _build(parsed, self.sets)
        self.module, self.data = _modules(config, net, self.sets)
        train = self.sets["train"]
        self.about = {"data": train.source, "elements": train.elements, "seed": config.seed}
        self.about["train_sha256"] = fingerprint(train)
        self.description = describe_run(self.sets, reference, net, net.config, folder)  # type: ignore[arg-type]

    def write_split(self, folder: Path) -> None:
        """Write which structures are in which set."""
        self.parts.save(folder / SPLIT)

    def results(self, best: torch.nn.Module) -> tuple[dict[str, Any], str]:
        """Return the errors on validation and test, and the table that is printed."""
        self.predictions = {
            name: predict(best, self.sets[name], batch_size=self.config.eval_batch_size)
            for name in ("val", "test")
            if name in self.sets
        }
        results = {name: report(p, self.sets[name]) for name, p in self.predictions.items()}
        return results, table({n: r["all"] for n, r in results.items()}) if results else ""

    def plots(self, history: list[dict[str, float]], folder: Path) -> list[Path | None]:
        """Draw the learning curve and the parity plot."""
        drawn = [learning_curve(history, folder / "learning_curve.png")]
        shown = "test" if "test" in self.predictions else "val"
        if shown in self.predictions:
            drawn.append(parity_plot(self.predictions[shown], self.sets[shown], folder / "parity.png"))
        return drawn

    @property
    def extra_budget(self) -> dict[str, Any]:
        """Return what recordings have cost."""
        captured = self.module.captured
        count, seconds = (0, 0.0) if captured is None else captured.replay.cost
        return {"recordings": count, "recording_seconds": round(seconds, 2)}

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of structures of every set."""
        return {name: len(s) for name, s in self.sets.items()}


def _build(parsed: Parsed, sets: dict[str, Structures]) -> tuple[torch.nn.Module, Reference]:
    config = parsed.config
    if config.max_force is not None:
        sets["train"] = drop_large_forces(sets["train"], config.max_force)
    net = create_model(config.architecture, **parsed.model)
    if config.dtype == "float64":
        net = net.double()
    for name, structures in sets.items():
        highest = max(structures.elements)
        if highest >= getattr(net, "max_z", 119):
            raise InvalidInput(
                f"the {name} set has element {highest}, the model knows up to {net.max_z - 1}. "  # type: ignore[operator]
                f"Set --model.max_z {highest + 1}."
            )
    if config.stress_weight and not bool(sets["train"].pbc.all(dim=1).all()):
        raise InvalidInput(
            "--stress_weight is set, but some training structures are not periodic: they have no stress."
        )
    scale: str | float = config.scale
    with contextlib.suppress(ValueError, TypeError):
        scale = float(scale)
    reference = fit_reference(sets["train"], config.reference, scale)
    reference.apply(net)
    return net, reference


def _modules(
    config: TrainConfig, net: torch.nn.Module, sets: dict[str, Structures]
) -> tuple[PotentialModule, StructuresModule]:
    data = StructuresModule(
        sets["train"],
        sets.get("val"),
        float(net.cutoff),  # type: ignore[arg-type]
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        seed=config.seed,
        dtype=getattr(torch, config.dtype),
    )
    weights = LossWeights(
        config.energy_weight, config.forces_weight, config.stress_weight, config.energy_per_atom
    )
    if sets["train"].forces is None and weights.forces:
        weights = LossWeights(weights.energy, 0.0, weights.stress, weights.per_atom)
        print("note       the data has no forces: training on energies alone")
    module = PotentialModule(
        net,
        weights,
        schedule_of(config, len(sets["train"])),
        weight_decay=config.weight_decay,
        optimizer=config.optimizer,
        ema_decay=config.ema_decay,
        replay=config.compile,
    )
    return module, data
