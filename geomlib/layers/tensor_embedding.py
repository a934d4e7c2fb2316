r"""TensorNet's embedding: every atom becomes channels of 3x3 tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.cartesian import gate_parts, part_linear, part_norms
from geomlib.kernels.edges import edge_embedding
from geomlib.layers._init import part_weight
from geomlib.layers.bonds import Bonds
from geomlib.layers.radial import ExpNormalBasis, RadialBasis
from geomlib.layers.radial_network import RadialNetwork

__all__ = ["TensorEmbedding"]


class TensorEmbedding(nn.Module):
    r"""Sum the bond tensors around every atom, weighted by distance and by the pair of species.

    .. math::
        X_i &= \sum_j c(r_{ij})\, Z_{ij} \left( d^0 \mathbb 1 + d^1 [\hat r]_\times
               + d^2 (\hat r\hat r^\top - \tfrac13 \mathbb 1) \right), \quad d^k = L_k e(r_{ij}) \\
        X_i &\leftarrow g_0 W_0 I_i + g_1 W_1 A_i + g_2 W_2 S_i, \quad
               g = \mathrm{MLP}(\mathrm{LayerNorm}(\|X_i\|^2))

    The sum runs over the neighbours and the atom itself (r = 0, no direction). :math:`Z_{ij}` is a linear map of both
    species' embeddings; it splits into one product per atom, :math:`Z_{ij} = U z_i + V z_j + b`, which is exact.

    **Group** E(3) and permutations: ``z`` invariant, ``edge_vec`` a vector, output ``0e + 1o + 2e`` (:mod:`cartesian
    <geomlib.algebra.cartesian>` rows). **Shapes** ``z`` (N,), ``edge_index`` (2, E), ``edge_vec`` (E, 3) to (N, 9, C).

    Args:
        channels: number of channels C.
        num_radial: number of radial functions, if no ``basis`` is given.
        cutoff: in Å, if no ``basis`` is given.
        max_z: number of rows of the species table; atomic numbers 0 to ``max_z - 1`` are accepted.
        basis: the radial basis; by default an :class:`ExpNormalBasis` with a smooth envelope.

    Source: Simeon and De Fabritiis, *TensorNet*, arXiv 2306.06482.

    >>> layer = TensorEmbedding(channels=8)
    >>> pos = torch.tensor([[0.0, 0, 0], [0, 0, 1.2]])
    >>> edge_index = torch.tensor([[0, 1], [1, 0]])
    >>> layer(torch.tensor([6, 8]), edge_index, pos[edge_index[1]] - pos[edge_index[0]]).shape
    torch.Size([2, 9, 8])
    """

    def __init__(
        self,
        channels: int,
        num_radial: int = 32,
        cutoff: float = 5.0,
        max_z: int = 128,
        *,
        basis: RadialBasis | None = None,
    ) -> None:
        super().__init__()
        if channels < 2 or max_z < 1:
            raise InvalidInput(
                f"TensorEmbedding: channels={channels} must be at least 2 and max_z={max_z} at least 1."
            )
        self.channels, self.max_z = channels, max_z
        self.basis = ExpNormalBasis(num_radial, cutoff) if basis is None else basis
        self.species = nn.Embedding(max_z, channels)
        self.pair = nn.Linear(2 * channels, channels)
        self.radial = RadialNetwork((self.basis.num_radial, 3 * channels), activate_last=False)
        self.norm = nn.LayerNorm(channels)
        self.gates = nn.ModuleList([nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, 3 * channels)])
        self.weight = part_weight(channels)

    @full_precision
    def forward(
        self, z: Tensor, edge_index: Tensor, edge_vec: Tensor
    ) -> Tensor:  # (N,), (2, E), (E, 3) -> (N, 9, C)
        """Return the tensors of every atom.

        Raises:
            InvalidInput: shapes or indices do not fit together, or a species is outside the table.
        """
        if z.numel() and (int(z.min()) < 0 or int(z.max()) >= self.max_z):
            raise InvalidInput(
                f"z: {int(z.min())}..{int(z.max())} found, this layer knows 0..{self.max_z - 1}."
            )
        return self.embed(z, Bonds.from_edge_index(edge_index, edge_vec, z.shape[0]))

    def embed(self, z: Tensor, bonds: Bonds) -> Tensor:  # (N,) -> (N, 9, C)
        """Return the tensors of every atom from bonds prepared once for all layers."""
        species, c = self.species(z), self.channels
        receiver = torch.addmm(self.pair.bias, species, self.pair.weight[:, :c].T)
        sender = species @ self.pair.weight[:, c:].T
        weight = self.radial(bonds, self.basis).unflatten(1, (3, c))
        x = edge_embedding(
            weight, bonds.direction, receiver, sender, bonds.edges, second_order_geometry=bonds.second_order
        )
        h = self.norm(part_norms(x).sum(1))
        for linear in self.gates:
            h = nn.functional.silu(linear(h))
        return gate_parts(part_linear(x, self.weight), h.unflatten(1, (3, c)))

    @property
    def symmetry(self) -> Symmetry:
        """O(3), translations (through ``edge_vec``) and permutations of atoms and edges."""
        inputs = {"z": "node:inv", "edge_index": "index", "edge_vec": "edge:vector"}
        return Symmetry("O(3)*S_n", inputs=inputs, outputs="node:cartesian")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorEmbedding, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        from geomlib.layers._examples import edges_of, example_atoms

        z, pos = example_atoms(generator)
        edge_index = edges_of(pos)
        vec = pos[edge_index[1]] - pos[edge_index[0]]
        return cls(8, 8, 5.0, 10), {"z": z, "edge_index": edge_index, "edge_vec": vec}

    def extra_repr(self) -> str:
        """Return the number of channels and the types."""
        return f"species, vectors -> {self.channels}x(0e+1o+2e)"
