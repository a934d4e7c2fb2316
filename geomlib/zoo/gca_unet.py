r"""GCA-UNet and GCA-ResNet: the next frames of fields of 3-vectors on a grid, from rotations as convolution kernels."""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry_of, shaken
from geomlib.layers.multivector_gate import VectorSiLU
from geomlib.layers.rotation_convolution import RotationConv2d, RotationConvTranspose2d
from geomlib.layers.vector_group_norm import MVGroupNorm
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["GCAResNet", "GCAUNet"]


class _Block(nn.Module):
    """Norm, gate and convolution, twice, beside a shortcut."""

    def __init__(self, inside: int, outside: int, groups: int, agg: str, padding_mode: str) -> None:
        super().__init__()
        self.first = _Step(inside, outside, groups, agg, padding_mode)
        self.second = _Step(outside, outside, groups, agg, padding_mode)
        self.shortcut = nn.Identity() if inside == outside else RotationConv2d(inside, outside, 1)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))


class _Step(nn.Sequential):
    def __init__(self, inside: int, outside: int, groups: int, agg: str, padding_mode: str) -> None:
        super().__init__(
            MVGroupNorm(inside, groups if inside % groups == 0 else 1, scale_norm=True),
            VectorSiLU(inside, agg),
            RotationConv2d(inside, outside, 3, padding=1, padding_mode=padding_mode),
        )


class _Fields(nn.Module):
    """What both networks share: frames of the input as channels, and the change since the last frame as output."""

    frames_in: int
    frames_out: int
    displacement: bool
    divisor = 1

    def read(self, fields: Tensor) -> Tensor:  # (B, T, H, W, 3)
        """Return the fields, after checks.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        name = type(self).__name__
        check_samples(name, "fields", fields, (None, self.frames_in, None, None, 3), next(self.parameters()))
        if any(n % self.divisor or n < 2 * self.divisor for n in fields.shape[2:4]):
            raise InvalidInput(
                f"{name}: `fields` has a grid of {tuple(fields.shape[2:4])} points, expected multiples of {self.divisor}, "
                f"{2 * self.divisor} or more."
            )
        return fields

    def written(self, fields: Tensor, change: Tensor) -> Tensor:
        """Return the prediction."""
        return fields[:, -1:] + change if self.displacement else change

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of samples."""
        return rows_symmetry_of("fields")

    def extra_repr(self) -> str:
        """Return the group and the number of weights."""
        return f"{self.symmetry.group}, {sum(p.numel() for p in self.parameters()):,} weights"


def _checked(model: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InvalidInput(f"{model}: {name}={size}, expected at least 1.")


@register_model("gca_unet")
class GCAUNet(_Fields):
    r"""Predict the next frames of a field of 3-vectors by a U-Net of :class:`~geomlib.layers.RotationConv2d`.

    Frames are channels; the field at a point is, for example, smoke and two velocities. Each level has blocks of norm, gate
    and convolution beside a shortcut; convolutions with stride 2 lead down, transposed ones of size 4 with stride 2 lead up,
    where the features of the way down are joined. The output is the change since the last frame:

    .. math:: \hat u(T + t) = u(T) + \mathrm{UNet}(u)_t

    **Group** permutations of samples; with circular padding also shifts of the grid by multiples of the coarsest cell. Kernels
    are learned templates: turned vectors do not give turned outputs.
    **Shapes** ``fields`` (B, frames_in, H, W, 3) to (B, frames_out, H, W, 3).

    Args:
        frames_in: frames that are given.
        frames_out: frames to predict.
        hidden: channels of the first level.
        multipliers: channels of each level over those of the one above.
        blocks: per level, and at the bottom.
        groups: of the norms, where they divide the channels.
        agg: of the gates, as in :class:`~geomlib.layers.VectorSiLU`.
        padding_mode: of the convolutions; ``"circular"`` for periodic fields.
        displacement: predict changes since the last frame; otherwise the fields.

    Raises:
        InvalidInput: options that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> GCAUNet(hidden=2, multipliers=(1, 2))(torch.randn(3, 2, 8, 8, 3)).shape
    torch.Size([3, 1, 8, 8, 3])
    """

    def __init__(
        self,
        frames_in: int = 2,
        frames_out: int = 1,
        hidden: int = 32,
        multipliers: tuple[int, ...] | list[int] = (1, 2, 2, 2),
        blocks: int = 2,
        groups: int = 1,
        agg: str = "linear",
        padding_mode: str = "circular",
        displacement: bool = True,
    ) -> None:
        super().__init__()
        sizes = {f"multipliers[{i}]": m for i, m in enumerate(multipliers)}
        _checked("GCAUNet", frames_in=frames_in, frames_out=frames_out, hidden=hidden, blocks=blocks, **sizes)
        if not multipliers:
            raise InvalidInput(
                "GCAUNet: multipliers is empty, expected one number per level, such as (1, 2, 2, 2)."
            )
        self._options = {
            "frames_in": frames_in, "frames_out": frames_out, "hidden": hidden, "multipliers": list(multipliers),
            "blocks": blocks, "groups": groups, "agg": agg, "padding_mode": padding_mode, "displacement": displacement,
        }  # fmt: skip
        self.frames_in, self.frames_out, self.displacement = frames_in, frames_out, displacement
        self.divisor = 2 ** (len(multipliers) - 1)
        widths = [hidden]
        for m in multipliers:
            widths.append(widths[-1] * m)

        def block(a: int, b: int) -> _Block:
            return _Block(a, b, groups, agg, padding_mode)

        self.first = RotationConv2d(frames_in, hidden, 3, padding=1, padding_mode=padding_mode)
        self.down, self.lower, self.up, self.upper = (nn.ModuleList() for _ in range(4))
        for a, b in itertools.pairwise(widths):
            self.down.append(nn.Sequential(block(a, b), *(block(b, b) for _ in range(blocks - 1))))
        for width in widths[1:-1]:
            self.lower.append(RotationConv2d(width, width, 3, 2, 1, padding_mode=padding_mode))
        bottom = widths[-1]
        self.middle = nn.Sequential(*(block(bottom, bottom) for _ in range(blocks)))
        for above, below in reversed(list(itertools.pairwise(widths[1:]))):
            self.upper.append(RotationConvTranspose2d(below, above, 4, 2, 1))
            self.up.append(
                nn.Sequential(block(2 * above, above), *(block(above, above) for _ in range(blocks - 1)))
            )
        self.last = _Step(widths[1], frames_out, groups, agg, padding_mode)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gca_unet", **self._options}

    @full_precision
    def forward(self, fields: Tensor) -> Tensor:  # (B, frames_in, H, W, 3) -> (B, frames_out, H, W, 3)
        """Return the next frames.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        x = self.first(self.read(fields))
        seen: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            x = blocks(x if level == 0 else self.lower[level - 1](x))
            seen.append(x)
        x = self.middle(seen.pop())
        for raise_, blocks in zip(self.upper, self.up, strict=True):
            x = blocks(torch.cat([self._raised(cast(RotationConvTranspose2d, raise_), x), seen.pop()], 1))
        return self.written(fields, self.last(x))

    def _raised(self, layer: RotationConvTranspose2d, x: Tensor) -> Tensor:
        if self._options["padding_mode"] != "circular":
            return layer(x)
        # One cell from across the border on each side, and what they add outside is cut off.
        wide = torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2)
        wide = torch.cat([wide[:, :, :, -1:], wide, wide[:, :, :, :1]], 3)
        return layer(wide)[:, :, 2:-2, 2:-2]

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GCAUNet, dict[str, Any]]:
        """Return a small instance and three samples."""
        model = shaken(cls(hidden=1, multipliers=(1, 1), blocks=1), generator)
        return model, {"fields": torch.randn(3, 2, 4, 4, 3, generator=generator)}


@register_model("gca_resnet")
class GCAResNet(_Fields):
    r"""Predict the next frames of a field of 3-vectors by blocks of :class:`~geomlib.layers.RotationConv2d` at one resolution.

    .. math:: \hat u(T + t) = u(T) + \mathrm{ResNet}(u)_t

    Frames are channels; blocks of norm, gate and convolution run beside shortcuts.

    **Group** permutations of samples; with circular padding also shifts of the grid. Kernels are learned templates: turned
    vectors do not give turned outputs. **Shapes** ``fields`` (B, frames_in, H, W, 3) to (B, frames_out, H, W, 3).

    Args:
        frames_in: frames that are given.
        frames_out: frames to predict.
        hidden: channels.
        blocks: number of blocks.
        groups: of the norms, where they divide the channels.
        agg: of the gates, as in :class:`~geomlib.layers.VectorSiLU`.
        padding_mode: of the convolutions; ``"circular"`` for periodic fields.
        displacement: predict changes since the last frame; otherwise the fields.

    Raises:
        InvalidInput: options that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> GCAResNet(hidden=2, blocks=1)(torch.randn(3, 2, 8, 8, 3)).shape
    torch.Size([3, 1, 8, 8, 3])
    """

    def __init__(
        self,
        frames_in: int = 2,
        frames_out: int = 1,
        hidden: int = 32,
        blocks: int = 8,
        groups: int = 1,
        agg: str = "linear",
        padding_mode: str = "circular",
        displacement: bool = True,
    ) -> None:
        super().__init__()
        _checked("GCAResNet", frames_in=frames_in, frames_out=frames_out, hidden=hidden, blocks=blocks)
        self._options = {
            "frames_in": frames_in, "frames_out": frames_out, "hidden": hidden, "blocks": blocks, "groups": groups,
            "agg": agg, "padding_mode": padding_mode, "displacement": displacement,
        }  # fmt: skip
        self.frames_in, self.frames_out, self.displacement = frames_in, frames_out, displacement
        self.first = RotationConv2d(frames_in, hidden, 3, padding=1, padding_mode=padding_mode)
        self.blocks = nn.Sequential(
            *(_Block(hidden, hidden, groups, agg, padding_mode) for _ in range(blocks))
        )
        self.last = _Step(hidden, frames_out, groups, agg, padding_mode)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gca_resnet", **self._options}

    @full_precision
    def forward(self, fields: Tensor) -> Tensor:  # (B, frames_in, H, W, 3) -> (B, frames_out, H, W, 3)
        """Return the next frames.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        return self.written(fields, self.last(self.blocks(self.first(self.read(fields)))))

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GCAResNet, dict[str, Any]]:
        """Return a small instance and three samples."""
        model = shaken(cls(hidden=2, blocks=1), generator)
        return model, {"fields": torch.randn(3, 2, 5, 4, 3, generator=generator)}
