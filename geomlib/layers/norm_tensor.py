"""Invariant squares, lengths and inner products of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.diagrams import TensorGroup, tensor_group
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._lengths import lengths
from geomlib.layers._tensors import checked_tensor, declared, invariant_form, random_tensors

__all__ = ["NormTensor"]


class NormTensor(Float64Buffers):
    r"""Invariants of order two: the length of every channel, its square, or inner products of all pairs of channels.

    .. math:: q(x, y) = \sum_{I, J} \Big(\prod_{a=1}^{k} F_{i_a j_a}\Big)\, x_I\, y_J, \qquad
              z_c = \sqrt{q(x_c, x_c)},\quad q(x_c, x_c)\quad\text{or}\quad q(x_c, x_{c'})

    with F the form that the group keeps: the identity for orthogonal matrices and permutations, the metric of O(p,q), the
    symplectic form of Sp(n). The last two are not positive, so there is no length: squares, which may be negative, come out.
    Under Sp(n) the square of a tensor of odd order is zero; only pairs are left. The derivative of a length at zero is taken
    as zero.

    **Group** any group of tensors. **Shapes** ``x`` (B, C, n, ..., n) to (B, C), or for pairs c <= c' (c < c' where squares
    vanish) to (B, number of pairs).

    Args:
        group: as text, ``"S_n"``, ``"O(3)"``, ``"Sp(4)"``, or an object of :mod:`geomlib.algebra.diagrams`.
        order: k, of x.
        squared: squares in place of lengths; by default only where there are no lengths.
        pairs: inner products of all pairs of channels.

    Raises:
        InvalidInput: lengths or squares that do not exist, an order below 1; wrong shapes at the call.

    Source: Villar et al., *Scalars are universal: equivariant machine learning, structured like classical physics*,
    arXiv 2106.06610.

    >>> NormTensor("O(2)", 1)(torch.tensor([[[3.0, 4.0]]])), NormTensor("O(1,1)", 1)(torch.tensor([[[3.0, 4.0]]]))
    (tensor([[5.]]), tensor([[-7.]]))
    """

    form: Tensor | None

    def __init__(
        self, group: str | TensorGroup, order: int, *, squared: bool | None = None, pairs: bool = False
    ) -> None:
        super().__init__()
        self.group, self.order, self.pairs = tensor_group(group), order, pairs
        if order < 1:
            raise InvalidInput(
                f"NormTensor: order = {order!r}, expected 1 or more; order 0 is invariant itself."
            )
        form = invariant_form(self.group)
        self.register_buffer("form", form, persistent=False)
        self.squared = (form is not None or pairs) if squared is None else squared
        if form is not None and not self.squared:
            raise InvalidInput(
                f"NormTensor: the form of {self.group.name} may be negative or zero, so there are no lengths. "
                "Use squared=True."
            )
        if pairs and not self.squared:
            raise InvalidInput(
                "NormTensor: pairs=True gives inner products, not lengths. Drop squared=False."
            )
        self.alternating = form is not None and torch.equal(form, -form.mT) and order % 2 == 1
        if self.alternating and not pairs:
            raise InvalidInput(
                f"NormTensor: under {self.group.name} the square of every tensor of odd order {order} is zero. "
                "Use pairs=True, inner products of different channels."
            )

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (B, C, n, ..., n) -> (B, C) or (B, pairs)
        """Return the invariants.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked_tensor("NormTensor", "x", x, self.group, self.order, None)
        if not self.squared:
            return lengths(x.flatten(2))
        lowered = x
        if self.form is not None:
            form = self.form.to(x)
            for axis in range(2, x.dim()):
                lowered = torch.movedim(torch.movedim(lowered, axis, -1) @ form.mT, -1, axis)
        if not self.pairs:
            return (x * lowered).flatten(2).sum(-1)
        products = x.flatten(2) @ lowered.flatten(2).mT
        first, second = torch.triu_indices(
            x.shape[1], x.shape[1], int(self.alternating), device=x.device
        ).unbind(0)
        return products[:, first, second]

    @property
    def symmetry(self) -> Symmetry:
        """The group on x; invariants come out."""
        return declared(self.group, {"x": self.order}, 0)

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"x": random_tensors(self.group, {self.order: 3}, generator)[self.order]}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[NormTensor, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("O(1,3)", 2, pairs=True)
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the group, the order and the options."""
        return f"{self.group}, order {self.order}, squared={self.squared}, pairs={self.pairs}"
