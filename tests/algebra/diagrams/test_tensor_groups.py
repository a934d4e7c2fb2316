"""Groups of tensors: spellings, sizes, forms, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.diagrams import SO, A, B, Diagram, Lorentz, O, S, Sp, diagrams, tensor_group
from geomlib.algebra.groups import parse_group
from geomlib.algebra.types import parse_type
from geomlib.errors import InvalidInput
from tests.algebra.diagrams.common import GROUPS, named


@pytest.mark.parametrize("G", GROUPS, ids=named)
def test_names_are_read_back(G):
    assert tensor_group(str(G)) == G and tensor_group(G) is G and hash(tensor_group(str(G))) == hash(G)
    parse_group(G.name)
    assert str(parse_type(G.tensor_type(2))) == G.tensor_type(2)
    assert tensor_group(G.name, G.n) == G


def test_sizes():
    assert tensor_group("S_n") == S() and S().sized(4) == S(4) == tensor_group("S_n", 4) == tensor_group(
        "S_4"
    )
    assert tensor_group("O(n)", 3) == O(3) and tensor_group("A_n", 4) == A(4)
    with pytest.raises(InvalidInput, match="axes of length 3"):
        O(3).sized(4)
    with pytest.raises(InvalidInput, match="no size"):
        _ = S().size


@pytest.mark.parametrize(
    "text", ["O(3", "O(0)", "SL(3)", "A_n", "S(n", "Sp(3)", "Sp(4,blok)", "O(0,0)", "S_0", 3]
)
def test_what_is_no_group(text):
    with pytest.raises(InvalidInput):
        tensor_group(text)


@pytest.mark.parametrize(
    "make", [lambda: O(2.0), lambda: S(True), lambda: A(0), lambda: Sp(3), lambda: Lorentz(-1, 3), lambda: B("3")]
)  # fmt: skip
def test_wrong_sizes(make):
    with pytest.raises(InvalidInput, match=r"expected|must be even"):
        make()


def test_pointwise_functions():
    assert S(3).pointwise and A(3).pointwise
    assert not any(G.pointwise for G in (B(2), O(3), SO(3), Sp(2), Lorentz(1, 3)))


def test_a_form_of_ones_own():
    """Any invertible antisymmetric form: the group is conjugate to Sp(n), and so are the maps."""
    change = torch.tensor([[1.0, 2, 0, 1], [0, 1, 1, 0], [1, 0, 3, 0], [0, 1, 0, 2]], dtype=torch.float64)
    omega = change.T @ Sp(4).forms()[1] @ change
    G = Sp(4, omega)
    assert G == Sp(4, omega) and hash(G) == hash(Sp(4, omega)) and G != Sp(4)
    g = parse_group("Sp(4)").sample("symplectic", torch.Generator().manual_seed(3)).linear
    h = torch.linalg.inv(change) @ g @ change
    assert torch.allclose(h.T @ omega @ h, omega, atol=1e-10)
    for k, l in ((2, 2), (2, 0), (0, 2), (1, 3)):
        for d in diagrams(G, k, l):
            m = d.matrix(G)
            left, right = torch.ones(1, 1, dtype=m.dtype), torch.ones(1, 1, dtype=m.dtype)
            for _ in range(l):
                left = torch.kron(left, h)
            for _ in range(k):
                right = torch.kron(right, h)
            assert torch.allclose(left @ m, m @ right, atol=1e-8 * float(left.abs().max()))
    with pytest.raises(InvalidInput, match="antisymmetric"):
        Sp(2, torch.eye(2))
    with pytest.raises(InvalidInput, match="inverted"):
        Sp(2, torch.zeros(2, 2))


def test_forms_are_preserved():
    for G in (Lorentz(1, 3), Sp(4), Sp(4, "block")):
        for g in parse_group(G.name).special(torch.Generator()):
            upper, lower = G.forms()
            assert torch.allclose(g.linear.T @ lower @ g.linear, lower, atol=1e-12)
            assert torch.allclose(g.linear @ upper @ g.linear.T, upper, atol=1e-12)
    assert (
        torch.equal(SO(3).forms(torch.float32)[0], torch.eye(3))
        and Diagram([], 0, 0).matrix(S(3)).item() == 1
    )
