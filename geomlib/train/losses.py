"""Loss and errors of energies, forces and stress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.train.batching import Batch

__all__ = ["METRICS", "SUMS", "LossWeights", "check_labels", "metrics_from_sums", "training_loss"]

SUMS: tuple[str, ...] = ("n_E", "E1", "E2", "A1", "n_F", "F1", "F2", "n_S", "S1", "S2", "n", "loss")
"""What is summed up per batch."""
METRICS = {
    "E_mae": "meV",
    "E_mae_atom": "meV/atom",
    "E_rmse": "meV",
    "F_mae": "meV/Å",
    "F_rmse": "meV/Å",
    "S_mae": "meV/Å³",
    "S_rmse": "meV/Å³",
}
"""Names and units of the errors."""


@dataclass(frozen=True)
class LossWeights:
    r"""Weights of the loss.

    .. math:: w_E\,\overline{\Delta E^2} + w_F\,\overline{\Delta F^2} + w_S\,\overline{\Delta\sigma^2}

    The means run over structures, force components and stress components; units eV, eV/Å, eV/Å³.

    Args:
        energy: :math:`w_E`.
        forces: :math:`w_F`.
        stress: :math:`w_S`.
        per_atom: divide the energy difference of a structure by its number of atoms.
    """

    energy: float = 0.05
    forces: float = 0.95
    stress: float = 0.0
    per_atom: bool = False


def check_labels(batch: Batch, out: Mapping[str, Tensor], weights: LossWeights) -> None:
    """Check that predictions and labels have the same shapes.

    An energy of shape (n,) against one of shape (n, 1) would broadcast to (n, n) and train nonsense.

    Raises:
        InvalidInput: a label is missing or has another shape.
    """
    for name in ("energy", "forces", "stress"):
        label, value = getattr(batch, name), out.get(name)
        if getattr(weights, name) and (label is None or value is None):
            who = "data" if label is None else "model output"
            raise InvalidInput(
                f"the loss weight of {name} is {getattr(weights, name)}, but the {who} has no {name}."
            )
        if label is not None and value is not None and label.shape != value.shape:
            raise InvalidInput(
                f"{name}: the model returns shape {tuple(value.shape)}, the labels {tuple(label.shape)}: "
                "they would broadcast; reshape the labels."
            )


def training_loss(out: Mapping[str, Tensor], batch: Batch, weights: LossWeights) -> tuple[Tensor, Tensor]:
    """Return the loss and the sums from which :func:`metrics_from_sums` makes the errors.

    Args:
        out: energies (B,), forces (N, 3), stress (B, 3, 3), as far as they have labels.
        batch: the labels; NaN labels count for nothing.
        weights: of the loss.

    Returns:
        Loss (), and sums (12,) float64 without gradient.
    """
    zero = batch.pos.new_zeros(())
    loss: Tensor | float = 0.0
    sums: list[Tensor] = [zero] * len(SUMS)
    for name, weight, slot in (
        ("energy", weights.energy, 0),
        ("forces", weights.forces, 4),
        ("stress", weights.stress, 7),
    ):
        label, value = getattr(batch, name), out.get(name)
        if label is None or value is None:
            continue
        delta = value - label
        count: Tensor | float = delta.numel()
        if batch.masked:
            known = torch.isfinite(label)
            delta = torch.where(known, delta, torch.zeros_like(delta))
            count = known.sum().clamp(min=1)
        if name == "energy":
            per_atom = delta / batch.num_atoms
            if weight:
                term = per_atom if weights.per_atom else delta
                loss = loss + weight * (term.square().sum() / count)
            sums[3] = per_atom.detach().abs().sum()
        elif weight:
            loss = loss + weight * (delta.square().sum() / count)
        rest = delta.detach()
        sums[slot] = known.sum() if batch.masked else zero + count
        sums[slot + 1] = rest.abs().sum()
        sums[slot + 2] = rest.square().sum()
    if not isinstance(loss, Tensor):
        raise InvalidInput("the loss is empty: all weights are zero, or the data has no label they ask for.")
    graphs = batch.num_graphs - batch.dummies
    sums[10] = zero + graphs
    sums[11] = loss.detach() * graphs
    return loss, torch.stack([s.to(torch.float64) for s in sums])


def metrics_from_sums(sums: Tensor) -> dict[str, float]:
    """Return mean and root-mean-square errors in meV, meV/Å and meV/Å³, and the mean loss.

    >>> sums = torch.tensor([2.0, 0.02, 0.0002, 0.01] + [0.0] * 6 + [2.0, 1.0], dtype=torch.float64)
    >>> metrics_from_sums(sums)["E_mae"]
    10.0
    """
    s = dict(zip(SUMS, sums.tolist(), strict=True))
    out = {"loss": s["loss"] / s["n"]} if s["n"] else {}
    for letter in "EFS":
        if s[f"n_{letter}"]:
            out[f"{letter}_mae"] = 1000 * s[f"{letter}1"] / s[f"n_{letter}"]
            out[f"{letter}_rmse"] = 1000 * (s[f"{letter}2"] / s[f"n_{letter}"]) ** 0.5
    if s["n_E"]:
        out["E_mae_atom"] = 1000 * s["A1"] / s["n_E"]
    return out
