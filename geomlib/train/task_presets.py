"""Settings of `geomlib train MODEL --data TASK` that finish in minutes; the cards say what the papers used."""

from __future__ import annotations

from typing import Any

__all__ = ["TASK_PRESETS"]

#: Task, then model, then settings; "model" holds options of the architecture.
TASK_PRESETS: dict[str, dict[str, dict[str, Any]]] = {}
