"""The equivariant linear maps between powers of one space, for every group that has diagrams."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import TensorGroup, tensor_group
from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.diagrams import Plan, tensor_map
from geomlib.kernels.diagrams.masks import kept
from geomlib.kernels.diagrams.reference import matrices
from geomlib.kernels.dispatch import inside_transform, traced
from geomlib.layers._diagram_maps import BASES, diagram_maps
from geomlib.layers._diagram_weights import NORMALIZATIONS, DiagramWeights
from geomlib.layers._tensors import (
    checked_channels,
    checked_mask,
    checked_tensor,
    declared,
    permutes,
    random_tensors,
    size_of,
)

__all__ = ["EquivariantLinear"]

#: Entries of all invariant tensors up to which they are kept as dense arrays.
_WRITTEN = 2**14

Multiply: TypeAlias = Callable[[Tensor, Tensor, Plan], Tensor]


class EquivariantLinear(nn.Module):
    r"""Every linear map of tensors of order k to tensors of order l that commutes with the group, and every shift.

    .. math:: y = \sum_p s_p\, (W_p \otimes M_p)\, x + \sum_q t_q\, \beta_q\, N_q

    The maps :math:`M_p`, of order k to l, and the shifts :math:`N_q`, of order 0 to l, are diagrams or combinations of them;
    the weights :math:`W_p` mix channels. Neither is ever written as a matrix: see :mod:`geomlib.kernels.diagrams`. The state
    dict holds ``weight`` (P, out, in) and ``bias`` (Q, out), in the canonical order of
    :func:`geomlib.algebra.diagrams.diagrams`.

    The basis is ``"diagram"``; ``"orbit"`` for groups of permutations, whose maps have disjoint supports; ``"orthonormal"``,
    whose maps have scalar products 0 and 1. All span the same maps; weight decay acts differently on each. The
    normalisation s divides every map by n for each sum over an axis (``"mean"``: outputs keep their size as n changes; with a
    mask n is the number of nodes of each sample), by its Frobenius norm (``"unit"``), or by nothing (``"sum"``). Orthonormal
    maps are not divided.

    Without a size, ``"S_n"`` serves every n with one set of weights.

    **Group** S_n, A_n, B(n), O(n), SO(n), Sp(n), O(p,q), automorphisms of a graph, products. **Shapes** ``x``
    (B, in, n, ..., n) with k axes, ``mask`` (B, n), to (B, out, n, ..., n) with l axes.

    Args:
        group: as text, ``"S_n"``, ``"O(3)"``, ``"Sp(4)"``, or an object of :mod:`geomlib.algebra.diagrams`.
        k: order of the input.
        l: order of the output.
        in_channels: of the input.
        out_channels: of the output.
        bias: add the shifts.
        basis: ``"diagram"``, ``"orbit"`` or ``"orthonormal"``.
        normalization: ``"mean"``, ``"unit"`` or ``"sum"``; by default ``"mean"`` for groups of permutations, else ``"unit"``.
        symmetric: whether the indices of the input, and of the output, are symmetric: fewer maps.
        which: ``"basis"``, independent maps, or ``"spanning"``, the diagrams of the papers; by default a basis where the size
            is known.
        backend: of the multiplication: ``"auto"``, ``"grouped"``, ``"dense"`` or ``"per_diagram"``.

    Raises:
        InvalidInput: an unknown group or option, no maps, more maps than can be listed; shapes, types or masks that do not
            fit at the call.

    Source: E. Pearce-Crump, arXiv 2212.08648, 2212.08630, 2301.10152; E. Pearce-Crump and W. J. Knottenbelt,
    arXiv 2412.10837; for symmetric tensors E. Pearce-Crump, arXiv 2503.11276; the normalisation follows Maron et al.,
    *Invariant and equivariant graph networks*, arXiv 1812.09902.

    >>> layer = EquivariantLinear("S_n", 2, 2, 16, 32)
    >>> layer
    EquivariantLinear(S_n, 2 -> 2, 16 -> 32 channels, 15 maps)
    >>> layer(torch.randn(8, 16, 5, 5)).shape, layer(torch.randn(8, 16, 7, 7)).shape
    (torch.Size([8, 32, 5, 5]), torch.Size([8, 32, 7, 7]))
    >>> EquivariantLinear("SO(3)", 2, 1, 4, 4).num_maps
    1
    """

    bias: Tensor | None

    def __init__(
        self,
        group: str | TensorGroup,
        k: int,
        l: int,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        basis: str = "diagram",
        normalization: str | None = None,
        symmetric: tuple[bool, bool] = (False, False),
        which: str | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        checked_channels("EquivariantLinear", in_channels=in_channels, out_channels=out_channels)
        self.group = tensor_group(group)
        self.k, self.l, self.in_channels, self.out_channels = k, l, in_channels, out_channels
        self.basis = _one_of("basis", basis, BASES)
        default = "mean" if permutes(self.group) or self.group.kind == "B" else "unit"
        self.normalization = _one_of("normalization", normalization or default, NORMALIZATIONS)
        self.which = _one_of(
            "which", which or ("spanning" if self.group.n is None else "basis"), ("basis", "spanning")
        )
        if self.group.n is None and self.which == "basis":
            raise InvalidInput(
                "EquivariantLinear: which diagrams of S_n are a basis depends on n. Write S(n), or use which='spanning'."
            )
        self.symmetric = (bool(symmetric[0]), bool(symmetric[1]))
        self.backend = backend
        maps = diagram_maps(self.group, k, l, self.which, basis, self.symmetric)
        if not maps.count:
            raise InvalidInput(
                f"EquivariantLinear: {self.group} has no linear maps {k} -> {l} but zero{_remedy(self.group, k, l)}."
            )
        self.maps = DiagramWeights(maps, self.normalization)
        self.weight = nn.Parameter(torch.empty(maps.count, out_channels, in_channels))
        self.shifts: DiagramWeights | None = None
        shifts = (
            diagram_maps(self.group, 0, l, self.which, basis, (False, self.symmetric[1])) if bias else None
        )
        if shifts is not None and shifts.count:
            self.shifts = DiagramWeights(shifts, self.normalization)
            self.bias = nn.Parameter(torch.empty(shifts.count, out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self, fan_in: int | None = None) -> None:
        r"""Draw weights of variance :math:`2 / (C_{in} P)`, for maps of norm one :math:`n^l / (C_{in} P)`; shifts are zero.

        Args:
            fan_in: number of terms that an output sums, in place of :math:`C_{in} P`.
        """
        terms = self.in_channels * self.num_maps if fan_in is None else fan_in
        n, gain = self.group.n, 2.0
        if n is not None and (self.normalization == "unit" or self.basis == "orthonormal"):
            gain = float(n) ** self.l
        with torch.no_grad():
            self.weight.normal_(std=math.sqrt(gain / terms))
            if self.bias is not None:
                self.bias.zero_()

    @property
    def num_maps(self) -> int:
        """Number of maps P: weights per pair of channels."""
        return self.weight.shape[0]

    @property
    def labels(self) -> list[Any]:
        """Labels of the plain diagrams, in the order of :meth:`diagram_weights`."""
        return [d.label for d in self.maps.maps.diagrams]

    @full_precision
    def forward(
        self,
        x: Tensor,  # (B, in, n, ..., n)
        mask: Tensor | None = None,  # (B, n)
        n: int | None = None,
    ) -> Tensor:  # (B, out, n, ..., n)
        """Return the image.

        Args:
            x: tensors of order k.
            mask: nodes that are there; everything else comes out as zero, and counts for nothing.
            n: number of nodes, where neither the group nor x nor the mask says it.

        Raises:
            InvalidInput: shapes, types or masks that do not fit.
        """
        checked_tensor("EquivariantLinear", "x", x, self.group, self.k, self.in_channels, self.weight)
        found = x.shape[2] if self.k else None if mask is None or mask.dim() != 2 else mask.shape[1]
        given = n if found is None else found
        scalars = self.k == self.l == 0 and given is None and self.group.n is None
        size = 1 if scalars else size_of("EquivariantLinear", self.group, given)
        if mask is not None:
            checked_mask("EquivariantLinear", mask, self.group, x.shape[0], size)

        return self.evaluate(x, mask, size)

    def evaluate(self, x: Tensor, mask: Tensor | None, size: int, multiply: Multiply | None = None) -> Tensor:
        """Return the image, with the sum over diagrams done by ``multiply(x, weights, plan)`` if given; nothing is checked."""

        def plain(z: Tensor, w: Tensor, plan: Plan) -> Tensor:
            return tensor_map(z, w, plan, n=size, backend=self.backend)

        multiply = multiply or plain
        if mask is None:
            y = multiply(x, self.maps(self.weight, size), self.maps.maps.plan)
            if self.bias is None or self.shifts is None:
                return y
            shift, plan = self.shifts(self.bias, size), self.shifts.maps.plan
            if self.backend == "auto" and _written_out(plan, shift, size):
                maps = matrices(plan, size, shift.dtype, shift.device).flatten(1)
                added = (shift.mT @ maps).view(1, self.out_channels, *[size] * self.l)
            else:
                added = plain(x.new_ones(1, 1), shift[..., None], plan)
            # Without derivatives y is nobody's: a large sum needs no memory of its own, unless y is an expanded view.
            fresh = not torch.is_grad_enabled() and 0 not in y.stride() and not inside_transform()
            return y.add_(added) if fresh else y + added
        # Zeros at absent nodes leave them out of all sums; what the diagrams write there is removed at the end.
        y = self._masked(self.maps, kept(x, mask), self.weight, mask, multiply)
        if self.bias is not None and self.shifts is not None:
            y = y + self._masked(self.shifts, x.new_ones(x.shape[0], 1), self.bias[..., None], mask, plain)
        return kept(y, mask)

    def _masked(
        self, maps: DiagramWeights, x: Tensor, weight: Tensor, mask: Tensor, multiply: Multiply
    ) -> Tensor:
        """Return the image where every sample has an n of its own: what is divided by each power of n, by itself."""
        count = mask.sum(1).clamp(min=1).to(x.dtype).view(-1, *(1,) * (x.dim() - 1))
        parts = [
            multiply(x if power == 0 else x * count**-power, part, plan)
            for power, plan, part in maps.by_power(weight)
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def diagram_weights(self, n: int | None = None) -> tuple[list[Any], Tensor]:  # labels, (D, out, in)
        r"""Return labels of plain diagrams and weights W with :math:`y = \sum_d (W_d \otimes M_d)\, x`, shifts apart.

        Args:
            n: the size, where the group has none and the normalisation depends on it.

        Raises:
            InvalidInput: no size where one is needed.
        """
        return self.labels, self.maps(self.weight, self._size(n))

    def set_diagram_weights(
        self,
        labels: Sequence[Any],
        weights: Tensor,  # (len(labels), out, in)
        bias_labels: Sequence[Any] = (),
        bias: Tensor | None = None,  # (len(bias_labels), out)
        n: int | None = None,
    ) -> None:
        r"""Make the layer compute :math:`\sum_d (W_d \otimes M_d)\, x + \sum_q \beta_q N_q`; diagrams not named get zero.

        Args:
            labels: of plain diagrams, as ``Diagram.label``.
            weights: of each.
            bias_labels: of plain diagrams of order 0 to l.
            bias: of each.
            n: the size, where the group has none and the normalisation depends on it.

        Raises:
            InvalidInput: labels that are not among the layer's diagrams, wrong shapes, weights outside of the span.
        """
        size = self._size(n)
        plain = self._placed(self.maps, labels, weights, self.weight.shape[1:])
        with torch.no_grad():
            self.weight.copy_(self.maps.inverse(plain, size))
        if bias is not None and self.shifts is not None and self.bias is not None:
            placed = self._placed(self.shifts, bias_labels, bias, self.bias.shape[1:])
            with torch.no_grad():
                self.bias.copy_(self.shifts.inverse(placed, size))
        elif bias is not None:
            raise InvalidInput(
                "set_diagram_weights: this layer has no shifts: built with bias=False, or no invariant tensor exists."
            )

    def _placed(
        self, maps: DiagramWeights, labels: Sequence[Any], weights: Tensor, shape: torch.Size
    ) -> Tensor:
        if tuple(weights.shape) != (len(labels), *shape):
            raise InvalidInput(
                f"set_diagram_weights: weights of shape {tuple(weights.shape)} for {len(labels)} labels, expected "
                f"{(len(labels), *shape)}."
            )
        where = {_frozen(d.label): i for i, d in enumerate(maps.maps.diagrams)}
        found = [where.get(_frozen(label)) for label in labels]
        unknown = [label for label, i in zip(labels, found, strict=True) if i is None]
        if unknown or len(set(found)) < len(found):
            raise InvalidInput(
                f"set_diagram_weights: {f'no diagram {unknown[0]}' if unknown else 'a label that is there twice'} among the "
                f"{len(where)} of this layer ({self.group}, which={self.which!r}); see layer.labels."
            )
        placed = torch.zeros(len(where), *shape, dtype=torch.float64, device=weights.device)
        placed[torch.tensor(found, dtype=torch.long)] = weights.detach().double()
        return placed

    def _size(self, n: int | None) -> int:
        if self.group.n is not None:
            return self.group.sized(self.group.n if n is None else n).size
        if n is None and (
            self.maps.exponents is not None or (self.shifts and self.shifts.exponents is not None)
        ):
            raise InvalidInput(
                f"EquivariantLinear: normalization={self.normalization!r} divides by powers of n, and {self.group.name} has "
                "no size. Pass n=..."
            )
        return n or 1

    def fuse(self, next_layer: EquivariantLinear, n: int | None = None) -> EquivariantLinear:
        """Return one layer that computes ``next_layer(self(x))``, in the basis of diagrams, without normalisation.

        Args:
            next_layer: of the same group, from the orders and channels of this one.
            n: the size, where the group has none.

        Raises:
            InvalidInput: layers that do not follow each other.
        """
        from geomlib.layers._fusion import fused

        return fused(self, next_layer, n)

    @property
    def symmetry(self) -> Symmetry:
        """The group on every axis."""
        return declared(self.group, {"x": self.k}, self.l)

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        inputs: dict[str, Any] = {
            "x": random_tensors(self.group, {self.k: self.in_channels}, generator)[self.k]
        }
        return {**inputs, "n": 4} if self.group.n is None and not self.k and self.l else inputs

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[EquivariantLinear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("S_n", 2, 2, 2, 3)
        with torch.no_grad():
            if layer.bias is not None:
                layer.bias.normal_(generator=generator)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the group, orders, channels and the number of maps."""
        symmetric = {
            (True, True): ", symmetric",
            (True, False): ", symmetric input",
            (False, True): ", symmetric output",
        }
        options = symmetric.get(self.symmetric, "") + (f", {self.basis}" if self.basis != "diagram" else "")
        return (
            f"{self.group}, {self.k} -> {self.l}, {self.in_channels} -> {self.out_channels} channels, {self.num_maps} maps"
            + options
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"  # without the tables that it holds


def _written_out(plan: Plan, shift: Tensor, n: int) -> bool:
    """Return whether the invariant tensors are so small that one product with all of them costs what a call costs."""
    own = plan.table is not None or plan.factors is not None
    small = len(plan) * n**plan.l <= _WRITTEN
    return small and not own and shift.dtype in (torch.float32, torch.float64) and not traced(shift)


def _frozen(label: Any) -> Any:
    return tuple(map(_frozen, label)) if isinstance(label, (list, tuple)) else label


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise InvalidInput(
            f"EquivariantLinear: {name}={value!r}, expected {', '.join(map(repr, known))}.{closest(str(value), known)}"
        )
    return value


def _remedy(group: TensorGroup, k: int, l: int) -> str:
    odd = (
        ": they keep the parity of the order, and k + l is odd" if (k + l) % 2 and group.kind != "SO" else ""
    )
    return odd + ". Use other orders, or EquivariantTensorLayer for several at once"
