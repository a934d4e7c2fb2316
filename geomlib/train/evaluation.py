"""`geomlib evaluate`: errors of a trained model on a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput
from geomlib.train.batching import Packer
from geomlib.train.losses import METRICS

__all__ = ["Predictions", "errors", "evaluate", "main", "predict", "table"]


@dataclass(frozen=True)
class Predictions:
    """What a model says about a data set: energy (B,), forces (N, 3) and stress (B, 3, 3), or None."""

    energy: Tensor
    forces: Tensor | None = None
    stress: Tensor | None = None


def predict(
    model: nn.Module,
    structures: Structures,
    *,
    batch_size: int = 64,
    forces: bool | None = None,
    stress: bool | None = None,
) -> Predictions:
    """Run a model over a data set, in batches, without keeping graphs.

    Args:
        model: a zoo model; it is used in evaluation mode and left as it was.
        structures: the data.
        batch_size: structures per call.
        forces: return forces; None: if the data has them.
        stress: the same for stress; only periodic structures have one.

    Example:
        >>> import geomlib
        >>> model = geomlib.create_model("tensornet", channels=8, layers=1)
        >>> atom = Structures(z=[1], pos=[[0.0, 0, 0]], ptr=[0, 1])
        >>> predict(model, atom).energy.shape
        torch.Size([1])
    """
    forces = structures.forces is not None if forces is None else forces
    stress = structures.stress is not None if stress is None else stress
    parameter = next(model.parameters())
    packer = Packer(structures, float(model.cutoff), dtype=parameter.dtype, store_pairs=False)  # type: ignore[arg-type]
    parts: dict[str, list[Tensor]] = {"energy": [], "forces": [], "stress": []}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for index in torch.arange(len(structures)).split(batch_size):
                (batch,) = packer.batches(index, batch_size, device=parameter.device)
                out = model(**batch.inputs(), forces=forces, stress=stress)
                for name, kept in parts.items():
                    if name in out:
                        kept.append(out[name].detach().cpu().double())
    finally:
        model.train(was_training)
    return Predictions(**{k: torch.cat(v) if v else None for k, v in parts.items()})  # type: ignore[arg-type]


def errors(
    predictions: Predictions, structures: Structures, chosen: Tensor | None = None
) -> dict[str, float]:
    """Return mean absolute and root-mean-square errors; NaN labels count for nothing.

    Args:
        predictions: of :func:`predict`.
        structures: the labels.
        chosen: structures to look at, (B,) bool; all if None.

    Returns:
        Number of structures, and the errors of :data:`~geomlib.train.losses.METRICS` that have labels.
    """
    chosen = torch.ones(len(structures), dtype=torch.bool) if chosen is None else chosen
    out: dict[str, float] = {"structures": int(chosen.sum())}
    for letter, name in (("E", "energy"), ("F", "forces"), ("S", "stress")):
        label, value = getattr(structures, name), getattr(predictions, name)
        if label is None or value is None:
            continue
        rows = chosen[structures.batch] if name == "forces" else chosen
        delta = (value - label)[rows]
        known = torch.isfinite(label[rows])
        if not bool(known.any()):
            continue
        out[f"{letter}_mae"] = 1000 * float(delta[known].abs().mean())
        out[f"{letter}_rmse"] = 1000 * float(delta[known].square().mean().sqrt())
        if name == "energy":
            out["E_mae_atom"] = 1000 * float((delta[known] / structures.num_atoms[rows][known]).abs().mean())
    return out


def evaluate(model: nn.Module, structures: Structures, *, batch_size: int = 64) -> dict[str, Any]:
    """Return the errors over a data set and, where frames have a `config_type`, over each type.

    Example:
        >>> import geomlib
        >>> model = geomlib.create_model("tensornet", channels=8, layers=1)
        >>> atom = Structures(z=[1], pos=[[0.0, 0, 0]], ptr=[0, 1], energy=[0.0])
        >>> sorted(evaluate(model, atom)["all"])
        ['E_mae', 'E_mae_atom', 'E_rmse', 'structures']
    """
    return report(predict(model, structures, batch_size=batch_size), structures)


def report(predictions: Predictions, structures: Structures) -> dict[str, Any]:
    """Return the errors over all structures and by `config_type`."""
    result: dict[str, Any] = {"all": errors(predictions, structures), "units": dict(METRICS)}
    kinds = structures.text.get("config_type")
    if kinds and len(set(kinds)) > 1:
        result["by_config_type"] = {
            kind: errors(predictions, structures, torch.tensor([k == kind for k in kinds]))
            for kind in dict.fromkeys(kinds)
        }
    return result


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return errors as a table of text.

    >>> print(table({"test": {"structures": 2, "E_mae": 1.25}}))
          structures  E_mae
                        meV
    test           2   1.25
    """
    columns = ["structures", *(m for m in METRICS if any(m in row for row in rows.values()))]

    def cell(row: Mapping[str, float], column: str) -> str:
        if column not in row:
            return "-"
        return f"{row[column]:.0f}" if column == "structures" else f"{row[column]:.2f}"

    units = {c: METRICS.get(c, "") for c in columns}
    widths = {c: max(len(c), len(units[c]), *(len(cell(r, c)) for r in rows.values())) for c in columns}
    first = max(map(len, rows)) + 2

    def line(head: str, cells: list[str]) -> str:
        return (
            head.ljust(first) + "  ".join(v.rjust(widths[c]) for c, v in zip(columns, cells, strict=True))
        ).rstrip()

    lines = [line("", columns), line("", [units[c] for c in columns])]
    return "\n".join(lines + [line(name, [cell(row, c) for c in columns]) for name, row in rows.items()])


def main(argv: list[str]) -> int:
    """Run `geomlib evaluate` with the given arguments; return the exit status."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="geomlib evaluate", description="Errors of a trained model on a data set."
    )
    parser.add_argument("run", help="folder of a run, or a model .safetensors file")
    parser.add_argument("--data", help="name or file (default: the data of the run)")
    parser.add_argument(
        "--split", choices=("train", "val", "test", "all"), help="part of the run's own data (test)"
    )
    parser.add_argument("--batch-size", "--batch_size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--units", help="units of the file, as `geomlib data info` shows them")
    parser.add_argument("--energy-key", "--energy_key")
    parser.add_argument("--forces-key", "--forces_key")
    parser.add_argument("--stress-key", "--stress_key")
    parser.add_argument("--out", help="folder for the results (default: the run)")
    args = parser.parse_args(argv)
    options = {
        k: getattr(args, k) for k in ("units", "energy_key", "forces_key", "stress_key") if getattr(args, k)
    }
    run = Path(args.run)
    if not run.exists():
        raise InvalidInput(f"{run}: no such run or model file. `geomlib train` writes runs/NAME.")
    from geomlib.interop.checkpoint import load_model
    from geomlib.train.task_evaluation import evaluate_run, task_of

    folder = Path(args.out) if args.out else (run if run.is_dir() else run.parent)
    config = task_of(run, args.data)
    if config is not None:
        split = args.split or "test"
        model = load_model(run, device=args.device)
        return evaluate_run(model, config, split, folder, batch_size=args.batch_size)
    structures, name = _data(run, args.data, args.split, options)
    model = load_model(run, device=args.device)
    known = getattr(model, "max_z", 119)
    if max(structures.elements) >= known:
        raise InvalidInput(
            f"the data has element {max(structures.elements)}, the model knows up to {known - 1}."
        )
    predictions = predict(model, structures, batch_size=args.batch_size)
    result = {"model": str(run), "data": structures.source, **report(predictions, structures)}
    print(f"{structures.source}\n{len(structures)} structures\n")
    print(table({name: result["all"], **result.get("by_config_type", {})}))
    _write(folder, name, result, predictions, structures)
    return 0


def _data(run: Path, data: str | None, split: str | None, options: dict[str, Any]) -> tuple[Structures, str]:
    from geomlib.datasets import load

    if data is not None and split is None:
        return load(data, **options), Path(data).stem
    from geomlib.train.sets import read_run_sets

    sets, same = read_run_sets(run, data, options)
    split = split or "test"
    if not same and split != "all":
        raise InvalidInput(
            f"--split {split} is of the run's own data, but --data {data} is another set. Leave one out."
        )
    if split == "all":
        return load(data, **options) if data else Structures.concatenate(list(sets.values())), "all"
    if split not in sets:
        raise InvalidInput(f"the run has no {split} set; it has {', '.join(sets)}.")
    return sets[split], split


def _write(
    folder: Path, name: str, result: dict[str, Any], predictions: Predictions, structures: Structures
) -> None:
    from geomlib.files import write_atomic
    from geomlib.train.plots import parity_plot

    path = folder / f"evaluation_{name}.json"
    write_atomic(path, [json.dumps(result, indent=2, ensure_ascii=False).encode()])
    plot = parity_plot(predictions, structures, folder / f"parity_{name}.png")
    print(f"\nwritten: {path}" + (f", {plot}" if plot else ""))
