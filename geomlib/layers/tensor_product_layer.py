"""Bilinear equivariant maps: an outer product, and every linear map of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import TensorGroup
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.diagrams import Plan
from geomlib.kernels.diagrams.masks import kept
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._outer_map import OuterMap
from geomlib.layers._tensors import (
    checked_mask,
    checked_tensor,
    declared,
    invariant_form,
    random_tensors,
    size_of,
)
from geomlib.layers.equivariant_linear import EquivariantLinear

__all__ = ["TensorProductLayer"]


class TensorProductLayer(Float64Buffers):
    r"""Every equivariant linear map of the outer product of two tensors, channel by channel.

    .. math:: z = \mathrm{Linear}_{k_1 + k_2 \to l}(x_c \otimes y_c)

    so products, contractions, dot products and matrix products are special cases. The outer product is written only where a
    diagram with an epsilon or a sign (SO, A_n) or an orbit needs it; otherwise every lower row of the diagrams is one
    contraction of x with y.

    **Group** S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q), automorphisms of a graph, products. **Shapes** ``x``
    (B, C, n, ..., n) with k1 axes, ``y`` (B, C, n, ..., n) with k2 axes, ``mask`` (B, n), to (B, out, n, ..., n) with l axes.

    Args:
        group: as text, ``"S_n"``, ``"O(3)"``, ``"Sp(4)"``, or an object of :mod:`geomlib.algebra.diagrams`.
        k1: order of x.
        k2: order of y.
        l: order of the output.
        channels: of both inputs.
        out_channels: of the output.
        bias: add the equivariant shifts.
        options: ``basis``, ``normalization``, ``which`` and ``backend`` of :class:`EquivariantLinear`.

    Raises:
        InvalidInput: options that :class:`EquivariantLinear` refuses; inputs that do not fit each other at the call.

    Source: E. Pearce-Crump, arXiv 2212.08630; Villar et al., *Scalars are universal*, arXiv 2106.06610.

    >>> cross = TensorProductLayer("SO(3)", 1, 1, 1, 1, 1, bias=False, normalization="sum")
    >>> cross.linear.set_diagram_weights([["H", [0, 1, 2], []]], torch.ones(1, 1, 1))
    >>> cross(torch.tensor([[[1.0, 0, 0]]]), torch.tensor([[[0, 1.0, 0]]]))[0, 0].tolist()
    [0.0, 0.0, 1.0]
    """

    form: Tensor | None

    def __init__(
        self,
        group: str | TensorGroup,
        k1: int,
        k2: int,
        l: int,
        channels: int,
        out_channels: int,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        for name, order in (("k1", k1), ("k2", k2)):
            if not isinstance(order, int) or order < 0:  # pyright: ignore[reportUnnecessaryIsInstance] - user input
                raise InvalidInput(f"TensorProductLayer: {name} = {order!r}, expected 0, 1, 2, ...")
        if "symmetric" in options:
            raise InvalidInput("TensorProductLayer: an outer product is not symmetric; drop `symmetric`.")
        self.linear = EquivariantLinear(group, k1 + k2, l, channels, out_channels, bias, **options)
        self.group, self.k1, self.k2, self.l, self.channels = self.linear.group, k1, k2, l, channels
        self.register_buffer("form", invariant_form(self.group), persistent=False)
        maps = self.linear.maps
        #: The plans that may be asked for: of all diagrams, and, with a mask, of those divided by one power of n.
        self.plans = [maps.maps.plan, *(p for p in maps.plans if p is not maps.maps.plan)]
        self.outer = nn.ModuleList(OuterMap(p, k1, self.linear.backend) for p in self.plans)

    @full_precision
    def forward(
        self,
        x: Tensor,  # (B, C, n, ..., n)
        y: Tensor,  # (B, C, n, ..., n)
        mask: Tensor | None = None,  # (B, n)
        n: int | None = None,
    ) -> Tensor:  # (B, out, n, ..., n)
        """Return the product.

        Args:
            x: tensors of order k1.
            y: tensors of order k2.
            mask: nodes that are there.
            n: number of nodes, where nothing else says it.

        Raises:
            InvalidInput: shapes, types or masks that do not fit.
        """
        weight = self.linear.weight
        checked_tensor("TensorProductLayer", "x", x, self.group, self.k1, self.channels, weight)
        checked_tensor("TensorProductLayer", "y", y, self.group, self.k2, self.channels, weight)
        sizes = [t.shape[2] for t, k in ((x, self.k1), (y, self.k2)) if k]
        if x.shape[0] != y.shape[0] or len(set(sizes)) > 1:
            raise InvalidInput(
                f"TensorProductLayer: `x` {tuple(x.shape)} and `y` {tuple(y.shape)} differ in their batch or in the length of "
                "their axes."
            )
        found = sizes[0] if sizes else None if mask is None or mask.dim() != 2 else mask.shape[1]
        given = n if found is None else found
        scalars = not self.l and given is None and self.group.n is None
        size = 1 if scalars else size_of("TensorProductLayer", self.group, given)
        if mask is not None:
            checked_mask("TensorProductLayer", mask, self.group, x.shape[0], size)
            y = kept(y, mask)

        def multiply(z: Tensor, weights: Tensor, plan: Plan) -> Tensor:
            number = next(i for i, p in enumerate(self.plans) if p is plan)
            return self.outer[number](z, y, weights, self.form, size)

        return self.linear.evaluate(x, mask, size, multiply)

    @property
    def symmetry(self) -> Symmetry:
        """The group on every axis."""
        return declared(self.group, {"x": self.k1, "y": self.k2}, self.l)

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        x, y = (random_tensors(self.group, {k: self.channels}, generator)[k] for k in (self.k1, self.k2))
        unsized = self.group.n is None and not self.k1 + self.k2 and self.l
        return {"x": x, "y": y, **({"n": 4} if unsized else {})}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProductLayer, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("Sp(4)", 2, 1, 1, 2, 3)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the group, orders, channels and the number of maps."""
        return (
            f"{self.group}, {self.k1} x {self.k2} -> {self.l}, {self.channels} -> {self.linear.out_channels} channels, "
            f"{self.linear.num_maps} maps"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
