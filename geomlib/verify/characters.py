r"""Characters: the traces by which an unknown representation is recognised.

A representation is a sum of irreducible ones with multiplicities m, and so is its trace,
:math:`\mathrm{tr}\,W(g) = \sum_i m_i\,\chi_i(g)`: enough elements determine the multiplicities.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Element, Euclidean, Group, Permutations, PointGroup, rotation
from geomlib.algebra.groups.characters import cycle_type
from geomlib.errors import InvalidInput
from geomlib.verify.finite_characters import real_characters

__all__ = [
    "Basis",
    "Solved",
    "characters_of",
    "exterior_power",
    "point_group",
    "solve_multiplicities",
    "sphere",
    "suggested",
    "symmetric_group",
]

#: Highest degree that is looked for.
_MAX_DEGREE = 8


@dataclass(frozen=True)
class Basis:
    """Elements with the irreducible characters at them.

    Args:
        names: of the irreducible representations.
        dims: their dimensions.
        elements: one or more per class.
        table: (elements, names) characters.
    """

    names: tuple[str, ...]
    dims: tuple[int, ...]
    elements: tuple[Element, ...]
    table: Tensor

    def label(self, multiplicities: Tensor) -> str:
        """Return ``1x0e+1x2e`` for rounded multiplicities, ``0`` for none."""
        counts = [round(float(m)) for m in multiplicities]
        return "+".join(f"{m}x{name}" for m, name in zip(counts, self.names, strict=True) if m) or "0"


@dataclass(frozen=True)
class Solved:
    """Multiplicities from traces.

    Args:
        multiplicities: least squares solution, not rounded.
        residual: relative error of the traces it gives.
        distance: largest distance of a multiplicity to a whole number that is not negative.
    """

    multiplicities: Tensor
    residual: float
    distance: float


def solve_multiplicities(basis: Basis, traces: Tensor) -> Solved:
    """Return the multiplicities that reproduce the traces best.

    >>> basis = sphere(2, True, torch.Generator().manual_seed(0))
    >>> basis.label(solve_multiplicities(basis, torch.stack([g.linear.trace() for g in basis.elements])).multiplicities)
    '1x1o'
    """
    found = torch.linalg.lstsq(basis.table, traces[:, None]).solution[:, 0]
    size = float(torch.linalg.vector_norm(traces))
    error = float(torch.linalg.vector_norm(basis.table @ found - traces))
    distance = float((found - found.round().clamp(min=0)).abs().amax()) if found.numel() else 0.0
    return Solved(found, error / size if size > 0 else error, distance)


def characters_of(group: Group, features: int, kind: str, generator: Generator) -> Basis:
    """Return the characters by which to recognise a representation of this dimension.

    Args:
        group: the group; a translation part is left out.
        features: dimension of the representation.
        kind: from `suggested`, or the user's choice.
        generator: draws axes and elements.

    Raises:
        InvalidInput: a kind that is unknown, or that the group has no elements for.
    """
    factors = getattr(group, "factors", (group,))
    euclidean = [f for f in factors if _is_sphere(f)]
    finite = [f for f in factors if isinstance(f, PointGroup)]
    nodes = [f for f in factors if isinstance(f, Permutations)]
    turning = [f for f in factors if _turns(f, generator)]
    if kind == "irreps" and euclidean:
        improper = "improper" in euclidean[0].components()
        return sphere(min((features - 1) // 2, _MAX_DEGREE), improper, generator)
    if kind == "finite" and finite:
        return point_group(finite[0])
    if kind == "exterior" and turning:
        return exterior_power(turning[0], generator)
    if kind == "permutations" and nodes and nodes[0].size:
        return symmetric_group(nodes[0].size, generator, even=nodes[0].even)
    raise InvalidInput(
        f"verify.infer: characters={kind!r} does not fit {group.name}. Expected 'irreps' (O(3), E(3)), 'finite' (a point "
        "group), 'exterior' (any group of matrices) or 'permutations' (S_n)."
    )


def suggested(group: Group, multivectors: bool, generator: Generator) -> str:
    """Return the kind of characters that suits a group: ``irreps``, ``finite``, ``exterior`` or ``permutations``."""
    factors = getattr(group, "factors", (group,))
    if any(isinstance(f, PointGroup) for f in factors):
        return "finite"
    if any(_is_sphere(f) for f in factors) and not multivectors:
        return "irreps"
    return "exterior" if any(_turns(f, generator) for f in factors) else "permutations"


def _is_sphere(group: Group) -> bool:
    return isinstance(group, Euclidean) and group.n == 3 and group.rotations


def _turns(group: Group, generator: Generator) -> bool:
    a = group.sample(group.components()[0], generator).linear if not isinstance(group, Permutations) else None
    return a is not None and len(a) > 0 and not torch.equal(a, torch.eye(len(a)).to(a))


def point_group(group: PointGroup) -> Basis:
    """Return the characters of a point group, named by dimension and the first spherical harmonic that holds them.

    >>> from geomlib.algebra.groups import parse_group
    >>> point_group(parse_group("T_d")).names
    ('A(0e)', 'A(0o)', 'T(1o)', 'T(1e)', 'E(2e)')
    """
    chi = real_characters(group.matrices)
    elements = [Element(q, label="element") for q in group.matrices]
    norms = chi.square().mean(1)
    names: dict[int, str] = {}
    for degree, p in ((d, p) for d in range(len(chi) * 4) for p in ((1, -1) if d % 2 == 0 else (-1, 1))):
        harmonic = _degree(group.matrices, degree) * (group.signs.double() if p == -1 else 1.0)
        for k in range(len(chi)):
            if k not in names and float((chi[k] * harmonic).mean()) > 0.5 * float(norms[k]):
                dim = round(float(chi[k].amax()))
                base = f"{'?AETGH'[dim]}({degree}{'e' if p == 1 else 'o'})"
                names[k] = base + "'" * sum(n.rstrip("'") == base for n in names.values())
    order = list(names)
    dims = tuple(round(float(chi[k].amax())) for k in order)
    return Basis(tuple(names[k] for k in order), dims, tuple(elements), chi[order].T.contiguous())


def _degree(matrices: Tensor, degree: int) -> Tensor:
    """Return the character of degree l at the proper parts of orthogonal matrices."""
    proper = matrices * torch.linalg.det(matrices)[:, None, None]
    cos = ((proper.diagonal(dim1=1, dim2=2).sum(1) - 1.0) / 2.0).clamp(-1.0, 1.0)
    return 1.0 + 2.0 * sum(
        (torch.cos(m * torch.arccos(cos)) for m in range(1, degree + 1)), torch.zeros_like(cos)
    )


def sphere(lmax: int, improper: bool, generator: Generator) -> Basis:
    r"""Return :math:`\chi_l(\theta) = \sin((2l + 1)\theta/2) / \sin(\theta/2)` about one generic axis.

    Args:
        lmax: highest degree.
        improper: add -R for every R, which tells ``1e`` from ``1o``.
        generator: draws the axis.
    """
    axis = torch.randn(3, dtype=torch.float64, generator=generator)
    angles = torch.linspace(0.5, 2.9, 2 * lmax + 4, dtype=torch.float64)
    elements, rows = list[Element](), list[list[float]]()
    for sign in (1, -1) if improper else (1,):
        for theta in angles.tolist():
            elements.append(Element(sign * rotation(axis, theta), label=f"{sign:+d} {theta:.2f}"))
            chi = [math.sin((2 * d + 1) * theta / 2) / math.sin(theta / 2) for d in range(lmax + 1)]
            rows.append(chi + [sign * x for x in chi] if improper else chi)
    degrees = [*range(lmax + 1)]
    names = [f"{d}e" for d in degrees] + [f"{d}o" for d in degrees] if improper else [str(d) for d in degrees]
    dims = [2 * d + 1 for d in degrees] * (2 if improper else 1)
    return Basis(tuple(names), tuple(dims), tuple(elements), torch.tensor(rows, dtype=torch.float64))


def exterior_power(group: Group, generator: Generator) -> Basis:
    r"""Return the characters of the exterior powers :math:`\Lambda^k`, the grades of multivectors.

    :math:`\sum_k \chi_k(g)\,(-t)^k = \det(1 - t g)`, so the characters are the coefficients of a polynomial.
    """
    n = max(len(group.sample(name, generator).linear) for name in group.components())
    elements = [
        replace(g, shift=torch.zeros_like(g.shift))
        for name in group.components()
        for g in (group.sample(name, generator) for _ in range(2 * n + 4))
    ]
    rows = [_elementary(torch.linalg.eigvals(g.linear)) for g in elements]
    dims = tuple(math.comb(n, k) for k in range(n + 1))
    return _independent(tuple(f"grade{k}" for k in range(n + 1)), dims, elements, torch.stack(rows))


def _elementary(x: Tensor) -> Tensor:  # (n,) -> (n + 1,)
    """Return the elementary symmetric polynomials of eigenvalues."""
    found = torch.zeros(len(x) + 1, dtype=x.dtype)
    found[0] = 1.0
    for value in x:
        found[1:] = found[1:] + value * found[:-1]
    return found.real


def symmetric_group(n: int, generator: Generator, *, even: bool = False) -> Basis:
    r"""Return the characters of S_n that tensors of order two over the nodes hold, from the numbers of cycles.

    With :math:`a_1` fixed points and :math:`a_2` transpositions: trivial 1, standard :math:`a_1 - 1`,
    :math:`[n-2,2] = a_1(a_1-3)/2 + a_2`, :math:`[n-2,1,1] = (a_1-1)(a_1-2)/2 - a_2`, and each times the sign.
    """
    names: list[str] = ["trivial", "standard", f"[{n - 2},2]", f"[{n - 2},1,1]"]
    functions: list[Callable[[int, int], float]] = [
        lambda a, b: 1.0,
        lambda a, b: a - 1.0,
        lambda a, b: a * (a - 3) / 2 + b,
        lambda a, b: (a - 1) * (a - 2) / 2 - b,
    ]
    keep = [k for k, smallest in enumerate((1, 2, 4, 3)) if n >= smallest]
    elements, rows = list[Element](), list[list[float]]()
    for k in range(max(24, 2 * n)):
        # Random permutations have few fixed points: move only some of the nodes.
        p = torch.arange(n)
        moved = torch.randperm(n, generator=generator)[: k % n + 1]
        p[moved] = moved[torch.randperm(len(moved), generator=generator)]
        lengths = cycle_type(p.tolist())
        sign = (-1.0) ** (n - len(lengths))
        if even and sign < 0:
            continue
        a, b = lengths.count(1), lengths.count(2)
        values = [functions[i](a, b) for i in keep]
        elements.append(Element(nodes=p))
        rows.append([x for v in values for x in (v, sign * v)])
    plain = [names[i] for i in keep]
    both = [x for name in plain for x in (name, "sign" if name == "trivial" else f"sign*{name}")]
    dims = [round(functions[i](n, 0)) for i in keep for _ in range(2)]
    return _independent(tuple(both), tuple(dims), elements, torch.tensor(rows, dtype=torch.float64))


def _independent(
    names: tuple[str, ...], dims: tuple[int, ...], elements: list[Element], table: Tensor
) -> Basis:
    """Leave out characters that repeat earlier ones: sign times standard is standard for three nodes."""
    kept: list[int] = []
    for k in range(len(names)):
        if torch.linalg.matrix_rank(table[:, [*kept, k]], rtol=1e-9) == len(kept) + 1:
            kept.append(k)
    return Basis(tuple(names[k] for k in kept), tuple(dims[k] for k in kept), tuple(elements), table[:, kept])
