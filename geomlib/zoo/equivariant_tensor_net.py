r"""A network of scalars, vectors and matrices for O(n), SO(n), O(p,q) and Sp(n)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import TensorGroup, dim_hom, tensor_group
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._tensors import declared, invariant_form, random_tensors
from geomlib.layers.equivariant_tensor import EquivariantTensorLayer
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["EquivariantTensorNet", "TensorBlock", "checked_group"]

KINDS = ("O", "SO", "Lorentz", "Sp")
_NAMES = ("scalars", "vectors", "matrices")
#: Invariants and their products are as they are up to about this size, and logarithms beyond it.
_BEND = 100.0
#: Below its root a length is round, so that it can be differentiated everywhere.
_SMALL = 1e-6


def checked_group(model: str, group: str | TensorGroup) -> TensorGroup:
    """Return the group of linear maps of one space that keep a form.

    Raises:
        InvalidInput: a group of another family, or without a dimension.
    """
    found = tensor_group(group)
    if found.kind not in KINDS or found.n is None:
        raise InvalidInput(
            f"{model}: group {found}, expected one that keeps a form: 'O(3)', 'SO(3)', 'O(1,3)', 'Sp(4)'."
        )
    return found


class TensorBlock(Float64Buffers):
    r"""Mix channels by every equivariant linear map, multiply pairs of them, and let their invariants gate the products.

    .. math:: (r, t, u;\ a, b;\ P, Q) = \mathrm{Linear}(s, v, M), \qquad
              z = (r,\ t u,\ \langle a, b\rangle,\ |a|,\ \langle P, Q\rangle), \qquad g = \mathrm{MLP}(z) + W z

    .. math:: s' = g_0, \qquad v' = g_1 a + g_2 P b, \qquad M' = g_3 P + g_4\, a b^\top + g_5 P Q

    channel by channel, with products and brackets by the form that the group keeps. Lengths \|a\| are there for O(n) and SO(n)
    only: other brackets may be negative. z bends to its logarithm where it is large. There is a channel of each letter for
    every channel of the output.

    **Group** O(n), SO(n), O(p,q), Sp(n). **Shapes** a dict of tensors (B, C_k, n, ..., n) by order k to such a dict.

    Args:
        group: of :func:`checked_group`.
        in_channels: by order, 0 to 2.
        channels: of every order of the output.
        orders: of the output.
        hidden: width of the perceptron.

    Raises:
        InvalidInput: nothing invariant can be made of the input.
    """

    form: Tensor | None

    def __init__(
        self,
        group: TensorGroup,
        in_channels: dict[int, int],
        channels: int,
        orders: Iterable[int],
        hidden: int,
    ) -> None:
        super().__init__()
        reached = [l for l in range(3) if any(dim_hom(group, k, l) for k in in_channels)]
        letters = {0: 3, 1: 2, 2: 2}
        self.maps = EquivariantTensorLayer(group, in_channels, {l: letters[l] * channels for l in reached})
        self.terms = {
            0: ["s"],
            1: [name for name, needs in (("a", {1}), ("Pb", {1, 2})) if needs <= {*reached}],
            2: [name for name, needs in (("P", {2}), ("ab", {1}), ("PQ", {2})) if needs <= {*reached}],
        }
        self.orders = [k for k in sorted(orders) if self.terms[k]]
        if not self.orders:
            raise InvalidInput(
                f"EquivariantTensorNet: inputs of orders {list(in_channels)} make nothing of orders {list(orders)} for "
                f"{group}. Give vectors or matrices."
            )
        self.group, self.channels, self.root = group, channels, math.sqrt(group.size)
        self.register_buffer("form", invariant_form(group), persistent=False)
        self.definite = group.kind in ("O", "SO")
        count = channels * (len(reached) + (0 in reached) + (1 in reached and self.definite))
        gates = channels * sum(len(self.terms[k]) for k in self.orders)
        self.linear = nn.Linear(count, gates)
        last = nn.Linear(hidden, gates)
        with torch.no_grad():  # start as a polynomial: what linear gates explain, the perceptron need not fit
            last.weight.zero_()
        self.mlp = nn.Sequential(nn.Linear(count, hidden), nn.SiLU(), last)

    @property
    def out_channels(self) -> dict[int, int]:
        """Channels of the output by order."""
        return dict.fromkeys(self.orders, self.channels)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """Return the new features."""
        mixed = self.maps(features)
        form = None if self.form is None else self.form.to(self.linear.weight.dtype)
        z: list[Tensor] = []
        products: dict[str, Tensor] = {}
        if 0 in mixed:
            r, t, u = mixed[0].chunk(3, 1)
            z += [r, t * u]
        if 1 in mixed:
            a, b = mixed[1].chunk(2, 1)
            lowered = b if form is None else b @ form.mT
            z.append((a * lowered).sum(-1) / self.root)
            if self.definite:
                z.append((a.square().sum(-1) + _SMALL).sqrt())
            products |= {"a": a, "ab": a[..., :, None] * b[..., None, :]}
            if 2 in mixed:
                first = mixed[2][:, : self.channels]
                products["Pb"] = (first @ lowered[..., None])[..., 0] / self.root
        if 2 in mixed:
            p, q = mixed[2].chunk(2, 1)
            down = q if form is None else form @ q
            both = down if form is None else down @ form.mT
            z.append((p * both).sum((-1, -2)) / self.group.size)
            products |= {"P": p, "PQ": p @ down / self.root}
        invariants = _BEND * torch.asinh(torch.cat(z, 1) / _BEND)
        gates = iter((self.linear(invariants) + self.mlp(invariants)).split(self.channels, 1))
        out: dict[int, Tensor] = {}
        for order in self.orders:
            for name in self.terms[order]:
                gate = next(gates)
                term = gate if name == "s" else gate.view(*gate.shape, *(1,) * order) * products[name]
                out[order] = out[order] + term if order in out else term
        return out


@register_model("equivariant_tensor_net")
class EquivariantTensorNet(nn.Module):
    r"""Predict a scalar, a vector or a tensor of the same space from scalars, vectors and matrices.

    Blocks of :class:`TensorBlock`, then a linear map to the output:

    .. math:: x \leftarrow \mathrm{Block}(x), \qquad \hat y = c\, \mathrm{Linear}(x) + d

    With ``order=3`` the linear map is one of :math:`v \otimes M`. Shift and scale are those of the data; only scalars are
    shifted, since a shifted vector would be none.

    **Group** O(n), SO(n), O(p,q), Sp(n). **Shapes** ``scalars`` (B, scalars), ``vectors`` (B, vectors, n) and ``matrices``
    (B, matrices, n, n), those that there are, to (B, n, ..., n) with `order` axes, or (B, outputs, n, ..., n).

    Args:
        group: ``"O(5)"``, ``"SO(3)"``, ``"O(1,3)"``, ``"Sp(4)"``, ``"Sp(4,block)"``.
        scalars: number of scalars that are given.
        vectors: likewise.
        matrices: likewise.
        order: of the output, 0 to 3.
        outputs: channels of the output; 0 for one without an axis.
        channels: of every order inside.
        highest: order inside, 1 or 2; outputs of order 2 and 3 need 2.
        hidden: width of the perceptrons.
        blocks: number of blocks.
        shift: d, the mean of a scalar target.
        scale: c, its deviation.

    Raises:
        InvalidInput: sizes or a group that do not fit; wrong shapes or types at the call.

    Source: the maps are those of Pearce-Crump, *Brauer's group equivariant neural networks*, arXiv 2212.08630; the problems
    those of Finzi, Welling and Wilson, arXiv 2104.09459.

    >>> model = EquivariantTensorNet("O(1,3)", vectors=4)
    >>> model(vectors=torch.randn(5, 4, 4)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        group: str = "O(3)",
        scalars: int = 0,
        vectors: int = 2,
        matrices: int = 0,
        order: int = 0,
        outputs: int = 0,
        channels: int = 32,
        highest: int = 2,
        hidden: int = 96,
        blocks: int = 2,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self._options: dict[str, Any] = {
            "group": group, "scalars": scalars, "vectors": vectors, "matrices": matrices, "order": order,
            "outputs": outputs, "channels": channels, "highest": highest, "hidden": hidden, "blocks": blocks,
            "shift": float(shift), "scale": float(scale),
        }  # fmt: skip
        self.group = checked_group("EquivariantTensorNet", group)
        given = dict(enumerate((scalars, vectors, matrices)))
        self.in_channels = {k: c for k, c in given.items() if c}
        if (
            min(given.values()) < 0
            or not (vectors or matrices or scalars)
            or min(channels, hidden, blocks) < 1
        ):
            raise InvalidInput(
                f"EquivariantTensorNet: scalars={scalars}, vectors={vectors}, matrices={matrices}, channels={channels}, "
                f"hidden={hidden}, blocks={blocks}: expected an input, and positive sizes."
            )
        if outputs < 0 or order not in range(4) or highest not in (1, 2) or (order > 1 and highest < 2):
            raise InvalidInput(
                f"EquivariantTensorNet: order={order}, outputs={outputs}, highest={highest}: expected order 0 to 3, highest 1 "
                "or 2, and 2 where the order is above 1."
            )
        if order and shift:
            raise InvalidInput(
                f"EquivariantTensorNet: shift={shift} with order={order}; a tensor that is shifted is no tensor. Drop shift."
            )
        self.order, self.outputs, self.shift, self.scale = order, outputs, float(shift), float(scale)
        found, made = self.in_channels, list[TensorBlock]()
        for number in range(blocks):
            wanted = range(highest + 1)
            if number == blocks - 1:
                wanted = [k for k in wanted if k == 0] if order == 0 else self._sources(highest)
            made.append(TensorBlock(self.group, found, channels, wanted, hidden))
            found = made[-1].out_channels
        self.blocks = nn.ModuleList(made)
        if order == 3:
            if not {1, 2} <= {*found}:
                raise InvalidInput("EquivariantTensorNet: order=3 needs vectors, of which there are none.")
            found = {3: channels}
        self.last = EquivariantTensorLayer(self.group, found, {order: outputs or 1})

    def _sources(self, highest: int) -> list[int]:
        """Return the orders that the output is made of."""
        if self.order == 3:
            return [1, 2]
        return [k for k in range(highest + 1) if dim_hom(self.group, k, self.order)]

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "equivariant_tensor_net", **self._options}

    @full_precision
    def forward(
        self,
        scalars: Tensor | None = None,  # (B, scalars)
        vectors: Tensor | None = None,  # (B, vectors, n)
        matrices: Tensor | None = None,  # (B, matrices, n, n)
    ) -> Tensor:
        """Return the predictions.

        Raises:
            InvalidInput: an input that is missing or not expected; shapes or types that do not fit.
        """
        like, features = next(self.parameters()), dict[int, Tensor]()
        for order, (name, x) in enumerate(zip(_NAMES, (scalars, vectors, matrices), strict=True)):
            count = self.in_channels.get(order, 0)
            if (x is None) != (count == 0):
                raise InvalidInput(
                    f"EquivariantTensorNet: `{name}` is {'missing' if x is None else 'given'}, the model has {name}={count}."
                )
            if x is not None:
                check_samples(
                    "EquivariantTensorNet", name, x, (None, count, *(self.group.size,) * order), like
                )
                features[order] = x
        for block in self.blocks:
            features = block(features)
        if self.order == 3:
            features = {3: features[1][..., :, None, None] * features[2][..., None, :, :]}
        out = self.last({k: features[k] for k in self.last.in_channels})[self.order]
        out = self.shift + self.scale * out if self.shift else self.scale * out
        return out if self.outputs else out.squeeze(1)

    @property
    def symmetry(self) -> Symmetry:
        """The group on every tensor; the rows that S_n permutes are samples."""
        return declared(self.group, {_NAMES[k]: k for k in self.in_channels}, self.order)

    def example_inputs(self, generator: torch.Generator, rows: int = 4) -> dict[str, Tensor]:
        """Return normal inputs for this model."""
        made = random_tensors(self.group, self.in_channels, generator, rows)
        return {_NAMES[k]: x for k, x in made.items()}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[EquivariantTensorNet, dict[str, Any]]:
        """Return a small instance and four samples."""
        model = cls("O(3)", scalars=2, vectors=2, matrices=1, order=2, channels=4, hidden=8)
        return model, model.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the number of weights and the group."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights, {self.group}"
