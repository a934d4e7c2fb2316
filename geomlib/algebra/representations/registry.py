"""Which representation stands behind a type, and the check that it is one."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Group, parse_group
from geomlib.algebra.representations.base import Contragredient, Representation
from geomlib.algebra.representations.blocks import BlockTensor, Columns
from geomlib.algebra.representations.euclidean import Affine, Linear, Sign, Subspace, TensorPower, Trivial
from geomlib.algebra.representations.exterior import Cochains, Multivectors, NodeAxes
from geomlib.algebra.representations.wigner import Irreps
from geomlib.algebra.types import KINDS, MulIrrep, TensorType, know_kind, parse_irreps, parse_type
from geomlib.errors import InvalidInput

__all__ = ["TOLERANCE", "check_representation", "matrix", "register_representation", "representation"]

#: Round-off allowed to the three laws of a representation, relative to the norms of its matrices.
TOLERANCE = 1e-12
#: The compact Cartesian tensor; its antisymmetric part is a polar vector.
_CARTESIAN = parse_irreps("0e+1o+2e")

Build = Callable[[TensorType], Representation]


@dataclass(frozen=True)
class _Kind:
    """A kind of types: its representation, and the groups on which the laws are checked."""

    build: Build
    groups: Callable[[TensorType], tuple[str | Group, ...]] = lambda _: ("E(3)", "GL(3)")


def _on_nodes(build: Callable[..., Representation]) -> _Kind:
    return _Kind(lambda t: build(t.order, first=t.scope == "node"), lambda t: ("S_n",))


def _multivector_groups(t: TensorType) -> tuple[str, ...]:
    p, q, r = t.args
    pin = (f"Pin({p},{q},{r})",) if p + q else ("S_n",)
    return (*pin, f"E({p})") if p and not q and r == 1 else pin


_KINDS: dict[str, _Kind] = {
    "point": _Kind(lambda _: Affine()),
    "vector": _Kind(lambda _: Linear()),
    "covector": _Kind(lambda _: Contragredient(Linear())),
    "cell": _Kind(lambda _: Linear(rows=True)),
    "pseudovector": _Kind(lambda _: Linear(pseudo=True)),
    "scalar": _Kind(lambda _: Trivial()),
    "inv": _Kind(lambda _: Trivial()),
    "index": _Kind(lambda _: Trivial()),
    "pseudoscalar": _Kind(lambda _: Sign()),
    "tensor": _Kind(lambda t: TensorPower(t.order)),
    "sym2": _Kind(lambda _: TensorPower(2)),
    "columns": _Kind(lambda _: Columns()),
    "blocks": _Kind(lambda t: BlockTensor(t.args[0])),
    "cartesian": _Kind(lambda _: Irreps(_CARTESIAN, axis=-2), lambda _: ("E(3)",)),
    "irreps": _Kind(lambda t: Irreps(t.irreps), lambda _: ("E(3)",)),
    "mv": _Kind(lambda t: Multivectors(t.args[0], t.args[1], t.args[2], t.grades), _multivector_groups),
    "spd": _Kind(lambda t: TensorPower(2, t.args[0]), lambda t: (f"GL({t.args[0]})",)),
    "grassmann": _Kind(lambda t: Subspace(t.args[0], t.args[1]), lambda t: (f"O({t.args[0]})",)),
    "perm": _on_nodes(NodeAxes),
    "simplex": _on_nodes(Cochains),
}


def check_representation(
    rho: Callable[[Element], Tensor], *, group: str | Group = "E(3)", seed: int = 0, trials: int = 2
) -> float:
    r"""Return the largest violation of the three laws of a representation over random elements of a group.

    :math:`\rho(e) = 1`, :math:`\rho(gh) = \rho(g)\rho(h)` and :math:`\rho(g^{-1})\rho(g) = 1`, entry by entry, divided
    by the norms of :math:`\rho(g)` and :math:`\rho(h)` where these exceed 1.

    Args:
        rho: gives the matrix of an element.
        group: the group; permutations act on 5 nodes.
        seed: seed of the random elements.
        trials: pairs drawn from each pair of components.
    """
    generator = Generator().manual_seed(seed)
    acting = parse_group(group)
    with contextlib.suppress(InvalidInput):  # tied to its own number of nodes
        acting = acting.sized(5)
    e = rho(acting.identity())
    one = torch.eye(e.shape[0], dtype=torch.float64)
    worst = float((e - one).abs().amax()) if e.numel() else 0.0
    for _ in range(trials):
        for a, b in itertools.product(acting.components(), repeat=2):
            g, h = acting.sample(a, generator), acting.sample(b, generator)
            at_g, at_h, undo = rho(g), rho(h), rho(acting.inverse(g))
            if not at_g.numel():
                continue
            norm = max(1.0, float(at_g.abs().amax()))
            size = norm * max(1.0, float(at_h.abs().amax()), float(undo.abs().amax()))
            product, undone = rho(acting.compose(g, h)) - at_g @ at_h, undo @ at_g - one
            errors = (float(product.abs().amax()) / size, float(undone.abs().amax()) / size)
            worst = max(worst, *(error if error == error else float("inf") for error in errors))
    return worst


def _certified(name: str, rho: Representation, groups: tuple[str | Group, ...]) -> Representation:
    for group in groups:
        error = check_representation(rho.matrix, group=group, trials=1)
        if not error <= TOLERANCE:
            raise InvalidInput(
                f"representation {name!r} of {group} is not one: rho(e) = 1, rho(gh) = rho(g) rho(h), "
                f"rho(g^-1) rho(g) = 1 fail by {error:.1e}, allowed {TOLERANCE:.0e}. "
                "Check the order of factors and the parity."
            )
    return rho


def _small(t: TensorType) -> TensorType:
    """Return a type whose laws imply those of ``t``, and whose matrices are small."""
    if t.kind == "irreps":  # the laws hold block by block: check one copy of each
        return replace(t, irreps=tuple(MulIrrep(1, b.ir) for b in dict.fromkeys(t.irreps)))
    if t.kind in ("tensor", "perm"):
        return replace(t, order=min(t.order, 3))
    return t


@lru_cache(maxsize=256)
def _build(t: TensorType) -> Representation:
    kind = _KINDS[t.kind]
    plain = replace(t, dual=False)
    rho, small = kind.build(plain), kind.build(_small(plain))
    if t.dual:
        rho, small = rho.dual(), small.dual()
    _certified(str(t), small, kind.groups(plain))
    return rho


def representation(type_: TensorType | str) -> Representation:
    """Return the certified representation of a type.

    Raises:
        InvalidInput: unknown type, or a representation that violates the laws.
    """
    t = parse_type(type_) if isinstance(type_, str) else type_
    by_nodes = t.kind in ("perm", "simplex")
    return _build(t if by_nodes and t.scope == "node" else replace(t, scope=None))


def register_representation(
    kind: str, build: Build, *, group: str | Group = "E(3)", args: tuple[int, ...] = ()
) -> None:
    """Replace or add the representation behind a kind, after checking that it is one.

    A new kind enters the grammar of types: plain, ``spinor``, or with numbers, ``spinor(2)``.

    Args:
        kind: name of the kind.
        build: gives the representation of a parsed type; ``t.args`` are its numbers.
        group: group on whose elements the laws are checked.
        args: numbers of the type that is checked here; every other one is checked when first used.

    Raises:
        InvalidInput: the laws of a representation do not hold to 1e-12, or the name is not one.
    """
    if not kind.isidentifier():
        raise InvalidInput(
            f"register_representation: {kind!r} cannot name a kind. Use letters, as in 'spinor'."
        )
    _certified(kind, build(TensorType(kind, order=2, irreps=_CARTESIAN, args=args)), (group,))
    _KINDS[kind] = _Kind(build, lambda _: (group,))
    if kind not in KINDS:
        know_kind(kind)
    _build.cache_clear()


def matrix(type_: TensorType | str, g: Element) -> Tensor:
    """Return the float64 matrix by which ``g`` acts on a type; points use homogeneous coordinates.

    >>> from geomlib.algebra.groups import parse_group
    >>> matrix("8x0e+4x1o", parse_group("O(3)").identity()).shape
    torch.Size([20, 20])
    """
    return representation(type_).matrix(g)
