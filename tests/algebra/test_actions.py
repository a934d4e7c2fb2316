"""Actions beyond vectors: compound matrices, nodes, simplices, SPD matrices, subspaces, duals, derivatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra import representations as reps
from geomlib.algebra.groups import Element, Flow, compose, inverse, parse_group, stratified
from geomlib.algebra.representations import (
    act,
    check_representation,
    compound,
    infinitesimal,
    matrix,
    register_representation,
    representation,
)
from geomlib.algebra.types import TensorType, dual_type, parse_type
from tests.algebra._groups import gen, plain

#: Every kind, with a group that acts on it and the shape of a tensor.
CASES = [
    ("point", "E(3)", (4, 3)), ("point", "E(2)", (4, 2)), ("vector", "GL(3)", (4, 3)), ("covector", "GL(3)", (4, 3)),
    ("covector", "Sp(4)", (4, 4)), ("pseudovector", "GL(3)", (4, 3)), ("pseudoscalar", "O(1,3)", (4,)),
    ("vector", "O(1,3)", (4, 4)), ("tensor(2)", "GL(3)", (4, 3, 3)), ("tensor(3)", "O(2)", (4, 2, 2, 2)),
    ("tensor(2)", "Sp(4)", (2, 4, 4)), ("sym2", "GL(2)", (4, 2, 2)), ("sym2*", "GL(3)", (4, 3, 3)),
    ("columns", "GL(3)", (4, 3, 5)), ("columns*", "GL(3)", (4, 3, 5)), ("blocks(2)", "GL(3)", (4, 6, 6)),
    ("blocks(3)*", "O(2)", (4, 6, 6)), ("cell", "O(3)", (1, 3, 3)),
    ("cell*", "GL(3)", (1, 3, 3)), ("cartesian", "E(3)", (2, 9, 4)),
    ("2x0e+3x3o+1x8e", "O(3)", (4, 40)), ("mv(3,0,0)", "O(3)", (4, 8)), ("mv(3,0,0)[1,2]", "SO(3)", (4, 6)),
    ("mv(1,3,0)", "O(1,3)", (4, 16)), ("mv(3,0,1)", "E(3)", (4, 16)), ("mv(3,0,1)*", "E(3)", (4, 16)),
    ("mv(3,0,1)", "Pin(3,0,1)", (4, 16)), ("mv(2,1,0)*", "Pin(2,1,0)", (4, 8)), ("mv(5,0,0)[2]", "O(5)", (4, 10)),
    ("spd(3)", "GL(3)", (4, 3, 3)), ("spd(4)*", "GL(4)", (4, 4, 4)), ("grassmann(5,2)", "O(5)", (4, 5, 5)),
    ("perm(1)", "S_n", (2, 5)), ("perm(2)", "S_n", (2, 3, 5, 5)), ("perm(3)", "A_n", (5, 5, 5)),
    ("simplex(1)", "S_n", (2, 10)), ("simplex(2)", "S_n", (10,)), ("scalar", "O(3)", (4,)), ("inv", "E(3)", (4, 2)),
    ("vector", "scalings*O(3)", (4, 3)), ("vector", "T_d", (4, 3)), ("point", "E(3)*S_n", (5, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "group", "shape"), CASES)
def test_an_action_composes(type_: str, group: str, shape: tuple[int, ...]) -> None:
    """e x = x, g (h x) = (g h) x, g^-1 (g x) = x, on tensors, not on matrices."""
    acting, rng = parse_group(group).sized(5), gen()
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(act(type_, acting.identity(), x), x, rtol=0, atol=0)
    changed = False
    for a, b in itertools.product(acting.components(), repeat=2):
        g, h = acting.sample(a, rng), acting.sample(b, rng)
        one = act(type_, h, x)
        two, undone = act(type_, g, one), act(type_, inverse(g), act(type_, g, x))
        size = float(two.abs().max()) * max(g.condition, 1.0) ** 2
        torch.testing.assert_close(act(type_, compose(g, h), x), two, rtol=0, atol=1e-13 * size)
        torch.testing.assert_close(undone, x, rtol=0, atol=1e-12 * size)
        assert act(type_, g, x.float()).dtype == torch.float32
        changed |= not torch.equal(one, x)
    assert changed != (type_ in ("scalar", "inv"))


@pytest.mark.parametrize(("type_", "group", "shape"), [c for c in CASES if c[0] not in ("point",)])
def test_the_action_is_the_matrix(type_: str, group: str, shape: tuple[int, ...]) -> None:
    acting, rng = parse_group(group).sized(5), gen(1)
    t = parse_type(type_)
    axes = len(representation(t).shape(acting.sample(acting.components()[-1], rng)))
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    for component in acting.components():
        g = acting.sample(component, rng)
        m, y = matrix(t, g), act(t, g, x)
        if t.kind == "cartesian":
            wanted = torch.einsum("ab,nbc->nac", m, x)
        elif t.kind == "cell":
            wanted = x @ m.T
        elif t.kind == "columns":
            wanted = m @ x
        else:
            wanted = (x.reshape(*shape[: len(shape) - axes], -1, 1).mT @ m.T).reshape(x.shape)
        torch.testing.assert_close(y, wanted, rtol=0, atol=1e-13 * max(1.0, float(m.abs().max())))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_compounds_against_brute_force_minors(n: int) -> None:
    a = torch.randn(n, n, generator=gen(n), dtype=torch.float64)
    for j in range(n + 1):
        sets = list(itertools.combinations(range(n), j))
        wanted = [[np.linalg.det(a.numpy()[np.ix_(rows, columns)]) for columns in sets] for rows in sets]
        np.testing.assert_allclose(compound(a, j).numpy(), np.array(wanted), rtol=0, atol=1e-13 * 3**n)
    batch = torch.randn(2, 3, n, n, generator=gen(n), dtype=torch.float64)
    torch.testing.assert_close(compound(batch, n)[..., 0, 0], torch.linalg.det(batch), rtol=0, atol=1e-12)


def test_wedges_of_vectors() -> None:
    """A bivector of Cl(3,0) is a cross product, grade 3 a determinant."""
    u, v, w = torch.randn(3, 6, 3, generator=gen(), dtype=torch.float64)
    c = torch.linalg.cross(u, v)
    bivector = torch.stack([c[:, 2], -c[:, 1], c[:, 0]], 1)  # e12, e13, e23
    for g in stratified(parse_group("O(3)"), 4, gen()):
        turned = torch.linalg.cross(u @ g.linear.T, v @ g.linear.T)
        wanted = torch.stack([turned[:, 2], -turned[:, 1], turned[:, 0]], 1)
        torch.testing.assert_close(act("mv(3,0,0)[2]", g, bivector), wanted, rtol=0, atol=1e-13)
        det = torch.linalg.det(torch.stack([u, v, w], -1))[:, None]
        torch.testing.assert_close(act("mv(3,0,0)[3]", g, det), g.det * det, rtol=0, atol=1e-13)
    swapped = torch.stack([bivector[:, 2], -bivector[:, 1], bivector[:, 0]], 1)
    g = parse_group("O(3)").sample("improper", gen())
    moved = act("mv(3,0,0)[2]", g, bivector)
    as_vector = torch.stack([moved[:, 2], -moved[:, 1], moved[:, 0]], 1)
    torch.testing.assert_close(as_vector, act("1e", g, swapped), rtol=0, atol=1e-14)


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_permutations_against_numpy(n: int, seed: int) -> None:
    p = torch.randperm(n, generator=gen(seed))
    g, q = Element(nodes=p), np.argsort(p.numpy())
    x = torch.randn(2, n, n, n, generator=gen(seed))
    np.testing.assert_array_equal(act("perm(3)", g, x).numpy(), x.numpy()[:, q][:, :, q][:, :, :, q])
    np.testing.assert_array_equal(act("perm(2)", g, x).numpy(), x.numpy()[:, :, q][:, :, :, q])
    y = torch.randn(n, n, 4, generator=gen(seed))
    np.testing.assert_array_equal(act("node:perm(2)", g, y).numpy(), y.numpy()[np.ix_(q, q)])
    np.testing.assert_array_equal(act("node:perm(1)", g, y).numpy(), act("node:inv", g, y).numpy())
    # An adjacency matrix follows its graph.
    edges = torch.randint(0, n, (2, 5), generator=gen(seed))
    adjacency = torch.zeros(n, n)
    adjacency[edges[0], edges[1]] = 1.0
    moved = torch.zeros(n, n)
    new = act("index", g, edges, name="edge_index")
    moved[new[0], new[1]] = 1.0
    assert torch.equal(act("perm(2)", g, adjacency), moved)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_boundary_maps_commute_with_permutations(order: int) -> None:
    """Alternating values on simplices, against boundary operators made here."""
    n = 6
    small, large = (list(itertools.combinations(range(n), k)) for k in (order + 1, order + 2))
    boundary = torch.zeros(len(small), len(large)).double()
    for column, simplex in enumerate(large):
        for k in range(len(simplex)):
            boundary[small.index(simplex[:k] + simplex[k + 1 :]), column] = (-1.0) ** k
    x = torch.randn(3, len(large), generator=gen(), dtype=torch.float64)
    for g in stratified(parse_group("S_n").sized(n), 6, gen()):
        left = act(f"simplex({order})", g, x @ boundary.T)
        right = act(f"simplex({order + 1})", g, x) @ boundary.T
        torch.testing.assert_close(left, right, rtol=0, atol=1e-14)
        first = act(f"node:simplex({order + 1})", g, x.T)
        assert torch.equal(first.T, act(f"simplex({order + 1})", g, x))


def test_lists_of_simplices_are_relabelled() -> None:
    g = Element(nodes=torch.tensor([2, 0, 1, 3]))
    triangles = torch.tensor([[0, 1], [1, 2], [2, 3]])
    assert act("simplex(2)", g, triangles).tolist() == [[2, 0], [0, 1], [1, 3]]
    with pytest.raises(InvalidInput, match="lists 3 nodes per simplex"):
        act("simplex(2)", g, triangles.T)
    with pytest.raises(InvalidInput, match=r"holds 0\.\.9"):
        act("simplex(0)", g, torch.tensor([[0, 9]]))


def test_congruence_keeps_positive_matrices_and_pairs_with_its_dual() -> None:
    rng = gen()
    for g in stratified(parse_group("GL(3)"), 4, rng):
        m = torch.randn(5, 3, 3, generator=rng, dtype=torch.float64)
        x, y = m @ m.mT + torch.eye(3), torch.randn(5, 3, 3, generator=rng, dtype=torch.float64)
        moved = act("spd(3)", g, x)
        np.testing.assert_allclose(
            moved.numpy(), g.linear.numpy() @ x.numpy() @ g.linear.numpy().T, atol=1e-12
        )
        assert float(torch.linalg.eigvalsh(moved).min()) > 0
        torch.testing.assert_close(
            (moved * act("spd(3)*", g, y)).sum(), (x * y).sum(), rtol=1e-12, atol=1e-12
        )


PAIRED = [c for c in CASES if parse_type(c[0]).kind not in ("point", "cartesian", "grassmann", "index")]


@pytest.mark.parametrize(("type_", "group", "shape"), PAIRED)
def test_duals_pair_invariantly(type_: str, group: str, shape: tuple[int, ...]) -> None:
    """<rho(g) x, rho*(g) y> = <x, y>: what makes rho* the type of gradients."""
    acting, rng, t = parse_group(group).sized(5), gen(2), parse_type(type_)
    x, y = torch.randn(2, *shape, generator=rng, dtype=torch.float64)
    assert dual_type(dual_type(t)) == t
    for component in acting.components():
        g = acting.sample(component, rng)
        moved = (act(t, g, x) * act(dual_type(t), g, y)).sum()
        torch.testing.assert_close(moved, (x * y).sum(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("type_", "group", "shape"), [c for c in CASES if c[0] not in ("inv",)])
def test_gradients_are_of_the_dual_type(type_: str, group: str, shape: tuple[int, ...]) -> None:
    """F(x) = f(g^-1 x) has the gradient rho*(g) f'(g^-1 x), by autograd."""
    acting, rng, t = parse_group(group).sized(5), gen(3), parse_type(type_)
    w = torch.randn(shape, generator=rng, dtype=torch.float64)
    g = acting.sample(acting.components()[-1], rng)
    x = torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad((act(t, inverse(g), x) * w).sin().sum(), x)
    back = act(t, inverse(g), x.detach()).requires_grad_()
    (inner,) = torch.autograd.grad((back * w).sin().sum(), back)
    torch.testing.assert_close(found, act(dual_type(t), g, inner), rtol=1e-10, atol=1e-10)


def test_subspaces() -> None:
    rng = gen()
    g = parse_group("O(5)*O(2)").sample("improper, improper", rng)
    q, r = g.linear, g.on(2)
    frame = torch.linalg.qr(torch.randn(4, 5, 2, generator=rng, dtype=torch.float64))[0]
    projector = frame @ frame.mT
    moved = act("grassmann(5,2)", g, frame)
    torch.testing.assert_close(moved, q @ frame @ r.T, rtol=0, atol=1e-14)
    # The gauge factor is invisible to projectors.
    torch.testing.assert_close(act("grassmann(5,2)", g, projector), moved @ moved.mT, rtol=0, atol=1e-14)
    torch.testing.assert_close(act("grassmann(5,2)", plain(q), frame), q @ frame, rtol=0, atol=1e-14)
    # The choice of a frame alone, which projectors do not see.
    torch.testing.assert_close(act("grassmann(5,2)", plain(r), frame), frame @ r.T, rtol=0, atol=1e-14)
    assert torch.equal(act("grassmann(5,2)", plain(r), projector), projector)
    with pytest.raises(InvalidInput, match="needs orthogonal matrices"):
        act("grassmann(3,1)", parse_group("GL(3)").sample("proper", rng), torch.zeros(3, 3))
    with pytest.raises(InvalidInput, match="5 x 2"):
        act("grassmann(5,2)", plain(q), torch.zeros(5, 3))


def test_permutations_leave_other_axes_alone_in_every_dimension() -> None:
    g = parse_group("S_n").sized(4).sample("odd", gen())
    for type_, shape in (
        ("vector", (4, 7)),
        ("mv(1,3,0)", (4, 16)),
        ("3x2e", (4, 15)),
        ("spd(2)", (4, 2, 2)),
    ):
        x = torch.randn(shape, generator=gen())
        assert torch.equal(act(f"node:{type_}", g, x), act("node:inv", g, x))
        assert torch.equal(act(f"graph:{type_}", g, x), x)


WRONG = [
    ("mv(3,0,0)", "O(3)", (4, 7), "length 8"), ("spd(3)", "GL(3)", (3, 2), "length 3 x 3"),
    ("vector", "O(1,3)", (4, 3), "length 4"), ("perm(2)", "S_n", (5, 4), "length 5 x 5"),
    ("node:perm(2)", "S_n", (4, 5, 9), r"length 5 x 5 \(first\)"), ("simplex(1)", "S_n", (3, 9), "length 10"),
    ("2x1o", "O(3)", (5,), "length 6"), ("cartesian", "O(3)", (8, 4), "length 9 x any"),
    ("perm(3)", "S_n", (5, 5), "found none"), ("covector", "GL(2)", (3,), "length 2"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "group", "shape", "says"), WRONG)
def test_wrong_dimensions_are_named(type_: str, group: str, shape: tuple[int, ...], says: str) -> None:
    acting = parse_group(group).sized(5)
    with pytest.raises(InvalidInput, match=says) as error:
        act(type_, acting.sample(acting.components()[0], gen()), torch.zeros(shape), name="features")
    assert "`features`" in str(error.value) and str(shape) in str(error.value) and type_ in str(error.value)


FLOWING = [c for c in CASES if parse_group(c[1]).sized(5).generators()]


@pytest.mark.parametrize(("type_", "group", "shape"), FLOWING)
def test_infinitesimal_actions_are_derivatives(type_: str, group: str, shape: tuple[int, ...]) -> None:
    """Exact forward derivatives against central differences along the flow, 1e-9."""
    rng = gen(4)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    for flow in parse_group(group).sized(5).generators():
        h = 1e-4
        # fourth order: truncation is below the cancellation
        d1, d2 = (act(type_, flow(k * h), x) - act(type_, flow(-k * h), x) for k in (1, 2))
        numeric = (8 * d1 - d2) / (12 * h)
        torch.testing.assert_close(infinitesimal(type_, flow, x), numeric, rtol=0, atol=1e-9)


def test_infinitesimal_brackets() -> None:
    """[drho(X), drho(Y)] = drho([X, Y]) on irreps and multivectors."""
    rx, ry, rz = parse_group("SO(3)").generators()
    for type_, dim in (("1x3o", 7), ("mv(3,0,0)", 8), ("1x8e", 17)):
        eye = torch.eye(dim).double()
        x, y, z = (infinitesimal(type_, flow, eye).T for flow in (rx, ry, rz))
        torch.testing.assert_close(x @ y - y @ x, z, rtol=0, atol=1e-12)
    shift = Flow("T", torch.zeros(3, 3).double(), torch.tensor([1.0, 2.0, 3.0]).double())
    assert infinitesimal("point", shift, torch.zeros(3)).tolist() == [1.0, 2.0, 3.0]
    assert infinitesimal("covector", shift, torch.ones(3)).tolist() == [0.0, 0.0, 0.0]
    assert infinitesimal("inv", rx, torch.arange(3)).tolist() == [0, 0, 0]


def test_registering_a_new_kind() -> None:
    class Determinant(reps.Representation):
        """A density of weight w: |det A|^w."""

        def __init__(self, weight: int, power: float = 1.0):
            self.weight, self.power = weight, power

        def matrix(self, g: Element) -> torch.Tensor:
            return torch.linalg.det(g.linear).abs().pow(self.weight).pow(self.power).reshape(1, 1)

        def apply(self, g: Element, x: torch.Tensor) -> torch.Tensor:
            return self.matrix(g)[0, 0].to(x) * x

    register_representation(
        "density", lambda t: Determinant(t.args[0] if t.args else 1), group="GL(3)", args=(2,)
    )
    g = parse_group("GL(3)").sample("improper", gen())
    x = torch.ones(4, dtype=torch.float64)
    weight = abs(float(torch.linalg.det(g.linear)))
    torch.testing.assert_close(act("node:density(2)", g, x), x * weight**2, rtol=1e-13, atol=0)
    torch.testing.assert_close(act("density", g, x), x * weight, rtol=1e-13, atol=0)
    assert str(parse_type("graph:density(3)")) == "graph:density(3)"

    class Shifted(Determinant):
        def matrix(self, g: Element) -> torch.Tensor:
            return super().matrix(g) + 1e-9

    with pytest.raises(InvalidInput, match="not one"):
        register_representation("density", lambda t: Shifted(1), group="GL(3)")
    with pytest.raises(InvalidInput, match="cannot name a kind"):
        register_representation("2x0e", lambda t: Determinant(1))
    torch.testing.assert_close(
        act("density", g, x), x * weight, rtol=1e-13, atol=0
    )  # the old one still stands
    with pytest.raises(InvalidInput, match="Did you mean 'density'"):
        parse_type("densty")


def test_the_check_of_a_representation_sees_small_faults() -> None:
    """An R for R^T, a missing parity, a 1e-9 drift and an anisotropy are all above 1e-12."""
    right = check_representation(lambda g: matrix("mv(1,3,0)", g), group="Pin(1,3,0)")
    assert right <= 1e-13
    faults = {
        "transposed": lambda g: g.linear.T,
        "drift": lambda g: g.linear * (1.0 + 1e-9),
        "anisotropy": lambda g: (
            g.linear + 1e-9 * torch.diag(torch.tensor([1.0, 0.0, 0.0])).double() * (g.det - 1)
        ),
        "nan": lambda g: g.linear * float("nan"),
    }
    for name, rho in faults.items():
        assert not check_representation(rho, group="O(3)") <= 1e-12, name
    odd = check_representation(lambda g: torch.full((1, 1), 1.0 if g.det > 0 else 2.0).double(), group="O(3)")
    assert odd >= 0.5


def test_every_type_in_every_scope_is_certified() -> None:
    for type_, _, _ in CASES:
        for scope in ("", "node:", "edge:", "graph:"):
            t = parse_type(scope + type_)
            assert isinstance(representation(t), reps.Representation) and isinstance(t, TensorType)


def test_the_number_of_nodes() -> None:
    found = {
        ("perm(2)", (8, 5, 5)): 5, ("node:perm(2)", (6, 6, 3)): 6, ("node:vector", (7, 3)): 7, ("simplex(1)", (2, 15)): 6,
        ("node:simplex(2)", (4, 9)): 4, ("simplex(1)", (11,)): None, ("graph:vector", (7, 3)): None, ("node:scalar", ()): None,
    }  # fmt: skip
    for (type_, shape), nodes in found.items():
        assert reps.count_nodes(parse_type(type_), torch.zeros(shape)) == nodes
    assert reps.count_nodes(parse_type("simplex(1)"), torch.zeros(2, 9, dtype=torch.long)) is None


def test_node_numbers_without_nodes() -> None:
    with pytest.raises(
        InvalidInput, match=r"typed `simplex\(1\)` but holds 0\.\.1, and nothing says how many nodes"
    ):
        act("simplex(1)", Element(nodes=torch.zeros(0, dtype=torch.long)), torch.tensor([[0], [1]]))
