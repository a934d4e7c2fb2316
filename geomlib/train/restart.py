"""Runs that a scheduler starts again, and which of several processes speaks for the run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomlib.errors import InvalidInput
from geomlib.train.parser import Parsed, read_yaml

__all__ = ["after_restart", "is_main", "restarts"]

#: Counters of SLURM (a requeued job) and torchrun (an elastic restart); 0 or absent at the first start.
_COUNTERS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
#: How a run is started, not what it is.
_START = ("out", "resume", "overwrite")


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0


def is_main() -> bool:
    """Return whether this process is the first one of a run, under Lightning's launcher, torchrun and srun alike."""
    return not any(_number(name) for name in _RANKS)


def restarts() -> str | None:
    """Return the counter that says that a scheduler has started this command before, as NAME=COUNT."""
    return next((f"{name}={_number(name)}" for name in _COUNTERS if _number(name)), None)


def after_restart(parsed: Parsed, folder: Path, checkpoint: str) -> Parsed:
    """Return the settings with which a command continues its own run after a restart by the scheduler.

    The same command is started again, so it says neither --resume nor, if it once replaced an older run, that
    --overwrite is done with. A run that was stopped before its first checkpoint starts over.

    Args:
        parsed: settings of the command.
        folder: of the run.
        checkpoint: name of the file to continue from.

    Raises:
        InvalidInput: the folder holds a run with other settings.
    """
    counter = restarts()
    stored = folder / "config.yaml"
    if counter is None or parsed.config.resume or not stored.is_file():
        return parsed
    if changed := _differences(read_yaml(stored), parsed.as_dict()):
        raise InvalidInput(
            f"{counter}, but {folder} holds a run with other settings ({'; '.join(changed)}). Continue it with "
            f"--resume {folder}, replace it with --overwrite in a new job, or choose another folder with --out."
        )
    goes_on = (folder / checkpoint).is_file()
    if is_main():
        done = "continuing the run" if goes_on else "no checkpoint yet, starting over"
        print(f"note       {counter}: {done} in {folder}", flush=True)
    return Parsed(replace(parsed.config, resume=goes_on, overwrite=not goes_on), parsed.model)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name the settings that both know and that differ; a newer version may have added some."""
    old, new = _flat(before), _flat(json.loads(json.dumps(now)))  # tuples are lists in a file
    common = [key for key in new if key in old and key not in _START]
    return [f"{key} was {old[key]}, is {new[key]}" for key in common if old[key] != new[key]]


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    model = content.get("model") or {}
    return {k: v for k, v in content.items() if k != "model"} | {f"model.{k}": v for k, v in model.items()}
