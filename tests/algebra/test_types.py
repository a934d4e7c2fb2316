"""The grammar of types: every kind, round trips, nearest spellings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.types import KINDS, PARAMETRIC, SCOPES, dual_type, parse_type

WRITTEN = [
    "covector", "tensor(0)", "tensor(4)", "mv(3,0,0)", "mv(3,0,1)[1,3]", "mv(0,0,2)", "spd(4)", "grassmann(5,2)",
    "perm(2)", "simplex(0)", "simplex(3)", "sym2*", "spd(3)*", "cell*", "tensor(2)*", "mv(1,3,0)[2]*", "pseudovector*",
    "1x11o+2x0e", "blocks(2)", "blocks(3)*", *KINDS,
]  # fmt: skip


@pytest.mark.parametrize("scope", ["", *(f"{s}:" for s in SCOPES)])
@pytest.mark.parametrize("text", WRITTEN)
def test_round_trip(scope: str, text: str) -> None:
    t = parse_type(scope + text)
    assert str(t) == scope + text and parse_type(str(t)) == t
    assert dual_type(dual_type(t)) == t or t.kind == "point"


def test_dimensions() -> None:
    wanted = {
        "mv(3,0,1)": 16, "mv(3,0,1)[0]": 1, "mv(4,1,0)[2,3]": 20, "spd(7)": 7, "grassmann(6,2)": 6, "perm(2)": None,
        "simplex(2)": None, "covector": 3, "1x11o": 23,
    }  # fmt: skip
    assert {text: parse_type(text).dim for text in wanted} == wanted


def test_moves() -> None:
    moving = {"covector", "mv(3,0,0)", "mv(3,0,0)[1]", "spd(2)", "grassmann(3,1)", "sym2*"}
    still = {"perm(2)", "simplex(1)", "mv(3,0,0)[0]"}
    assert all(parse_type(t).moves for t in moving) and not any(parse_type(t).moves for t in still)


def test_short_forms_and_spaces() -> None:
    assert parse_type("mv(3)") == parse_type("mv(3, 0, 0)") == parse_type(" mv( 3,0 ) ")
    assert parse_type("mv(3)[1, 2]").grades == (1, 2)
    assert parse_type("vector*").kind == "covector" and parse_type("covector*").kind == "vector"
    assert parse_type("2x1o*") == parse_type("2x1o")
    assert str(parse_type("node:point*")) == "node:covector"


def test_node_axes_have_no_implied_scope() -> None:
    for text in ("perm(2)", "simplex(1)"):
        assert parse_type(text).named("x").scope is None
    assert parse_type("mv(3,0,0)").named("x").scope == "node"
    assert parse_type("covector").named("forces").scope == "node"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mv(3,0,1", "'mv(3,0,0)'"), ("mv()", "'mv(3,0,0)'"), ("mv(1,1,1,1)", "numbers p, q, r"), ("mv(11)", "ten at most"),
        ("mv(3)[4]", "0..3"), ("mv(3)[2,1]", "grades increase"), ("mv(3)[]", "missing"), ("mv", "'mv(3,0,0)'"),
        ("spd", "'spd(3)'"), ("spd(0)", "one dimension"), ("spd(2,2)", "one dimension"), ("spd(3)[1]", "only mv"),
        ("grassmann(2,2)", "n > p > 0"), ("grasmann(5,2)", "'grassmann(5,2)'"), ("perm(0)", "at least 1"),
        ("perm", "'perm(2)'"), ("simplx(2)", "'simplex(2)'"), ("covectr", "'covector'"), ("tensor(1,2)", "one order"),
        ("tensor(-1)", "missing"), ("vector(3)", "'vector'"), ("node:edge:vector", "unknown kind"),
    ],
)  # fmt: skip
def test_errors_suggest(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_type(text)
    assert hint in str(error.value) and repr(text) in str(error.value)


def test_the_message_lists_every_kind() -> None:
    with pytest.raises(InvalidInput) as error:
        parse_type("bogus")
    assert all(kind in str(error.value) for kind in (*KINDS, *PARAMETRIC))


@given(st.text(alphabet="mvspdgrant()[],:*0123456789xeo+ ", max_size=14))
@settings(derandomize=True, max_examples=300)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        t = parse_type(text)
    except InvalidInput:
        return
    assert parse_type(str(t)) == t
