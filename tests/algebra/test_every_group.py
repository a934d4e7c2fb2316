"""What holds for every family of groups: laws, components, special elements, generators, determinism."""

from __future__ import annotations

import itertools

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.groups import (
    ENUMERATED,
    EXAMPLES,
    Element,
    Flow,
    Group,
    Permutations,
    check_group,
    compose,
    contragredient,
    group_error,
    inverse,
    parse_group,
    register_group,
    stratified,
)
from tests.algebra._groups import NAMES, gen, plain, ready


@pytest.mark.parametrize("name", NAMES)
def test_laws(name: str) -> None:
    error, law = group_error(ready(name), seed=3)
    assert error <= 1e-14, law


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_of_the_messages_parses(name: str) -> None:
    group = parse_group(name)
    assert parse_group(group) is group
    assert parse_group(str(group)).components() == group.components()


@pytest.mark.parametrize("trials", [1, 24])
@pytest.mark.parametrize("name", NAMES)
def test_every_component_is_drawn_a_quarter_of_the_time(name: str, trials: int) -> None:
    group = ready(name)
    drawn = [g.label for g in stratified(group, trials, gen())]
    assert len(drawn) >= trials and set(drawn) == set(group.components())
    if group.elements() is None:
        assert all(drawn.count(c) >= -(-trials // 4) for c in group.components())


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_elements(name: str) -> None:
    first, second = (
        [*stratified(group, 6, rng), *group.special(rng), *group.discrete(rng)]
        for group, rng in ((ready(name), gen(5)) for _ in range(2))
    )
    for g, h in zip(first, second, strict=True):
        for a, b in zip((g.linear, g.shift, g.nodes), (h.linear, h.shift, h.nodes), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_special_elements_start_with_the_identity(name: str) -> None:
    found = ready(name).special(gen())
    assert found[0].label == "identity" and len({g.label for g in found}) == len(found)
    assert torch.equal(found[0].linear, torch.eye(found[0].dim).double())
    if name not in ("T(3)", "translations"):
        assert len(found) > 1


@pytest.mark.parametrize("name", NAMES)
def test_flows_are_one_parameter_subgroups(name: str) -> None:
    group = ready(name)
    for flow in group.generators():
        s, t = 0.3, 0.4
        both, apart = flow(s + t), compose(flow(s), flow(t))
        torch.testing.assert_close(both.linear, apart.linear, rtol=0, atol=1e-13)
        torch.testing.assert_close(both.shift, apart.shift, rtol=0, atol=1e-13)
        h = 1e-5
        torch.testing.assert_close(
            (flow(h).linear - flow(-h).linear) / (2 * h), flow.linear, rtol=0, atol=1e-9
        )
        assert flow.name in flow(1.0).label


DIMENSIONS = {
    "O(3)": 3, "E(3)": 6, "SO(4)": 6, "O(5)": 10, "E(2)": 3, "O(1,3)": 6, "SO(2,2)": 6, "Sp(4)": 10, "Sp(6,block)": 21,
    "GL(3)": 9, "SL(3)": 8, "SL(1)": 0, "Pin(3,0,0)": 3, "Pin(1,3,0)": 6, "Pin(3,0,1)": 6, "Spin(2,0,2)": 5,
    "scalings*O(3)": 4, "SO(2)@z": 1, "S_n": 0, "O_h": 0, "B(4)": 0, "Kron(S_3, O(2))": 1, "Kron(Sp(2), A_4)": 3,
}  # fmt: skip


@pytest.mark.parametrize(("name", "dimension"), DIMENSIONS.items())
def test_flows_span_the_lie_algebra(name: str, dimension: int) -> None:
    flows = ready(name).generators()
    assert len(flows) == dimension and len({f.name for f in flows}) == dimension
    if flows:
        shifts = [f.shift if f.shift.numel() else torch.zeros(len(f.linear)).double() for f in flows]
        rows = torch.stack([torch.cat([f.linear.reshape(-1), s]) for f, s in zip(flows, shifts, strict=True)])
        assert int(torch.linalg.matrix_rank(rows)) == dimension


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("O(3)", 2),
        ("O(1,3)", 4),
        ("SO(2,2)", 2),
        ("GL(3)", 2),
        ("C_4v", 2),
        ("S_n", 2),
        ("Pin(1,3,0)", 4),
        ("B(3)", 2),
        ("B(1)", 2),
    ],
)
def test_discrete_generators_reach_every_component(name: str, count: int) -> None:
    group = ready(name)
    assert len({_component(group, g) for g in _words(group, 3)}) == count


def _words(group: Group, length: int) -> list[Element]:
    found = [group.identity()]
    for _ in range(length):
        found += [compose(g, h) for g, h in itertools.product(group.discrete(gen()), found)]
    return found


def _component(group: Group, g: Element) -> object:
    if g.nodes is not None:
        eye = torch.eye(len(g.nodes))
        return float(torch.linalg.det(eye[g.nodes]))
    p = getattr(group, "p", None)
    if p is not None:
        return tuple(float(torch.linalg.det(b).sign()) for b in (g.linear[:p, :p], g.linear[p:, p:]))
    return g.det


@pytest.mark.parametrize(
    "name", ["C_5", "D_4h", "T_d", "O_h", "Aut(6; 0-1, 1-2, 2-3, 3-4, 4-5, 5-0)", "B(2)", "B(3)"]
)
def test_small_finite_groups_are_enumerated(name: str) -> None:
    group = ready(name)
    elements = group.elements()
    assert elements is not None and len(elements) <= ENUMERATED
    drawn = stratified(group, len(elements) + 1, gen())
    assert len(drawn) == 2 * len(elements)
    keys = {tuple(_numbers(g)) for g in drawn}
    assert len(keys) == len(elements)


def _numbers(g: Element) -> list[float]:
    return g.nodes.tolist() if g.nodes is not None else (g.linear.round(decimals=8) + 0.0).flatten().tolist()


def test_products_enumerate_their_finite_factors() -> None:
    drawn = stratified(ready("O_h*S_n"), 4, gen())
    assert len({tuple((g.linear + 0.0).flatten().tolist()) for g in drawn}) == 48
    assert len({tuple(g.nodes.tolist()) for g in drawn}) > 10


def test_large_finite_groups_are_sampled() -> None:
    group = parse_group("I_h")
    assert group.elements() is None and len(stratified(group, 24, gen())) == 24


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("E3", "'E(3)'"), ("0(3)", "'O(3)'"), ("Oh", "'O_h'"), ("C4v", "'C_4v'"), ("SO3", "'SO(3)'"), ("Sn", "'S_n'"),
        ("sp(4)", "'Sp(4)'"), ("Sp(3)", "Write Sp(4)"), ("Sp(4,blok)", "Sp(4,block)"), ("GL(2,3)", "'GL(3)'"),
        ("Pin(0,0,2)", "p + q must be at least 1"), ("O(3)*SO(3)", "at most one spatial"), ("S_n*A_n", "permutations"),
        ("O(3)*E(2)", "first"), ("O(4", "'O(4)'"), ("Aut(3; 0-7)", "node 7"), ("Aut(3; 0:1)", "neither an edge"),
        ("Aut(3; (0 1 0))", "share a node"), ("Aut(2; (0 5))", "names node 5"), ("spin(3,0,0)", "'Spin(3,0,0)'"),
        ("scaling", "'scalings'"), ("C_0", "unknown factor"), ("Aut(3; (0 1) x)", "expected cycles"), ("B(0)", "'B(3)'"),
        ("Kron(S_3)", "two groups"), ("Kron(S_n, O(2))", "Write S_3"),
        ("Kron(S_3, E(2))", "translations"), ("Kron(S_3, Q(2))", "unknown factor 'Q(2)'"),
    ],
)  # fmt: skip
def test_misuse_names_the_nearest_spelling(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_group(text)
    assert hint in str(error.value)


def test_unknown_components() -> None:
    for name in NAMES:
        with pytest.raises(InvalidInput, match="no component 'bogus'"):
            ready(name).sample("bogus", gen())


def test_an_element_of_another_dimension() -> None:
    g = parse_group("O(3)*O(2)").sample("proper, improper", gen())
    assert g.on(2).shape == (2, 2) and g.on(3) is g.linear
    with pytest.raises(InvalidInput, match="dimension 4 meets a group that acts on dimension 3, 2"):
        g.on(4)
    assert torch.equal(Element().on(5), torch.eye(5).double())


def test_factors_of_other_dimensions_compose_apart() -> None:
    group = parse_group("E(3)*O(2)*S_n").sized(4)
    g, h = (group.sample(group.components()[k], gen(k)) for k in (3, 6))
    gh, back = compose(g, h), compose(inverse(g), g)
    torch.testing.assert_close(gh.on(2), g.on(2) @ h.on(2), rtol=0, atol=1e-14)
    torch.testing.assert_close(gh.shift, g.linear @ h.shift + g.shift, rtol=0, atol=1e-14)
    torch.testing.assert_close(back.on(2), torch.eye(2).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(back.shift, torch.zeros(3).double(), rtol=0, atol=1e-14)


def test_contragredient() -> None:
    g = parse_group("GL(3)").sample("improper", gen())
    torch.testing.assert_close(contragredient(g).linear, torch.linalg.inv(g.linear).T, rtol=0, atol=1e-14)
    turn = parse_group("E(3)").sample("improper", gen())
    assert torch.equal(contragredient(turn).linear, turn.linear) and not bool(
        contragredient(turn).shift.any()
    )


class _Cyclic(Group):
    """A user's group: turns by multiples of a third, with an inverse that may be wrong."""

    def __init__(self, wrong: bool):
        self.name, self.wrong = "thirds", wrong

    def components(self) -> tuple[str, ...]:
        return ("turn",)

    def identity(self) -> Element:
        return plain(torch.eye(3))

    def sample(self, component: str, generator: torch.Generator, scale: float = 1.0) -> Element:
        k = int(torch.randint(1, 3, (), generator=generator))
        return plain(torch.linalg.matrix_power(torch.eye(3).roll(1, 0), k))

    def special(self, generator: torch.Generator) -> list[Element]:
        return [self.identity()]

    def inverse(self, g: Element) -> Element:
        return g if self.wrong else inverse(g)


def test_registering_a_group_checks_it() -> None:
    with pytest.raises(InvalidInput, match=r"'thirds' is not a group: g\^-1 g = e fails"):
        register_group("thirds", _Cyclic(wrong=True))
    with pytest.raises(InvalidInput, match="unknown factor 'thirds'"):
        parse_group("thirds")
    register_group("thirds", _Cyclic(wrong=False))
    assert parse_group("thirds*S_n").components() == ("turn, even", "turn, odd")
    for taken in ("O(3)", "S_n", "a*b", "O_h", ""):
        with pytest.raises(InvalidInput, match="taken"):
            register_group(taken, _Cyclic(wrong=False))


def test_the_check_of_a_group_can_fail_in_every_law() -> None:
    class Backwards(_Cyclic):
        def compose(self, g: Element, h: Element) -> Element:
            return compose(h, g)  # harmless for an abelian group, wrong beside shifts

    assert group_error(Backwards(wrong=False))[0] <= 1e-14

    class Wrong(type(parse_group("O(3)"))):  # type: ignore[misc]
        def compose(self, g: Element, h: Element) -> Element:
            return compose(h, g)

    assert group_error(Wrong("O(3)", signs=(1, -1))) > (0.1, "")

    class Forgetful(type(parse_group("O(3)"))):  # type: ignore[misc]
        def identity(self) -> Element:
            return plain(-torch.eye(3))

    with pytest.raises(InvalidInput, match="not a group"):
        check_group(Forgetful("O(3)"))

    class Unseeded(Permutations):
        def sized(self, nodes: int) -> Permutations:
            return Unseeded(nodes)

        def sample(self, component: str, generator: torch.Generator, scale: float = 1.0) -> Element:
            return super().sample(component, torch.Generator().manual_seed(torch.seed() % 2**31), scale)

    with pytest.raises(InvalidInput, match="same seed"):
        check_group(Unseeded())

    class Empty(_Cyclic):
        def components(self) -> tuple[str, ...]:
            return ()

    with pytest.raises(InvalidInput, match="nothing would be tested"):
        check_group(Empty(wrong=False))


def test_a_flow_of_a_shift() -> None:
    flow = Flow("T0", torch.zeros(2, 2).double(), torch.tensor([1.0, 0.0]).double())
    assert flow(2.5).shift.tolist() == [2.5, 0.0]
    # A screw: the shift is turned while it accumulates.
    screw = Flow("S", torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double(), torch.tensor([1.0, 0.0]).double())
    torch.testing.assert_close(screw(torch.pi).shift, torch.tensor([0.0, 2.0]).double(), rtol=0, atol=1e-14)
