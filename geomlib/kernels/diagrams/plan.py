"""What is known about a map before any tensor: the group, the orders, the diagrams, how they share their work."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from geomlib.algebra.diagrams import Diagram, TensorGroup, diagrams, tensor_group
from geomlib.algebra.diagrams.bases import Which
from geomlib.algebra.diagrams.orbit_groups import Product
from geomlib.kernels.diagrams.orbits import orbit_table
from geomlib.kernels.diagrams.stages import Stage, stages_of
from geomlib.kernels.diagrams.views import Forms, forms_of
from geomlib.kernels.diagrams.waist import Side

__all__ = ["Plan", "tensor_plan"]


class Plan:
    """The diagrams of maps from tensors of order k to tensors of order l, in the order of their weights.

    Plans never change, and are told apart by identity: :func:`tensor_plan` returns the same object for the same call, and
    what is computed from a plan is kept with it. A copy of a layer holds the plan of the layer.

    Args:
        group: the group; S_n may have no size.
        k: order of the input.
        l: order of the output.
        which: ``"basis"`` or ``"spanning"``.
        diagrams: in canonical order.
    """

    def __init__(
        self, group: TensorGroup, k: int, l: int, which: Which, diagrams: tuple[Diagram, ...]
    ) -> None:
        self.group, self.k, self.l, self.which, self.diagrams = group, k, l, which, diagrams
        #: Which map every entry belongs to, for groups with orbits.
        self.table: Tensor | None = orbit_table(group, k, l, diagrams)
        #: Whether the maps cover every entry.
        self.complete = self.table is None or int(self.table.max()) < len(diagrams)
        #: Plans of both factors of a product.
        self.factors: tuple[Plan, Plan] | None = None
        if isinstance(group, Product):
            self.factors = tensor_plan(group.first, k, l, which), tensor_plan(group.second, k, l, which)
        #: Stages, the bottom side and the top side. Made here, and not in the middle of a trace.
        own = self.table is not None or self.factors is not None
        self.grouped: tuple[tuple[Stage, ...], Side, Side] = stages_of(() if own else diagrams, k, l, group.n)
        self.forms: Forms = forms_of(group)

    @property
    def n(self) -> int | None:
        """Length of an axis, None where the tensor decides."""
        return self.group.n

    def __deepcopy__(self, memo: object) -> Plan:
        return self  # a constant, by which tables are kept

    def __len__(self) -> int:
        return len(self.diagrams)

    def __repr__(self) -> str:
        return f"Plan({self.group}, {self.k} -> {self.l}, {len(self.diagrams)} diagrams)"


@lru_cache(maxsize=256)
def _plan(group: TensorGroup, k: int, l: int, which: Which) -> Plan:
    return Plan(group, k, l, which, tuple(diagrams(group, k, l, which)))


def tensor_plan(group: TensorGroup | str, k: int, l: int, which: Which = "basis") -> Plan:
    """Return the plan of the equivariant maps from order k to order l; the same call returns the same plan.

    Args:
        group: the group or its name. S_n without a size has the diagrams of large n and takes tensors of any n.
        k: order of the input.
        l: order of the output.
        which: ``"basis"``, independent diagrams at this n, or ``"spanning"``, all of the usual list.

    Raises:
        InvalidInput: an unknown group, orders below zero, or too many diagrams.

    >>> tensor_plan("S_3", 2, 2), tensor_plan("S_n", 2, 2)
    (Plan(S_3, 2 -> 2, 14 diagrams), Plan(S_n, 2 -> 2, 15 diagrams))
    """
    found = tensor_group(group)
    return _plan(found, k, l, "spanning" if found.n is None else which)
