r"""Matrix groups that keep a form: O(p,q), SO+(p,q), Sp(2m); and GL(n), SL(n).

Non-compact directions are drawn from :math:`|t| \le 1`, between two elements of the maximal compact subgroup,
so that condition numbers stay below about :math:`e^2`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.element import Element, Flow, polished
from geomlib.algebra.groups.euclidean import haar_orthogonal, plane_turn
from geomlib.errors import InvalidInput

__all__ = ["GeneralLinear", "Indefinite", "Symplectic", "metric", "symplectic_form"]


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def _uniform(n: int, generator: Generator) -> Tensor:  # (n,), in (-1, 1)
    return 2.0 * torch.rand(n, dtype=torch.float64, generator=generator) - 1.0


def _unit(n: int, i: int, j: int) -> Tensor:
    x = torch.zeros(n, n, dtype=torch.float64)
    x[i, j] = 1.0
    return x


def metric(p: int, q: int, r: int = 0) -> Tensor:  # (n, n)
    """Return the diagonal metric with r zeros first, then p ones, then q minus ones.

    The null directions come first, as e0 does in projective geometric algebra.
    """
    return torch.diag(torch.tensor([0.0] * r + [1.0] * p + [-1.0] * q, dtype=torch.float64))


class Indefinite(Group):
    r"""O(p,q), SO(p,q) or SO+(p,q): matrices with :math:`A^\top\eta A = \eta`, the first p squares positive.

    Components are named by the signs of the determinants on the positive and on the negative subspace: ``++`` holds
    the identity, ``+-`` and ``-+`` the reflections of one subspace, ``--`` those of both.

    Args:
        p: number of positive directions, which come first.
        q: number of negative directions.
        kind: ``"O"``, ``"SO"`` or ``"SO+"``.
    """

    def __init__(self, p: int, q: int, kind: str = "O"):
        self.p, self.q, self.n, self.kind = p, q, p + q, kind
        self.name = f"{kind}({p},{q})"

    def components(self) -> tuple[str, ...]:
        """Return the components that exist: four of O(p,q), two of SO(p,q), one of SO+(p,q)."""
        signs = itertools.product("+-" if self.p else "+", "+-" if self.q else "+")
        wanted = {"O": ("++", "+-", "-+", "--"), "SO": ("++", "--"), "SO+": ("++",)}[self.kind]
        return tuple(name for name in map("".join, signs) if name in wanted)

    def identity(self) -> Element:
        """Return the identity in p + q dimensions."""
        return Element(_eye(self.n), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return K1 times boosts of rapidity at most 1 times K2, K from O(p) x O(q)."""
        del scale
        self.require(component)
        first = self._compact(component[0], component[1], generator)
        boosts = _eye(self.n)
        for i, t in enumerate(_uniform(min(self.p, self.q), generator).tolist()):
            j = self.p + i
            boosts[i, i] = boosts[j, j] = math.cosh(t)
            boosts[i, j] = boosts[j, i] = math.sinh(t)
        a = first @ boosts @ self._compact("+", "+", generator)
        return Element(polished(a, metric(self.p, self.q)), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return identity, half turns, boosts of rapidity 1 and 1e-8, a mirror of each subspace, the inversion."""
        del generator
        n, found = self.n, {"identity": _eye(self.n), "inversion": -_eye(self.n)}
        flips = {"mirror of a positive axis": 0, "mirror of a negative axis": self.p}
        for label, i in flips.items():
            if i < (self.p if i == 0 else n):
                found[label] = _eye(n) - 2.0 * _unit(n, i, i)
        if self.p and self.q:
            found["mirror of both"] = found["mirror of a positive axis"] @ found["mirror of a negative axis"]
            boost = next(f for f in self.generators() if f.name.startswith("K"))
            found |= {"boost 1": boost(1.0).linear, "boost 1e-8": boost(1e-8).linear}
        for label, i, size in (("positive", 0, self.p), ("negative", self.p, self.q)):
            if size > 1:
                found[f"180° in a {label} plane"] = polished(plane_turn(n, i, i + 1, math.pi))
        elements = [Element(a, label=label) for label, a in found.items()]
        return [g for g in elements if self._component(g.linear) in self.components()]

    def generators(self) -> list[Flow]:
        """Return rotations ``R01`` in planes of one sign and boosts ``K03`` in planes of both."""
        flows: list[Flow] = []
        for i, j in itertools.combinations(range(self.n), 2):
            same = (i < self.p) == (j < self.p)
            x = _unit(self.n, j, i) + (-1.0 if same else 1.0) * _unit(self.n, i, j)
            flows.append(Flow(f"{'R' if same else 'K'}{i}{j}", x))
        return flows

    def discrete(self, generator: Generator) -> list[Element]:
        """Return one mirror per sign in O(p,q), their product in SO(p,q)."""
        names = {"O": ("mirror of a positive axis", "mirror of a negative axis"), "SO": ("mirror of both",)}
        return [g for g in self.special(generator) if g.label in names.get(self.kind, ())]

    def _compact(self, positive: str, negative: str, generator: Generator) -> Tensor:
        blocks = [
            haar_orthogonal(size, 1 if sign == "+" else -1, generator)
            for size, sign in ((self.p, positive), (self.q, negative))
            if size
        ]
        return torch.block_diag(*blocks)

    def _component(self, a: Tensor) -> str:
        blocks = (a[: self.p, : self.p], a[self.p :, self.p :])
        return "".join("+" if not len(b) or float(torch.linalg.det(b)) > 0 else "-" for b in blocks)


def symplectic_form(n: int, form: str = "interleaved") -> Tensor:  # (n, n)
    r"""Return :math:`\Omega`: ``interleaved`` has :math:`\Omega_{2a,2a+1} = 1`, ``block`` is [[0, 1], [-1, 0]]."""
    omega = torch.zeros(n, n, dtype=torch.float64)
    for a in range(n // 2):
        i, j = (2 * a, 2 * a + 1) if form == "interleaved" else (a, a + n // 2)
        omega[i, j], omega[j, i] = 1.0, -1.0
    return omega


class Symplectic(Group):
    r"""Sp(2m, R): matrices with :math:`A^\top\Omega A = \Omega`.

    Args:
        n: dimension 2m.
        form: ``"interleaved"``, coordinates (q1, p1, q2, p2, ...), or ``"block"``, (q1, ..., qm, p1, ..., pm).
    """

    def __init__(self, n: int, form: str = "interleaved"):
        if n < 2 or n % 2:
            raise InvalidInput(f"group 'Sp({n})': the dimension must be even. Write Sp({n + n % 2 or 2}).")
        if form not in ("interleaved", "block"):
            raise InvalidInput(f"group 'Sp({n},{form})': expected Sp({n}) or Sp({n},block).")
        self.n, self.form = n, form
        self.name = f"Sp({n})" if form == "interleaved" else f"Sp({n},block)"

    def components(self) -> tuple[str, ...]:
        """Return ``symplectic``: the group is connected."""
        return ("symplectic",)

    def identity(self) -> Element:
        """Return the identity in 2m dimensions."""
        return Element(_eye(self.n), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return K1 diag(e^t, e^-t) K2 with K uniformly distributed in U(m)."""
        del scale
        self.require(component)
        t = _uniform(self.n // 2, generator)
        a = self._unitary(generator) @ torch.diag(torch.cat([t.exp(), (-t).exp()])) @ self._unitary(generator)
        return Element(self._ordered(polished(a, symplectic_form(self.n, "block"))), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return identity, inversion, the form itself, a squeeze, a shear, a tiny rotation."""
        m = self.n // 2
        t = torch.zeros(m, dtype=torch.float64)
        t[0] = 1.0
        shear = _eye(self.n)
        shear[0, m] = 1.0
        tiny = torch.linalg.matrix_exp(1e-8 * symplectic_form(self.n, "block"))
        found = {
            "identity": _eye(self.n),
            "inversion": -_eye(self.n),
            "quarter turn": symplectic_form(self.n, "block"),
            "squeeze": torch.diag(torch.cat([t.exp(), (-t).exp()])),
            "shear": shear,
            "angle 1e-8": tiny,
        }
        del generator
        return [Element(self._ordered(a), label=label) for label, a in found.items()]

    def generators(self) -> list[Flow]:
        """Return m(2m + 1) flows: ``A01`` turns and squeezes pairs, ``B01`` and ``C01`` shear q by p and p by q."""
        m, flows = self.n // 2, list[Flow]()
        for i, j in itertools.product(range(m), repeat=2):
            flows.append(Flow(f"A{i}{j}", self._ordered(_unit(self.n, i, j) - _unit(self.n, m + j, m + i))))
        for i, j in itertools.combinations_with_replacement(range(m), 2):
            for name, a, b in (("B", (i, m + j), (j, m + i)), ("C", (m + i, j), (m + j, i))):
                x = _unit(self.n, *a) + (_unit(self.n, *b) if i != j else 0.0)
                flows.append(Flow(f"{name}{i}{j}", self._ordered(x)))
        return flows

    def _unitary(self, generator: Generator) -> Tensor:
        m = self.n // 2
        z = torch.complex(
            torch.randn(m, m, dtype=torch.float64, generator=generator),
            torch.randn(m, m, dtype=torch.float64, generator=generator),
        )
        u, r = torch.linalg.qr(z)
        phases = torch.diagonal(r)
        u = u * (phases / phases.abs())
        return torch.cat([torch.cat([u.real, -u.imag], 1), torch.cat([u.imag, u.real], 1)])

    def _ordered(self, a: Tensor) -> Tensor:
        """Return a matrix written for block coordinates in the coordinates of this group."""
        if self.form == "block":
            return a
        order = torch.arange(self.n).reshape(2, -1).T.reshape(-1)
        return a[order][:, order]


class GeneralLinear(Group):
    """GL(n) or SL(n): invertible matrices K1 diag(e^t) K2, ``Element.condition`` at most e^2.

    Args:
        n: dimension.
        special: whether the determinant is 1.
    """

    def __init__(self, n: int, *, special: bool = False):
        self.n, self.unimodular = n, special
        self.name = f"{'SL' if special else 'GL'}({n})"

    def components(self) -> tuple[str, ...]:
        """Return ``proper``, and for GL(n) ``improper``: the sign of the determinant."""
        return ("proper",) if self.unimodular else ("proper", "improper")

    def identity(self) -> Element:
        """Return the identity in n dimensions."""
        return Element(_eye(self.n), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return K1 diag(e^t) K2 with orthogonal K; the t sum to zero in SL(n)."""
        del scale
        self.require(component)
        t = _uniform(self.n, generator)
        if self.unimodular:
            t = 0.5 * (t - t.mean())
        sign = 1 if component == "proper" else -1
        k1, k2 = haar_orthogonal(self.n, sign, generator), haar_orthogonal(self.n, 1, generator)
        return Element(k1 @ torch.diag(t.exp()) @ k2, label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return identity, inversion, a mirror, a shear, a stretch, a squeeze and a small shear."""
        del generator
        n = self.n
        found = {"identity": _eye(n), "inversion": -_eye(n), "mirror": _eye(n) - 2.0 * _unit(n, 0, 0)}
        found["factor 2"] = 2.0 * _eye(n)
        if n > 1:
            found["shear"], found["shear 1e-8"] = _eye(n) + _unit(n, 0, 1), _eye(n) + 1e-8 * _unit(n, 0, 1)
            found["squeeze"] = torch.diag(torch.tensor([2.0, 0.5] + [1.0] * (n - 2), dtype=torch.float64))
        elements = [Element(a, label=label) for label, a in found.items()]
        return [
            g for g in elements if not self.unimodular or abs(float(torch.linalg.det(g.linear)) - 1.0) < 1e-9
        ]

    def generators(self) -> list[Flow]:
        """Return shears ``E01`` and stretches ``D0``; in SL(n) stretches ``D01`` that keep the volume."""
        n = self.n
        flows = [Flow(f"E{i}{j}", _unit(n, i, j)) for i, j in itertools.permutations(range(n), 2)]
        if self.unimodular:
            return flows + [
                Flow(f"D{i}{i + 1}", _unit(n, i, i) - _unit(n, i + 1, i + 1)) for i in range(n - 1)
            ]
        return flows + [Flow(f"D{i}", _unit(n, i, i)) for i in range(n)]

    def discrete(self, generator: Generator) -> list[Element]:
        """Return a mirror in GL(n)."""
        return [g for g in self.special(generator) if g.label == "mirror"]
