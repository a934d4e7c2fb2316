"""What is multiplied: the spaces, channels and memory order of a pointwise product of signals on the sphere."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property

from geomlib.algebra.gaunt.tables import KINDS, SparseTable, degree_of, sparse_table
from geomlib.algebra.gaunt.vectors import Label
from geomlib.errors import InvalidInput

__all__ = ["LAYOUTS", "SignalProduct", "Space", "dimension"]

LAYOUTS = ("mul_ir", "ir_mul")
Space = tuple[int, ...] | tuple[Label, ...]


def dimension(space: Space) -> int:
    """Return the number of components of a space."""
    return sum(2 * degree_of(s) + 1 for s in space)


@dataclass(frozen=True)
class SignalProduct:
    r"""A channel-wise bilinear product :math:`z_{kc} = \sum_{ij} T_{ijk}\, x_{ic}\, y_{jc}`.

    Args:
        kind: ``"gaunt"`` (product of functions), ``"bracket"`` (Poisson bracket) or ``"vector"`` (cross product of vector
            signals, odd sums of degrees).
        first, second, out: degrees of the spaces, in order; labels (j, l) for ``"vector"``.
        channels: number of channels C.
        layout: memory order in the block of a degree: ``"mul_ir"``, the channel outside, as in e3nn; ``"ir_mul"``, the
            component outside.

    Raises:
        InvalidInput: an unknown kind or layout, or no channels.
    """

    kind: str
    first: Space
    second: Space
    out: Space
    channels: int = 1
    layout: str = "mul_ir"
    #: Text from which a traced operation finds the product again.
    key: str = field(init=False, repr=False, compare=False, default="")
    #: Components of the three spaces.
    dims: tuple[int, int, int] = field(init=False, repr=False, compare=False, default=(0, 0, 0))
    #: Columns of x, y and z.
    sizes: tuple[int, int, int] = field(init=False, repr=False, compare=False, default=(0, 0, 0))

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.layout not in LAYOUTS or self.channels < 1:
            raise InvalidInput(
                f"SignalProduct: kind={self.kind!r}, layout={self.layout!r}, channels={self.channels}; expected one of "
                f"{', '.join(KINDS)}, one of {', '.join(LAYOUTS)}, and a positive number."
            )
        # Plain attributes, because tracers do not look into cached properties.
        parts = [self.kind, self.first, self.second, self.out, self.channels, self.layout]
        object.__setattr__(self, "key", json.dumps(parts))
        dims = tuple(dimension(s) for s in self.spaces)
        object.__setattr__(self, "dims", dims)
        object.__setattr__(self, "sizes", tuple(d * self.channels for d in dims))

    @property
    def spaces(self) -> tuple[Space, Space, Space]:
        """The three spaces."""
        return self.first, self.second, self.out

    @property
    def table(self) -> SparseTable:
        """The sparse table, in float64."""
        return sparse_table(self.kind, self.first, self.second, self.out)

    @cached_property
    def turned(self) -> SignalProduct:
        """The product whose value at (y, g) is the derivative of <g, z> with respect to x.

        T does not change when its three indices are turned in a circle, so a product has its own gradients.
        """
        return SignalProduct(self.kind, self.second, self.out, self.first, self.channels, self.layout)
