"""Groups: laws, stratification, Haar measure against scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geomlib import InvalidInput
from geomlib.algebra.groups import (
    Permutations,
    compose,
    haar_orthogonal,
    inverse,
    parse_group,
    rotation,
    stratified,
)

GROUPS = ["O(3)", "SO(3)", "E(3)", "SE(3)", "T(3)", "O(2)", "SO(4)", "O(5)", "S_n", "E(3)*S_n", "SO(3)*S_n"]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def homogeneous(g) -> torch.Tensor:
    n = len(g.shift)
    m = torch.eye(n + 1, dtype=torch.float64)
    m[:n, :n], m[:n, n] = g.linear, g.shift
    return m


@pytest.mark.parametrize("name", GROUPS)
def test_laws(name: str) -> None:
    group, rng = parse_group(name).sized(7), gen()
    for a, b in itertools.product(group.components(), repeat=2):
        g, h = group.sample(a, rng), group.sample(b, rng)
        gh, undone = group.compose(g, h), group.compose(group.inverse(g), g)
        torch.testing.assert_close(homogeneous(gh), homogeneous(g) @ homogeneous(h), rtol=0, atol=1e-13)
        torch.testing.assert_close(homogeneous(undone), homogeneous(group.identity()), rtol=0, atol=1e-13)
        if g.nodes is not None:
            moved = torch.arange(7)
            assert torch.equal(gh.nodes[moved], g.nodes[h.nodes[moved]])
            assert torch.equal(undone.nodes, torch.arange(7))


@pytest.mark.parametrize("name", GROUPS)
def test_samples_lie_in_their_component(name: str) -> None:
    group, rng = parse_group(name).sized(6), gen(1)
    for component, _ in itertools.product(group.components(), range(5)):
        g = group.sample(component, rng)
        n = len(g.linear)
        assert g.linear.dtype == torch.float64
        torch.testing.assert_close(g.linear @ g.linear.T, torch.eye(n).double(), rtol=0, atol=1e-14)
        assert g.det == (-1.0 if "improper" in component else 1.0)
        if g.nodes is not None:
            sign = np.linalg.det(np.eye(6)[g.nodes.numpy()])
            assert sign == pytest.approx(-1.0 if "odd" in component else 1.0)


@pytest.mark.parametrize("trials", [1, 5, 24])
@pytest.mark.parametrize("name", ["O(3)", "E(3)*S_n", "SO(3)", "S_n"])
def test_every_component_is_drawn_a_quarter_of_the_time(name: str, trials: int) -> None:
    group = parse_group(name).sized(5)
    drawn = [g.label for g in stratified(group, trials, gen())]
    assert len(drawn) >= trials
    for component in group.components():
        assert drawn.count(component) >= -(-trials // 4)


def test_rotation_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for angle in [0.0, 1e-8, 0.3, np.pi / 2, np.pi - 1e-8, np.pi]:
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        want = Rotation.from_rotvec(angle * axis).as_matrix()
        np.testing.assert_allclose(rotation(torch.tensor(axis), angle).numpy(), want, rtol=0, atol=5e-16)


def test_haar_moments() -> None:
    """Haar: E[tr Q] = 0 and E[(tr Q)^2] = 1 on SO(3), and the known density of angles."""
    rng = gen()
    q = torch.stack([haar_orthogonal(3, 1, rng) for _ in range(2000)])
    traces = q.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert abs(float(traces.mean())) < 0.1
    assert float(traces.square().mean()) == pytest.approx(1.0, abs=0.15)
    angles = torch.tensor(Rotation.from_matrix(q.numpy()).magnitude())
    # density (1 - cos t)/pi has mean pi/2 + 2/pi
    assert float(angles.mean()) == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.05)


def test_even_dimension_gets_its_determinant() -> None:
    """Negating a matrix keeps the determinant in even dimensions: a known trap."""
    for n in (2, 3, 4, 5, 6):
        for sign in (1, -1):
            assert float(torch.linalg.det(haar_orthogonal(n, sign, gen(n)))) == pytest.approx(sign)


def test_special_elements_of_o3() -> None:
    found = {g.label: g for g in parse_group("O(3)").special(gen())}
    assert len(found) == 11 and {"identity", "inversion", "mirror x", "rotoreflection"} <= set(found)
    for axis, label in enumerate(["180° about x", "180° about y", "180° about z"]):
        want = -np.eye(3)
        want[axis, axis] = 1
        np.testing.assert_allclose(found[label].linear.numpy(), want, atol=1e-15)
    assert all(g.det > 0 for g in parse_group("SO(3)").special(gen()))
    assert all(g.det < 0 for g in parse_group("reflections").special(gen()))


def test_special_permutations() -> None:
    found = {g.label: g.nodes.tolist() for g in Permutations(4).special(gen())}
    assert found["transposition"] == [3, 1, 2, 0]
    assert found["reversal"] == [3, 2, 1, 0]
    assert found["n-cycle"] == [3, 0, 1, 2]
    assert [g.label for g in Permutations(1).special(gen())] == ["identity"]
    assert Permutations(0).sample("even", gen()).nodes.tolist() == []


@given(st.integers(2, 9), st.integers(0, 10**6))
@settings(derandomize=True, max_examples=30)
def test_permutations_compose_like_functions(n: int, seed: int) -> None:
    rng, group = gen(seed), Permutations(n)
    g, h = group.sample("odd", rng), group.sample("even", rng)
    assert torch.equal(compose(g, h).nodes, torch.tensor([g.nodes[h.nodes[k]] for k in range(n)]))
    assert torch.equal(compose(inverse(g), g).nodes, torch.arange(n))


def test_generators_reach_every_direction() -> None:
    group = parse_group("E(3)*S_n").sized(4)
    assert [flow.name for flow in group.generators()] == ["Rx", "Ry", "Rz", "Tx", "Ty", "Tz"]
    assert [g.label for g in group.discrete(gen())] == ["mirror x", "transposition", "n-cycle"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("E3", "E(3)"),
        ("0(3)", "O(3)"),
        ("E(3)*Sn", "S_n"),
        ("", "string"),
        ("O(3)*T(3)", "at most one"),
        ("O(0)", "O(3)"),
    ],
)
def test_unknown_groups(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match="group") as error:
        parse_group(text)
    assert hint in str(error.value)


def test_unsized_permutations_and_unknown_components() -> None:
    with pytest.raises(InvalidInput, match="sized"):
        parse_group("S_n").sample("even", gen())
    with pytest.raises(InvalidInput, match="improper"):
        parse_group("SO(3)").sample("improper", gen())


def test_same_seed_same_elements() -> None:
    group = parse_group("E(3)*S_n").sized(5)
    first, second = (stratified(group, 8, gen(3)) for _ in range(2))
    for g, h in zip(first, second, strict=True):
        assert (
            torch.equal(g.linear, h.linear)
            and torch.equal(g.shift, h.shift)
            and torch.equal(g.nodes, h.nodes)
        )
