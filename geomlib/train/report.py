"""What a run says before it starts and leaves when it ends."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from geomlib._version import __version__
from geomlib.datasets.elements import SYMBOLS
from geomlib.datasets.structures import Structures
from geomlib.train.references import Reference

__all__ = ["describe_run", "git_commit", "versions"]


def describe_run(
    sets: dict[str, Structures], reference: Reference, model: Any, config: dict[str, Any], folder: Path
) -> str:
    """Return the lines printed before training: data, split, reference energies, model."""
    train = sets["train"]
    elements = " ".join(SYMBOLS[z] for z in train.elements)
    shape = f"{train.z.numel() / len(train):.1f} atoms on average, elements {elements}"
    lines = [f"data       {train.source or 'in memory'}"]
    lines.append(f"split      {', '.join(f'{n} {len(s)}' for n, s in sets.items())} structures; {shape}")
    missing = ", ".join(f"{k} in {v}" for k, v in train.missing.items())
    if missing:
        lines.append(f"masked     training labels missing: {missing} structures")
    if reference.atomic_energies:
        energies = ", ".join(f"{SYMBOLS[z]} {e:.4f}" for z, e in reference.atomic_energies.items())
        note = "" if reference.unique else "; only their sum is determined (minimum norm)"
        lines.append(f"reference  {energies} eV{note}")
    else:
        lines.append(f"reference  {reference.shift:.4f} eV per structure")
    lines.append(
        f"           deviation left {reference.residual:.4f} eV, unit of the model {reference.scale:.4f} eV"
    )
    count = sum(p.numel() for p in model.parameters())
    options = ", ".join(f"{k}={v}" for k, v in config.items() if k != "name")
    lines.append(f"model      {config['name']}, {count:,} parameters ({options})")
    lines.append(f"folder     {folder}")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import numpy

    out = {"geomlib": __version__, "python": platform.python_version(), "torch": torch.__version__}
    out["numpy"] = numpy.__version__
    if "lightning" in sys.modules:
        out["lightning"] = sys.modules["lightning"].__version__
    return out


def git_commit() -> str | None:
    """Return the commit of the source tree geomlib comes from, with "+" if changed; None without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git on this machine: the version alone must do
