"""Group actions, each with one fault, and the suite that must see it. Run by test_suites_catch.py, never by itself."""

from __future__ import annotations

import math

import torch

from geomlib.algebra.groups import Element, Group
from geomlib.testing import GroupSuite


class Turns(Group):
    """Rotations of the plane and their mirror images: nothing is wrong with them."""

    name = "turns and flips"

    def components(self):
        return ("turn", "flip")

    def sample(self, component, generator, scale=1.0):
        self.require(component)
        angle = float(2.0 * math.pi * torch.rand(1, generator=generator))
        c, s = math.cos(angle), math.sin(angle)
        sign = 1.0 if component == "turn" else -1.0
        return Element(torch.tensor([[c, -s * sign], [s, c * sign]], dtype=torch.float64), label=component)

    def special(self, generator):
        return [self.identity(), Element(-torch.eye(2, dtype=torch.float64), label="half turn")]

    def identity(self):
        return Element(torch.eye(2, dtype=torch.float64), label="identity")


def act(g, x):
    return x @ g.linear.to(x).T


class TestGood(GroupSuite):
    group = Turns()
    action = staticmethod(act)
    example = staticmethod(lambda generator: torch.randn(4, 2, generator=generator))


class Nameless(Turns):
    def components(self):
        return ("turn", "turn")


class TestNameless(TestGood):
    """test_components"""

    group = Nameless()


class Obliging(Turns):
    def require(self, component):
        pass


class TestObliging(TestGood):
    """test_unknown_component_is_refused"""

    group = Obliging()


class Global(Turns):
    def sample(self, component, generator, scale=1.0):
        return super().sample(component, torch.default_generator, scale)


class TestGlobal(TestGood):
    """test_sampling_is_seeded"""

    group = Global()


class TestTrivial(TestGood):
    """test_it_moves_something"""

    action = staticmethod(lambda g, x: x.clone())


class Shifted(Turns):
    def identity(self):
        return Element(torch.tensor([[1.0, 1e-9], [0.0, 1.0]], dtype=torch.float64), label="identity")


class TestShifted(TestGood):
    """test_identity"""

    group = Shifted()


class TestTransposed(TestGood):
    """test_composition"""

    action = staticmethod(lambda g, x: x @ g.linear.to(x))


class Undone(Turns):
    def inverse(self, g):
        return g


class TestUndone(TestGood):
    """test_inverse"""

    group = Undone()


class TestWiden(TestGood):
    """test_shape_and_type_are_kept"""

    action = staticmethod(lambda g, x: x.double() @ g.linear.T)


class TestFlattened(TestGood):
    """test_batches"""

    action = staticmethod(lambda g, x: act(g, x - x.flatten(0, -2).mean(0)) + x.flatten(0, -2).mean(0))
