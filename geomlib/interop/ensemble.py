"""Several models as one: the mean of their predictions and how far they disagree."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.errors import InvalidInput
from geomlib.kernels.neighbors import HalfPairs, half_pairs
from geomlib.zoo.captured import CapturedPotential
from geomlib.zoo.potential import Potential

__all__ = ["Ensemble", "as_dtype", "as_potential", "cutoff_of", "geometry_dtype"]

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


class Ensemble(nn.Module):
    r"""The mean of M models, with the spread :math:`\sqrt{\sum_m (y_m - \bar y)^2 / (M - 1)}` beside it.

    Called like a single model; one neighbour list serves all members. The result holds the mean of everything
    that all members return, and ``energy_std`` (B,), ``forces_std`` (N, 3), ``stress_std`` (B, 3, 3).
    The mean of the forces is the force of the mean energy, so the ensemble conserves energy.

    Args:
        models: at least one model; their cutoffs may differ.

    Raises:
        InvalidInput: no model.

    Example:
        >>> import geomlib
        >>> models = [geomlib.create_model("tensornet", channels=4, layers=1) for _ in range(3)]
        >>> out = Ensemble(models)(torch.tensor([1, 1]), torch.tensor([[0.0, 0, 0], [0, 0, 0.8]]))
        >>> sorted(k for k in out if k.endswith("_std"))
        ['energy_std', 'forces_std']
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        if not models:
            raise InvalidInput("Ensemble: `models` is empty; pass at least one model.")
        self.models = nn.ModuleList(models)

    @property
    def cutoff(self) -> float:
        """The largest cutoff of the members, in Å."""
        return max(cutoff_of(m) for m in self.models)

    def forward(
        self,
        z: Tensor,  # (N,)
        pos: Tensor,  # (N, 3)
        batch: Tensor | None = None,  # (N,)
        *,
        pairs: HalfPairs | None = None,
        cell: Tensor | None = None,
        pbc: Tensor | None = None,
        **options: Any,
    ) -> dict[str, Tensor]:
        """Return the mean of the members' results and the spread of energy, forces and stress."""
        widest = self.cutoff
        if pairs is None:
            pairs = half_pairs(pos, widest, batch, cell, pbc)
        outs = []
        for model in self.models:
            own, cutoff = pairs, cutoff_of(model)
            if cutoff != widest:
                own = half_pairs(pos, cutoff, batch, cell, pbc)
            outs.append(model(z, pos, batch, pairs=own, cell=cell, pbc=pbc, **options))
        result: dict[str, Tensor] = {}
        for name in outs[0]:
            if not all(name in out for out in outs):
                continue
            values = torch.stack([out[name] for out in outs])
            result[name] = values.mean(0)
            if name in ("energy", "forces", "stress"):
                spread = values.std(0) if len(outs) > 1 else torch.zeros_like(values[0])
                result[f"{name}_std"] = spread
        return result


def cutoff_of(model: nn.Module) -> float:
    """Return the cutoff of a potential in Å.

    Raises:
        InvalidInput: the model has no attribute ``cutoff``.
    """
    cutoff = getattr(model, "cutoff", None)
    if cutoff is None:
        raise InvalidInput(
            f"a potential needs an attribute `cutoff` (Å); {type(model).__name__} has none. "
            "Pass a model of geomlib.create_model, or give yours that attribute."
        )
    return float(cutoff)


def geometry_dtype(model: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """Return the type of the positions to pass: float64 where the model forms bond vectors before casting."""
    members = model.models if isinstance(model, Ensemble) else [model]
    return torch.float64 if all(isinstance(m, (Potential, CapturedPotential)) for m in members) else dtype


def as_dtype(dtype: str | torch.dtype, where: str) -> torch.dtype:
    """Return float32 or float64 from its name.

    Raises:
        InvalidInput: anything else.
    """
    found = _DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise InvalidInput(f"{where}: `dtype` is {dtype!r}, expected 'float64' or 'float32'.")
    return found


def as_potential(
    model: nn.Module | Sequence[nn.Module], dtype: torch.dtype, device: torch.device | str
) -> nn.Module:
    """Return a copy for evaluation only: no gradient to the parameters, the asked dtype and device.

    A copy, so that neither the caller's training nor its precision is touched. On the CPU, potentials of the zoo
    replay recordings (:class:`~geomlib.zoo.captured.CapturedPotential`).
    """
    if isinstance(model, Sequence):
        model = model[0] if len(model) == 1 else Ensemble(model)
    cutoff_of(model)
    frozen = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
    frozen.requires_grad_(False)
    if torch.device(device).type != "cpu":
        return frozen
    if isinstance(frozen, Ensemble):
        return Ensemble([_recorded(m) for m in frozen.models])
    return _recorded(frozen)


def _recorded(model: nn.Module) -> nn.Module:
    return CapturedPotential(model) if isinstance(model, Potential) else model
