"""Training checkpoints in our own file format instead of pickle."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomlib.interop.checkpoint import load_tree, save_tree
from geomlib.train._lightning import CheckpointIO

__all__ = ["TreeCheckpointIO", "random_state", "restore_random_state"]


class TreeCheckpointIO(CheckpointIO):
    """Stores everything Lightning wants to keep in one checked safetensors file.

    A failed save raises :class:`~geomlib.CheckpointError`; Lightning's own passes over a refused permission.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically, and read back."""
        about = {"epoch": int(checkpoint["epoch"]), "step": int(checkpoint["global_step"])}
        save_tree(checkpoint, path, kind="training", about=about)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read what :meth:`save_checkpoint` wrote."""
        return load_tree(path, kind="training")

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    """Return the states of Python's, numpy's and torch's generators as plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - the state of others' code
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore what :func:`random_state` returned."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    cuda = state.get("cuda", [])
    if cuda and torch.cuda.is_available() and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)
