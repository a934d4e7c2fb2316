"""`geomlib md`: molecular dynamics with a trained model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomlib.errors import InvalidInput
from geomlib.files import write_atomic

if TYPE_CHECKING:
    from torch import nn

    from geomlib.interop.dynamics import MDResult

__all__ = ["main"]

_FILES = {
    "log": "md.csv",
    "trajectory": "trajectory.extxyz",
    "summary": "summary.json",
    "plot": "energy.png",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomlib md",
        description="Molecular dynamics with a trained model. Writes md.csv, trajectory.extxyz, summary.json "
        "and energy.png into --out. Several models run as an ensemble (their mean force is followed).",
        epilog="Example: geomlib md runs/ethanol --structure ethanol --steps 2000 --ensemble nve --out md",
    )
    add = parser.add_argument
    switch = argparse.BooleanOptionalAction
    add("model", nargs="+", help="folder of a training run, .safetensors, or torchmd-net's TensorNet")
    add("--structure", required=True, help="file with the start (extxyz, ASE db, ...) or embedded set")
    add("--index", type=int, default=0, help="which structure of the file (%(default)s; -1 is the last)")
    add("--charge", type=float, default=None, help="total charge (default: that of the file, or 0)")
    add("--steps", type=int, default=2000, help="time steps (%(default)s)")
    add("--timestep", type=float, default=0.5, help="fs (%(default)s)")
    add("--ensemble", choices=("nve", "langevin"), default="nve", help="%(default)s")
    add("--temperature", type=float, default=300.0, help="K, of the start and of the bath (%(default)s)")
    add("--friction", type=float, default=0.01, help="1/fs, langevin only (%(default)s)")
    add("--replicas", type=int, default=1, help="independent copies, side by side in one batch (%(default)s)")
    add("--seed", type=int, default=0, help="of start velocities and noise (%(default)s)")
    add("--dtype", choices=("float64", "float32"), default="float64", help="of the model (%(default)s)")
    add("--device", default="cpu", help="%(default)s")
    add("--skin", type=float, default=0.5, help="Å, of the neighbour list (%(default)s)")
    add("--log-every", type=int, default=10, help="steps between rows of md.csv (%(default)s)")
    add("--trajectory-every", type=int, default=10, help="steps between frames (%(default)s)")
    add("--out", default="md", help="folder to write (%(default)s)")
    add("--overwrite", action=switch, default=False, help="replace an earlier run there")
    add("--plot", action=switch, default=True, help="draw energy.png")
    return parser


def main(argv: list[str]) -> int:
    """Run `geomlib md` with the given arguments; return the exit status.

    Raises:
        InvalidInput: wrong arguments or files, or the simulation blew up.
        CheckpointError: a model file is damaged.
    """
    args = _parser().parse_args(argv)
    # Imported after parsing: --help and typing errors answer at once.
    from geomlib.interop.dynamics import run_md

    models = [load_any_model(path) for path in args.model]
    start = _start(args)
    out = _folder(Path(args.out), args.overwrite)
    symbols, atoms = _formula(start), int(start.num_atoms[0])
    print(
        f"{symbols}, {atoms} atoms, {args.replicas} replica(s), {args.steps} steps of {args.timestep} fs, "
        f"{args.ensemble}, "
        f"{args.temperature:g} K, {args.dtype} on {args.device}"
    )
    with _progress(args.steps) as tick:
        result = run_md(
            models,
            start,
            steps=args.steps,
            timestep=args.timestep,
            ensemble=args.ensemble,
            temperature=args.temperature,
            friction=args.friction,
            replicas=args.replicas,
            seed=args.seed,
            dtype=args.dtype,
            device=args.device,
            skin=args.skin,
            log_every=args.log_every,
            log=out / _FILES["log"],
            trajectory_every=args.trajectory_every,
            trajectory=out / _FILES["trajectory"],
            on_step=tick,
        )
    summary = result.summary()
    content = {"options": vars(args), "atoms": atoms, "formula": symbols, "replicas": summary}
    write_atomic(out / _FILES["summary"], [(json.dumps(content, indent=1) + "\n").encode()])
    _report(summary, args.ensemble)
    if args.plot:
        _plot(result, args, out / _FILES["plot"])
    print(f"wrote {', '.join(str(out / name) for name in _FILES.values() if (out / name).exists())}")
    return 0


def load_any_model(path: str | Path) -> nn.Module:
    """Return the model of a run folder, of a file of ours, or of a TensorNet file of torchmd-net.

    Raises:
        InvalidInput: there is no such file.
        CheckpointError: the file is damaged.
    """
    path = Path(path)
    if path.suffix == ".ckpt":
        from geomlib.interop.torchmdnet import load_torchmdnet

        return load_torchmdnet(path)
    if path.suffix == ".safetensors" and path.is_file() and _is_torchmdnet(path):
        from geomlib.interop.torchmdnet import load_torchmdnet

        return load_torchmdnet(path)
    from geomlib.interop.checkpoint import load_model

    return load_model(path)


def _is_torchmdnet(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return False  # our own reader says what is wrong with it
    return "config" in metadata and "geomlib" not in metadata


def _start(args: argparse.Namespace) -> Any:
    import torch

    from geomlib.datasets import load

    structures = load(args.structure)
    if not -len(structures) <= args.index < len(structures):
        raise InvalidInput(
            f"--index {args.index}: {args.structure} holds {len(structures)} structures, "
            f"0..{len(structures) - 1} (or counted from the end, -1 is the last)."
        )
    start = structures[args.index]
    if args.charge is not None:
        start = start.replace(charge=torch.full((1,), args.charge, dtype=torch.float64))
    return start


def _folder(out: Path, overwrite: bool) -> Path:
    present = [name for name in _FILES.values() if (out / name).exists()]
    if present and not overwrite:
        raise InvalidInput(
            f"--out {out} already holds {', '.join(present)}. Choose another folder, or pass --overwrite."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in present:
            (out / name).unlink()
    except OSError as error:
        raise InvalidInput(f"--out {out} cannot be written: {error.strerror}.") from error
    return out


def _formula(start: Any) -> str:
    from geomlib.datasets.elements import SYMBOLS

    counts: dict[str, int] = {}
    for z in start.z.tolist():
        counts[SYMBOLS[z]] = counts.get(SYMBOLS[z], 0) + 1
    # Hill order: C, H, then the alphabet.
    names = sorted(counts, key=lambda s: {"C": "0", "H": "1"}.get(s, s) if "C" in counts else s)
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in names)


class _progress:  # noqa: N801 - reads as a function
    """A progress bar: tqdm on a terminal, a line every tenth elsewhere."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.bar: Any = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=steps, unit="step", smoothing=0.1)

    def __enter__(self) -> Callable[[int], None]:
        return self.tick

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def tick(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(1)
        elif step % max(1, self.steps // 10) == 0:
            print(f"step {step} of {self.steps}", file=sys.stderr, flush=True)


def _report(summary: Sequence[dict[str, float]], ensemble: str) -> None:
    shown = list(summary[:10])
    print("replica  temperature K  drift meV/atom/ps  fluctuation meV/atom  largest momentum u Å/fs")
    for row in shown:
        print(
            f"{int(row['replica']):7d}  {row['mean_temperature_K']:13.1f}  "
            f"{row['drift_meV_per_atom_per_ps']:17.4f}  "
            f"{row['fluctuation_meV_per_atom']:20.4f}  {row['max_momentum']:24.2e}"
        )
    if len(summary) > len(shown):
        print(f"... and {len(summary) - len(shown)} more in {_FILES['summary']}")
    if ensemble != "nve":
        print("(a thermostat exchanges energy and momentum: drift and fluctuation do not judge this run)")


def _plot(result: MDResult, args: argparse.Namespace, path: Path) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print('no plot: matplotlib is not installed; pip install "geomlib-torch[plots]"', file=sys.stderr)
        return
    # No pyplot: it would choose a backend for the whole process.
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    energies, total, kelvin = figure.subplots(3, 1, sharex=True)
    time = (result.time_fs / 1000.0).numpy()
    per_atom = 1000.0 / result.num_atoms.double()
    shown = min(result.total.shape[1], 8)
    for b in range(shown):
        label = {"label": f"replica {b}"} if shown > 1 else {}
        potential = (result.potential[:, b] - result.potential[0, b]) * per_atom[b]
        change = (result.total[:, b] - result.total[0, b]) * per_atom[b]
        kinetic = result.kinetic[:, b] * per_atom[b]
        (line,) = energies.plot(time, potential.numpy(), lw=0.8)
        energies.plot(time, kinetic.numpy(), lw=0.8, ls=":", color=line.get_color())
        total.plot(time, change.numpy(), lw=0.8, **label)
        kelvin.plot(time, result.temperature[:, b].numpy(), lw=0.8)
    energies.set_ylabel("meV/atom\npotential - start (line)\nkinetic (dots)")
    total.set_ylabel("total - start\nmeV/atom")
    kelvin.set_ylabel("temperature K")
    kelvin.axhline(args.temperature, color="0.5", lw=0.6)
    kelvin.set_xlabel("time ps")
    energies.set_title(
        f"{args.ensemble}, {args.timestep} fs, {args.temperature:g} K, {args.dtype}", fontsize=10
    )
    if shown > 1:
        total.legend(fontsize=7, ncols=4)
    figure.savefig(path, dpi=130)
