"""Representations: the three laws, and oracles that share no code with ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from geomlib import InvalidInput
from geomlib.algebra import cartesian
from geomlib.algebra import representations as reps
from geomlib.algebra.groups import Element, parse_group, stratified
from geomlib.algebra.representations import (
    act,
    check_representation,
    irrep_matrix,
    matrix,
    register_representation,
)
from geomlib.algebra.symmetry import parse_type

TYPES = [
    "point", "vector", "pseudovector", "scalar", "pseudoscalar", "tensor(0)", "tensor(2)", "tensor(3)",
    "sym2", "columns", "blocks(2)", "cell", "cartesian", "index", "inv", "2x0e+0o+1e+3x1o+2x2e+2o",
]  # fmt: skip


def elements(group: str = "O(3)", trials: int = 6, seed: int = 0) -> list[Element]:
    rng = torch.Generator().manual_seed(seed)
    g = parse_group(group)
    return stratified(g, trials, rng) + g.special(rng)


@pytest.mark.parametrize("name", TYPES)
def test_laws(name: str) -> None:
    assert check_representation(reps.representation(name).matrix, trials=4) <= 1e-12


@pytest.mark.parametrize("name", [t for t in TYPES if t not in ("index", "inv")])
def test_action_is_the_matrix(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    t = parse_type(name)
    shape = {
        "scalar": (4,),
        "pseudoscalar": (4,),
        "cartesian": (4, 9, 5),
        "sym2": (4, 3, 3),
        "cell": (4, 3, 3),
        "columns": (4, 3, 5),
        "blocks(2)": (4, 6, 6),
    }
    size = shape.get(name, (4, *(3,) * t.order) if t.kind == "tensor" else (4, t.dim or 3))
    x = torch.randn(size, generator=rng, dtype=torch.float64)
    for g in elements("E(3)"):
        m, y = matrix(name, g), act(name, g, x)
        if name == "point":
            want = torch.cat([x, torch.ones(4, 1, dtype=torch.float64)], 1) @ m.T
            want = want[:, :3]
        elif name == "cartesian":
            want = torch.einsum("ab,nbc->nac", m, x)
        elif name == "columns":
            want = torch.einsum("ab,nbc->nac", g.linear, x)
        elif name == "blocks(2)":
            y = y.view(4, 2, 3, 2, 3)
            want = torch.einsum("ab,nibjc,dc->niajd", g.linear, x.view(4, 2, 3, 2, 3), g.linear)
            torch.testing.assert_close(y.flatten(1), x.flatten(1) @ m.T, rtol=0, atol=1e-13)
        elif t.kind in ("tensor", "sym2"):
            m = torch.kron(g.linear, g.linear) if name == "sym2" else m
            want = (x.reshape(4, -1) @ m.T).reshape(x.shape)
        elif t.kind in ("scalar", "pseudoscalar"):
            want = x * m[0, 0]
        else:
            want = x @ m.T
        torch.testing.assert_close(y, want, rtol=0, atol=1e-13)


def test_degree_one_is_the_matrix_itself() -> None:
    for g in elements():
        assert torch.equal(irrep_matrix(1, -1, g.linear), g.linear)
        torch.testing.assert_close(irrep_matrix(1, 1, g.linear), g.det * g.linear, rtol=0, atol=0)


def test_against_e3nn() -> None:
    """E3nn goes through Euler angles: 1e-14 at generic elements, 1e-7 near special ones."""
    irreps = o3.Irreps("2x0e+1x0o+1x1e+3x1o+2x2e+1x2o")
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for g in stratified(parse_group("O(3)"), 12, torch.Generator().manual_seed(2)):
            want = irreps.D_from_matrix(g.linear)
            torch.testing.assert_close(matrix(str(irreps), g), want, rtol=0, atol=1e-9)
    finally:
        torch.set_default_dtype(old)


def test_against_scipy() -> None:
    """Rotate by scipy, then compare vectors and the l = 2 coefficients of v v^T."""
    rng = np.random.default_rng(0)
    for turn in Rotation.random(8, random_state=1):
        g = Element(torch.tensor(turn.as_matrix()), torch.zeros(3, dtype=torch.float64))
        v = rng.normal(size=(5, 3))
        np.testing.assert_allclose(act("vector", g, torch.tensor(v)).numpy(), turn.apply(v), atol=1e-14)
        before, after = (_harmonics(w) for w in (v, turn.apply(v)))
        np.testing.assert_allclose(act("1x2e", g, torch.tensor(before)).numpy(), after, atol=1e-13)


def _harmonics(v: np.ndarray) -> np.ndarray:
    x, y, z = v.T
    r2 = (v * v).sum(1)
    rows = [
        2**0.5 * x * z,
        2**0.5 * x * y,
        1.5**0.5 * (y * y - r2 / 3),
        2**0.5 * y * z,
        0.5**0.5 * (z * z - x * x),
    ]
    return np.stack(rows, 1)


def test_cartesian_rows_turn_like_matrices() -> None:
    """X = I + A + S goes to Q X Q^T, with det(Q) on the antisymmetric part, which is a polar vector."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 9, 3, generator=rng, dtype=torch.float64)
    full = cartesian.compose(x)
    for g in elements():
        q = g.linear
        sym, anti = 0.5 * (full + full.mT), 0.5 * (full - full.mT)
        want = q @ sym @ q.T + g.det * (q @ anti @ q.T)
        torch.testing.assert_close(cartesian.compose(act("cartesian", g, x)), want, rtol=0, atol=1e-13)


def test_basis_agrees_with_the_compact_tensors() -> None:
    torch.testing.assert_close(
        reps.symmetric_traceless_basis(), cartesian.orthonormal_basis()[4:], rtol=0, atol=1e-15
    )


def test_cross_product_is_a_pseudovector() -> None:
    v, w = torch.randn(2, 6, 3, dtype=torch.float64)
    for g in elements():
        turned = torch.linalg.cross(act("vector", g, v), act("vector", g, w))
        torch.testing.assert_close(
            turned, act("pseudovector", g, torch.linalg.cross(v, w)), rtol=0, atol=1e-13
        )


def test_permutations() -> None:
    g = Element(torch.eye(3).double(), torch.zeros(3).double(), nodes=torch.tensor([2, 0, 1]))
    x = torch.tensor([10.0, 11.0, 12.0])
    assert act("node:scalar", g, x).tolist() == [11.0, 12.0, 10.0]
    assert act("inv", g, torch.tensor([5, 6, 7]), name="z").tolist() == [
        6,
        7,
        5,
    ]  # z counts nodes by its name
    assert act("graph:scalar", g, x).tolist() == [10.0, 11.0, 12.0]
    edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    assert act("index", g, edge_index, name="edge_index").tolist() == [[2, 0, 1], [0, 1, 2]]
    assert act("index", g, torch.tensor([0, 0, 1]), name="batch").tolist() == [0, 1, 0]


def test_relabelled_edges_point_to_the_same_nodes() -> None:
    g = Element(
        torch.eye(3).double(), torch.zeros(3).double(), nodes=torch.randperm(5), edges=torch.randperm(7)
    )
    x, edge_index = torch.randn(5, 2), torch.randint(0, 5, (2, 7))
    y, moved = act("node:inv", g, x), act("edge:index", g, edge_index)
    assert torch.equal(y[moved][:, g.edges], x[edge_index])


@pytest.mark.parametrize(
    ("type_", "shape"),
    [
        ("vector", (4, 2)),
        ("8x0e+4x1o", (4, 12)),
        ("cartesian", (4, 8, 9)),
        ("sym2", (4, 3)),
        ("point", ()),
        ("cell", (3,)),
    ],
)
def test_wrong_shapes(type_: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"`force` has shape .*acts on axes"):
        act(type_, elements()[0], torch.zeros(shape), name="force")


def test_wrong_scope_and_node_numbers() -> None:
    g = parse_group("S_n").sized(3).sample("odd", torch.Generator().manual_seed(0))
    with pytest.raises(InvalidInput, match="Check its scope"):
        act("node:scalar", g, torch.zeros(4))
    with pytest.raises(InvalidInput, match=r"holds 0\.\.3"):
        act("index", g, torch.tensor([[0], [3]]), name="edge_index")


def test_a_wrong_representation_is_refused() -> None:
    class Inverted(reps.Linear):
        def matrix(self, g: Element) -> torch.Tensor:
            return g.linear.T  # R for R^T: an anti-homomorphism

    with pytest.raises(InvalidInput, match="not one"):
        register_representation("vector", lambda _: Inverted())
    assert isinstance(reps.representation("vector"), reps.Linear)


def test_accuracy_near_the_identity() -> None:
    """No Euler angles: D(exp(1e-8 X)) - 1 keeps its digits."""
    g = next(g for g in elements() if g.label == "angle 1e-8")
    d = irrep_matrix(2, 1, g.linear) - torch.eye(5, dtype=torch.float64)
    assert float((d @ d.T).diagonal().sum().sqrt()) == pytest.approx(1e-8 * np.sqrt(10), rel=1e-6)


def test_float32_tensors_stay_float32() -> None:
    assert act("point", elements("E(3)")[0], torch.zeros(2, 3)).dtype == torch.float32
