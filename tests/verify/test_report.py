"""The three forms of a report: text as in the snapshots, JSON that follows its schema, HTML that needs nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
import torch

from geomlib import InvalidInput
from geomlib.verify import FieldResult, Report, check
from geomlib.verify.html import page
from geomlib.verify.report import Replay
from geomlib.verify.serial import SCHEMA, SCHEMA_VERSION, SEVERITY, as_dict
from geomlib.verify.text import counts, generators

SNAPSHOTS = Path(__file__).resolve().parent / "snapshots"
COUNTS = {"proper, even": 6, "proper, odd": 6, "improper, even": 6, "improper, odd": 6}

FAILING = Report(
    target="MyNet",
    group="E(3)*S_n",
    seed=1234,
    trials=24,
    fields=(
        FieldResult(
            "energy",
            "0e",
            2.6e-5,
            2.7e-5,
            5.3e-7,
            1.6e-14,
            2.6e10,
            "BROKEN",
            "generic: improper",
            "too large",
        ),
        FieldResult("forces", "1o", 7.0e-5, 7.0e-5, 1.9e-6, 5.7e-14, 2.0e10, "BROKEN", "generic: improper"),
    ),
    components=COUNTS,
    breaks={"reflections": 3.1e9},
    failures=("input `pos` is modified in place",),
    warnings=("input `edge_attr` of shape (40, 3) has no type: treated as invariant",),
    passes=("SE(3)", "S_n", "translations"),
    fails=("reflections only",),
    advice="parity label, or an SO(3)-only product",
    first_broken="layers.0 (Interaction)",
    leaks=("aten.mul in layers.0: float32",),
    lie={"Rx": 1e-15, "Ry": 1e-15, "Rz": 1e-15},
    replay=Replay("geomlib verify mynet.py:net --seed 1234 --trial 7"),
)
PASSING = Report(
    target="MyLayer",
    group="O(3)",
    seed=0,
    trials=24,
    fields=(
        FieldResult("out", "node:4x1o", 2.2e-16, 1.2e-7, 1.0e-7, 3.0e-15, 1.18, "EXACT", "generic: proper"),
        FieldResult(
            "d/d x",
            "node:8x0e+4x1o",
            3.1e-15,
            1.1e-6,
            9.1e-7,
            2.7e-14,
            1.8,
            "EXACT",
            "amplitude 1000: proper",
        ),
    ),
    components={"proper": 12, "improper": 12},
    replay=Replay("geomlib.verify.check(MyLayer, seed=0, trial=3)"),
)


def _masked(text: str) -> str:
    """Return a report without its numbers and its worst trial, which are the round-off of one machine."""
    text = re.sub(r"\d+(\.\d+)?e[+-]?\d+|\b\d+\.\d+\b", "#", text)
    text = re.sub(r"trial=\d+", "trial=#", re.sub(r": relative error.*$", ": #", text, flags=re.MULTILINE))
    return re.sub(r"#(  +)", "#  ", re.sub(r"\(\d+ x", "(# x", text))


@pytest.mark.parametrize("name", ["passing", "failing"])
def test_text_snapshot(name: str) -> None:
    report = {"passing": PASSING, "failing": FAILING}[name]
    assert report.ok == (name == "passing")
    assert str(report) + "\n" == (SNAPSHOTS / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["passing", "failing"])
def test_text_snapshot_of_a_real_check(name: str) -> None:
    def good(v: torch.Tensor) -> torch.Tensor:
        return v * v.norm(dim=-1, keepdim=True)

    def bad(v: torch.Tensor) -> torch.Tensor:
        return v * torch.tensor([1.0, 1.0, 1.01], dtype=v.dtype)

    report = check({"passing": good, "failing": bad}[name], "O(3)", "vector", "vector", seed=3)
    assert _masked(str(report)) + "\n" == (SNAPSHOTS / f"{name}_check.txt").read_text()


def test_the_report_in_the_documentation() -> None:
    """The page shows what its code gives, but for numbers."""
    page = (SNAPSHOTS.parents[2] / "docs" / "verify.md").read_text()
    shown = next(
        text
        for text in re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        if "BROKEN  Net" in text
    )
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[:2]:
        exec(compile(code, "docs/verify.md", "exec"), names)
    assert _masked(str(names["report"])) + "\n" == _masked(shown)


def test_the_layout_is_that_of_the_specification() -> None:
    lines = str(FAILING).splitlines()
    assert lines[0].startswith("BROKEN  MyNet : E(3) x S_n   seed 1234   24 trials (12 proper, 12 improper")
    assert lines[2].endswith("BROKEN (2.6e10 x expected f64 round-off)")
    assert any(
        line
        == " passes: SE(3), S_n, translations    fails: reflections only -> parity label, or an SO(3)-only product"
        for line in lines
    )
    assert any(line.startswith(" first broken submodule: layers.0 (Interaction)") for line in lines)
    assert any(line.endswith("Lie generators Rx,Ry,Rz: 1e-15") for line in lines)
    assert lines[-1] == " replay: geomlib verify mynet.py:net --seed 1234 --trial 7"
    starts = {line.index(" BROKEN") for line in lines[2:4]} | {lines[1].index(" verdict")}
    assert len(starts) == 1  # aligned


@pytest.mark.parametrize("report", [PASSING, FAILING], ids=["passing", "failing"])
def test_json_follows_its_schema(report: Report) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    table = json.loads(report.to_json())
    jsonschema.validate(table, SCHEMA)
    wanted = "schema_version target group seed trials fields components_tested passes fails first_broken lie warnings replay"
    assert set(wanted.split()) <= set(table) and table["schema_version"] == SCHEMA_VERSION
    assert {"name", "type", "e64", "e32", "d32", "tau64", "verdict"} <= set(table["fields"][0])
    assert table["fields"][0]["e64"] == report.fields[0].e64  # every bit


@pytest.mark.parametrize(
    ("key", "value"),
    [("verdict", "FINE"), ("seed", 0.5), ("fields", [{}]), ("more", 1), ("schema_version", 99)],
)
def test_the_schema_can_refuse(key: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**as_dict(PASSING), key: value}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({k: v for k, v in as_dict(PASSING).items() if k != "fields"}, SCHEMA)


def test_json_is_strict() -> None:
    """NaN and infinity are no JSON: they are null, and the verdict says why."""
    report = check(lambda v: v / 0.0 * 0.0, "O(3)", "vector", "vector", trials=4)
    assert report.verdict == "NONFINITE"

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in JSON")

    table = json.loads(report.to_json(), parse_constant=refuse)
    jsonschema.validate(table, SCHEMA)
    assert table["fields"][0]["e64"] is None and table["verdict"] == "NONFINITE"


def test_same_seed_same_bytes() -> None:
    reports = [check(torch.tanh, "O(3)", "vector", "vector", trials=4, seed=9) for _ in range(2)]
    a, b = ((r.to_json(), str(r), page([as_dict(r)])) for r in reports)
    assert a == b


class _Page(HTMLParser):
    """Collects what a browser would fetch or run, and whether tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        local = tag == "a" and (found.get("href") or "").startswith("#")
        self.fetched += [
            f"{tag} {k}" for k in ("src", "href", "srcset", "data", "action") if k in found and not local
        ]
        self.fetched += [tag] * (tag in ("script", "link", "iframe", "object", "embed", "img", "base"))
        self.fetched += [k for k, v in attrs if k.startswith("on") or (k == "style" and "url" in (v or ""))]
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag not in ("meta", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(text: str) -> _Page:
    found = _Page()
    found.feed(text)
    found.close()
    return found


def test_html_needs_no_network(tmp_path: Path) -> None:
    path = FAILING.to_html(tmp_path / "eq.html")
    text = path.read_text()
    found = _read(text)
    assert found.open == [] and found.fetched == []
    assert not re.search(r"https?://|url\(|@import|javascript:", text)
    for shown in (
        "BROKEN",
        "MyNet",
        "2.6e-05",
        "layers.0 (Interaction)",
        "reflections only",
        FAILING.replay,
        "edge_attr",
    ):
        assert shown in found.text
    assert [p.name for p in tmp_path.iterdir()] == ["eq.html"]  # no half-written file beside it


def test_the_html_test_can_fail() -> None:
    bad = '<html><script src="https://x.org/a.js"></script><img onload="f()" src="b.png"></img></html>'
    assert {"script src", "script", "img src", "img", "onload"} <= set(_read(bad).fetched)


def test_html_escapes_names() -> None:
    odd = replace(
        FAILING, target="<script>alert(1)</script>", warnings=("a < b & c",), advice='"><img src=x>'
    )
    text = page([as_dict(odd)])
    found = _read(text)
    assert found.fetched == [] and "<script>alert(1)</script>" in found.text and "a < b & c" in found.text


def test_html_of_many(tmp_path: Path) -> None:
    reports = [{**as_dict(PASSING), "seconds": 1.25}, as_dict(FAILING), as_dict(PASSING)]
    found = _read(page(reports, "All"))
    assert (
        found.ids == ["r0", "r1", "r2"]
        and "2 of 3 hold what they declare" in found.text
        and "1.2 s" in found.text
    )
    assert "nothing was tested" in _read(page([])).text


def test_json_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert PASSING.to_json(path) == path.read_text()


@pytest.mark.parametrize("method", ["to_json", "to_html"])
def test_a_missing_folder_is_named(tmp_path: Path, method: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{method}: .*no folder .*absent.*Create it first"):
        getattr(PASSING, method)(tmp_path / "absent" / "report")
    with pytest.raises(InvalidInput, match="is a folder, expected a file"):
        getattr(PASSING, method)(tmp_path)


def test_counts_per_factor() -> None:
    assert counts(COUNTS) == "12 proper, 12 improper; 12 even, 12 odd"
    assert counts({}) == ""


def test_generators_that_are_round_off_stand_together() -> None:
    assert (
        generators({"Rx": 0.4, "Ry": 0.2, "Rz": 3e-16, "Tx": 1e-15}) == "Rx: 4e-01; Ry: 2e-01; Rz,Tx: 1e-15"
    )


def test_verdicts_of_the_schema_are_those_of_the_report() -> None:
    assert SCHEMA["properties"]["verdict"]["enum"] == list(SEVERITY)
    for verdict in SEVERITY:
        report = replace(PASSING, fields=(replace(PASSING.fields[0], verdict=verdict),))
        assert report.verdict == verdict and report.ok == (verdict in ("EXACT", "APPROXIMATE"))
        jsonschema.validate(as_dict(report), SCHEMA)
