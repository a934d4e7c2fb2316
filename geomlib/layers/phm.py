"""Parameterised hypercomplex multiplication."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.products import dense_table
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._multivectors import rows_symmetry, shaken

__all__ = ["PHMLinear"]


class PHMLinear(nn.Module):
    r"""A linear layer whose matrix is a sum of Kronecker products of a rule of multiplication and free blocks.

    .. math:: y = H x + b, \qquad H = \sum_{i=1}^n A_i \otimes S_i

    A (n, n, n) holds the rule, S (n, out / n, in / n) the weights: about 1/n of the numbers of a dense layer. With
    ``rule="quaternion"`` A is the Hamilton product from the left; with an algebra it is multiplication from the right by the
    blades, so the layer is :class:`CliffordLinear` on features with blades outermost.

    **Group** permutations of rows only. **Shapes** ``x`` (..., in) to (..., out); the n parts of a row follow one another.

    Args:
        in_features: a multiple of n.
        out_features: a multiple of n.
        n: number of parts; given by the rule unless that is learned.
        rule: ``"learned"``, ``"quaternion"`` or a Clifford algebra.
        bias: add one.

    Raises:
        InvalidInput: sizes or a rule that do not fit; wrong shapes or types at the call.

    Source: Zhang et al., *Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex Multiplications
    with 1/n Parameters*, arXiv 2102.08597.

    >>> layer = PHMLinear(8, 12, n=4)
    >>> layer(torch.randn(5, 8)).shape, layer.A.shape, layer.S.shape
    (torch.Size([5, 12]), torch.Size([4, 4, 4]), torch.Size([4, 3, 2]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n: int | None = None,
        rule: str | CliffordAlgebra = "learned",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.rule = rule
        table = _rule(rule)
        parts = n if table is None else len(table)
        if parts is None or parts < 1 or (n is not None and n != parts):
            raise InvalidInput(
                f"PHMLinear: n={n} with rule={rule!r}: expected {'1 or more' if table is None else parts}."
            )
        for name, size in {"in_features": in_features, "out_features": out_features}.items():
            if size < 1 or size % parts:
                raise InvalidInput(f"PHMLinear: {name}={size}, expected a positive multiple of n={parts}.")
        self.in_features, self.out_features, self.n = in_features, out_features, parts
        self.S = nn.Parameter(torch.empty(parts, out_features // parts, in_features // parts))
        if table is None:
            self.A = nn.Parameter(torch.empty(parts, parts, parts))
            for a in self.A:
                nn.init.xavier_uniform_(a)
        else:
            self.register_buffer("A", table, persistent=False)  # -1, 0 and 1: exact in any type
        for s in self.S:
            nn.init.xavier_uniform_(s)
        bound = 1 / math.sqrt(in_features)
        self.b = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound)) if bias else None
        self.A: Tensor

    def matrix(self) -> Tensor:  # (out, in)
        """Return H."""
        blocks = torch.einsum("ipq,iab->paqb", self.A.to(self.S.dtype), self.S)
        return blocks.flatten(2).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        """Return the image.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        if x.dim() < 1 or x.shape[-1] != self.in_features:
            raise InvalidInput(
                f"PHMLinear: `x` has shape {tuple(x.shape)}, expected (..., {self.in_features})."
            )
        if x.dtype != self.S.dtype:
            raise InvalidInput(
                f"PHMLinear: `x` is {x.dtype} and the weights are {self.S.dtype}. Cast one of them: layer.to({x.dtype}) or "
                f"x.to({self.S.dtype})."
            )
        return nn.functional.linear(x, self.matrix(), self.b)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[PHMLinear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return shaken(cls(6, 9, n=3), generator), {"x": torch.randn(5, 6, generator=generator)}

    def extra_repr(self) -> str:
        """Return the sizes and the rule."""
        return f"{self.in_features} -> {self.out_features}, n={self.n}, rule={self.rule!r}, bias={self.b is not None}"


def _rule(rule: str | CliffordAlgebra) -> Tensor | None:
    """Return one matrix per part, (n, n, n): part, output, input."""
    if isinstance(rule, CliffordAlgebra):  # every blade from the right
        return dense_table(rule.metric, "gp").permute(2, 1, 0).float()
    if rule == "quaternion":  # from the left: 1, e1, e2, e12 of Cl(0,2) multiply as 1, i, j, k
        return dense_table(CliffordAlgebra(0, 2).metric, "gp").float()
    if rule == "learned":
        return None
    raise InvalidInput(f"PHMLinear: rule={rule!r}, expected 'learned', 'quaternion' or a CliffordAlgebra.")
