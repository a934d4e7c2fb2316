"""Linear layers whose weights are motions: learned geometric templates, after geometric Clifford algebra networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import PGA
from geomlib.algebra.clifford.actions import action_table
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import checked_held, example_of, held_blades, rows_symmetry

__all__ = ["FoldedGroupAction", "GroupActionLinear"]

#: The blades of a motor.
_EVEN = (0, 5, 6, 7, 8, 9, 10, 15)
#: Even k keep x's grade in ``k x ~k``, up to scalar and pseudoscalar.
_BLOCKS = ((0, 15), (1, 2, 3, 4), (5, 6, 7, 8, 9, 10), (11, 12, 13, 14))
_E123 = 14


def _places(held: Sequence[int], wanted: Sequence[int]) -> slice | list[int]:
    found = [held.index(b) for b in wanted]
    return slice(found[0], found[-1] + 1) if found == list(range(found[0], found[-1] + 1)) else found


class _Blocks:
    """Which blades of the input and output each block of the action has, and where they lie."""

    def __init__(self, held: tuple[int, ...], overwrite: bool) -> None:
        self.blades = [b for b in (tuple(i for i in block if i in held) for block in _BLOCKS) if b]
        read = [tuple(i for i in b if i != _E123 or not overwrite) for b in self.blades]
        self.read = read
        self.inputs = [_places(held, b) if b else None for b in read]
        order = [i for b in self.blades for i in b]
        self.back = None if order == list(held) else [order.index(i) for i in held]
        #: The block that a constant e123 moves.
        self.shifted = next((n for n, b in enumerate(self.blades) if b[0] in _BLOCKS[3]), None)

    def apply(self, x: Tensor, matrices: Sequence[Tensor], shift: Tensor | None) -> Tensor:
        """Return the image: one matrix product per block, (..., I, blades) to (..., O, blades)."""
        outs: list[Tensor] = []
        for n, (blades, where) in enumerate(zip(self.blades, self.inputs, strict=True)):
            bias = None if shift is None or n != self.shifted else shift.flatten()
            if where is None:
                rows = x.new_zeros(*x.shape[:-2], matrices[n].shape[0])
                rows = rows if bias is None else rows + bias
            else:
                rows = nn.functional.linear(x[..., where].flatten(-2), matrices[n], bias)
            outs.append(rows.unflatten(-1, (-1, len(blades))))
        out = outs[0] if len(outs) == 1 else torch.cat(outs, -1)
        return out if self.back is None else out[..., self.back]


class GroupActionLinear(nn.Module):
    r"""A sum of learned motions of the input channels, in the projective algebra Cl(3,0,1).

    .. math:: y_o = \sum_i w_{oi}\; k_{oi}\, x_i\, \tilde k_{oi}

    For fixed weights the layer is affine in x: it builds the matrices of :math:`x \mapsto w\,k x \tilde k` once per call and
    multiplies by them block by block (even k keep grades), so no sandwich of a single sample is ever formed. ``fold`` returns
    that matrix for inference. A point needs e123 to feel translations; ``embed_e0``, one number per channel, is the e123 of
    inputs that lack it, and is added to that of inputs that hold it.

    In the authors' code ``embed_e0`` starts at 0 and replaces e123 even where the input holds it. Translations start at 0 too,
    and each has no gradient while the other is 0: given points, such a layer never learns to translate. ``e123_init=0,
    overwrite=True`` is that behaviour.

    **Group** permutations of rows only: the motions are learned templates, so turning the input does not turn the output.
    **Shapes** ``x`` (..., in, blades) to (..., out, blades).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        input_blades: names or numbers of the blades that the input holds, increasing; all 16 by default.
        e123_init: first value of ``embed_e0`` where the e123 of the input is not read; else it starts at 0.
        overwrite: ignore the e123 of the input.
        renormalize: use the motor nearest to each k, so that actions are rigid motions after any number of steps.

    Raises:
        InvalidInput: sizes or blades that do not fit; wrong shapes or types at the call.

    Source: Ruhe, Gupta, de Keninck, Welling and Brandstetter, *Geometric Clifford algebra networks*, arXiv 2302.06594.

    >>> layer = GroupActionLinear(4, 8, input_blades=("e012", "e013", "e023"))
    >>> layer(torch.randn(5, 4, 3)).shape
    torch.Size([5, 8, 3])
    >>> layer.fold()(torch.randn(5, 4, 3)).shape
    torch.Size([5, 8, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_blades: Sequence[int] | Sequence[str] | None = None,
        *,
        e123_init: float = 1.0,
        overwrite: bool = False,
        renormalize: bool = False,
    ) -> None:
        super().__init__()
        for name, size in {"in_channels": in_channels, "out_channels": out_channels}.items():
            if size < 1:
                raise InvalidInput(f"GroupActionLinear: {name}={size}, expected at least 1.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.input_blades = held_blades("GroupActionLinear", PGA, input_blades)
        self.overwrite, self.renormalize = overwrite, renormalize
        self._blocks = _Blocks(self.input_blades, overwrite)
        self._action = nn.Parameter(torch.zeros(out_channels, in_channels, len(_EVEN)))
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        read = _E123 in self.input_blades and not overwrite
        self.embed_e0 = nn.Parameter(torch.full((in_channels, 1), 0.0 if read else float(e123_init)))
        # Entries of the blocks, one after another: (output, input) blades; -1, 0, 1 and 2, exact in any type.
        table = _monomials()
        self._columns = [len(blades) * len(inputs) for blades, inputs in self._entries()]
        rows = [table[:, a, b].tolist() for blades, inputs in self._entries() for a in blades for b in inputs]
        self.register_buffer("_table", torch.tensor(rows), persistent=False)
        self._table: Tensor
        self.reset_parameters()

    def _entries(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return output and input blades of every block, then those of the constant e123."""
        entries = list(zip(self._blocks.blades, self._blocks.read, strict=True))
        n = self._blocks.shifted
        return entries if n is None else [*entries, (self._blocks.blades[n], (_E123,))]

    def reset_parameters(self) -> None:
        """Draw rotations of uniform direction and weights as in ``nn.Linear``."""
        turn = torch.rand(*self.weight.shape, 4) * 2 - 1
        with torch.no_grad():
            self._action.zero_()
            self._action[..., [0, 4, 5, 6]] = turn / turn.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def motors(self) -> Tensor:  # (out, in, 8)
        """Return k, with the blades 1, e01, e02, e03, e12, e13, e23, e0123."""
        return _unit(self._action) if self.renormalize else self._action

    def matrices(self) -> tuple[list[Tensor], Tensor | None]:
        """Return the matrix of each block, (out b, in b'), and what the constant e123 adds, (out, b)."""
        one, ideal, turn, dual = self.motors().permute(2, 0, 1).split((1, 3, 3, 1))
        rotor = torch.cat([one, turn])
        products = (self.weight * rotor)[:, None] * torch.cat([rotor, ideal, dual])  # (4, 8, out, in)
        entries = self._table.to(rotor.dtype) @ products.flatten(2).flatten(0, 1)
        found: list[Tensor] = []
        for part, (blades, inputs) in zip(entries.split(self._columns), self._entries(), strict=True):
            matrix = part.view(len(blades), len(inputs), self.out_channels, self.in_channels)
            found.append(matrix.permute(2, 0, 3, 1).flatten(2).flatten(0, 1))  # (out, b, in, b')
        if self._blocks.shifted is None:
            return found, None
        shift = found.pop() @ self.embed_e0
        return found, shift.view(self.out_channels, -1)

    def image(self, x: Tensor, matrices: Sequence[Tensor], shift: Tensor | None) -> Tensor:
        """Return the image under matrices of :meth:`matrices`; without shift the linear part."""
        return self._blocks.apply(x, matrices, shift)

    def placed(self, shift: Tensor) -> Tensor:  # (out, b) -> (out, blades)
        """Return the shift of :meth:`matrices` among the blades that are held."""
        before = sum(b < _BLOCKS[3][0] for b in self.input_blades)
        return nn.functional.pad(shift, (before, len(self.input_blades) - before - shift.shape[1]))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in, blades) -> (..., out, blades)
        """Return the sum of the moved channels.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_held("GroupActionLinear", x, self.in_channels, self.input_blades, PGA, self.weight)
        return self._blocks.apply(x, *self.matrices())

    def fold(self) -> FoldedGroupAction:
        """Return the layer for its present weights, with the matrices built once."""
        with torch.no_grad():
            matrices, shift = self.matrices()
        return FoldedGroupAction(self.in_channels, self.input_blades, self.overwrite, matrices, shift)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GroupActionLinear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return example_of(lambda: cls(3, 2), PGA, 3, generator)

    def extra_repr(self) -> str:
        """Return the channels and the options."""
        return (
            f"{self.in_channels} -> {self.out_channels}, {len(self.input_blades)} blades, overwrite={self.overwrite}, "
            f"renormalize={self.renormalize}"
        )


class FoldedGroupAction(nn.Module):
    """A :class:`GroupActionLinear` whose weights are fixed: one matrix product per block of grades."""

    def __init__(
        self,
        in_channels: int,
        blades: tuple[int, ...],
        overwrite: bool,
        matrices: Sequence[Tensor],
        shift: Tensor | None,
    ) -> None:
        super().__init__()
        self.in_channels, self.input_blades = in_channels, blades
        self._blocks = _Blocks(blades, overwrite)
        for n, matrix in enumerate(matrices):
            self.register_buffer(f"matrix_{n}", matrix.contiguous())
        self.register_buffer("shift", shift)
        self.shift: Tensor | None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., in, blades) -> (..., out, blades)
        """Return the image.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        matrices = [self.get_buffer(f"matrix_{n}") for n in range(len(self._blocks.blades))]
        checked_held("FoldedGroupAction", x, self.in_channels, self.input_blades, PGA, matrices[-1])
        return self._blocks.apply(x, matrices, self.shift)


@lru_cache(maxsize=1)
def _monomials() -> np.ndarray[Any, Any]:  # (32, output, input)
    """Return the action's coefficients of products of a blade of rotors and any blade.

    The order is 1, e12, e13, e23, then the ideal blades, those with e0; products of two of the latter vanish.
    """
    table = action_table(PGA.metric, (0, 8, 9, 10, 5, 6, 7, 15))
    mixed = table[:4, 4:] + table[4:, :4].swapaxes(0, 1)
    return np.concatenate([table[:4, :4], mixed], 1).reshape(32, 16, 16)


def _unit(k: Tensor) -> Tensor:  # (..., 8)
    r"""Return :math:`k\,(1 - \frac{d}{2s} e_{0123})/\sqrt s` for :math:`k \tilde k = s + d\, e_{0123}`."""
    one, t1, t2, t3, b12, b13, b23, p = k.unbind(-1)
    s = (one * one + b12 * b12 + b13 * b13 + b23 * b23).clamp(min=1e-12)
    c = (one * p - t1 * b23 + t2 * b13 - t3 * b12) / s
    moved = torch.stack([one, t1 + c * b23, t2 - c * b13, t3 + c * b12, b12, b13, b23, p - c * one], -1)
    return moved * s.rsqrt().unsqueeze(-1)
