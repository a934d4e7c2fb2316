"""Irreps: reading, arithmetic, agreement with e3nn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.irreps import Irrep, Irreps

blocks = st.lists(
    st.tuples(st.integers(0, 9), st.tuples(st.integers(0, 5), st.sampled_from([1, -1]))), max_size=6
)


@given(blocks)
def test_text_round_trip_and_sizes(items):
    irreps = Irreps(items)
    assert Irreps(str(irreps)) == irreps == str(irreps) and hash(irreps) == hash(Irreps(str(irreps)))
    assert irreps.dim == sum(mul * (2 * l + 1) for mul, (l, _) in items)
    assert sum(s.stop - s.start for s in irreps.slices()) == irreps.dim
    assert irreps.num_irreps == sum(mul for mul, _ in items)
    assert irreps.simplify().dim == irreps.dim and len(irreps.simplify()) <= len(irreps)


@settings(deadline=None)  # the first example imports e3nn
@given(blocks)
def test_the_same_as_e3nn(items):
    o3 = pytest.importorskip("e3nn.o3")
    theirs, ours = o3.Irreps(items), Irreps(items)
    assert str(Irreps(theirs)) == str(ours) and ours.slices() == list(theirs.slices())
    assert str(o3.Irreps(str(ours)) if items else theirs) == str(theirs)
    assert str(Irreps(theirs.simplify())) == str(ours.simplify())
    assert [(b.ir.l, b.ir.p) for b in ours.sorted()] == [(ir.l, ir.p) for _, ir in theirs.sort().irreps]


def test_products_and_membership():
    o3 = pytest.importorskip("e3nn.o3")
    for l1 in range(4):
        for l2 in range(4):
            ours = Irrep(l1, -1) * Irrep(l2, 1)
            assert [(r.l, r.p) for r in ours] == [(r.l, r.p) for r in o3.Irrep(l1, -1) * o3.Irrep(l2, 1)]
    irreps = Irreps("2x0e+1o") + "3x1o"
    assert irreps.count("1o") == 4 and "0e" in irreps and "0o" not in irreps
    assert irreps[0].mul == 2 and str(irreps[1:]) == "1x1o+3x1o" and str(irreps[:1] * 2) == "2x0e+2x0e"
    assert Irreps("1y+2y") == "1o+2e" and Irreps(Irrep(1, 1)) == "1e" and len(Irreps("")) == 0


@pytest.mark.parametrize("bad", ["1x", "1.5x0e", "3z", "0e+", "x0e", "-1x0e"])
def test_wrong_text(bad):
    with pytest.raises(InvalidInput, match="irreps"):
        Irreps(bad)


def test_wrong_objects():
    for bad in ([3.5], [("a", "b", "c")], [None]):
        with pytest.raises(InvalidInput):
            Irreps(bad)
    with pytest.raises(InvalidInput, match="l >= 0"):
        Irrep(-1, 1)
    with pytest.raises(InvalidInput, match="one irrep"):
        Irrep.parse("2x0e")
    assert Irreps("0e") != 3


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8x0e4x1o", "8x0e+4x1o"),
        ("8*0e", "8x0e"),
        ("0even+1odd", "0e+1o"),
        ("4 x 1O", "4x1o"),
        ("0e,1o", "0e+1o"),
    ],
)
def test_near_misses_are_named(text, meant):
    with pytest.raises(InvalidInput, match="is not a term") as error:
        Irreps(text)
    assert f"Did you mean {meant!r}?" in str(error.value)


def test_one_parser_serves_types():
    from geomlib.algebra import types

    assert types.Irrep is Irrep
    assert types.parse_irreps("2x0e+1y") == tuple(Irreps("2x0e+1o"))
    assert str(types.parse_type("node:2x0e + 1y")) == "node:2x0e+1x1o"
    with pytest.raises(InvalidInput, match="one irrep"):
        Irrep.parse(Irreps("2x0e")[0])
