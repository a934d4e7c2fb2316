"""O(p,q), Sp(2m), GL(n), point groups: forms that must be kept, orders that are known, scipy's point groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from geomlib import InvalidInput
from geomlib.algebra.groups import metric, parse_group, stratified, symplectic_form
from tests.algebra._groups import gen


def everything(name: str, trials: int = 12) -> list[torch.Tensor]:
    group, rng = parse_group(name), gen()
    found = stratified(group, trials, rng) + group.special(rng) + group.discrete(rng)
    return [g.linear for g in found] + [flow(0.7).linear for flow in group.generators()]


@pytest.mark.parametrize(("p", "q"), [(1, 3), (3, 1), (2, 2), (1, 1), (4, 0), (0, 3), (3, 2)])
@pytest.mark.parametrize("kind", ["O", "SO", "SO+"])
def test_indefinite_groups_keep_their_metric(p: int, q: int, kind: str) -> None:
    eta = torch.diag(torch.tensor([1.0] * p + [-1.0] * q).double())
    for a in everything(f"{kind}({p},{q})"):
        torch.testing.assert_close(
            a.T @ eta @ a, eta, rtol=0, atol=2e-15 * max(1.0, float(a.abs().max())) ** 2
        )
        if kind != "O":
            assert float(torch.linalg.det(a)) == pytest.approx(1.0)
        if kind == "SO+" and p and q:
            assert float(torch.linalg.det(a[:p, :p])) > 0 and float(torch.linalg.det(a[p:, p:])) > 0


def test_components_of_the_lorentz_group() -> None:
    """Time orientation and space orientation, read off the matrix as a physicist would."""
    group = parse_group("O(1,3)")
    assert group.components() == ("++", "+-", "-+", "--")
    assert parse_group("SO+(1,3)").components() == ("++",) and len(parse_group("SO(1,3)").components()) == 2
    for component in group.components():
        for seed in range(4):
            a = group.sample(component, gen(seed)).linear
            assert (float(a[0, 0]) > 0) == (component[0] == "+")
            assert (float(torch.linalg.det(a)) * float(a[0, 0]) > 0) == (component[1] == "+")
            assert abs(float(a[0, 0])) <= math.cosh(1.0) + 1e-12  # rapidity at most 1
    boosts = [abs(float(group.sample("++", gen(seed)).linear[0, 0])) for seed in range(20)]
    assert max(boosts) > 1.2  # boosts are drawn, not rotations alone


def test_boosts_add_rapidities() -> None:
    boost = next(f for f in parse_group("SO+(1,3)").generators() if f.name == "K01")
    a = boost(0.5).linear
    assert float(a[0, 0]) == pytest.approx(math.cosh(0.5)) and float(a[0, 1]) == pytest.approx(math.sinh(0.5))


@pytest.mark.parametrize("n", [2, 4, 6])
@pytest.mark.parametrize("form", ["interleaved", "block"])
def test_symplectic_groups_keep_their_form(n: int, form: str) -> None:
    m = n // 2
    if form == "block":
        omega = torch.tensor(np.kron([[0.0, 1.0], [-1.0, 0.0]], np.eye(m)))
    else:
        omega = torch.tensor(np.kron(np.eye(m), [[0.0, 1.0], [-1.0, 0.0]]))
    torch.testing.assert_close(symplectic_form(n, form), omega)
    worst = 0.0
    for a in everything(f"Sp({n})" if form == "interleaved" else f"Sp({n},block)"):
        torch.testing.assert_close(a.T @ omega @ a, omega, rtol=0, atol=4e-15 * float(a.abs().max()) ** 2)
        worst = max(worst, float((a.T @ a - torch.eye(n)).abs().max()))
    assert worst > 0.5  # not merely the compact part


def test_general_linear() -> None:
    group = parse_group("GL(3)")
    for component, sign in (("proper", 1.0), ("improper", -1.0)):
        for seed in range(5):
            g = group.sample(component, gen(seed))
            assert g.det == sign and 1.0 < g.condition <= math.e**2 + 1e-9
            assert not g.orthogonal
    for a in everything("SL(3)"):
        assert float(torch.linalg.det(a)) == pytest.approx(1.0)
    with pytest.raises(InvalidInput, match="improper"):
        parse_group("SL(3)").sample("improper", gen())


ORDERS = {
    "C_1": 1, "C_s": 2, "C_i": 2, "C_4": 4, "C_3v": 6, "C_4h": 8, "D_2": 4, "D_5": 10, "D_3h": 12, "D_3d": 12, "D_2d": 8,
    "D_6h": 24, "T": 12, "T_h": 24, "T_d": 24, "O": 24, "O_h": 48, "I": 60, "I_h": 120, "D_7@x": 14,
}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_point_groups_are_closed_and_have_their_order(name: str, order: int) -> None:
    group = parse_group(name)
    q = group.matrices
    assert group.order == order == len(q)
    torch.testing.assert_close(q.mT @ q, torch.eye(3).double().expand_as(q), rtol=0, atol=4e-16)
    products = torch.einsum("aij,bjk->abik", q, q).reshape(-1, 1, 3, 3)
    nearest = (products - q).abs().amax((-1, -2))
    assert float(nearest.amin(1).max()) <= 1e-14
    assert sorted(set((nearest <= 1e-14).sum(1).tolist())) == [1]


@pytest.mark.parametrize(
    ("name", "scipys"), [("C_4", "C4"), ("D_3", "D3"), ("T", "T"), ("O", "O"), ("I", "I")]
)
def test_rotation_groups_against_scipy(name: str, scipys: str) -> None:
    """The same angles with the same multiplicities; for C_n, T and O the very same matrices."""
    ours, theirs = parse_group(name).matrices.numpy(), Rotation.create_group(scipys).as_matrix()
    angles = [np.sort(Rotation.from_matrix(q).magnitude()) for q in (ours, theirs)]
    np.testing.assert_allclose(angles[0], angles[1], atol=1e-7)
    if name != "I":
        gaps = np.abs(ours[:, None] - theirs[None]).max((-1, -2)).min(1)
        assert gaps.max() < 1e-12


def test_cubic_groups_permute_signed_axes() -> None:
    matrices = parse_group("O_h").matrices
    assert set(matrices.flatten().tolist()) <= {0.0, 1.0, -1.0, -0.0}
    cube = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]).double()
    tetrahedron = cube[cube.prod(1) > 0]
    for q in parse_group("T_d").matrices:
        moved = {tuple((v + 0.0).tolist()) for v in (tetrahedron @ q.T)}
        assert moved == {tuple(v.tolist()) for v in tetrahedron}


def test_icosahedral_group_keeps_an_icosahedron() -> None:
    phi = (1 + 5**0.5) / 2
    corners = [(0, s, t * phi) for s in (1, -1) for t in (1, -1)]
    corners = torch.tensor([c[k:] + c[:k] for c in corners for k in range(3)], dtype=torch.float64)
    for q in parse_group("I_h").matrices:
        gaps = ((corners @ q.T)[:, None] - corners).abs().amax(-1)
        assert float(gaps.amin(1).max()) < 1e-14


def test_main_axis() -> None:
    for axis, k in {"x": 0, "y": 1, "z": 2}.items():
        fixed = torch.eye(3).double()[k]
        for q in [
            *parse_group(f"C_4@{axis}").matrices,
            parse_group(f"SO(2)@{axis}").sample("proper", gen()).linear,
        ]:
            torch.testing.assert_close(q @ fixed, fixed, rtol=0, atol=1e-15)


def test_metric_order_is_null_positive_negative() -> None:
    assert metric(3, 1, 1).diagonal().tolist() == [0.0, 1.0, 1.0, 1.0, -1.0]


def test_scalings() -> None:
    group = parse_group("scalings")
    factors = torch.tensor([float(group.sample("scale", gen(seed)).linear[0, 0]) for seed in range(30)])
    assert bool((factors > math.exp(-1)).all()) and bool((factors < math.e).all()) and factors.std() > 0.3
