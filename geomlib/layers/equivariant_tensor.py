"""Equivariant linear maps between features of several orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import TensorGroup, dim_hom, tensor_group
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._tensors import (
    checked_features,
    declared,
    orders_of,
    random_tensors,
)
from geomlib.layers.equivariant_linear import EquivariantLinear

__all__ = ["EquivariantTensorLayer"]


class EquivariantTensorLayer(nn.Module):
    r"""Every equivariant linear map between features of several orders, one :class:`EquivariantLinear` per pair of orders.

    .. math:: y^{(l)} = \sum_k \mathrm{Linear}_{k \to l}\big(x^{(k)}\big) + \sum_q t_q\, \beta^{(l)}_q\, N^{(l)}_q

    Pairs without any map but zero are left out. Weights are drawn so that an output keeps the size of the inputs, however
    many orders it sums; each order of the output has one set of shifts. ``layer.pairs["1_2"]`` is the layer of order 1 to 2.

    **Group** S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q), automorphisms of a graph, products. **Shapes** ``features`` a dict
    of tensors (B, C_k, n, ..., n) by order k, ``mask`` (B, n), to a dict of tensors (B, C_l, n, ..., n) by order l.

    Args:
        group: as text, ``"S_n"``, ``"O(3)"``, ``"Sp(4)"``, or an object of :mod:`geomlib.algebra.diagrams`.
        in_channels: by order.
        out_channels: by order.
        bias: add the shifts.
        options: ``basis``, ``normalization``, ``which`` and ``backend`` of :class:`EquivariantLinear`.

    Raises:
        InvalidInput: an order of the output that no order of the input reaches; wrong orders or shapes at the call.

    Source: E. Pearce-Crump, arXiv 2212.08648, 2212.08630; the prior art for reduce, mix and broadcast is Hands, Sun and
    Kondor, *P-tensors*, arXiv 2306.10767.

    >>> layer = EquivariantTensorLayer("O(3)", {0: 4, 1: 8, 2: 2}, {0: 6, 2: 3})
    >>> x = {0: torch.randn(5, 4), 1: torch.randn(5, 8, 3), 2: torch.randn(5, 2, 3, 3)}
    >>> [tuple(y.shape) for y in layer(x).values()], list(layer.pairs)
    ([(5, 6), (5, 3, 3, 3)], ['0_0', '2_0', '0_2', '2_2'])
    """

    def __init__(
        self,
        group: str | TensorGroup,
        in_channels: Mapping[int, int],
        out_channels: Mapping[int, int],
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        self.group = tensor_group(group)
        self.in_channels = orders_of("EquivariantTensorLayer", "in_channels", in_channels)
        self.out_channels = orders_of("EquivariantTensorLayer", "out_channels", out_channels)
        self.pairs = nn.ModuleDict()
        self.sources: dict[int, list[int]] = {}
        for l, c_out in self.out_channels.items():
            self.sources[l] = [k for k in self.in_channels if self._exists(k, l, options)]
            if not self.sources[l]:
                raise InvalidInput(
                    f"EquivariantTensorLayer: no map of {self.group} leads from the orders {list(self.in_channels)} to order "
                    f"{l}. Leave it out, or add an order to in_channels."
                )
            for number, k in enumerate(self.sources[l]):
                # The shifts of an order belong to the first of its pairs.
                one = EquivariantLinear(
                    self.group, k, l, self.in_channels[k], c_out, bias and number == 0, **options
                )
                self.pairs[f"{k}_{l}"] = one
        self.reset_parameters()

    def _exists(self, k: int, l: int, options: Mapping[str, Any]) -> bool:
        if self.group.n is None:
            return True
        del options
        return dim_hom(self.group, k, l) > 0

    def reset_parameters(self) -> None:
        """Draw new weights; shifts are zero."""
        for l, sources in self.sources.items():
            layers = {k: self.pair(k, l) for k in sources}
            terms = sum(one.in_channels * one.num_maps for one in layers.values())
            for one in layers.values():
                one.reset_parameters(terms)

    def pair(self, k: int, l: int) -> EquivariantLinear:
        """Return the layer of order k to order l."""
        found = self.pairs[f"{k}_{l}"]
        if not isinstance(found, EquivariantLinear):
            raise TypeError(f"pairs['{k}_{l}'] was replaced by {type(found).__name__}")
        return found

    @full_precision
    def forward(
        self,
        features: Mapping[int, Tensor],
        mask: Tensor | None = None,  # (B, n)
        n: int | None = None,
    ) -> dict[int, Tensor]:
        """Return the images by order.

        Args:
            features: tensors by order.
            mask: nodes that are there; see :meth:`EquivariantLinear.forward`.
            n: number of nodes, where nothing else says it.

        Raises:
            InvalidInput: orders, shapes, types or masks that do not fit.
        """
        like = next(self.parameters())
        found = checked_features("EquivariantTensorLayer", features, self.group, self.in_channels, like)
        size = n if found is None else found
        out: dict[int, Tensor] = {}
        for l, sources in self.sources.items():
            parts = [self.pairs[f"{k}_{l}"](features[k], mask, size) for k in sources]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            out[l] = total
        return out

    @property
    def symmetry(self) -> Symmetry:
        """The group on every order."""
        inputs = {f"features.{k}": k for k in self.in_channels}
        return declared(self.group, inputs, {str(l): l for l in self.out_channels})

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"features": random_tensors(self.group, self.in_channels, generator)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[EquivariantTensorLayer, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("O(3)", {0: 2, 1: 2, 2: 1}, {0: 1, 1: 2, 2: 2})
        with torch.no_grad():
            for name, p in layer.named_parameters():
                if name.endswith("bias"):
                    p.normal_(generator=generator)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the group, the channels and the number of maps."""
        maps = sum(self.pair(k, l).num_maps for l, sources in self.sources.items() for k in sources)
        return f"{self.group}, channels {self.in_channels} -> {self.out_channels}, {maps} maps"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
