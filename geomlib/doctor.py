"""`geomlib doctor`: versions, backends, and what may be wrong on this machine."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import metadata, util
from pathlib import Path

__all__ = ["homonym", "main"]

_PACKAGES = (
    "torch", "numpy", "safetensors", "vesin", "numba", "lightning", "jsonargparse", "tensorboard",
    "matplotlib", "ase", "tblite", "rdkit", "h5py", "torch-geometric", "e3nn",
)  # fmt: skip


def homonym() -> str | None:
    """Return a message if the other distribution called `geomlib` (computational geometry) is installed."""
    try:
        other = metadata.distribution("geomlib")
    except metadata.PackageNotFoundError:
        return None
    return (
        f"the distribution 'geomlib' {other.version} is installed: another project that uses the same import "
        "name. Remove it: pip uninstall geomlib, then install this source tree again (pip install .)."
    )


def main(argv: list[str]) -> int:
    """Print the state of the installation; return 0, or 1 if something needs attention."""
    argparse.ArgumentParser(
        prog="geomlib doctor", description="Versions, backends, and what may be wrong."
    ).parse_args(argv)
    problems = [p for p in (homonym(), _old_lightning()) if p]
    _versions()
    _torch(problems)
    _backends()
    if os.environ.get("GEOMLIB_DATA"):
        print(f"GEOMLIB_DATA      {os.environ['GEOMLIB_DATA']}")
    for problem in problems:
        print(f"\nproblem: {problem}")
    if not problems:
        print("\nno problem found")
    return 1 if problems else 0


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> None:
    import geomlib

    print(f"geomlib           {geomlib.__version__} in {Path(geomlib.__file__).parent}")
    print(f"python            {platform.python_version()} ({sys.executable}), {platform.platform()}")
    for name in _PACKAGES:
        print(f"{name:<18}{_version(name) or 'not installed'}")


def _old_lightning() -> str | None:
    found = _version("lightning")
    if found is None:
        return None
    numbers = tuple(int(p) if p.isdecimal() else 0 for p in found.split(".")[:3])
    if numbers in ((2, 6, 2), (2, 6, 3)):
        return f"lightning {found} was a malicious upload. Remove it; treat this machine as compromised."
    if numbers < (2, 6, 4):
        return f"lightning {found} is older than 2.6.4: pip install -U 'lightning>=2.6.4'."
    return None


def _torch(problems: list[str]) -> None:
    if util.find_spec("torch") is None:
        problems.append("torch is not installed: pip install torch")
        return
    import torch

    wish = os.environ.get("OMP_NUM_THREADS", "not set")
    print(f"threads           {torch.get_num_threads()} (OMP_NUM_THREADS={wish})")
    print(f"default dtype     {torch.get_default_dtype()}")
    if not torch.cuda.is_available():
        print("cuda              not available")
        return
    for i in range(torch.cuda.device_count()):
        print(f"cuda {i}            {torch.cuda.get_device_name(i)}")
    tf32 = torch.backends.cuda.matmul.allow_tf32
    print(f"tf32              {'on: float32 products keep 10 bits, equivariance suffers' if tf32 else 'off'}")
    if tf32:
        problems.append("TF32 is on. Turn it off: torch.set_float32_matmul_precision('highest').")


def _backends() -> None:
    if util.find_spec("torch") is None:
        return
    from geomlib.kernels.dispatch import available_backends

    for name, state in available_backends().items():
        print(f"backend {name:<10}{state}")
