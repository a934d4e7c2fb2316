"""What a hostile pickle or YAML file contains: calls to be made while loading. Each leaves a marker file."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

__all__ = ["NAMES", "Gadget", "gadgets", "yaml_gadgets"]


class Gadget:
    """Pickles into a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def gadgets(marker: Path) -> dict[str, Gadget]:
    touch = f"touch {marker}"
    module = Gadget(importlib.import_module, "pathlib")
    return {
        "os.system": Gadget(os.system, touch),
        "Popen": Gadget(subprocess.Popen, ["touch", str(marker)]),
        "exec": Gadget(exec, f"import pathlib; pathlib.Path({str(marker)!r}).touch()"),
        "eval": Gadget(eval, f"__import__('pathlib').Path({str(marker)!r}).touch()"),
        "getattr chain": Gadget(methodcaller("system", touch), Gadget(getattr, module, "os")),
    }


NAMES = ["os.system", "Popen", "exec", "eval", "getattr chain"]


def yaml_gadgets(marker: Path) -> dict[str, str]:
    return {
        "os.system": f"!!python/object/apply:os.system ['touch {marker}']",
        "Popen": f"!!python/object/apply:subprocess.Popen [[touch, '{marker}']]",
        "eval": f"!!python/object/apply:eval [\"open('{marker}', 'w')\"]",
        "object": f"!!python/object/new:os.system ['touch {marker}']",
    }
