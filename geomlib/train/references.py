"""Energies of the elements and the unit of the learned part, from the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from geomlib.datasets.structures import Structures
from geomlib.errors import InvalidInput

__all__ = ["Reference", "fit_reference"]

MODES = ("elements", "mean", "none")
SCALES = ("energy", "forces", "none")


@dataclass(frozen=True)
class Reference:
    r"""What a model adds to the learned part: :math:`E = \sum_i (s\,e_i + E^0_{z_i}) + E^0`.

    Args:
        atomic_energies: energy of each element in eV.
        scale: unit s of the learned part, eV.
        shift: constant :math:`E^0`, eV.
        unique: False if the compositions leave the energies of the elements open (only their sum is fixed).
        residual: standard deviation of the training energies that remains, eV.
    """

    atomic_energies: dict[int, float]
    scale: float
    shift: float
    unique: bool
    residual: float

    def apply(self, model: Any) -> None:
        """Store it in a model."""
        model.set_reference(self.atomic_energies or None, self.scale, self.shift)


def fit_reference(
    structures: Structures, energies: str = "elements", scale: str | float = "energy"
) -> Reference:
    """Fit reference energies to the labels of a training set, in float64.

    Args:
        structures: the training set.
        energies: "elements": least squares per element, of minimum norm where the compositions leave a choice
            (a single molecule), so that the sum stays proportional to size; "mean": one constant, for one
            composition; "none": zero.
        scale: "energy": standard deviation of what remains; "forces": root mean square of the force
            components; "none": 1; or a number in eV.

    Raises:
        InvalidInput: unknown mode, or labels are missing.

    Example:
        >>> data = Structures(z=[1, 1, 8, 8], pos=torch.rand(4, 3), ptr=[0, 2, 4], energy=[-2.0, -10.0])
        >>> fit_reference(data).atomic_energies
        {1: -1.0, 8: -5.0}
    """
    if energies not in MODES:
        raise InvalidInput(f"fit_reference: energies = {energies!r}, expected one of {', '.join(MODES)}.")
    if isinstance(scale, str) and scale not in SCALES:
        raise InvalidInput(
            f"fit_reference: scale = {scale!r}, expected a number or one of {', '.join(SCALES)}."
        )
    if structures.energy is None:
        if energies != "none" or scale == "energy":
            raise InvalidInput(
                "fit_reference: the training set has no energies. Use energies='none', scale='forces' "
                "(--reference none --scale forces --energy_weight 0)."
            )
        return Reference({}, _scale(structures, scale, 1.0), 0.0, True, 0.0)
    known = torch.isfinite(structures.energy)
    if not bool(known.any()):
        raise InvalidInput("fit_reference: all energies of the training set are masked (NaN).")
    y = structures.energy[known].numpy().astype(np.float64)
    elements = structures.elements
    unique, shift, atomic = True, 0.0, {}
    rest = y
    if energies == "mean":
        shift = float(y.mean())
        rest = y - shift
    elif energies == "elements":
        counts = _counts(structures, elements)[known.numpy()]
        # Equal compositions are one equation: the fit costs the same for a million frames of one molecule.
        rows, inverse, weights = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
        sums = np.bincount(inverse.reshape(-1), weights=y, minlength=len(rows))
        root = np.sqrt(weights)
        found, _, rank, _ = np.linalg.lstsq(rows * root[:, None], sums / root, rcond=None)
        unique = bool(rank == len(elements))
        atomic = {z: float(e) for z, e in zip(elements, found, strict=True)}
        rest = y - counts @ found
    residual = float(rest.std())
    return Reference(atomic, _scale(structures, scale, residual), shift, unique, residual)


def _counts(structures: Structures, elements: list[int]) -> np.ndarray:
    column = torch.searchsorted(torch.tensor(elements), structures.z)
    flat = structures.batch * len(elements) + column
    table = torch.bincount(flat, minlength=len(structures) * len(elements))
    return table.reshape(len(structures), len(elements)).numpy().astype(np.float64)


def _scale(structures: Structures, scale: str | float, residual: float) -> float:
    if scale == "none":
        return 1.0
    if scale == "forces":
        if structures.forces is None:
            raise InvalidInput("fit_reference: scale='forces', but the training set has no forces.")
        scale = float(structures.forces[torch.isfinite(structures.forces)].square().mean().sqrt())
    elif scale == "energy":
        scale = residual
    # One frame, or equal energies: nothing to measure a unit with.
    return float(scale) if float(scale) > 1e-8 else 1.0
