"""Tensor operations: counts of the fixture and of characters, equivariance, derivatives, generators of the textbooks."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from geomlib.algebra.cartesian import (
    Plan,
    TensorSpec,
    equivariant_operations,
    evaluate,
    from_spherical,
    generators,
    invariant_to_equivariant,
    spherical_basis,
    to_spherical,
)
from geomlib.algebra.cartesian.networks import canonical, networks
from geomlib.algebra.diagrams import SO, O, diagrams, dim_hom
from geomlib.algebra.groups import haar_orthogonal
from geomlib.algebra.irreps import Irreps
from geomlib.algebra.representations import symmetric_traceless_basis
from geomlib.errors import InvalidInput

DATA = Path(__file__).resolve().parents[1] / "data" / "diagrams" / "tensor_operations.json"
ROWS = json.loads(DATA.read_text())
A, B = (TensorSpec(2, symmetric=True, name=x) for x in "AB")
Q = TensorSpec(2, symmetric=True, traceless=True, name="Q")
M = TensorSpec(2, name="M")
u, v, w = (TensorSpec(1, name=x) for x in "uvw")
a = TensorSpec(1, parity=-1, name="a")
T3 = TensorSpec(3, symmetric=True, traceless=True, name="T")
ONE = TensorSpec(0)
FREE2 = TensorSpec(2)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: "".join(i["name"] for i in r["inputs"]) + str(r["legs"]))
def test_counts_of_the_fixture(row):
    inputs = [TensorSpec(i["rank"], i["symmetric"], name=i["name"]) for i in row["inputs"]]
    output = TensorSpec(row["output_rank"], row["output_symmetric"])
    group = f"{row['group']}({row['n']})"
    epsilons = (False, True) if row["group"] == "SO" else (False,)
    listed = sum(len(networks(inputs, output, row["n"], epsilon=e)) for e in epsilons)
    assert listed == row["distinct_graphs"]
    assert (
        len(equivariant_operations(inputs, output, None, group, independent=False)) == row["nonzero_graphs"]
    )
    assert len(equivariant_operations(inputs, output, None, group)) == row["independent"]


def characters(spec: TensorSpec, eigenvalues: np.ndarray, det: np.ndarray, power: int) -> np.ndarray:
    """Return the character of a tensor at the powers of elements with these eigenvalues (elements, n)."""
    vector = (eigenvalues**power).sum(-1)
    found = vector**spec.rank
    if spec.symmetric:
        found = symmetric_power(lambda k: (eigenvalues ** (power * k)).sum(-1), spec.rank)
        if spec.traceless:
            found = found - symmetric_power(lambda k: (eigenvalues ** (power * k)).sum(-1), spec.rank - 2)
    return found * det ** (power if spec.parity < 0 else 0)


def symmetric_power(p, degree: int):
    """Return the complete symmetric polynomial of a degree from the power sums, by Newton's identities."""
    if degree < 0:
        return 0.0 * p(1)
    h = [np.ones_like(p(1))]
    for d in range(1, degree + 1):
        h.append(sum(p(k) * h[d - k] for k in range(1, d + 1)) / d)
    return h[degree]


def dimension(inputs, output, degrees, group: str) -> int:
    """Return how many equivariant polynomial maps there are: the mean of a product of characters (Weyl's integral)."""
    n, special = int(group[-2]), group.startswith("SO")
    theta = 2 * np.pi * np.arange(64) / 64
    turn = np.exp(1j * theta)[:, None] ** np.array([1, -1])
    one = np.ones((64, 1))
    weight = np.full(64, 1 / 64) if n == 2 else (1 - np.cos(theta)) / 64
    proper = turn if n == 2 else np.concatenate([turn, one], 1)
    cosets = [(proper, weight, np.ones(64))]
    if not special:
        mirrored = np.concatenate([one, -one], 1) if n == 2 else -proper
        cosets = [(proper, weight / 2, np.ones(64)), (mirrored, weight / 2, -np.ones(64))]
    total = 0.0
    for values, weights, det in cosets:
        product = characters(output, values, det, 1)
        for spec, degree in zip(inputs, degrees, strict=True):
            product = product * symmetric_power(lambda k, s=spec: characters(s, values, det, k), degree)  # noqa: B023
        total = total + (weights * product).sum()
    assert abs(total.imag) < 1e-9 and abs(total.real - round(total.real)) < 1e-6
    return round(total.real)


CASES = [
    ([A], ONE, (5,)), ([A], A, (4,)), ([A, B], ONE, (2, 2)), ([A, B], A, (2, 1)), ([u, v], FREE2, (2, 2)), ([M], FREE2, (2,)),
    ([Q], Q, (3,)), ([Q, v], v, (2, 1)), ([T3], ONE, (4,)), ([T3, v], Q, (1, 3)), ([u, a], ONE, (2, 2)), ([u, a], v, (1, 1)),
    ([u, v, a], ONE, (1, 1, 1)), ([M, a], ONE, (1, 1)), ([A, a], FREE2, (1, 1)),
    ([TensorSpec(0, parity=-1, name="p"), v], a, (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("group", ["O(3)", "SO(3)", "O(2)", "SO(2)"])
def test_counts_of_characters(group):
    """The number of independent operations is the dimension that characters give: nothing is missing, nothing double."""
    for inputs, output, degrees in CASES:
        found = equivariant_operations(inputs, output, degrees, group)
        assert len(found) == dimension(inputs, output, degrees, group), (inputs, output, degrees)


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    st.lists(st.sampled_from([A, Q, M, u, v, a]), min_size=1, max_size=3, unique=True),
    st.sampled_from([ONE, v, a, Q, FREE2]),
    st.data(),
)
def test_counts_of_characters_drawn(inputs, output, data):
    degrees = tuple(data.draw(st.integers(0, 2)) for _ in inputs)
    legs = output.rank + sum(d * s.rank for d, s in zip(degrees, inputs, strict=True))
    hypothesis.assume(legs <= 8)
    for group in ("O(3)", "SO(3)"):
        found = equivariant_operations(inputs, output, degrees, group)
        assert len(found) == dimension(inputs, output, degrees, group)


def test_every_operation_is_equivariant():
    generator = torch.Generator().manual_seed(3)
    for group in ("O(3)", "SO(3)", "O(4)", "SO(2)"):
        n = int(group[-2])
        turns = haar_orthogonal(n, 1, generator), haar_orthogonal(n, -1, generator)
        for inputs, output, degrees in CASES:
            ops = equivariant_operations(inputs, output, degrees, group, independent=False)
            x = [s.random((3,), n, generator) for s in inputs]
            plain = evaluate(ops, *x)
            for g in turns[: 1 if group.startswith("SO") else 2]:
                moved = evaluate(ops, *(turned(s, g, t) for s, t in zip(inputs, x, strict=True)))
                for before, after in zip(plain, moved, strict=True):
                    torch.testing.assert_close(after, turned(output, g, before), atol=1e-10, rtol=1e-10)
    # the cross product sees handedness: as a map of true vectors it is not one of O(3)
    (cross,) = equivariant_operations([u, v], w, None, "SO(3)")
    x = [s.random((), 3, generator) for s in (u, v)]
    torch.testing.assert_close(cross(*x).abs(), torch.linalg.cross(*x).abs())
    mirror = -torch.eye(3, dtype=torch.float64)
    assert float((cross(*(mirror @ t for t in x)) - mirror @ cross(*x)).abs().max()) > 0.1
    assert equivariant_operations([u, v], w, None, "O(3)") == []


def turned(spec: TensorSpec, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    for axis in range(-spec.rank, 0):
        x = torch.tensordot(x, g, ([axis], [1])).movedim(-1, axis)
    return x * torch.linalg.det(g) if spec.parity < 0 else x


def test_generators_are_the_integrity_bases_of_the_textbooks():
    """Spencer: 3 invariants of a symmetric matrix, 10 of two; with one vector 6, with two vectors 12."""
    assert len(generators([A], 5)) == 3
    assert [len(generators([A, B], d)) for d in (1, 2, 3, 4, 5)] == [2, 5, 9, 10, 10]
    assert len(generators([A, v], 5)) == 6
    assert len(generators([A, u, v], 4)) == 12
    assert len(generators([Q], 5)) == 2
    assert len(generators([u, v, w], 4)) == 6 and len(generators([u, v, w], 4, "SO(3)")) == 7
    assert len(generators([A, v], 6, "SO(3)")) == 7  # v . (A v x A A v)
    assert [str(op) for op in generators([A], 4, output=A)] == ["delta_ab", "A_ab", "A_ac A_bc"]
    # Rivlin: I, A, B, A A, B B, AB + BA, AAB + BAA, ABB + BBA, AABB + BBAA, with polynomials of invariants as factors
    assert [len(generators([A, B], d, output=A)) for d in (0, 1, 2, 3, 4, 5)] == [1, 3, 6, 8, 9, 9]


def test_an_operation_is_its_einsum():
    generator = torch.Generator().manual_seed(0)
    constants = {
        "delta": torch.eye(3, dtype=torch.float64),
        "epsilon": torch.zeros(3, 3, 3, dtype=torch.float64),
    }
    for i, j, k, sign in [
        (0, 1, 2, 1),
        (1, 2, 0, 1),
        (2, 0, 1, 1),
        (0, 2, 1, -1),
        (2, 1, 0, -1),
        (1, 0, 2, -1),
    ]:
        constants["epsilon"][i, j, k] = sign
    for inputs, output, degrees in CASES:
        x = {s.name: s.random((), 3, generator) for s in inputs}
        for op in equivariant_operations(inputs, output, degrees, "SO(3)", independent=False):
            operands = [constants[n] if n in constants else x[n] for n in op.operands]
            want = output.project(torch.einsum(op.einsum, *operands))
            torch.testing.assert_close(op(*x.values()), want, atol=1e-10, rtol=1e-10)
            assert op.order == sum(degrees) and op.degrees == degrees


def test_an_operation_is_a_diagram_on_the_outer_product():
    """The algebra of diagrams, made by others, gives the same maps; without symmetry, as many as it lists."""
    generator = torch.Generator().manual_seed(0)
    for group in (SO(3), O(3), SO(2)):
        for inputs, output, degrees in CASES[:10]:
            x = [s.random((), group.n, generator) for s in inputs]
            factors = [t for t, d in zip(x, degrees, strict=True) for _ in range(d)]
            product = functools.reduce(lambda s, t: torch.tensordot(s, t, 0), factors)
            for op in equivariant_operations(inputs, output, degrees, group)[:6]:
                assert op.graph.slots == tuple(
                    s for s, d in zip(inputs, degrees, strict=True) for _ in range(d)
                )
                want = output.project(op.diagram.apply(product[None], group)[0])
                torch.testing.assert_close(op(*x), want, atol=1e-10, rtol=1e-10)
    for k, l in ((2, 2), (3, 1), (4, 2), (3, 3)):
        one = TensorSpec(k, name="x")
        assert len(networks([one], TensorSpec(l), 3, epsilon=False)) == len(diagrams(O(3), k, l, "spanning"))
        assert len(equivariant_operations([one], TensorSpec(l), group=SO(3))) == dim_hom(SO(3), k, l)
        listed = equivariant_operations([one], TensorSpec(l), group=SO(3), independent=False)
        assert len(listed) == len(diagrams(SO(3), k, l, "spanning"))


def test_what_is_dropped_vanishes():
    """Epsilon on a symmetric pair, and an epsilon that an exchange of equal tensors turns round."""
    assert len(networks([A, v], ONE, 3, epsilon=True)) == 1
    assert equivariant_operations([A, v], ONE, None, "SO(3)", independent=False) == []
    assert len(networks([v, v], w, 3, epsilon=True)) == 1
    assert equivariant_operations([v], w, 2, "SO(3)", independent=False) == []
    assert networks([Q], ONE, 3, epsilon=False) == []  # its trace


def test_derivatives_of_invariants():
    generator = torch.Generator().manual_seed(1)
    for inputs, group in (
        ([A, B], "O(3)"),
        ([A, u, v], "O(3)"),
        ([u, v, w], "SO(3)"),
        ([Q, v], "O(3)"),
        ([u, a], "O(3)"),
    ):
        x = [s.random((4,), 3, generator) for s in inputs]
        for invariant in generators(inputs, 4, group):
            for spec in inputs:
                gradient = invariant_to_equivariant(invariant, spec.name)
                torch.testing.assert_close(gradient(*x), gradient.by_autograd(*x), atol=1e-10, rtol=1e-10)
                assert all(op.graph.output.rank == spec.rank for _, op in gradient.terms)


def test_an_invariant_linear_in_a_dual_tensor_gives_every_map():
    """f = dI/dy: the maps A, v -> vector are the invariants that are linear in a vector y."""
    y = TensorSpec(1, name="y")
    invariants = equivariant_operations([A, v, y], ONE, (2, 1, 1))
    maps = [invariant_to_equivariant(i, "y").terms for i in invariants]
    assert all(len(terms) == 1 and terms[0][0] == 1 for terms in maps)
    found = {str(terms[0][1]) for terms in maps}
    assert found == {str(op) for op in equivariant_operations([A, v, y], y, (2, 1, 0))}


def test_shapes_types_and_derivatives_of_a_call():
    (op,) = equivariant_operations([A, B], FREE2, None, connected_only=True)[:1]
    generator = torch.Generator().manual_seed(0)
    x, y = A.random((5, 1), 3, generator), B.random((4,), 3, generator)
    want = torch.stack([torch.stack([op(x[i, 0], y[j]) for j in range(4)]) for i in range(5)])
    torch.testing.assert_close(op(x, y), want)
    assert op(x[:0], y).shape == (0, 4, 3, 3)
    assert op(x.float(), y.float()).dtype == torch.float32
    strided = torch.stack([x, x], -1)[..., 0].mT
    torch.testing.assert_close(op(strided, y), op(x, y))
    huge = op(1e150 * x, 1e150 * y)
    assert bool(torch.isfinite(huge).all())
    leaves = [t[:1].clone().requires_grad_() for t in (x[:, 0], y)]
    assert torch.autograd.gradcheck(op, leaves) and torch.autograd.gradgradcheck(op, leaves)
    compiled = torch.compile(lambda s, t: evaluate([op], s, t)[0], fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y), op(x, y))
    (unit,) = equivariant_operations([A], A, 0)
    assert torch.equal(unit(x), torch.eye(3, dtype=torch.float64).expand(5, 1, 3, 3))


def test_shared_contractions_are_made_once(monkeypatch):
    ops = generators([A], 3) + generators([A], 3, output=A)
    calls = []
    plain = torch.einsum
    monkeypatch.setattr(torch, "einsum", lambda *args: calls.append(args[0]) or plain(*args))
    evaluate(ops, torch.eye(3))
    # tr A, tr A A, A A for three uses, tr A A A
    assert len(calls) == 4 and Plan.of(ops).flops() == 9 + 27 + 9


def test_the_cheapest_pair_first():
    (op,) = [o for o in equivariant_operations([A, u, v], ONE) if o.graph.connected]
    assert op.flops() == 9 + 3 and op.flops(10) == 110
    chain = [o for o in equivariant_operations([A, v], v, (3, 1), independent=False) if o.graph.connected]
    assert [o.flops() for o in chain] == [27]  # A (A (A v)), never a product of matrices


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.randoms(use_true_random=False))
def test_one_form_for_equal_networks(random):
    """Slots and legs in any order, the same form; with epsilon, the sign of the exchange."""
    listed = networks([u, u, A, A, v], v, 3, epsilon=False) + networks([u, w, v, A], ONE, 3, epsilon=True)
    graph = random.choice(listed)
    order = list(range(len(graph.slots)))
    random.shuffle(order)
    starts = [graph.output.rank]
    for s in graph.slots:
        starts.append(starts[-1] + s.rank)
    new = {leg: leg for leg in range(graph.output.rank)}
    for k in order:
        legs = list(range(starts[k], starts[k + 1]))
        if graph.slots[k].symmetric:
            random.shuffle(legs)
        for leg in legs:
            new[leg] = len(new)
    free = [new[leg] for leg in graph.free]
    pairs = [(new[p], new[q])[:: random.choice((1, -1))] for p, q in graph.pairs]
    found, sign = canonical([graph.slots[k] for k in order], graph.output, pairs, free)
    assert found == graph and hash(found) == hash(graph)
    if len({graph.owners[leg] for leg in graph.free}) == 3:
        turned_back, other = canonical(
            [graph.slots[k] for k in order], graph.output, pairs, [free[1], free[0], *free[2:]]
        )
        assert turned_back == graph and other == -sign


def test_projections():
    generator = torch.Generator().manual_seed(0)
    for n in (2, 3, 5):
        for rank in range(2, 6):
            spec = TensorSpec(rank, symmetric=True, traceless=True)
            x = spec.random((2,), n, generator)
            torch.testing.assert_close(spec.project(x), x, atol=1e-13, rtol=1e-12)
            assert float(x.diagonal(dim1=1, dim2=2).sum(-1).abs().max()) < 1e-13
            torch.testing.assert_close(x, x.movedim(1, -1), atol=1e-13, rtol=1e-12)
            # the nearest one: the rest is orthogonal to every tensor of the kind
            y = torch.randn(2, *[n] * rank, dtype=torch.float64, generator=generator)
            assert float(((y - spec.project(y)) * x).sum().abs()) < 1e-12


def test_spherical_tensors():
    torch.testing.assert_close(spherical_basis(2), symmetric_traceless_basis(), atol=1e-15, rtol=0)
    generator = torch.Generator().manual_seed(0)
    for l in range(7):
        basis = spherical_basis(l)
        x = torch.randn(2, 2 * l + 1, dtype=torch.float64, generator=generator)
        tensor = from_spherical(x)
        torch.testing.assert_close(to_spherical(tensor, l), x)
        spec = TensorSpec(l, symmetric=True, traceless=True)
        torch.testing.assert_close(spec.project(tensor), tensor, atol=1e-13, rtol=1e-12)
        g = haar_orthogonal(3, 1, generator)
        d = Irreps(f"1x{l}e").D(g)
        torch.testing.assert_close(turned(spec, g, tensor), from_spherical(x @ d.mT), atol=1e-12, rtol=1e-12)
        assert basis.shape == (2 * l + 1, *[3] * l)
    with pytest.raises(InvalidInput, match="2l \\+ 1"):
        from_spherical(torch.zeros(4))
    with pytest.raises(InvalidInput, match=r"0\.\.9"):
        spherical_basis(10)
    with pytest.raises(InvalidInput, match="2 last axes"):
        to_spherical(torch.zeros(5, 3), 2)


def test_drawings():
    for op in equivariant_operations([u, v, A], FREE2, None, "SO(3)", independent=False) + generators([A], 3):
        root = ElementTree.fromstring(op.svg())
        count = {
            tag: len(root.findall(f"{{http://www.w3.org/2000/svg}}{tag}"))
            for tag in ("circle", "path", "polygon")
        }
        graph = op.graph
        assert count["path"] == len(graph.pairs) + len(graph.free)
        assert count["circle"] == len(graph.slots) + graph.output.rank and count["polygon"] == bool(
            graph.free
        )


def test_wrong_input():
    for kwargs, text in (
        ({"rank": -1}, "rank"), ({"rank": 2, "traceless": True}, "symmetric=True"), ({"rank": 1, "parity": 0}, "parity"),
        ({"rank": 1, "name": "a b"}, "name"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=text):
            TensorSpec(**kwargs)
    with pytest.raises(InvalidInput, match="is unknown"):
        TensorSpec.parse("matrix")
    assert TensorSpec.parse("pseudovector", "b").kind == "pseudovector"
    with pytest.raises(InvalidInput, match="no type"):
        _ = TensorSpec(2, parity=-1).kind
    with pytest.raises(InvalidInput, match="'O\\(n\\)' or 'SO\\(n\\)'"):
        equivariant_operations([A], ONE, 1, "Sp(4)")
    with pytest.raises(InvalidInput, match="different names"):
        equivariant_operations([A, TensorSpec(1, name="A")], ONE, 1)
    with pytest.raises(InvalidInput, match="listed once"):
        equivariant_operations([A, A], ONE, 2)
    with pytest.raises(InvalidInput, match="negative"):
        equivariant_operations([A], ONE, -1)
    with pytest.raises(InvalidInput, match="expected 1 numbers"):
        equivariant_operations([A], ONE, (1, 2))
    with pytest.raises(InvalidInput, match="all of the same inputs"):
        Plan.of(generators([A], 1) + generators([B], 1))
    many = [TensorSpec(2, name=f"m{k}") for k in range(9)]
    with pytest.raises(InvalidInput, match=f"{math.prod(range(17, 0, -2)):,}"):
        equivariant_operations(many, ONE)
    with pytest.raises(InvalidInput, match="20,000"):
        equivariant_operations([v], ONE, 10)
    (op,) = generators([A], 1)
    with pytest.raises(InvalidInput, match="1: A"):
        op(torch.eye(3), torch.eye(3))
    with pytest.raises(InvalidInput, match="`A` has shape"):
        op(torch.eye(4))
    with pytest.raises(InvalidInput, match="floating-point"):
        op(torch.eye(3, dtype=torch.int64))
    product = equivariant_operations([A, B], ONE)[0]
    with pytest.raises(InvalidInput, match="broadcast"):
        product(torch.zeros(2, 3, 3), torch.zeros(3, 3, 3))
    with pytest.raises(InvalidInput, match="expected a scalar"):
        invariant_to_equivariant(op, "B")
