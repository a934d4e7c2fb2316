"""What the weights of a layer of tensors multiply: plain diagrams, or combinations of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from geomlib.algebra.diagrams import Diagram, TensorGroup
from geomlib.algebra.diagrams.orbit_groups import ProductMap
from geomlib.algebra.diagrams.orbits import OrbitMap, orbits
from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams import Plan, tensor_plan
from geomlib.layers._diagram_rows import gram, orbit_rows, refuse_large, symmetric_rows

if TYPE_CHECKING:
    from geomlib.algebra.diagrams.bases import Which

__all__ = ["BASES", "DiagramMaps", "diagram_maps", "part_of"]

#: Groups whose orbits of indices are listed by diagrams.
_ORBITS = ("S", "A", "B")
#: Groups whose diagrams are matchings, a basis of which is no union of orbits under exchange of legs.
_MATCHED = ("O", "SO", "Sp", "Lorentz")

BASES = ("diagram", "orbit", "orthonormal")


@dataclass(frozen=True, eq=False)
class DiagramMaps:
    """Maps of order k to order l, one per weight.

    Args:
        plan: of the multiplication by plain diagrams.
        basis: one of `BASES`.
        rows: (P, D) maps as combinations of the diagrams; None for the diagrams themselves.
        leaders: for every map the diagram that says how many axes it sums over.
    """

    plan: Plan
    basis: str
    rows: Tensor | None
    leaders: tuple[int, ...]

    @property
    def group(self) -> TensorGroup:
        """The group that acts on every axis."""
        return self.plan.group

    @property
    def diagrams(self) -> Sequence[Any]:
        """The plain diagrams, in canonical order."""
        return self.plan.diagrams

    @property
    def count(self) -> int:
        """Number of maps, P."""
        return len(self.leaders)

    def __deepcopy__(self, memo: Any) -> DiagramMaps:
        return self  # a constant

    def exponents(self, normalization: str) -> tuple[float, ...] | None:
        """Return the power of n by which every map is divided, None where the norms are no powers of n."""
        if normalization == "sum" or self.basis == "orthonormal":
            return (0.0,) * self.count
        found: list[float] = []
        for p in self.leaders:
            d = self.diagrams[p]
            if not isinstance(d, Diagram):
                return None
            if normalization == "mean":
                found.append(float(len(d.cut()[2])))
            elif self.rows is None and _power(d, self.group):
                found.append(0.5 * len(d.blocks))
            else:
                return None
        return tuple(found)

    def factors(self, normalization: str) -> Tensor:  # (P,)
        """Return one over the entries that a row of every map sums, or one over its Frobenius norm.

        Raises:
            InvalidInput: S_n without a size, whose norms are not known.
        """
        if self.group.n is None:
            raise InvalidInput(
                f"normalization='unit' with basis={self.basis!r} or symmetric tensors needs the size of S_n: the norms depend "
                "on n. Write S(n), or use normalization='mean'."
            )
        if normalization == "mean":
            reads = [_reads(self.diagrams[p], self.group) for p in self.leaders]
            return 1.0 / torch.tensor(reads, dtype=torch.float64)
        if self.rows is None:
            squares = torch.tensor([_square(d, self.group) for d in self.diagrams], dtype=torch.float64)
        else:
            squares = ((self.rows @ gram(self.diagrams, self.group)) * self.rows).sum(1)
        return torch.where(squares > 0, squares, torch.ones_like(squares)).rsqrt()


def part_of(plan: Plan, l: int, k: int, listed: Sequence[Any]) -> Plan:
    """Return a plan for other diagrams of the same group."""
    return Plan(plan.group, k, l, cast("Which", plan.which), tuple(listed))


def _named_form(group: TensorGroup) -> bool:
    return group.kind != "Sp" or not group.name.endswith("form)")


def _power(d: Diagram, group: TensorGroup) -> bool:
    """Return whether the Frobenius norm is n to half the number of blocks."""
    return d.kind in ("partition", "brauer") or (d.kind == "symplectic" and _named_form(group))


def _reads(d: Any, group: Any) -> float:
    """Return the number of inputs that an output of this map sums."""
    if isinstance(d, ProductMap):
        return _reads(d.first, group.first) * _reads(d.second, group.second)
    if isinstance(d, OrbitMap):
        return float(orbits(group, d.k, d.l).row_sizes[d.number])
    return float(group.size) ** len(d.cut()[2])


def _square(d: Any, group: Any) -> float:
    """Return the squared Frobenius norm of a plain diagram."""
    if isinstance(d, ProductMap):
        return _square(d.first, group.first) * _square(d.second, group.second)
    if isinstance(d, OrbitMap):
        return float(orbits(group, d.k, d.l).sizes[d.number])
    n = group.size
    if d.kind == "jellyfish":
        return float(math.factorial(n))
    if d.kind == "grood":
        return float(math.factorial(n)) * float(n) ** len(d.blocks)
    if d.kind == "symplectic" and not _named_form(group):
        cross, top, bottom = d.cut()
        above, below = (float(form.square().sum()) for form in group.forms())
        return float(n) ** len(cross) * above ** len(top) * below ** len(bottom)
    return float(n) ** len(d.blocks)


@lru_cache(maxsize=256)
def diagram_maps(
    group: TensorGroup, k: int, l: int, which: str, basis: str, symmetric: tuple[bool, bool]
) -> DiagramMaps:
    """Return the maps of order k to order l; the same call returns the same object.

    Args:
        group: acting on every axis.
        k: order of the input.
        l: order of the output.
        which: ``"basis"`` or ``"spanning"``.
        basis: one of `BASES`.
        symmetric: whether the indices of the input, of the output, are symmetric.

    Raises:
        InvalidInput: a basis that the group has not, more maps than can be listed.
    """
    if basis == "orbit" and group.kind not in (*_ORBITS, "orbits"):
        raise InvalidInput(
            f"basis='orbit' belongs to groups of permutations: {group} has no finite orbits of indices. "
            "Use basis='diagram' or 'orthonormal'."
        )
    if basis == "orthonormal" and group.n is None:
        raise InvalidInput(
            "basis='orthonormal' needs the size of S_n: scalar products of maps depend on n. Write S(n), or "
            "use basis='diagram'."
        )
    paired = any(symmetric) and group.kind in _MATCHED
    kept = cast("Which", "spanning" if paired else which)
    plan = tensor_plan(group, k, l, kept)
    listed = plan.diagrams
    leaders, rows = tuple(range(len(listed))), None
    if any(symmetric):
        rows = symmetric_rows(plan, symmetric)
        leaders = tuple(int(row.nonzero()[0]) for row in rows)
    if basis == "orbit" and group.kind in _ORBITS:
        found = orbit_rows(plan, split=rows is None)
        rows = found if rows is None else rows @ found
    if basis == "orthonormal":
        refuse_large(len(listed))
        rows = _orthonormal(rows, gram(listed, group))
    return DiagramMaps(plan, basis, rows, leaders)


def _orthonormal(rows: Tensor | None, products: Tensor) -> Tensor:  # (P, D)
    """Return the maps made orthonormal one after the other, by a Cholesky factor of their scalar products."""
    made = torch.eye(len(products), dtype=products.dtype) if rows is None else rows
    for _ in range(2):  # the second factor removes what round-off left
        factor = torch.linalg.cholesky(made @ products @ made.mT)
        made = torch.linalg.solve_triangular(factor, made, upper=False)
    return made
