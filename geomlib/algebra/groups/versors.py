r"""Pin(p,q,r) and Spin(p,q,r): products of vectors of a Clifford algebra.

A versor :math:`w = v_1 \cdots v_k` of non-null vectors acts by the twisted adjoint
:math:`x \mapsto w\,\alpha^k(x)\,w^{-1}`. On vectors one factor gives the reflection
:math:`x - 2\,b(x, v)/v^2\; v`, which leaves the null directions (the radical) where they are; on grade j the action
is the j-th compound matrix of the matrix on vectors. Generators are ordered null first, then positive, then negative:
``e0`` of the projective algebra (3,0,1) is the null one.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math
from functools import reduce

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.classical import metric
from geomlib.algebra.groups.element import Element, Flow, polished
from geomlib.errors import InvalidInput

__all__ = ["Versors", "reflection"]

#: Least |v^2| of the vectors that are drawn, whose non-null part has length 1.
_NON_NULL = 0.5


def reflection(v: Tensor, eta: Tensor) -> Tensor:  # (n,), (n, n) -> (n, n)
    r"""Return the matrix of :math:`x \mapsto x - 2\,b(x, v)/v^2\; v`, for the metric ``eta``."""
    return torch.eye(len(v), dtype=torch.float64) - 2.0 * torch.outer(v, eta @ v) / (v @ eta @ v)


class Versors(Group):
    """Pin(p,q,r), or Spin(p,q,r) where ``spin`` asks for even versors only.

    Components are named by the parity of the number of vectors and the sign of the product of their
    squares, ``even +``, ``odd -``; only those that the metric allows exist.

    Args:
        p: number of generators that square to 1.
        q: number of generators that square to -1.
        r: number of null generators.
        spin: whether only even versors belong to the group.
    """

    def __init__(self, p: int, q: int = 0, r: int = 0, *, spin: bool = False):
        if p + q < 1:
            raise InvalidInput(
                f"group 'Pin({p},{q},{r})': p + q must be at least 1; a null vector has no inverse."
            )
        self.p, self.q, self.r, self.n, self.spin = p, q, r, p + q + r, spin
        self.name = f"{'Spin' if spin else 'Pin'}({p},{q},{r})"
        self.eta = metric(p, q, r)

    def components(self) -> tuple[str, ...]:
        """Return the combinations of parity and sign that exist."""
        allowed = {"even +": True, "even -": self.p and self.q, "odd +": self.p, "odd -": self.q}
        return tuple(name for name, there in allowed.items() if there and (name[0] == "e" or not self.spin))

    def identity(self) -> Element:
        """Return the empty product."""
        return self._element([], "identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a product of up to n random vectors with the asked parity and sign."""
        del scale
        self.require(component)
        first = 1 if component.startswith("odd") else 2
        choices = range(first, self.p + self.q + 1, 2) or range(first, first + 1)
        count = choices[int(torch.randint(len(choices), (), generator=generator))]
        flips = [
            int(torch.randint(2, (), generator=generator)) if self.p and self.q else 0
            for _ in range(count - 1)
        ]
        signs = [-1 if flip or not self.p else 1 for flip in flips]
        wanted = 1 if component.endswith("+") else -1
        last = wanted * math.prod(signs)
        return self._element([self._vector(sign, generator) for sign in [*signs, last]], component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity, one mirror per sign, half turns, a tiny rotor, a null shift."""
        axes = torch.eye(self.n, dtype=torch.float64)
        ones = [axes[self.r]] if self.p else []
        minus = [axes[self.r + self.p]] if self.q else []
        found: dict[str, list[Tensor]] = {"identity": []}
        found |= {f"mirror of {label}": v for label, v in (("+", ones), ("-", minus)) if v}
        for label, start, size in (("+", self.r, self.p), ("-", self.r + self.p, self.q)):
            if size > 1:
                a, b = axes[start], axes[start + 1]
                found[f"180° in a {label} plane"] = [a, b]
                found[f"angle 1e-8 in a {label} plane"] = [a, math.cos(5e-9) * a + math.sin(5e-9) * b]
        if ones and minus:
            found["mirror of both"] = [*ones, *minus]
            found["boost 1"] = [ones[0], math.cosh(0.5) * ones[0] + math.sinh(0.5) * minus[0]]
        if self.r:
            v = (ones or minus)[0]
            found["null shift"] = [v, v + 0.5 * axes[0]]
        elements = [self._element(vectors, label) for label, vectors in found.items()]
        del generator
        return [
            g
            for g, vectors in zip(elements, found.values(), strict=True)
            if not self.spin or len(vectors) % 2 == 0
        ]

    def generators(self) -> list[Flow]:
        """Return rotations ``R12``, boosts ``K12`` and null shifts ``N01``, e1 moving along the null e0."""
        signs, flows = torch.diagonal(self.eta).tolist(), list[Flow]()
        for i, j in itertools.combinations(range(self.n), 2):
            if signs[j] == 0.0:
                continue
            x = torch.zeros(self.n, self.n, dtype=torch.float64)
            x[i, j] = 1.0
            if signs[i] != 0.0:
                x[j, i] = -signs[i] * signs[j]
            flows.append(Flow(f"{'N' if signs[i] == 0.0 else 'R' if signs[i] == signs[j] else 'K'}{i}{j}", x))
        return flows

    def discrete(self, generator: Generator) -> list[Element]:
        """Return one mirror per sign in Pin, their product in Spin."""
        names = ("mirror of both",) if self.spin else ("mirror of +", "mirror of -")
        return [g for g in self.special(generator) if g.label in names]

    def _vector(self, sign: int, generator: Generator) -> Tensor:
        while True:
            v = torch.randn(self.n, dtype=torch.float64, generator=generator)
            v = v / torch.linalg.vector_norm(v[self.r :])
            v[: self.r] = v[: self.r].clamp(-1.0, 1.0)
            if sign * float(v @ self.eta @ v) >= _NON_NULL:
                return v

    def _element(self, vectors: list[Tensor], label: str) -> Element:
        eye = torch.eye(self.n, dtype=torch.float64)
        a = reduce(torch.matmul, (reflection(v, self.eta) for v in vectors), eye)
        r = self.r
        a[r:, r:] = polished(a[r:, r:], self.eta[r:, r:])
        versor = torch.stack(vectors) if vectors else torch.zeros(0, self.n, dtype=torch.float64)
        return Element(a, label=label, versor=versor)
