"""One diagram at a time: factors compose to the diagram, images equal dense products, gradients, odd inputs."""

from __future__ import annotations

import itertools

import pytest
import torch

from geomlib.algebra.diagrams import (
    SO,
    A,
    Diagram,
    Lorentz,
    O,
    S,
    Sp,
    diagrams,
    orbit_diagrams,
    permuting,
    tensor_group,
)
from geomlib.algebra.diagrams.matrices import entries
from geomlib.errors import InvalidInput
from tests.algebra.diagrams.common import GROUPS, named


def crossing_free(d: Diagram) -> bool:
    """No two blocks interleave on the circle of top legs and reversed bottom legs; epsilon counts as one block."""
    circle = [*range(d.l), *reversed(range(d.l, d.legs))]
    place = {leg: i for i, leg in enumerate(circle)}
    blocks = [sorted(place[x] for x in b) for b in (*d.blocks, d.free) if b]
    for one, two in itertools.combinations(blocks, 2):
        for a, c in itertools.combinations(one, 2):
            inside = sum(a < x < c for x in two)
            if 0 < inside < len(two):
                return False
    return True


@pytest.mark.parametrize("G", [S(3), O(2), SO(2), SO(3), Sp(2)], ids=named)
def test_factors(G):
    crossed = 0
    for k, l in itertools.product(range(4), repeat=2):
        for d in diagrams(G, k, l, "spanning"):
            top, planar, bottom = d.factor()
            assert crossing_free(planar), (d, planar)
            crossed += not crossing_free(d)
            kind = "brauer" if d.kind == "grood" else d.kind
            made = permuting(top, kind).compose(planar)
            whole = made.diagram.compose(permuting(bottom, kind))
            assert whole.diagram == d and made.sign == whole.sign == 1 and made.loops == whole.loops == 0
    assert crossed > 3
    with pytest.raises(InvalidInput, match="no planar diagram"):
        Diagram([(0, 1)], 1, 1, "orbit").factor()


@pytest.mark.parametrize("G", GROUPS, ids=named)
def test_images_are_dense_products(G):
    for k, l in itertools.product(range(4), repeat=2):
        if G.n ** (k + l) > 800:
            continue
        found = diagrams(G, k, l, "spanning")
        if G.kind in ("S", "A"):
            found = found + orbit_diagrams(G, k, l)
        x = torch.randn(2, *[G.n] * k, dtype=torch.float64)
        for d in found[:60]:
            if d.kind == "orbit" and len(d.blocks) > G.n:
                continue
            y = d.apply(x, G)
            assert y.shape == (2, *[G.n] * l)
            assert torch.allclose(y.reshape(2, -1), x.reshape(2, -1) @ d.matrix(G).T, rtol=0, atol=1e-11)


CASES = [
    (Diagram([(0, 3, 4), (1, 2), (5,)], 3, 3), S(3)),
    (Diagram([(0, 1), (2, 5), (3, 4)], 3, 3, "symplectic"), Sp(2)),
    (Diagram([(0, 1), (2, 4), (3, 5)], 4, 2, "brauer"), Lorentz(1, 1)),
    (Diagram([(0, 3)], 3, 2, "grood", [1, 2, 4]), SO(3)),
    (Diagram([(0, 2), (1,)], 1, 2, "jellyfish"), A(3)),
]


@pytest.mark.parametrize(("d", "G"), CASES, ids=repr)
def test_inputs_of_every_sort(d, G):
    n, k = G.n, d.k
    m = d.matrix(G)

    def expected(x):
        batch = x.shape[: x.dim() - k]
        return (x.reshape(*batch, n**k) @ m.to(x).T).reshape(*batch, *[n] * d.l)

    x = torch.randn(5, 2, *[n] * k, dtype=torch.float64)
    strided = x.flip(1).transpose(0, 1).transpose(-1, -2) if k > 1 else x.transpose(0, 1)
    one = torch.randn(*[1] * (k + 1), dtype=torch.float64).expand(4, *[n] * k)
    for y in (x, strided, one, x[0, 0], x[:0], torch.zeros_like(x), x[::2, 1:]):
        assert torch.allclose(d.apply(y, G), expected(y), atol=1e-12)
    single = d.apply(x.float(), G)
    assert single.dtype == torch.float32 and torch.allclose(single.double(), expected(x), atol=1e-5)
    assert bool(d.apply(torch.full_like(x, 1e300), G).isfinite().all())
    x = torch.randn(2, *[n] * k, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: d.apply(x, G).pow(2), x)
    assert torch.autograd.gradgradcheck(lambda x: d.apply(x, G).pow(2), x)


def test_size_comes_with_the_data():
    d = Diagram([(0, 1), (2,)], 2, 1)
    for n in (1, 4, 50):
        x = torch.randn(n, n, dtype=torch.float64)
        assert torch.allclose(d.apply(x, S()), x.sum(1))
    y = Diagram([(0, 2), (1, 3)], 2, 2).apply(x, S())
    y[0, 0] = 0.0  # results are memory of their own
    with pytest.raises(InvalidInput, match=r"\(3, 4\), expected 2 last axes of one length"):
        d.apply(torch.zeros(3, 4), S())
    with pytest.raises(InvalidInput, match="axes of length 3"):
        Diagram([(0, 1)], 1, 1, "brauer").apply(torch.zeros(4), O(3))
    with pytest.raises(InvalidInput, match="no size"):
        Diagram([(0,)], 0, 1).apply(torch.zeros(2), S())


def test_entries_are_the_matrix():
    for d, G in CASES:
        where, value = entries(d, G)
        assert len(where.unique()) == len(where) and bool((value != 0).all())
        flat = torch.zeros(G.n**d.legs, dtype=torch.float64)
        flat[where] = value
        assert torch.equal(flat.reshape(G.n**d.l, -1), d.matrix(G))
    assert {d.kind for d, _ in CASES} >= {
        "partition",
        "symplectic",
        "brauer",
        "grood",
        "jellyfish",
    }


@pytest.mark.parametrize("orders", [(2, 0), (0, 2), (0, 0), (1, 1), (3, 0), (0, 3)])
@pytest.mark.parametrize("group", ["S_3", "A_3", "O(3)", "SO(3)", "Sp(2)", "O(1,1)"])
def test_one_tensor_without_other_axes(group: str, orders: tuple[int, int]) -> None:
    """A single tensor, also where everything is contracted or made from a number."""
    k, l = orders
    found = tensor_group(group)
    x = torch.randn((found.size,) * k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for d in diagrams(found, k, l):
        y = d.apply(x, found)
        assert y.shape == (found.size,) * l
        torch.testing.assert_close(y.flatten(), d.matrix(found) @ x.flatten())
