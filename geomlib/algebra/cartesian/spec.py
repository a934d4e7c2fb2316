r"""What a tensor is: its rank, its symmetry, its parity.

A tensor of rank r transforms with one matrix per leg, :math:`T \mapsto \det(Q)^{[p = -1]}\, Q^{\otimes r}\, T`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["TensorSpec"]

_PLAIN = {
    "scalar": (0, False, False, 1),
    "pseudoscalar": (0, False, False, -1),
    "vector": (1, False, False, 1),
    "pseudovector": (1, False, False, -1),
    "sym2": (2, True, False, 1),
}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that enters or leaves an operation.

    Args:
        rank: number of legs; every leg has the dimension of the group.
        symmetric: unchanged when its legs are exchanged.
        traceless: its trace over any two legs is zero; for symmetric tensors, the projection P_l.
        parity: 1, or -1 for a pseudotensor, which a reflection multiplies by -1 on top.
        name: tensors of one name are one argument, which may enter several times.

    Raises:
        InvalidInput: a negative rank, a parity that is not 1 or -1, traceless without symmetric, an empty name.

    >>> TensorSpec(2, symmetric=True, name="C").kind, TensorSpec(1, parity=-1).kind
    ('sym2', 'pseudovector')
    """

    rank: int
    symmetric: bool = False
    traceless: bool = False
    parity: int = 1
    name: str = "x"

    def __post_init__(self) -> None:
        if self.rank < 0 or self.parity not in (1, -1) or not self.name.isidentifier():
            raise InvalidInput(
                f"TensorSpec: rank={self.rank}, parity={self.parity}, name={self.name!r}: expected a rank of 0 or more, "
                "a parity 1 or -1, and letters for the name."
            )
        if self.traceless and not self.symmetric:
            raise InvalidInput("TensorSpec: traceless tensors are symmetric here: pass symmetric=True, too.")
        # a vector has one leg, nothing to exchange: one description per tensor
        if self.rank < 2:
            object.__setattr__(self, "symmetric", False)
            object.__setattr__(self, "traceless", False)

    @classmethod
    def parse(cls, kind: str, name: str = "x") -> TensorSpec:
        """Return the tensor of a type as declarations write it, or ``traceless(l)``, symmetric and without traces.

        Raises:
            InvalidInput: another type.

        >>> TensorSpec.parse("traceless(3)").rank, TensorSpec.parse("tensor(2)").symmetric
        (3, False)
        """
        if kind in _PLAIN:
            rank, symmetric, traceless, parity = _PLAIN[kind]
            return cls(rank, symmetric, traceless, parity, name)
        match = re.fullmatch(r"(tensor|traceless)\((\d+)\)", kind)
        if match is None:
            raise InvalidInput(
                f"TensorSpec: {kind!r} of {name!r} is unknown. Expected {', '.join(_PLAIN)}, tensor(k) or traceless(l)."
            )
        same = match[1] == "traceless"
        return cls(int(match[2]), same, same, 1, name)

    @property
    def kind(self) -> str:
        """The type as declarations write it; of tensors above rank 1 only true ones have one.

        Raises:
            InvalidInput: a pseudotensor of rank 2 or more.
        """
        if self.rank < 2:
            return [["scalar", "pseudoscalar"], ["vector", "pseudovector"]][self.rank][self.parity < 0]
        if self.parity < 0:
            raise InvalidInput(f"TensorSpec: a pseudotensor of rank {self.rank} has no type in declarations.")
        return "sym2" if self.rank == 2 and self.symmetric else f"tensor({self.rank})"

    def shape(self, n: int) -> tuple[int, ...]:
        """Return the lengths of the last axes of such a tensor."""
        return (n,) * self.rank

    def project(self, x: Tensor) -> Tensor:  # (..., n, ..., n)
        r"""Return the nearest tensor of this symmetry.

        The mean over all orders of the legs, then, for traceless ones, the harmonic projection

        .. math:: P_l T = \sum_k \frac{(-1)^k\, l!}{(l - 2k)!\, 2^k k!\, \prod_{j=1}^k (n + 2l - 2j - 2)}\;
                  \mathrm{sym}(\delta^{\otimes k} \otimes \mathrm{tr}^k T) .

        >>> x = TensorSpec(3, symmetric=True, traceless=True).project(torch.randn(3, 3, 3, dtype=torch.float64))
        >>> bool(x.diagonal(dim1=0, dim2=1).sum(-1).abs().max() < 1e-14)
        True
        """
        if not self.symmetric:
            return x
        found = _symmetrised(x, self.rank)
        return _harmonic(found, self.rank) if self.traceless else found

    def random(self, shape: tuple[int, ...], n: int, generator: torch.Generator) -> Tensor:
        """Return normal random tensors of this symmetry, float64."""
        x = torch.randn((*shape, *self.shape(n)), dtype=torch.float64, generator=generator)
        return self.project(x)


def _symmetrised(x: Tensor, rank: int) -> Tensor:
    if rank == 2:
        return 0.5 * (x + x.mT)
    first = x.dim() - rank
    batch = tuple(range(first))
    orders = itertools.permutations(range(first, x.dim()))
    total = sum((x.permute(*batch, *order) for order in orders), torch.zeros_like(x))
    return total / math.factorial(rank)


def _harmonic(x: Tensor, rank: int) -> Tensor:
    n, found, trace = x.shape[-1], x, x
    eye = torch.eye(n, dtype=x.dtype, device=x.device)
    factor = 1.0
    deltas = torch.ones((), dtype=x.dtype, device=x.device)
    for k in range(1, rank // 2 + 1):
        left = rank - 2 * k
        factor *= -(left + 2) * (left + 1) / (2 * k * (n + 2 * rank - 2 * k - 2))
        trace = trace.diagonal(dim1=-2, dim2=-1).sum(-1)
        deltas = torch.tensordot(deltas, eye, 0)
        product = torch.tensordot(trace, deltas, 0)
        found = found + factor * _symmetrised(product, rank)
    return found
