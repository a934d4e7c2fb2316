r"""Read invariants, vectors and symmetric matrices from Cartesian tensor features."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.cartesian import compose
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.cartesian import part_linear, part_norms
from geomlib.layers._init import part_weight

__all__ = ["CartesianReadout", "ScalarHead", "SymmetricHead", "VectorHead"]


class CartesianReadout(nn.Module):
    r"""Reduce the tensors of every atom to invariants.

    .. math:: x_i = \mathrm{silu}\left(L\,\mathrm{LayerNorm}[3 I_i^2, \|A_i\|^2, \|S_i\|^2]\right)

    **Group** O(3) and permutations. **Shapes** ``x`` (N, 9, C) to (N, C).

    Source: Simeon and De Fabritiis, *TensorNet*, arXiv 2306.06482, section 3.

    >>> CartesianReadout(8)(torch.randn(5, 9, 8)).shape
    torch.Size([5, 8])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.LayerNorm(3 * channels)
        self.linear = nn.Linear(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (N, 9, C) -> (N, C)
        """Return the invariants of every atom."""
        return nn.functional.silu(self.linear(self.norm(part_norms(x).flatten(1))))

    @property
    def symmetry(self) -> Symmetry:
        """Invariant under O(3), equivariant under permutations of atoms."""
        return Symmetry("O(3)*S_n", inputs={"x": "node:cartesian"}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CartesianReadout, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return cls(8), {"x": torch.randn(6, 9, 8, generator=generator)}

    def extra_repr(self) -> str:
        """Return the types."""
        return f"{self.channels}x(0e+1o+2e) -> {self.channels}x0e"


class ScalarHead(nn.Module):
    r"""One number per atom: :math:`e_i = L_2\,\mathrm{silu}(L_1 x_i)`, with Xavier weights and zero biases.

    **Group** O(3): invariant to invariant. **Shapes** ``x`` (N, C) to (N,).

    >>> ScalarHead(8)(torch.randn(5, 8)).shape
    torch.Size([5])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        layers = [nn.Linear(channels, channels // 2), nn.Linear(channels // 2, 1)]
        self.linears = nn.ModuleList(layers)
        for linear in layers:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:  # (N, C) -> (N,)
        """Return one number per atom."""
        return self.linears[1](nn.functional.silu(self.linears[0](x))).squeeze(-1)

    @property
    def symmetry(self) -> Symmetry:
        """Invariants in, invariants out; equivariant under permutations of atoms."""
        return Symmetry("O(3)*S_n", inputs={"x": "node:inv"}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[ScalarHead, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return cls(8), {"x": torch.randn(6, 8, generator=generator)}

    def extra_repr(self) -> str:
        """Return the types."""
        return f"{self.channels}x0e -> 0e"


class VectorHead(nn.Module):
    r"""One polar vector per atom, from the antisymmetric parts.

    .. math:: v_i = \sum_c g_c(x_i)\,(W A_i)_c, \quad A \cong (A_{21}, A_{02}, A_{10})

    The antisymmetric part of TensorNet's features is built from bond directions, so its vector is *polar* (``1o``): right
    for dipoles, not for magnetic moments.

    **Group** O(3) and permutations. **Shapes** ``x`` (N, 9, C) and invariants (N, C) to (N, 3).

    >>> VectorHead(8)(torch.randn(5, 9, 8), torch.randn(5, 8)).shape
    torch.Size([5, 3])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gate = nn.Linear(channels, channels)
        self.mix = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, invariants: Tensor) -> Tensor:  # (N, 9, C), (N, C) -> (N, 3)
        """Return one vector per atom."""
        gates = self.gate(invariants)
        return (self.mix(x[:, 1:4]) * gates[:, None]).sum(-1) * math.sqrt(0.5)

    @property
    def symmetry(self) -> Symmetry:
        """A polar vector per atom."""
        return Symmetry(
            "O(3)*S_n", inputs={"x": "node:cartesian", "invariants": "node:inv"}, outputs="node:vector"
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[VectorHead, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        x = torch.randn(6, 9, 8, generator=generator)
        return cls(8), {"x": x, "invariants": torch.randn(6, 8, generator=generator)}

    def extra_repr(self) -> str:
        """Return the types."""
        return f"{self.channels}x(0e+1o+2e), {self.channels}x0e -> 1o"


class SymmetricHead(nn.Module):
    r"""One symmetric 3x3 matrix per atom, :math:`T_i = \sum_c g_c(x_i)(W_0 I_i \mathbb 1 + W_2 S_i)_c`.

    **Group** O(3) and permutations: a symmetric tensor of rank 2, as a polarizability. **Shapes** ``x`` (N, 9, C) and
    invariants (N, C) to (N, 3, 3).

    >>> SymmetricHead(8)(torch.randn(5, 9, 8), torch.randn(5, 8)).shape
    torch.Size([5, 3, 3])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gate = nn.Linear(channels, 2 * channels)
        self.weight = part_weight(channels)

    def forward(self, x: Tensor, invariants: Tensor) -> Tensor:  # (N, 9, C), (N, C) -> (N, 3, 3)
        """Return one symmetric matrix per atom."""
        scalar, tensor = self.gate(invariants).chunk(2, -1)
        zero = torch.zeros_like(scalar)[:, None].expand(-1, 3, -1)
        gates = torch.cat([scalar[:, None], zero, tensor[:, None].expand(-1, 5, -1)], 1)
        return compose((part_linear(x, self.weight) * gates).sum(-1, keepdim=True)).squeeze(1)

    @property
    def symmetry(self) -> Symmetry:
        """A symmetric tensor per atom."""
        return Symmetry(
            "O(3)*S_n", inputs={"x": "node:cartesian", "invariants": "node:inv"}, outputs="node:sym2"
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SymmetricHead, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        x = torch.randn(6, 9, 8, generator=generator)
        return cls(8), {"x": x, "invariants": torch.randn(6, 8, generator=generator)}

    def extra_repr(self) -> str:
        """Return the types."""
        return f"{self.channels}x(0e+1o+2e), {self.channels}x0e -> 0e+2e"
