"""Settings of `geomlib train MODEL --data TASK` that finish in minutes; the cards say what the papers used."""

from __future__ import annotations

from typing import Any

__all__ = ["TASK_PRESETS"]

#: Task, then model, then settings; "model" holds options of the architecture.
TASK_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "nacl": {
        "gaanet": {
            "steps": 1500, "batch_size": 32, "lr": 2e-3, "warmup": 50, "weight_decay": 1e-4,
            "model": {"features": 4, "outputs": 2, "dim": 32, "layers": 2, "rank": 2},
        },
    },
    "nacl_blank": {
        "gaanet": {
            "steps": 1000, "batch_size": 32, "lr": 5e-3, "warmup": 50,
            "model": {"features": 4, "dim": 32, "layers": 2, "rank": 2, "last_rank": 1, "read_out": "vector"},
        },
    },
}  # fmt: skip
