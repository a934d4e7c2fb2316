"""Which tensor of torchmd-net's TensorNet is which of ours, and in what order of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.zoo.tensornet import TensorNet

__all__ = ["from_theirs", "layout_of_2x", "normal_names", "to_theirs"]

_ROOT = "representation_model."


def _table(layers: int) -> dict[str, list[str]]:
    """Return, for every weight of ours, the tensors of theirs it is made of (several: one per part)."""
    emb = _ROOT + "tensor_embedding."
    table: dict[str, list[str]] = {
        "embedding.species.weight": [emb + "emb.weight"],
        "embedding.weight": [f"{emb}linears_tensor.{k}.weight" for k in range(3)],
    }

    def linear(ours: str, theirs: str) -> None:
        for kind in ("weight", "bias"):
            table[f"{ours}.{kind}"] = [f"{theirs}.{kind}"]

    for kind in ("weight", "bias"):
        table[f"embedding.radial.linears.0.{kind}"] = [f"{emb}distance_proj{k}.{kind}" for k in (1, 2, 3)]
    linear("embedding.pair", emb + "emb2")
    linear("embedding.norm", emb + "init_norm")
    for k in range(2):
        linear(f"embedding.gates.{k}", f"{emb}linears_scalar.{k}")
        linear(f"energy_head.linears.{k}", f"output_model.output_network.layers.{2 * k}")
    linear("readout.norm", _ROOT + "out_norm")
    linear("readout.linear", _ROOT + "linear")
    for kind in ("means", "betas"):
        for owner in ("embedding", *(f"interactions.{layer}" for layer in range(layers))):
            table[f"{owner}.basis.{kind}"] = [f"{_ROOT}distance_expansion.{kind}"]
    for layer in range(layers):
        ours, theirs = f"interactions.{layer}", f"{_ROOT}layers.{layer}"
        for k in range(3):
            linear(f"{ours}.radial.linears.{k}", f"{theirs}.linears_scalar.{k}")
        table[f"{ours}.weight"] = [f"{theirs}.linears_tensor.{k}.weight" for k in range(3)]
        table[f"{ours}.weight_out"] = [f"{theirs}.linears_tensor.{k}.weight" for k in range(3, 6)]
    return table


def _is_stacked(ours: str) -> bool:
    """Say whether the parts are a new first dimension (channel mixers) or follow each other in the rows."""
    return re.fullmatch(r"embedding\.weight|interactions\.\d+\.weight(_out)?", ours) is not None


def from_theirs(theirs: Mapping[str, Tensor], model: TensorNet, where: str) -> dict[str, Tensor]:
    """Return the state dict of ``model`` made of their tensors.

    Raises:
        InvalidInput: a tensor is missing, is left over, or has the wrong shape.
    """
    state = dict(model.state_dict())
    used: set[str] = set()
    for ours, names in _table(len(model.interactions)).items():
        missing = [name for name in names if name not in theirs]
        if missing:
            raise InvalidInput(
                f"{where}: the weight {missing[0]!r} is missing; is it a TensorNet of torchmd-net?"
            )
        used.update(names)
        parts = [theirs[name] for name in names]
        value = torch.stack(parts) if _is_stacked(ours) else torch.cat(parts)
        if value.shape != state[ours].shape:
            raise InvalidInput(
                f"{where}: {names[0]!r} has shape {tuple(parts[0].shape)}, which makes {tuple(value.shape)}; "
                f"the settings of the file ask for {tuple(state[ours].shape)}."
            )
        state[ours] = value.to(state[ours].dtype)
    extra = sorted(set(theirs) - used)
    if extra:
        raise InvalidInput(
            f"{where}: {len(extra)} tensors have no place in a TensorNet, the first is {extra[0]!r}."
        )
    return state


def to_theirs(model: TensorNet) -> dict[str, Tensor]:
    """Return our weights as theirs, in the layout of 3.x."""
    state, out = model.state_dict(), {}
    for ours, names in _table(len(model.interactions)).items():
        value = state[ours].detach()
        parts = value.unbind(0) if _is_stacked(ours) else value.chunk(len(names))
        for name, part in zip(names, parts, strict=True):
            out[name] = part.to(model.dtype).clone()
    out["mean"], out["std"] = model.shift.to(model.dtype), model.scale.to(model.dtype)
    out[_ROOT + "distance.box"] = torch.zeros(3, 3, dtype=model.dtype)
    return out


def normal_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state under the names of 3.x, without the wrapper's prefix."""
    out = {}
    for name, value in state.items():
        name = name.removeprefix("model.")
        # 2.x had no module around the layers of the head, and early files a single prior without a number.
        name = re.sub(r"^(output_model\.output_network)\.(\d)\.(weight|bias)$", r"\1.layers.\2.\3", name)
        name = re.sub(r"^prior_model\.(?!\d)", "prior_model.0.", name)
        out[name] = value
    return out


def layout_of_2x(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the rows of the last scalar layers in the order of 3.x, from [F, 3] to [3, F]."""
    last = r"(tensor_embedding\.linears_scalar\.1|layers\.\d+\.linears_scalar\.2)\.(weight|bias)"
    out = dict(state)
    for name, value in state.items():
        if re.fullmatch(re.escape(_ROOT) + last, name):
            out[name] = value.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1).contiguous()
    return out
