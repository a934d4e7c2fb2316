r"""GCA-GNN: the next frames of moving points, from messages of learned motions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import shaken
from geomlib.layers.group_action_network import GroupActionMessagePassing
from geomlib.zoo._motion import BLADES, checked_options, coordinates_of, framed, motion_symmetry, points_of
from geomlib.zoo._samples import check_samples, complete_graph
from geomlib.zoo.registry import register_model

__all__ = ["GCAGNN"]


@register_model("gca_gnn")
class GCAGNN(nn.Module):
    r"""Predict the next frames of some points by :class:`~geomlib.layers.GroupActionMessagePassing` between all of them.

    A node is a point whose channels are its frames, points of the projective algebra Cl(3,0,1); the last step gives a channel
    per frame to predict, whose trivectors hold the change against points that go on as they did:

    .. math:: \hat x_i(T + t) = x_i(T) + t\, (x_i(T) - x_i(T - 1)) + \mathrm{coordinates}(h_i)_t

    **Group** T(3), since positions are seen from the centre of the last frame, permutations of samples, and of points within
    each. No more: the motions are learned templates, so a turned input does not give a turned output.
    **Shapes** ``pos`` (B, frames_in, points, 3) to (B, frames_out, points, 3), any number of points.

    Args:
        frames_in: frames that are given.
        frames_out: frames to predict.
        channels: of nodes between steps.
        message_channels: of messages.
        hidden: channels within the networks of each step.
        layers: gates of each network.
        steps: of message passing.
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

    With ``blades="all"``, 64 channels, hidden 128 and four steps, there are 1,512,268 weights.

    Raises:
        InvalidInput: options that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> GCAGNN(channels=4, message_channels=4, hidden=8, steps=2)(torch.randn(5, 4, 3, 3)).shape
    torch.Size([5, 4, 3, 3])
    """

    def __init__(
        self,
        frames_in: int = 4,
        frames_out: int = 4,
        channels: int = 64,
        message_channels: int = 64,
        hidden: int = 128,
        layers: int = 1,
        steps: int = 4,
        agg: str = "linear",
        blades: str = "coordinates",
        start: str = "velocity",
        centred: bool = True,
        e123_init: float = 1.0,
        overwrite: bool = False,
        renormalize: bool = False,
    ) -> None:
        super().__init__()
        checked_options("GCAGNN", blades, start, frames_in=frames_in, frames_out=frames_out)
        if steps < 1:
            raise InvalidInput(f"GCAGNN: steps={steps}, expected 1 or more.")
        self._options = {
            "frames_in": frames_in, "frames_out": frames_out, "channels": channels,
            "message_channels": message_channels, "hidden": hidden, "layers": layers, "steps": steps, "agg": agg,
            "blades": blades, "start": start, "centred": centred, "e123_init": float(e123_init), "overwrite": overwrite,
            "renormalize": renormalize,
        }  # fmt: skip
        self.frames_in, self.frames_out = frames_in, frames_out
        self.blades, self.start, self.centred = blades, start, centred
        widths = [frames_in, *[channels] * (steps - 1), frames_out]
        self.layers = nn.ModuleList(
            GroupActionMessagePassing(
                a, message_channels, b, hidden, layers, agg, blades=BLADES[blades],
                e123_init=e123_init, overwrite=overwrite, renormalize=renormalize,
            )
            for a, b in itertools.pairwise(widths)
        )  # fmt: skip

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gca_gnn", **self._options}

    @full_precision
    def forward(self, pos: Tensor) -> Tensor:  # (B, frames_in, points, 3) -> (B, frames_out, points, 3)
        """Return the next frames.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("GCAGNN", "pos", pos, (None, self.frames_in, None, 3), next(self.parameters()))
        samples, _, points, _ = pos.shape
        edges = complete_graph(samples, points, pos.device)
        seen, base = framed(pos, self.frames_out, self.start, self.centred)
        h = points_of(seen.transpose(1, 2).flatten(0, 1), self.blades)
        for layer in cast(Iterable[GroupActionMessagePassing], self.layers):
            h = layer.propagate(h, edges)
        found = coordinates_of(h, self.blades).view(samples, points, self.frames_out, 3).transpose(1, 2)
        return found if base is None else base + found

    @property
    def symmetry(self) -> Symmetry:
        """Translations, unless positions are absolute, and permutations of samples."""
        return motion_symmetry(self.start, self.centred)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GCAGNN, dict[str, Any]]:
        """Return a small instance and three samples."""
        model = cls(frames_out=2, channels=3, message_channels=4, hidden=6, steps=2)
        return shaken(model, generator), {"pos": torch.randn(3, 4, 4, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the group, the number of weights and the blades."""
        count = sum(p.numel() for p in self.parameters())
        return f"{self.symmetry.group}, {count:,} weights, blades={self.blades!r}"
