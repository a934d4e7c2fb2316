"""`geomlib data`: make data sets, and say what a file holds."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from geomlib.errors import GeomlibError

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomlib data", description="Make data sets, and say what a file holds."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="run molecular dynamics with GFN-xTB and write labelled frames")
    make.add_argument("method", choices=("gfn2", "gfn1"), help="tight-binding method")
    make.add_argument(
        "--molecule", required=True, help="a name such as ethanol, a SMILES string, or a structure file"
    )
    make.add_argument("--out", required=True, help=".extxyz or .safetensors file to write")
    make.add_argument("--temperature", type=float, default=500.0, help="K (%(default)s)")
    make.add_argument("--frames", type=int, default=1200, help="frames to write (%(default)s)")
    make.add_argument("--interval", type=int, default=20, help="steps between frames (%(default)s)")
    make.add_argument("--timestep-fs", type=float, default=0.5, help="fs (%(default)s)")
    make.add_argument(
        "--friction-per-fs", type=float, default=0.01, help="Langevin friction, 1/fs (%(default)s)"
    )
    make.add_argument("--equilibration-ps", type=float, default=2.0, help="ps discarded first (%(default)s)")
    make.add_argument(
        "--charge", type=float, default=None, help="total charge (default: that of the molecule)"
    )
    make.add_argument("--seed", type=int, default=1, help="of velocities and noise (%(default)s)")
    info = commands.add_parser("info", help="say what a file or an embedded set holds")
    info.add_argument("file", help="file, folder, or name")
    for option in ("units", "energy-key", "forces-key", "stress-key", "format"):
        info.add_argument(f"--{option}", default=None)
    info.add_argument("--on-nan", choices=("error", "mask", "drop"), default=None)
    commands.add_parser("list", help="names of the embedded sets")
    return parser


def main(argv: list[str]) -> int:
    """Run `geomlib data` with the given arguments; return the exit status."""
    args = _parser().parse_args(argv)
    try:
        return {"make": _make, "info": _info, "list": _list}[args.command](args)
    except GeomlibError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _list(args: argparse.Namespace) -> int:
    from geomlib.datasets.embedded_sets import dataset_card, list_datasets

    for name in list_datasets():
        print(f"{name}: {dataset_card(name)['title']}")
    return 0


def _make(args: argparse.Namespace) -> int:
    from pathlib import Path

    from geomlib.datasets.cache import save_structures
    from geomlib.datasets.extxyz_write import write_extxyz
    from geomlib.datasets.generation import generate
    from geomlib.errors import InvalidInput

    out = Path(args.out)
    if out.suffix not in (".xyz", ".extxyz", ".safetensors") or not out.absolute().parent.is_dir():
        raise InvalidInput(f"--out {out}: expected a .extxyz or .safetensors file in a folder that exists.")
    interactive = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if interactive and (done % 10 == 0 or done == total):
            print(f"\r{done}/{total} frames", end="\n" if done == total else "", file=sys.stderr, flush=True)

    result = generate(
        args.molecule,
        method=f"{args.method}-xtb",
        temperature=args.temperature,
        frames=args.frames,
        interval=args.interval,
        timestep_fs=args.timestep_fs,
        friction_per_fs=args.friction_per_fs,
        equilibration_ps=args.equilibration_ps,
        charge=args.charge,
        seed=args.seed,
        progress=progress,
    )
    if out.suffix == ".safetensors":
        save_structures(out, result)
    else:
        write_extxyz(out, result)
    print(f"{out}: {len(result)} frames, mean temperature {float(result.extra['temperature'].mean()):.1f} K")
    _describe(result)
    return 0


def _info(args: argparse.Namespace) -> int:
    from geomlib.datasets.loading import load

    options: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("units", "energy_key", "forces_key", "stress_key", "on_nan")
        if getattr(args, name) is not None
    }
    result = load(args.file, format=args.format, **options)
    print(result.source)
    _describe(result)
    return 0


def _describe(data: Any) -> None:
    import torch

    from geomlib.datasets.elements import SYMBOLS

    sizes = data.num_atoms
    z, counts = torch.unique(data.z, return_counts=True)
    print(
        f"structures  {len(data)}, periodic {int(data.pbc.any(dim=1).sum())}, atoms {int(sizes.min())} to "
        f"{int(sizes.max())}"
    )
    print("elements    " + ", ".join(f"{SYMBOLS[int(a)]} {int(c)}" for a, c in zip(z, counts, strict=True)))
    if data.energy is not None:
        energy = data.energy[~torch.isnan(data.energy)]
        spread = float(energy.std()) if len(energy) > 1 else 0.0
        print(f"energy      mean {float(energy.mean()):.4f} eV, std {spread:.4f} eV")
    if data.forces is not None:
        good = ~torch.isnan(data.forces).any(dim=1)
        forces = data.forces[good]
        # The net force of a molecule is zero; what is left of it measures the quality of the labels.
        net = torch.zeros(len(data), 3, dtype=data.forces.dtype).index_add_(0, data.batch[good], forces)
        print(
            f"forces      rms {float(forces.square().mean().sqrt()):.4f} eV/Å, max norm "
            f"{float(forces.norm(dim=1).max()):.3f}, "
            f"max net force of a structure {float(net.abs().max()):.1e} eV/Å"
        )
    if data.stress is not None:
        stress = data.stress[~torch.isnan(data.stress).any(dim=2).any(dim=1)]
        pressure = -stress.diagonal(dim1=1, dim2=2).mean(dim=1)
        print(f"pressure    {float(pressure.min()):.5f} to {float(pressure.max()):.5f} eV/Å^3")
    if bool(data.charge.any()):
        print(f"charge      {float(data.charge.min()):g} to {float(data.charge.max()):g} e")
    if data.extra:
        print("extras      " + ", ".join(f"{k} {tuple(v.shape)}" for k, v in data.extra.items()))
    if data.text:
        print("text        " + ", ".join(data.text))
    if data.missing:
        print("masked      " + ", ".join(f"{k} in {v} structures" for k, v in data.missing.items()))
