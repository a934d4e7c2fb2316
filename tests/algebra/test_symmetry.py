"""The grammar of types and the declaration."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.symmetry import KINDS, Symmetry, parse_irreps, parse_type


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", [None, "node", "edge", "graph", "cell"])
def test_every_kind_and_scope(kind: str, scope: str | None) -> None:
    text = kind if scope is None else f"{scope}:{kind}"
    t = parse_type(text)
    assert (t.kind, t.scope, str(t)) == (kind, scope, text)


BLOCKS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 2), st.sampled_from("eo")), min_size=1, max_size=6
)


@given(BLOCKS, st.booleans())
@settings(derandomize=True, max_examples=60)
def test_irreps_round_trip(blocks: list[tuple[int, int, str]], spaces: bool) -> None:
    text = (" + " if spaces else "+").join(f"{m}x{n}{p}" for m, n, p in blocks)
    found = parse_irreps(text)
    assert [(b.mul, b.l, "e" if b.p == 1 else "o") for b in found] == blocks
    t = parse_type(text)
    assert t.dim == sum(m * (2 * n + 1) for m, n, _ in blocks)
    assert parse_type(str(t)) == t


def test_against_e3nn_dimensions() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    for text in ["8x0e+4x1o", "1o", "0e+0o+2x2e", "16x1e+3x2o"]:
        assert parse_type(text).dim == o3.Irreps(text).dim


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("vectr", "'vector'"), ("node:pseudo", "'pseudo"), ("nod:vector", "'node'"),
        ("tensor(x)", "'tensor(2)'"),
        ("8x0e4x1o", "not a term"), ("1x12o", "above 11"), ("4x1", "not a term"), ("", "unknown kind"),
    ],
)  # fmt: skip
def test_errors_suggest(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_type(text)
    assert hint in str(error.value)


def test_types_must_be_strings() -> None:
    with pytest.raises(InvalidInput, match="string"):
        parse_type(3)  # type: ignore[arg-type]


def test_implied_scopes() -> None:
    declared = Symmetry(
        "E(3)*S_n",
        {
            "z": "inv",
            "pos": "point",
            "edge_index": "index",
            "batch": "index",
            "charge": "graph:inv",
            "w": "inv",
        },
        {"energy": "graph:scalar", "forces": "vector"},
    )
    scopes = {name: t.scope for name, t in declared.input_types().items()}
    assert scopes == {
        "z": "node",
        "pos": "node",
        "edge_index": "edge",
        "batch": "node",
        "charge": "graph",
        "w": None,
    }
    assert declared.output_types()["forces"].scope == "node"


def test_outputs_by_name() -> None:
    assert list(Symmetry(outputs="vector").output_types()) == ["out"]
    assert list(Symmetry(outputs=("vector", "scalar")).output_types()) == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"group": "E(4"}, "group"), ({"inputs": {"x": "vectro"}}, "vector"),
        ({"outputs": "bogus"}, "unknown kind"),
        ({"exact": False}, "rtol"), ({"breaks": ("reflection",)}, "reflections"),
        ({"breaks": "reflections"}, "tuple"),
    ],
)  # fmt: skip
def test_bad_declarations(arguments: dict, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        Symmetry(**arguments)


def test_moves() -> None:
    moving = {"vector", "1o", "0o", "cartesian", "sym2", "tensor(1)", "pseudoscalar", "cell", "point"}
    still = {"scalar", "inv", "index", "4x0e", "tensor(0)"}
    assert all(parse_type(t).moves for t in moving) and not any(parse_type(t).moves for t in still)
