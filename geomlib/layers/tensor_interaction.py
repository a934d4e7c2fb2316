r"""TensorNet's interaction layer: neighbours' tensors are summed and multiplied as matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.cartesian import normalize, part_linear, product, square_update
from geomlib.kernels.edges import edge_message
from geomlib.layers._init import part_weight
from geomlib.layers.bonds import Bonds
from geomlib.layers.radial import ExpNormalBasis, RadialBasis
from geomlib.layers.radial_network import RadialNetwork

__all__ = ["TensorInteraction"]


class TensorInteraction(nn.Module):
    r"""Update the tensors of every atom from those of its neighbours.

    .. math::
        X &\leftarrow X / (\|X\|^2 + 1), \quad Y = W_0 I + W_1 A + W_2 S \\
        M_i &= \sum_j f^0(r_{ij}) I_j + f^1(r_{ij}) A_j + f^2(r_{ij}) S_j \quad\text{(parts of } Y_j\text{)} \\
        C &= (1 + 0.1 q)(YM + MY) \;\text{ in O(3)}, \quad 2YM \;\text{ in SO(3)} \\
        D &= W_3 I + W_4 A + W_5 S \quad\text{(parts of } C/(\|C\|^2 + 1)\text{)} \\
        X &\leftarrow X + D + (1 + 0.1 q) D^2

    The radial weights are :math:`f = c(r)\,\mathrm{silu}(L_3\,\mathrm{silu}(L_2\,\mathrm{silu}(L_1 e(r))))` and the sum
    includes the atom itself.

    **Group** O(3) or SO(3), and permutations; tensors are :mod:`cartesian <geomlib.algebra.cartesian>` rows
    ``0e + 1o + 2e``. **Shapes** ``x`` (N, 9, C), ``edge_index`` (2, E), ``edge_vec`` (E, 3), ``charge`` (N,) to (N, 9, C).

    Args:
        channels: number of channels C.
        num_radial: number of radial functions, if no ``basis`` is given.
        cutoff: in Å, if no ``basis`` is given.
        group: ``"O(3)"`` or ``"SO(3)"``; the latter sees handedness.
        basis: the radial basis; by default an :class:`ExpNormalBasis` with a smooth envelope.

    Source: Simeon and De Fabritiis, *TensorNet*, arXiv 2306.06482; the charge: Simeon et al.,
    arXiv 2403.15073.

    >>> layer = TensorInteraction(channels=8)
    >>> edge_index = torch.tensor([[0, 1], [1, 0]])
    >>> edge_vec = torch.tensor([[0.0, 0, 1.2], [0, 0, -1.2]])
    >>> layer(torch.randn(2, 9, 8), edge_index, edge_vec).shape
    torch.Size([2, 9, 8])
    """

    def __init__(
        self,
        channels: int,
        num_radial: int = 32,
        cutoff: float = 5.0,
        *,
        group: str = "O(3)",
        basis: RadialBasis | None = None,
    ) -> None:
        super().__init__()
        if group not in ("O(3)", "SO(3)"):
            raise InvalidInput(f"group: expected 'O(3)' or 'SO(3)', got {group!r}.")
        self.channels, self.group = channels, group
        self.basis = ExpNormalBasis(num_radial, cutoff) if basis is None else basis
        sizes = (self.basis.num_radial, channels, 2 * channels, 3 * channels)
        self.radial = RadialNetwork(sizes, activate_last=True)
        self.weight = part_weight(channels)
        self.weight_out = part_weight(channels)

    @full_precision
    def forward(
        self,
        x: Tensor,  # (N, 9, C)
        edge_index: Tensor,  # (2, E)
        edge_vec: Tensor,  # (E, 3)
        charge: Tensor | None = None,  # (N,)
    ) -> Tensor:  # (N, 9, C)
        """Return the updated tensors; ``charge`` is the total charge of each node's structure (default 0).

        Raises:
            InvalidInput: shapes or indices do not fit together.
        """
        if x.dim() != 3 or x.shape[1:] != (9, self.channels):
            raise InvalidInput(f"x: expected shape (N, 9, {self.channels}), got {tuple(x.shape)}.")
        scale = x.new_ones(x.shape[0]) if charge is None else 1.0 + 0.1 * charge.to(x.dtype)
        return self.interact(x, Bonds.from_edge_index(edge_index, edge_vec, x.shape[0]), scale)

    def interact(self, x: Tensor, bonds: Bonds, scale: Tensor) -> Tensor:  # (N, 9, C), (N,) -> (N, 9, C)
        """Return the updated tensors from bonds prepared once for all layers; ``scale`` is 1 + 0.1 q of each atom."""
        weight = self.radial(bonds, self.basis).unflatten(1, (3, self.channels))
        symmetric = self.group == "O(3)"
        x = normalize(x)
        y = part_linear(x, self.weight)
        message = edge_message(weight, y, bonds.edges)
        c = product(y, message, scale if symmetric else torch.ones_like(scale), symmetric=symmetric)
        d = part_linear(normalize(c), self.weight_out)
        return square_update(x, d, scale)

    @property
    def symmetry(self) -> Symmetry:
        """The declared group, and permutations of atoms and edges; the SO(3) form must see reflections."""
        inputs = {
            "x": "node:cartesian",
            "edge_index": "index",
            "edge_vec": "edge:vector",
            "charge": "node:inv",
        }
        breaks = () if self.group == "O(3)" else ("reflections",)
        return Symmetry(f"{self.group}*S_n", inputs=inputs, outputs="node:cartesian", breaks=breaks)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorInteraction, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        from geomlib.layers._examples import example_features

        inputs = example_features(generator, 8)
        charge = torch.randn(1, generator=generator).expand(len(inputs["x"])).contiguous()
        return cls(8, 8, 5.0), {**inputs, "charge": charge}

    def extra_repr(self) -> str:
        """Return the group and the types."""
        return f"{self.channels}x(0e+1o+2e) -> {self.channels}x(0e+1o+2e), {self.group}"
