r"""GCA-MLP: the next frames of moving points, from a network of learned motions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import shaken
from geomlib.layers.group_action_network import GroupActionMLP
from geomlib.zoo._motion import BLADES, checked_options, coordinates_of, framed, motion_symmetry, points_of
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["GCAMLP"]


@register_model("gca_mlp")
class GCAMLP(nn.Module):
    r"""Predict the next frames of some points by :class:`~geomlib.layers.GroupActionMLP`.

    Every point of every frame is a channel: a point of the projective algebra Cl(3,0,1). The network adds moved copies of its
    channels and gates them; the change against points that go on as they did is read from the trivectors of the output:

    .. math:: \hat x(T + t) = x(T) + t\, (x(T) - x(T - 1)) + \mathrm{coordinates}\big(\mathrm{MLP}(X)\big)_t

    **Group** T(3), since positions are seen from the centre of the last frame, and permutations of samples. No more: the
    motions are learned templates, so a turned input does not give a turned output.
    **Shapes** ``pos`` (B, frames_in, points, 3) to (B, frames_out, points, 3).

    Args:
        frames_in: frames that are given.
        frames_out: frames to predict.
        points: per frame.
        hidden: channels between layers.
        layers: number of gates.
        agg: of the gates, as in :class:`~geomlib.layers.MVAct`.
        blades: ``"coordinates"`` for trivectors without e123, which each layer puts in anew; ``"points"`` for trivectors;
            ``"all"`` for all 16 blades, whose others stay zero: the same function as of points, slower, with more weights.
        start: what the network adds to: ``"velocity"`` for points that go on as in the last two frames, ``"last"`` for the
            last frame, ``"zero"`` for positions of its own.
        centred: show the network positions from the centre of the last frame.
        e123_init: of the layers; 0 with ``overwrite=True`` is the authors' code, whose last layer never learns translations,
            and none of whose layers does on coordinates.
        overwrite: of the layers.
        renormalize: of the layers.

    With ``blades="all"``, hidden 128 and two layers, four frames of four points need 188,944 weights.

    Raises:
        InvalidInput: options that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> GCAMLP(hidden=8)(torch.randn(5, 4, 4, 3)).shape
    torch.Size([5, 4, 4, 3])
    """

    def __init__(
        self,
        frames_in: int = 4,
        frames_out: int = 4,
        points: int = 4,
        hidden: int = 128,
        layers: int = 2,
        agg: str = "linear",
        blades: str = "coordinates",
        start: str = "velocity",
        centred: bool = True,
        e123_init: float = 1.0,
        overwrite: bool = False,
        renormalize: bool = False,
    ) -> None:
        super().__init__()
        checked_options("GCAMLP", blades, start, frames_in=frames_in, frames_out=frames_out, points=points)
        self._options = {
            "frames_in": frames_in, "frames_out": frames_out, "points": points, "hidden": hidden, "layers": layers,
            "agg": agg, "blades": blades, "start": start, "centred": centred, "e123_init": float(e123_init),
            "overwrite": overwrite, "renormalize": renormalize,
        }  # fmt: skip
        self.frames_in, self.frames_out, self.points = frames_in, frames_out, points
        self.blades, self.start, self.centred = blades, start, centred
        network = GroupActionMLP(
            frames_in * points, hidden, frames_out * points, layers, agg, blades=BLADES[blades],
            e123_init=e123_init, overwrite=overwrite, renormalize=renormalize,
        )  # fmt: skip
        self.model = network.model

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gca_mlp", **self._options}

    @full_precision
    def forward(self, pos: Tensor) -> Tensor:  # (B, frames_in, points, 3) -> (B, frames_out, points, 3)
        """Return the next frames.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("GCAMLP", "pos", pos, (None, self.frames_in, self.points, 3), next(self.parameters()))
        seen, base = framed(pos, self.frames_out, self.start, self.centred)
        features = points_of(seen.flatten(1, 2), self.blades)
        found = coordinates_of(self.model(features), self.blades).unflatten(1, (self.frames_out, self.points))
        return found if base is None else base + found

    @property
    def symmetry(self) -> Symmetry:
        """Translations, unless positions are absolute, and permutations of samples."""
        return motion_symmetry(self.start, self.centred)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GCAMLP, dict[str, Any]]:
        """Return a small instance and three samples."""
        model = shaken(cls(frames_out=2, hidden=6), generator)
        return model, {"pos": torch.randn(3, 4, 4, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the group, the number of weights and the blades."""
        count = sum(p.numel() for p in self.parameters())
        return f"{self.symmetry.group}, {count:,} weights, blades={self.blades!r}"
