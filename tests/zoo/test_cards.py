"""Cards: every model has one, and its results are those of the files that hold the measurements."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from geomlib.zoo import list_models, model_card

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "cards.py"))


@pytest.mark.parametrize("name", list_models())
def test_a_card_says_what_where_and_how(name):
    card = model_card(name)
    assert card["name"] == name
    assert all(card[key] for key in ("title", "summary", "paper", "symmetry", "task"))
    for result in card["results"]:
        missing = {"data", "split", "seeds", "budget", "numbers", "command"} - {
            k for k, v in result.items() if v
        }
        assert not missing, f"{result.get('title')}: {missing}"


MEASURED = sorted(n for n in BENCHMARK["ENTRIES"] if (ROOT / BENCHMARK["RESULTS"] / n).is_file())


@pytest.mark.parametrize("file", MEASURED)
def test_results_are_those_of_the_measurement(file):
    """After a new measurement: python benchmarks/cards.py."""
    model, _ = BENCHMARK["ENTRIES"][file]
    stored = {r.get("file"): r for r in model_card(model)["results"]}
    assert stored[f"benchmarks/results/{file}"] == BENCHMARK["entry"](file)
