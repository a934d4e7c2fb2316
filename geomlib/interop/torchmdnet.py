"""TensorNet weights of torchmd-net, versions 2.x and 3.x, read safely."""

from __future__ import annotations

import json
import warnings
from _pickle import UnpicklingError  # the type of an error; nothing here unpickles
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.interop.torchmdnet_names import from_theirs, layout_of_2x, normal_names, to_theirs
from geomlib.zoo.tensornet import TensorNet

__all__ = ["load_torchmdnet", "to_torchmdnet_state_dict"]

# What geomlib can reproduce; any other value of these settings changes the numbers. Only `model` must be
# there.
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "model": ("tensornet",),
    "rbf_type": ("expnorm",),
    "activation": ("silu",),
    "output_model": ("Scalar",),
    "reduce_op": ("sum", "add"),
    "cutoff_lower": (0, 0.0),
    "atom_filter": (-1, None),
    "output_mlp_num_layers": (0, None),
}
_LAYOUTS = ("auto", "2.x", "3.x")


def load_torchmdnet(
    path: str | Path,
    *,
    mirror: bool = False,
    layout: str = "auto",
    config: Mapping[str, Any] | None = None,
) -> TensorNet:
    r"""Return the TensorNet of a torchmd-net checkpoint; energies and forces are the same numbers.

    Reads Lightning ``.ckpt`` files (opened with ``weights_only=True``, never unpickled) and
    ``.safetensors`` files whose metadata holds the settings as JSON under ``config``. The model has
    torchmd-net's exact envelope (``envelope="cosine"``), and ``std``, ``mean`` and an ``Atomref`` prior
    become its reference energies:

    .. math:: E = \sum_i (\mathrm{std}\; e_i + \mathrm{Atomref}_{z_i}) + \mathrm{mean}

    The weights keep their type; ``model.double()`` loses nothing. Units are those of the training data.

    Args:
        path: the checkpoint.
        mirror: evaluate the mirror image of the stored SO(3) weights. torchmd-net 3.x has a fast path
            ("Warp") with the opposite handedness; set this for SO(3) weights that were *trained* there.
            O(3) models give the same energy either way.
        layout: order of the rows of the last scalar layers: "3.x", "2.x", or "auto" (2.x files hold the
            setting ``check_errors``).
        config: the settings, in torchmd-net's names, where the file has none.

    Returns:
        TensorNet: in evaluation mode.

    Raises:
        InvalidInput: the file is not such a checkpoint or would need unpickling, the model is not a
            TensorNet with a scalar head, or it has a prior that geomlib does not have.

    Source: Simeon and De Fabritiis, *TensorNet*, arXiv 2306.06482; layout of torchmd-net 2.x and 3.x.

    Example:
        >>> model = load_torchmdnet("tests/data/molecular/tensornet_o3_L1.safetensors")
        >>> model.cutoff, model.group
        (4.5, 'O(3)')
    """
    path = Path(path)
    if layout not in _LAYOUTS:
        raise InvalidInput(f"load_torchmdnet: `layout` is {layout!r}, expected one of {', '.join(_LAYOUTS)}.")
    state, stored = _read(path)
    settings = dict(config) if config is not None else stored
    if not settings:
        raise InvalidInput(
            f"load_torchmdnet: {path} holds no settings. Pass them as `config`, in torchmd-net's names "
            "(embedding_dimension, num_layers, num_rbf, cutoff_upper, ...)."
        )
    _refuse_other_models(settings, path)
    state = normal_names(state)
    if layout == "2.x" or (layout == "auto" and "check_errors" in settings):
        state = layout_of_2x(state)
    model = _build(settings, path)
    reference, scale, shift = _take_energies(state, settings, path)
    box = state.pop("representation_model.distance.box", None)
    if box is not None and bool(box.any()):
        warnings.warn(
            f"{path} was trained with a fixed box {box.tolist()}; geomlib takes the cell of every call.",
            stacklevel=2,
        )
    model.to(state["representation_model.linear.weight"].dtype)
    model.load_state_dict(from_theirs(state, model, str(path)), strict=True)
    model.set_reference(reference, scale=scale, shift=shift)
    if mirror:
        # Only the antisymmetric part of the embedding is odd under the mirror image of the positions.
        with torch.no_grad():
            model.embedding.weight[1].neg_()
    return model.eval()


def to_torchmdnet_state_dict(model: TensorNet) -> dict[str, Tensor]:
    """Return the weights under the names and in the layout of torchmd-net 3.x.

    Reference energies per element are not part of it, they are a prior there; ``mean`` and ``std`` are.

    Raises:
        InvalidInput: the model has no counterpart: another head, a smooth envelope, or reference energies.

    Example:
        >>> model = load_torchmdnet("tests/data/molecular/tensornet_o3_L1.safetensors")
        >>> to_torchmdnet_state_dict(model)["std"]
        tensor(2.1000)
    """
    if tuple(model.heads) != ("energy",) or model.config["envelope"] != "cosine":
        raise InvalidInput(
            "to_torchmdnet_state_dict: torchmd-net has only the energy head and the cosine envelope; this "
            "model "
            f"has heads {model.heads} and envelope {model.config['envelope']!r}."
        )
    if bool(model.atomic_reference.any()):
        raise InvalidInput(
            "to_torchmdnet_state_dict: the model has reference energies per element. Store them as an "
            "Atomref "
            "prior, and call model.set_reference(None, scale, shift) on a copy first."
        )
    return to_theirs(model)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InvalidInput(f"load_torchmdnet: there is no file {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise InvalidInput(
            f"load_torchmdnet: {path} needs to run code to be opened, which geomlib never does. If you "
            "trust the "
            "file, open it where it was made and save its `state_dict` and `hyper_parameters` (plain "
            "values) again, "
            f"or convert it to safetensors. ({str(error).splitlines()[0]})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise InvalidInput(f"load_torchmdnet: {path} is not a readable checkpoint: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise InvalidInput(f"load_torchmdnet: {path} has no `state_dict`; expected a Lightning checkpoint.")
    settings = dict(content.get("hyper_parameters", {}))
    return {k: v for k, v in content["state_dict"].items() if isinstance(v, Tensor)}, settings


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            text = (file.metadata() or {}).get("config", "{}")
        settings = json.loads(text)
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidInput(f"load_torchmdnet: {path} is not a readable safetensors file: {error}") from None
    if not isinstance(settings, dict):
        raise InvalidInput(f"load_torchmdnet: {path}: the metadata `config` must be a JSON object.")
    return state, settings


def _refuse_other_models(settings: Mapping[str, Any], path: Path) -> None:
    for name, allowed in _REQUIRED.items():
        found = settings.get(name) if name == "model" else settings.get(name, allowed[0])
        if found not in allowed:
            raise InvalidInput(
                f"load_torchmdnet: {path} has {name}={found!r}, geomlib can load {name}={allowed[0]!r} only."
            )


def _build(settings: Mapping[str, Any], path: Path) -> TensorNet:
    names = ("embedding_dimension", "num_layers", "num_rbf", "cutoff_upper", "max_z")
    names = (*names, "equivariance_invariance_group")
    missing = [name for name in names if name not in settings]
    if missing:
        raise InvalidInput(
            f"load_torchmdnet: {path}: the settings lack {', '.join(missing)}; pass them in `config`."
        )
    channels, layers, radial, cutoff, max_z, group = (settings[name] for name in names)
    return TensorNet(
        channels=int(channels),
        layers=int(layers),
        num_radial=int(radial),
        cutoff=float(cutoff),
        max_z=int(max_z),
        group=str(group),
        envelope="cosine",
        trainable_basis=bool(settings.get("trainable_rbf", False)),
    )


def _take_energies(
    state: dict[str, Tensor], settings: Mapping[str, Any], path: Path
) -> tuple[dict[int, float] | None, float, float]:
    """Remove scale, shift and priors from the state and return reference energies, scale and shift."""
    scale = float(state.pop("std", torch.ones(())).double())
    shift = float(state.pop("mean", torch.zeros(())).double())
    reference: dict[int, float] | None = None
    max_z = int(settings["max_z"])
    for position, (name, options) in enumerate(_priors(settings)):
        if name not in ("Atomref", "LearnableAtomref"):
            raise InvalidInput(
                f"load_torchmdnet: {path} adds the prior {name!r} to the energy, which geomlib does not "
                "have. "
                "Only Atomref is supported."
            )
        state.pop(f"prior_model.{position}.initial_atomref", None)
        table = state.pop(f"prior_model.{position}.atomref.weight", None)
        if table is None:
            raise InvalidInput(f"load_torchmdnet: {path}: the weights lack the table of the prior {name}.")
        if options.get("enable", True):
            rows = enumerate(table.double().flatten().tolist())
            reference = {z: value + (reference or {}).get(z, 0.0) for z, value in rows if z < max_z}
    return reference, scale, shift


def _priors(settings: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the priors in order, from any of the forms torchmd-net accepts."""
    given = settings.get("prior_model") or []
    found: list[tuple[str, dict[str, Any]]] = []
    for entry in given if isinstance(given, list | tuple) else [given]:
        if isinstance(entry, Mapping):
            found += [(str(name), dict(options or {})) for name, options in entry.items()]
        else:
            found.append((str(entry), {}))
    options = settings.get("prior_args")
    if options:
        listed = options if isinstance(options, list | tuple) else [options]
        found = [(name, dict(extra or {})) for (name, _), extra in zip(found, listed, strict=False)]
    return found
