"""Rotations, reflections, translations: O(n), SO(n), E(n), SE(n), T(n); also turns about one axis."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups.base import Group
from geomlib.algebra.groups.element import Element, Flow, polished

__all__ = ["AxisRotations", "Euclidean", "Scalings", "haar_orthogonal", "plane_turn", "rotation"]


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def rotation(axis: Tensor, angle: float) -> Tensor:  # (3,) -> (3, 3)
    r"""Return :math:`\mathbb 1 + \sin\theta\,[a]_\times + (1 - \cos\theta)[a]_\times^2` about ``axis``.

    >>> rotation(torch.tensor([0.0, 0.0, 1.0]), math.pi / 2)[:, 0].round(decimals=6) + 0.0
    tensor([0., 1., 0.], dtype=torch.float64)
    """
    a = axis.to(torch.float64)
    x, y, z = (a / torch.linalg.vector_norm(a)).tolist()
    k = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    # 2 sin^2(t/2) keeps full accuracy at tiny angles, where 1 - cos(t) has none.
    return polished(_eye(3) + math.sin(angle) * k + 2.0 * math.sin(angle / 2.0) ** 2 * (k @ k))


def plane_turn(n: int, i: int, j: int, angle: float) -> Tensor:  # (n, n)
    """Return the rotation of axis ``i`` towards axis ``j``."""
    q = _eye(n)
    q[i, i] = q[j, j] = math.cos(angle)
    q[j, i], q[i, j] = math.sin(angle), -math.sin(angle)
    return q


def haar_orthogonal(n: int, sign: int, generator: Generator) -> Tensor:  # (n, n)
    """Return a uniformly distributed orthogonal matrix with determinant ``sign``.

    QR of a Gaussian with the signs of diag(R) moved into Q; the determinant is set by flipping *one column*
    (negating Q would change it in odd dimensions only).
    """
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))
    q = q * torch.where(torch.diagonal(r) < 0, -1.0, 1.0)
    if float(torch.linalg.det(q)) * sign < 0:
        q[:, 0] = -q[:, 0]
    return polished(q)


class Euclidean(Group):
    """Rotations, reflections and translations of n-dimensional space, or any choice of the three.

    Args:
        name: how the group is written, ``"E(3)"``.
        n: dimension of space.
        signs: determinants to draw from; ``(1, -1)`` for O(n), ``(-1,)`` for the coset of reflections.
        rotations: whether the linear part differs from the identity at all.
        translations: whether points are shifted.
    """

    def __init__(
        self,
        name: str,
        n: int = 3,
        *,
        signs: tuple[int, ...] = (1,),
        rotations: bool = True,
        translations: bool = False,
    ):
        self.name, self.n, self.signs = name, n, signs
        self.rotations, self.translations = rotations, translations

    def components(self) -> tuple[str, ...]:
        """Return ``proper`` and ``improper``, as far as the group has them."""
        if not self.rotations:
            return ("shift",)
        return tuple("proper" if sign > 0 else "improper" for sign in self.signs)

    def identity(self) -> Element:
        """Return the identity in n dimensions."""
        return Element(_eye(self.n), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a Haar-distributed orthogonal matrix and a normally distributed shift."""
        self.require(component)
        linear = _eye(self.n)
        if self.rotations:
            linear = haar_orthogonal(self.n, 1 if component == "proper" else -1, generator)
        return Element(linear, self._shift(generator, scale), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return identity, half turns, angles near 0 and pi, inversion, mirrors, a rotoreflection."""
        found: dict[str, Tensor] = {"identity": _eye(self.n)}
        if self.rotations:
            found |= self._turns(generator) if self.n == 3 else self._plane_turns()
            unit = torch.randn(self.n, dtype=torch.float64, generator=generator)
            unit = unit / torch.linalg.vector_norm(unit)
            flip = _eye(self.n)
            flip[0, 0] = -1.0
            found |= {"inversion": -_eye(self.n), "mirror x": flip}
            found |= {"random mirror": polished(_eye(self.n) - 2.0 * torch.outer(unit, unit))}
            if self.n > 1:
                found |= {"rotoreflection": self._rotoreflection(unit)}
        shift = self._shift(generator, 1.0)
        signs = self.signs if self.rotations else (1,)
        elements = [Element(q, shift, label=k) for k, q in found.items()]
        return [g for g in elements if g.det in signs]

    def generators(self) -> list[Flow]:
        """Return ``Rx, Ry, Rz, Tx, Ty, Tz``; in other dimensions ``R01``, ..., ``T0``, ..."""
        flows: list[Flow] = []
        planes = {"Rx": (1, 2), "Ry": (2, 0), "Rz": (0, 1)}
        if self.n != 3:
            planes = {f"R{i}{j}": (i, j) for i, j in itertools.combinations(range(self.n), 2)}
        if self.rotations:
            for name, (i, j) in planes.items():
                x = torch.zeros(self.n, self.n, dtype=torch.float64)
                x[j, i], x[i, j] = 1.0, -1.0
                flows.append(Flow(name, x))
        if self.translations:
            axes = "xyz" if self.n == 3 else [str(i) for i in range(self.n)]
            zero = torch.zeros(self.n, self.n, dtype=torch.float64)
            flows += [Flow(f"T{axes[i]}", zero, _eye(self.n)[i]) for i in range(self.n)]
        return flows

    def discrete(self, generator: Generator) -> list[Element]:
        """Return a mirror where the group has reflections."""
        del generator
        if not self.rotations or -1 not in self.signs:
            return []
        flip = _eye(self.n)
        flip[0, 0] = -1.0
        return [Element(flip, label="mirror x")]

    def _turns(self, generator: Generator) -> dict[str, Tensor]:
        axis = torch.randn(3, dtype=torch.float64, generator=generator)
        half = {f"180° about {name}": rotation(a, math.pi) for name, a in zip("xyz", _eye(3), strict=True)}
        return half | {
            "180° about a random axis": rotation(axis, math.pi),
            "angle 1e-8": rotation(axis, 1e-8),
            "angle pi - 1e-8": rotation(axis, math.pi - 1e-8),
        }

    def _plane_turns(self) -> dict[str, Tensor]:
        if self.n < 2:
            return {}
        angles = {"180° in a plane": math.pi, "angle 1e-8": 1e-8, "angle pi - 1e-8": math.pi - 1e-8}
        return {label: polished(plane_turn(self.n, 0, 1, angle)) for label, angle in angles.items()}

    def _rotoreflection(self, axis: Tensor) -> Tensor:
        if self.n == 3:
            return -rotation(axis, 1.0)
        flip = _eye(self.n)
        flip[-1, -1] = -1.0
        return polished(plane_turn(self.n, 0, 1, 1.0) @ flip)

    def _shift(self, generator: Generator, scale: float) -> Tensor:
        if not self.translations:
            return torch.zeros(self.n, dtype=torch.float64)
        return scale * torch.randn(self.n, dtype=torch.float64, generator=generator)


class AxisRotations(Group):
    """Turns about one coordinate axis of space, ``SO(2)@z``: the subgroup that survives a fixed direction."""

    def __init__(self, axis: str):
        self.name, self.axis = f"SO(2)@{axis}", "xyz".index(axis)

    def components(self) -> tuple[str, ...]:
        """Return ``proper`` alone."""
        return ("proper",)

    def identity(self) -> Element:
        """Return the identity in three dimensions."""
        return Element(_eye(3), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a turn by a uniformly distributed angle."""
        del scale
        self.require(component)
        angle = 2.0 * math.pi * float(torch.rand((), dtype=torch.float64, generator=generator))
        return Element(rotation(_eye(3)[self.axis], angle), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity, quarter and half turn, a tiny angle."""
        del generator
        turns = {"90°": math.pi / 2, "180°": math.pi, "angle 1e-8": 1e-8}
        axis = _eye(3)[self.axis]
        return [self.identity(), *(Element(rotation(axis, t), label=label) for label, t in turns.items())]

    def generators(self) -> list[Flow]:
        """Return ``Rx``, ``Ry`` or ``Rz``."""
        return [Euclidean("SO(3)").generators()[self.axis]]


class Scalings(Group):
    r"""Multiplication of space by a positive number :math:`e^s`, :math:`|s| \le 1`."""

    def __init__(self, n: int = 3, name: str = "scalings"):
        self.name, self.n = name, n

    def components(self) -> tuple[str, ...]:
        """Return ``scale``: positive factors are connected."""
        return ("scale",)

    def identity(self) -> Element:
        """Return the identity in n dimensions."""
        return Element(_eye(self.n), label="identity")

    def sample(self, component: str, generator: Generator, scale: float = 1.0) -> Element:
        """Return a factor between 1/e and e, log-uniform."""
        del scale
        self.require(component)
        s = 2.0 * float(torch.rand((), dtype=torch.float64, generator=generator)) - 1.0
        return Element(math.exp(s) * _eye(self.n), label=component)

    def special(self, generator: Generator) -> list[Element]:
        """Return the identity, 2, 1/2 and 1 + 1e-8."""
        del generator
        factors = {"factor 2": 2.0, "factor 1/2": 0.5, "factor 1 + 1e-8": 1.0 + 1e-8}
        return [self.identity(), *(Element(s * _eye(self.n), label=label) for label, s in factors.items())]

    def generators(self) -> list[Flow]:
        """Return the dilation ``D``."""
        return [Flow("D", _eye(self.n))]
