"""The data set that comes with the package, so that first examples run offline."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from geomlib.datasets.cache import load_structures
from geomlib.datasets.structures import Structures
from geomlib.errors import CheckpointError, InvalidInput

__all__ = ["dataset_card", "list_datasets", "load_embedded"]

_FOLDER = Path(__file__).parent / "embedded"
_SETS = {"ethanol": "ethanol_gfn2"}


def list_datasets() -> list[str]:
    """Return the names :func:`geomlib.datasets.load` knows without a file.

    Example:
        >>> from geomlib.datasets import list_datasets
        >>> list_datasets()
        ['ethanol']
    """
    return sorted(_SETS)


def dataset_card(name: str) -> dict[str, Any]:
    """Return the card of an embedded set: recipe, versions, statistics, units, licence, sha256.

    Raises:
        InvalidInput: unknown name, with the closest one.
        CheckpointError: the card is damaged.
    """
    stem = _SETS.get(name.lower())
    if stem is None:
        close = difflib.get_close_matches(name.lower(), _SETS, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidInput(
            f"data set {name!r} is unknown; list_datasets() shows {', '.join(list_datasets())}.{hint}"
        )
    path = _FOLDER / f"{stem}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card["sha256"], str) or not isinstance(card["file"], str):
            raise TypeError("file and sha256 must be text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: the card of {name!r} is missing or damaged ({error}). Reinstall geomlib."
        ) from None
    return card


def load_embedded(name: str) -> Structures:
    """Return an embedded data set, after checking its sha256 against the card.

    Raises:
        InvalidInput: unknown name.
        CheckpointError: data or card are damaged.
    """
    card = dataset_card(name)
    return load_structures(_FOLDER / Path(card["file"]).name, sha256=card["sha256"])
