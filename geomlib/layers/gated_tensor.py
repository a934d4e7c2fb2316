"""Invariant gates on tensors of any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams import TensorGroup, tensor_group
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._tensors import checked_features, declared, orders_of, random_tensors

__all__ = ["GatedTensor"]


class GatedTensor(nn.Module):
    r"""Scalars through a function, and every channel of the other orders times a gate made of a scalar of its own.

    .. math:: s'_c = \phi(s_c), \qquad x'^{(k)}_c = \psi(g^{(k)}_c)\, x^{(k)}_c

    Scalars s and gates g arrive together, as order 0: first s, then the gates of the orders in increasing order;
    ``in_channels`` says how many of each order. A gate is invariant, so this is legal for every group.

    **Group** any group of tensors. **Shapes** ``features`` a dict of tensors (B, C_k, n, ..., n) by order k, to such a dict.

    Args:
        group: as text, ``"S_n"``, ``"O(3)"``, ``"Sp(4)"``, or an object of :mod:`geomlib.algebra.diagrams`.
        channels: of the output, by order; without order 0 no scalars come out.
        scalar_act: function of the scalars.
        gate_act: function of the gates.

    Raises:
        InvalidInput: no order above 0, channels that are not positive; other orders or shapes at the call.

    Source: Weiler et al., *3D Steerable CNNs*, arXiv 1807.02547.

    >>> layer = GatedTensor("O(3)", {0: 4, 1: 2, 2: 3})
    >>> layer.in_channels
    {0: 9, 1: 2, 2: 3}
    >>> x = {0: torch.randn(5, 9), 1: torch.randn(5, 2, 3), 2: torch.randn(5, 3, 3, 3)}
    >>> [tuple(y.shape) for y in layer(x).values()]
    [(5, 4), (5, 2, 3), (5, 3, 3, 3)]
    """

    def __init__(
        self,
        group: str | TensorGroup,
        channels: Mapping[int, int],
        scalar_act: Callable[[Tensor], Tensor] = nn.functional.silu,
        gate_act: Callable[[Tensor], Tensor] = torch.sigmoid,
    ) -> None:
        super().__init__()
        self.group, self.channels = tensor_group(group), orders_of("GatedTensor", "channels", channels)
        self.gated = {k: c for k, c in self.channels.items() if k}
        if not self.gated:
            raise InvalidInput(
                f"GatedTensor: channels = {self.channels} has no order above 0 to gate. Use the function alone."
            )
        self.in_channels = {0: sum(self.channels.values()), **self.gated}
        self.scalar_act, self.gate_act = scalar_act, gate_act

    @full_precision
    def forward(self, features: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the gated tensors.

        Raises:
            InvalidInput: orders, shapes or types that do not fit.
        """
        checked_features("GatedTensor", features, self.group, self.in_channels)
        scalars, *gates = features[0].split([self.channels.get(0, 0), *self.gated.values()], dim=1)
        out = {0: self.scalar_act(scalars)} if 0 in self.channels else {}
        for (k, _), gate in zip(self.gated.items(), gates, strict=True):
            out[k] = features[k] * self.gate_act(gate).view(*gate.shape, *(1,) * k)
        return out

    @property
    def symmetry(self) -> Symmetry:
        """The group on every order."""
        inputs = {f"features.{k}": k for k in self.in_channels}
        return declared(self.group, inputs, {str(k): k for k in self.channels})

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        return {"features": random_tensors(self.group, self.in_channels, generator)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GatedTensor, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("O(3)", {0: 2, 1: 2, 2: 1})
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the group and the channels."""
        return f"{self.group}, channels {self.channels}"
