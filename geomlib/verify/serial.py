"""A report as JSON, the schema it follows, and files written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from geomlib.errors import InvalidInput

if TYPE_CHECKING:
    from geomlib.verify.report import Report

__all__ = ["SCHEMA", "SCHEMA_VERSION", "SEVERITY", "as_dict", "check_folder", "to_text", "write"]

SCHEMA_VERSION = 1
#: Verdicts from best to worst; the worst field decides.
SEVERITY = ("EXACT", "APPROXIMATE", "PRECISION LEAK", "VACUOUS", "BROKEN", "NONDETERMINISTIC", "NONFINITE")

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
#: JSON has no NaN and no infinity: they are written as null, and the verdict says why.
_NUMBER: dict[str, Any] = {"type": ["number", "null"], "minimum": 0}


def _object(properties: Mapping[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object", "properties": dict(properties), "required": required, "additionalProperties": False,
    }  # fmt: skip


def _numbers(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": dict(kind)}


_FIELD = _object(
    {
        "name": _TEXT, "type": _TEXT, "e64": _NUMBER, "e32": _NUMBER, "d32": _NUMBER, "tau64": _NUMBER,
        "ratio": _NUMBER, "verdict": {"enum": list(SEVERITY)}, "where": _TEXT, "reason": _TEXT,
        "median": _NUMBER,
    }
)  # fmt: skip

#: JSON Schema (2020-12) of what `Report.to_json` writes.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "geomlib.verify report",
    **_object(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "verdict": {"enum": list(SEVERITY)},
            "ok": {"type": "boolean"},
            "target": _TEXT,
            "group": _TEXT,
            "seed": {"type": "integer"},
            "trials": {"type": "integer", "minimum": 1},
            "fields": {"type": "array", "items": _FIELD},
            "components_tested": _numbers({"type": "integer", "minimum": 0}),
            "breaks": _numbers(_NUMBER),
            "failures": _TEXTS,
            "passes": _TEXTS,
            "fails": _TEXTS,
            "advice": _TEXT,
            "first_broken": _TEXT,
            "leaks": _TEXTS,
            "lie": _numbers(_NUMBER),
            "warnings": _TEXTS,
            "replay": _TEXT,
        }
    ),
}


def as_dict(report: Report) -> dict[str, Any]:
    """Return the report as plain values that follow `SCHEMA`."""
    fields = SCHEMA["properties"]["fields"]["items"]["properties"]
    found = {
        "schema_version": SCHEMA_VERSION,
        "components_tested": dict(report.components),
        "fields": [{name: getattr(f, name) for name in fields} for f in report.fields],
    }
    rest = {name: getattr(report, name) for name in SCHEMA["properties"] if name not in found}
    return _plain({name: found.get(name, rest.get(name)) for name in SCHEMA["properties"]})


def to_text(value: Mapping[str, Any]) -> str:
    """Return strict JSON, indented."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value)  # a replay line can be called; its text is kept
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in cast("Sequence[Any]", value)]
    return value


def check_folder(path: str | Path, argument: str) -> Path:
    """Return the path if its folder exists, before an hour is spent on what could not be saved.

    Raises:
        InvalidInput: no such folder, or the path is a folder itself.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise InvalidInput(
            f"{argument}: {str(file)!r} cannot be written, there is no folder {str(file.parent)!r}. Create it first."
        )
    if file.is_dir():
        raise InvalidInput(f"{argument}: {str(file)!r} is a folder, expected a file.")
    return file


def write(path: str | Path, text: str, argument: str) -> Path:
    """Write a text file in one step, so that a reader never sees half of it."""
    file = check_folder(path, argument)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return file
