"""Checkpoints: one safetensors file with JSON beside the tensors, checked as a whole, written atomically.

The header holds one JSON text: format name and version, kind, content, and a SHA-256 of the whole file with
its own 64 digits set to zero. safetensors, zip and HDF5 notice no flipped bit; here any change is found
before a tensor is used. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomlib._version import __version__
from geomlib.errors import CheckpointError, GeomlibError, InvalidInput
from geomlib.files.atomic import write_atomic
from geomlib.files.sealed import BLANK, open_sealed, seal
from geomlib.interop.trees import decode_tree, encode_tree

__all__ = ["FORMAT_VERSION", "checkpoint_info", "load_model", "load_tree", "save_model", "save_tree"]

FORMAT_VERSION = 1
"""Version written into new files; files of newer versions are refused."""

_FORMAT = "geomlib-checkpoint"
# Only our own metadata key can look like this: inside a JSON text every quote is escaped once more.
_SLOT = re.compile(rb'"geomlib":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')
_MODEL_FILE = "model.safetensors"


def save_model(model: nn.Module, path: str | Path, *, about: Mapping[str, Any] | None = None) -> str:
    """Write a model, its weights and its configuration, to one file.

    Args:
        model: a zoo model: it has `config`, a JSON-able dict with "name".
        path: the .safetensors file to write or replace, atomically.
        about: JSON-able facts to keep with it (data, seeds, results); :func:`checkpoint_info` reads them.

    Returns:
        The SHA-256 stored in the file.

    Raises:
        InvalidInput: the model has no `config`, or it is not JSON.
        CheckpointError: the file could not be written; the previous one is unchanged.

    Example:
        >>> import geomlib, tempfile, pathlib
        >>> from geomlib.interop.checkpoint import load_model, save_model
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "m.safetensors"
        >>> model = geomlib.create_model("tensornet", channels=8, layers=1)
        >>> _ = save_model(model, path)
        >>> load_model(path).config == model.config
        True
    """
    config = getattr(model, "config", None)
    if not isinstance(config, Mapping) or not isinstance(config.get("name"), str):
        raise InvalidInput(
            f"save_model: {type(model).__name__} has no `config` dict with the registered `name`; "
            "save other modules with save_tree(module.state_dict(), path)."
        )
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}
    content = {"config": dict(config), "dtype": _dtype_name(model), "about": dict(about or {})}
    return _write(path, tensors, "model", content)


def load_model(path: str | Path, *, device: str | torch.device | None = None) -> nn.Module:
    """Read a model written by :func:`save_model`; it comes back in evaluation mode, with the dtype it had.

    Args:
        path: the file, or the folder of a training run.
        device: where to put it; the CPU if None.

    Raises:
        InvalidInput: no such file.
        CheckpointError: the file is damaged, of a newer format, holds no model, or does not fit the code.
    """
    path = Path(path)
    if path.is_dir():
        path = path / _MODEL_FILE
    header, tensors = _read(path, "model")
    try:
        config, dtype = header["config"], getattr(torch, header["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise TypeError("dtype")
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: its header lacks or garbles {error}.") from None
    from geomlib.zoo.registry import create_model

    try:
        with torch.random.fork_rng(devices=[]):  # initial weights, about to be replaced
            model = create_model(**config).to(dtype)
        _restore(model, tensors)
    except (GeomlibError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the stored model cannot be rebuilt: {error}") from error
    return model.eval() if device is None else model.to(device).eval()


def _restore(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    model.load_state_dict(dict(tensors), strict=True)
    for name, value in model.state_dict().items():
        if value.dtype != tensors[name].dtype:
            # load_state_dict casts without a word: a float64 reference energy would lose its digits.
            raise ValueError(f"{name} is stored as {tensors[name].dtype}, the model holds {value.dtype}")


def _dtype_name(model: nn.Module) -> str:
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    return str(dtypes[0] if dtypes else torch.float32).removeprefix("torch.")


def save_tree(
    tree: Any, path: str | Path, *, kind: str = "tree", about: Mapping[str, Any] | None = None
) -> str:
    """Write nested dicts, lists, tuples, numbers, strings, None and tensors to one checked file.

    Args:
        tree: what to write; every value comes back with its type, floats and tensors bit for bit.
        path: the .safetensors file to write or replace, atomically.
        kind: a word that :func:`load_tree` can insist on.
        about: JSON-able facts, readable without the tensors.

    Returns:
        The SHA-256 stored in the file.

    Raises:
        InvalidInput: the tree holds something else, named by its place.
        CheckpointError: the file could not be written; the previous one is unchanged.

    Example:
        >>> import pathlib, tempfile, torch
        >>> from geomlib.interop.checkpoint import load_tree, save_tree
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "state.safetensors"
        >>> _ = save_tree({"step": 3, 7: (torch.eye(2), None)}, path)
        >>> load_tree(path)["step"]
        3
    """
    structure, tensors = encode_tree(tree)
    return _write(path, tensors, kind, {"tree": structure, "about": dict(about or {})})


def load_tree(path: str | Path, *, kind: str | None = None) -> Any:
    """Read a file written by :func:`save_tree`.

    Args:
        path: the file.
        kind: refuse files of another kind.

    Raises:
        InvalidInput: no such file.
        CheckpointError: the file is damaged, of a newer format or of another kind.
    """
    header, tensors = _read(Path(path), kind)
    if "tree" not in header:
        raise CheckpointError(f"{path}: holds a {header.get('kind')}, not a tree.")
    try:
        return decode_tree(header["tree"], tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def checkpoint_info(path: str | Path) -> dict[str, Any]:
    """Return what a file says about itself (kind, version, config, about, sha256), after checking all of it.

    Raises:
        InvalidInput: no such file.
        CheckpointError: the file is damaged or of a newer format.
    """
    header, tensors = _read(Path(path), None)
    return {k: v for k, v in header.items() if k != "tree"} | {"tensors": len(tensors)}


def _write(path: str | Path, tensors: dict[str, Tensor], kind: str, content: dict[str, Any]) -> str:
    from safetensors.torch import save

    header = {"sha256": BLANK, "format": _FORMAT, "version": FORMAT_VERSION, "kind": kind}
    header |= {"geomlib": __version__, **content}
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: config and about must be plain JSON values ({error}).") from None
    blob = bytearray(save(tensors, metadata={"geomlib": text}))
    digest = seal(blob, _SLOT, str(path))
    write_atomic(path, [blob])
    return digest


def _read(path: Path, kind: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    blob, header = open_sealed(path, _SLOT, "checkpoint", "Use an older copy or train again.")
    try:
        name, version, found = header["format"], header["version"], header["kind"]
    except KeyError as error:
        raise CheckpointError(f"{path}: its header lacks {error}.") from None
    if name != _FORMAT or not isinstance(version, int):
        raise CheckpointError(f"{path}: format {name!r} version {version!r}, expected {_FORMAT!r}.")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {version}, written by geomlib {header.get('geomlib')}; this geomlib "
            f"({__version__}) reads up to version {FORMAT_VERSION}. Upgrade geomlib."
        )
    if kind is not None and found != kind:
        raise CheckpointError(f"{path}: holds a {found}, expected a {kind}.")
    try:
        return header, load(blob)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path}: its tensors cannot be read ({error}).") from None
