"""The laws that a group and its action must obey, to inherit from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import Group, parse_group
from geomlib.errors import InvalidInput
from geomlib.testing.asserting import require, skip
from geomlib.testing.measures import plain

__all__ = ["TOLERANCE", "GroupSuite"]

#: Round-off allowed to the laws in float64, relative and per unit of condition number.
TOLERANCE = 1e-12


class GroupSuite:
    r"""Tests of a group with its action: :math:`e x = x`, :math:`(gh)x = g(hx)`, :math:`g^{-1} g x = x`.

    Attributes:
        group: a name such as ``"O(3)"`` or a `geomlib.algebra.Group`.
        type: how the example transforms, ``"vector"``; used where no ``action`` is given.
        action: a static method ``(g, x) -> y``.
        example: a static method of a generator that returns a float64 tensor.
        nodes: size of groups that permute nodes.
        seed: of all draws.

    >>> class TestRotations(GroupSuite):
    ...     group, type = "SO(3)", "vector"
    ...     example = staticmethod(lambda generator: torch.randn(4, 3, generator=generator).double())
    >>> TestRotations().test_composition()
    """

    group: ClassVar[Any] = None
    type: ClassVar[str | None] = None
    action: ClassVar[Any] = None
    example: ClassVar[Any] = None
    nodes: ClassVar[int] = 5
    seed: ClassVar[int] = 0

    def the_group(self) -> Group:
        """Return the group, sized."""
        found = parse_group(self.group) if isinstance(self.group, str) else self.group
        if not isinstance(found, Group):
            raise InvalidInput(f"group = {self.group!r}: expected a name such as 'O(3)' or a Group.")
        return found.sized(self.nodes)

    def act(self, g: Any, x: Tensor) -> Tensor:
        """Return ``g`` acting on ``x``."""
        action = plain(self, "action")
        if action is not None:
            return action(g, x)
        if self.type is None:
            raise InvalidInput("the suite needs `action = staticmethod(...)` or `type = 'vector'`.")
        from geomlib.algebra.representations import act

        return act(self.type, g, x)

    def point(self) -> Tensor:
        """Return the example in float64."""
        example: Callable[[Generator], Tensor] | None = plain(self, "example")
        if example is None:
            raise InvalidInput(
                "the suite needs `example = staticmethod(lambda generator: ...)`, a float64 tensor."
            )
        return example(Generator().manual_seed(self.seed)).double()

    def elements(self, number: int = 1) -> list[Any]:
        """Return random elements of every component, and the special ones."""
        group, generator = self.the_group(), Generator().manual_seed(self.seed + 1)
        drawn = [group.sample(c, generator) for c in group.components() for _ in range(number)]
        return [*drawn, *group.special(generator)]

    def test_components(self) -> None:
        """There is at least one component, names differ, and each can be drawn from."""
        group = self.the_group()
        names = group.components()
        require(len(names) > 0, "the group has no components")
        require(len(set(names)) == len(names), f"components {names} repeat a name")
        for name in names:
            group.sample(name, Generator().manual_seed(0))

    def test_unknown_component_is_refused(self) -> None:
        """A component that does not exist raises a typed error."""
        try:
            self.the_group().sample("no such component", Generator().manual_seed(0))
        except InvalidInput:
            return
        require(False, "sample('no such component') gives an element; it must raise geomlib.InvalidInput")

    def test_sampling_is_seeded(self) -> None:
        """The same generator state gives the same element, and nothing global is drawn."""
        before, x = torch.get_rng_state(), self.point()
        for a, b in zip(self.elements(), self.elements(), strict=True):
            require(
                torch.equal(self.act(a, x), self.act(b, x)), f"two draws from one seed differ ({a.label})"
            )
        require(torch.equal(before, torch.get_rng_state()), "sampling draws from the global random state")

    def test_it_moves_something(self) -> None:
        """At least one element changes the example: otherwise every other test is vacuous."""
        x = self.point()
        moved = any(not torch.equal(self.act(g, x), x) for g in self.elements(2))
        require(moved, "no element changes the example")

    def test_identity(self) -> None:
        """The neutral element changes nothing."""
        x = self.point()
        self._close(self.act(self.the_group().identity(), x), x, "the identity")

    def test_composition(self) -> None:
        """Two elements one after the other act as their product."""
        group, x = self.the_group(), self.point()
        some = self.elements()
        for g, h in [*itertools.product(some[:4], some[:4]), *zip(some, some[::-1], strict=True)]:
            both, step = self.act(group.compose(g, h), x), self.act(g, self.act(h, x))
            self._close(both, step, f"{g.label} after {h.label}", g, h)

    def test_inverse(self) -> None:
        """An element and its inverse cancel."""
        group, x = self.the_group(), self.point()
        for g in self.elements(2):
            self._close(self.act(group.inverse(g), self.act(g, x)), x, f"inverse of {g.label}", g, g)

    def test_shape_and_type_are_kept(self) -> None:
        """The action keeps shape and dtype, in float32 too."""
        x = self.point()
        for dtype in (torch.float64, torch.float32):
            for g in self.elements():
                y = self.act(g, x.to(dtype))
                require(
                    y.shape == x.shape, f"{g.label} changes the shape {tuple(x.shape)} to {tuple(y.shape)}"
                )
                require(y.dtype == dtype, f"{g.label} changes {dtype} to {y.dtype}")

    def test_batches(self) -> None:
        """Acting on two copies along a new first axis acts on each."""
        if self.type is not None and self.type.startswith(("node:", "edge:")):
            skip("the first axis counts nodes or edges")
        x = self.point()
        for g in self.elements()[:4]:
            try:
                y = self.act(g, torch.stack([x, 2.0 * x]))
            except (RuntimeError, InvalidInput, IndexError, ValueError):
                skip("the action takes no further axis in front")
            self._close(y[1], self.act(g, 2.0 * x), f"{g.label} on a batch", g)

    @staticmethod
    def _close(a: Tensor, b: Tensor, what: str, *elements: Any) -> None:
        __tracebackhide__ = True
        require(a.shape == b.shape, f"{what}: shape {tuple(a.shape)}, not {tuple(b.shape)}")
        size = max(float(a.norm()), float(b.norm()), 1.0)
        for g in elements:  # boosts and stretches magnify round-off by their condition number
            size *= max(float(getattr(g, "condition", 1.0)), 1.0)
        error = float((a - b).norm()) / size
        require(error <= TOLERANCE, f"{what}: off by {error:.1e}, allowed {TOLERANCE:.0e}")
