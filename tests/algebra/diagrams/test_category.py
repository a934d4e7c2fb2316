"""The category: fixtures, functoriality against dense products, laws on random diagrams, signs of Sp(n) and epsilon."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib.algebra.diagrams import (
    SO,
    A,
    B,
    Diagram,
    Lorentz,
    O,
    S,
    Sp,
    compose_terms,
    diagrams,
    functor,
    identity,
    orbit_diagrams,
    permuting,
    transpose_sign,
)  # fmt: skip
from geomlib.algebra.diagrams.matchings import crossings
from geomlib.errors import InvalidInput
from tests.algebra.diagrams.common import load, named


def test_compositions_of_partitions():
    rows = load("partition_composition.json")
    assert len(rows) == 410
    for l, m, k, second, first, result, loops in rows:
        made = Diagram.from_rgs(second, m, l).compose(Diagram.from_rgs(first, k, m))
        assert made == (Diagram.from_rgs(result, k, l), loops, 1)


def test_compositions_of_matchings_with_signs():
    rows = load("brauer_composition.json")
    assert len(rows) == 111 and {r["sp_raw_sign"] for r in rows} == {1, -1}
    for r in rows:
        l, m, k = r["l2"], r["m"], r["k1"]
        for kind, sign in (("brauer", 1), ("symplectic", r["sp_raw_sign"])):
            made = Diagram(r["top"], m, l, kind).compose(Diagram(r["bottom"], k, m, kind))
            assert made == (Diagram(r["result"], k, l, kind), r["loops"], sign)
        assert (
            crossings(r["top"], l, m) == r["cross_top"] and crossings(r["bottom"], m, k) == r["cross_bottom"]
        )
        assert crossings(r["result"], l, k) == r["cross_result"]


def everything(G, k: int, l: int) -> list[Diagram]:
    found = diagrams(G, k, l)
    return found + [d for d in orbit_diagrams(G, k, l) if d.kind == "orbit"] if G.kind in "SAB" else found


@pytest.mark.parametrize(
    "G", [S(2), S(3), A(2), A(3), A(4), B(2), O(3), SO(2), SO(3), SO(4), Sp(2), Sp(4), Sp(4, "block"), Lorentz(1, 2)],
    ids=named,
)  # fmt: skip
def test_products_of_matrices(G):
    """Every kind with every kind of its group, jellyfish and two epsilons included."""
    draw = torch.Generator().manual_seed(1)
    checked = 0
    for k, m, l in itertools.product(range(4), repeat=3):
        above, below = everything(G, m, l), everything(G, k, m)
        if not above or not below or G.n ** max(k + m, m + l) > 1500:
            continue
        for _ in range(4):
            i, j = (int(torch.randint(len(x), (), generator=draw)) for x in (above, below))
            terms = compose_terms(above[i], below[j], G)
            made = torch.zeros(G.n**l, G.n**k, dtype=torch.float64)
            for d, weight in terms.items():
                assert weight != 0 and isinstance(weight, int)
                made += weight * d.matrix(G)
            assert torch.equal(made, above[i].matrix(G) @ below[j].matrix(G))
            checked += 1
        turned = above[i].T
        assert turned.T == above[i]
        assert torch.equal(turned.matrix(G), transpose_sign(above[i]) * above[i].matrix(G).T)
    assert checked > 40


@st.composite
def partition(draw, k: int, l: int) -> Diagram:
    return Diagram.from_rgs([draw(st.integers(0, k + l)) for _ in range(k + l)], k, l)


@st.composite
def matching(draw, k: int, l: int, kind: str) -> Diagram:
    order = draw(st.permutations(range(k + l)))
    return Diagram([order[i : i + 2] for i in range(0, k + l, 2)], k, l, kind)


@st.composite
def chain(draw, length: int, kind: str = "") -> list[Diagram]:
    """Diagrams of one kind that can be composed one after the other, the last one first."""
    kind = kind or draw(st.sampled_from(["partition", "brauer", "symplectic"]))
    step = 1 if kind == "partition" else 2
    start = draw(st.integers(0, 3))
    orders = [start] + [start % step + step * draw(st.integers(0, 3 // step)) for _ in range(length)]
    make = partition if kind == "partition" else lambda k, l: matching(k, l, kind)
    return [draw(make(k, l)) for k, l in itertools.pairwise(orders)][::-1]


def total(*steps) -> tuple[Diagram, int, int]:
    """The diagram, all loops, all signs of steps of one computation."""
    sign = 1
    for s in steps:
        sign *= s.sign
    return steps[-1].diagram, sum(s.loops for s in steps), sign


@settings(max_examples=80, deadline=None)
@given(chain(3))
def test_composition_is_associative(three):
    a, b, c = three
    left, right = a.compose(b), b.compose(c)
    assert total(left, left.diagram.compose(c)) == total(right, a.compose(right.diagram))


@settings(max_examples=60, deadline=None)
@given(chain(1))
def test_identities(one):
    (d,) = one
    kind = d.kind
    assert d.compose(identity(d.k, kind)) == (d, 0, 1) == identity(d.l, kind).compose(d)


@settings(max_examples=60, deadline=None)
@given(chain(2))
def test_transposes_reverse_products(two):
    a, b = two
    made, turned = a.compose(b), b.T.compose(a.T)
    assert turned.diagram == made.diagram.T and turned[1:] == made[1:]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_interchange(data):
    """(a x b)(c x d) = (a c) x (b d), with loops and signs."""
    a, c = data.draw(chain(2))
    b, d = data.draw(chain(2, a.kind))
    whole = a.tensor(b).compose(c.tensor(d))
    one, two = a.compose(c), b.compose(d)
    assert whole.diagram == one.diagram.tensor(two.diagram)
    assert whole.loops == one.loops + two.loops and whole.sign == one.sign * two.sign


@settings(max_examples=60, deadline=None)
@given(chain(2))
def test_side_by_side_is_the_kronecker_product(two):
    G = {"partition": S(2), "brauer": O(2), "symplectic": Sp(2)}[two[0].kind]
    assert torch.equal(two[0].tensor(two[1]).matrix(G), torch.kron(two[0].matrix(G), two[1].matrix(G)))


def test_epsilon_beside_a_matching():
    for n, (left, right) in itertools.product((2, 3), itertools.product((0, 1), repeat=2)):
        epsilon = Diagram([(0, n + 1)], n, 2, "grood", range(1, n + 1))
        pair = Diagram([(0, 1), (2, 3)], 2, 2, "brauer")
        made = (epsilon if left else epsilon.T).tensor(pair) if right else pair.tensor(epsilon)
        parts = ((epsilon if left else epsilon.T), pair) if right else (pair, epsilon)
        kron = torch.kron(parts[0].matrix(SO(n)), parts[1].matrix(SO(n)))
        assert torch.equal(made.matrix(SO(n)), kron)


@settings(max_examples=60, deadline=None)
@given(chain(2, "symplectic"))
def test_loops_of_the_symplectic_functor_count_minus_n(two):
    a, b = two
    for n in (2, 4):
        if n ** (max(a.legs, b.legs)) <= 4096:
            made = a.compose(b)
            expected = (-n) ** made.loops * functor(made.diagram, Sp(n))
            assert torch.equal(functor(a, Sp(n)) @ functor(b, Sp(n)), expected)


def test_the_functor_holds_for_any_form():
    omega = torch.tensor([[0.0, 3], [-3, 0]], dtype=torch.float64)
    cup, cap = Diagram([(0, 1)], 0, 2, "symplectic"), Diagram([(0, 1)], 2, 0, "symplectic")
    line = Diagram([(0, 1)], 1, 1, "symplectic")
    assert (functor(cap, Sp(2, omega)) @ functor(cup, Sp(2, omega))).item() == -2
    straight = functor(cap.tensor(line), Sp(2, omega)) @ functor(line.tensor(cup), Sp(2, omega))
    assert torch.allclose(straight, torch.eye(2, dtype=torch.float64))
    with pytest.raises(InvalidInput, match="expected 'symplectic'"):
        functor(identity(1, "brauer"), Sp(2))


def test_two_epsilons_are_a_signed_sum():
    """n! terms where none of their legs meet, as determinants expand."""
    cup, cap = Diagram([], 0, 3, "grood", range(3)), Diagram([], 3, 0, "grood", range(3))
    terms = compose_terms(cup, cap, "SO(3)")
    assert len(terms) == 6 and sorted(terms.values()) == [-1, -1, -1, 1, 1, 1]
    assert compose_terms(cap, cup, SO(3)) == {Diagram([], 0, 0, "brauer"): 6}
    trace = Diagram([(0, 1)], 2, 0, "brauer")
    assert compose_terms(trace, Diagram([], 1, 2, "grood", range(3)), SO(3)) == {}


def test_permutations_compose_as_permutes():
    x = torch.arange(24.0).reshape(2, 3, 4)
    one, two = (1, 2, 0), (2, 1, 0)
    made = permuting(two).compose(permuting(one))
    assert made == (permuting([one[i] for i in two]), 0, 1)
    assert torch.equal(x.permute(one).permute(two), x.permute([one[i] for i in two]))


def test_what_is_no_single_diagram_is_refused():
    epsilon, orbit = Diagram([], 1, 1, "grood", [0, 1]), Diagram([(0, 1)], 1, 1, "orbit")
    with pytest.raises(InvalidInput, match="two epsilons"):
        epsilon.compose(epsilon)
    with pytest.raises(InvalidInput, match="vanishes"):
        Diagram([(0, 1)], 2, 0, "brauer").compose(Diagram([], 0, 2, "grood", [0, 1]))
    with pytest.raises(InvalidInput, match="two epsilons"):
        epsilon.tensor(epsilon)
    for act in (orbit.compose, orbit.tensor):
        with pytest.raises(InvalidInput, match="no single diagram"):
            act(orbit)
    with pytest.raises(InvalidInput, match="must be equal"):
        identity(2).compose(identity(1))
    with pytest.raises(InvalidInput, match="no single diagram"):
        identity(1).compose(identity(1, "brauer"))
    with pytest.raises(InvalidInput, match="expand"):
        compose_terms(Diagram([(0, 1)], 1, 1, "orbit+"), orbit, A(2))
