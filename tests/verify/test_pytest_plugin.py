"""The pytest plugin: loaded only when asked, nothing at collection, options, marker, page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = ["-p", "geomlib.verify.pytest_plugin"]
TESTS = """
import pytest
from geomlib.verify import EquivarianceError

def double(v):
    return 2 * v

@pytest.mark.equivariance(group="O(3)", inputs="vector", outputs="vector")
def test_good(equivariance):
    report = equivariance(double)
    assert report.ok and report.seed == SEED and sum(report.components.values()) == TRIALS

@pytest.mark.equivariance("O(3)", "vector", "vector", trials=6)
class TestClass:
    @pytest.mark.equivariance(trials=8)
    def test_closest_marker_counts(self, equivariance):
        import torch
        assert equivariance.check(torch.tanh).verdict == "BROKEN"

    def test_bad(self, equivariance):
        import torch
        equivariance(torch.tanh)

    def test_empty(self, equivariance):
        pass

    def test_misspelt(self, equivariance):
        equivariance(double, trails=3)

    @pytest.mark.skip(reason="not today")
    def test_skipped(self, equivariance):
        pass
"""


@pytest.fixture
def run(tmp_path: Path):
    def run(*arguments: str, text: str = TESTS, trials: int = 24, seed: int = 0) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(text.replace("TRIALS", str(trials)).replace("SEED", str(seed)))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    return run


def test_outcomes(run) -> None:
    code, out = run(*PLUGIN, "--strict-markers")
    assert code == 1 and "3 failed, 2 passed, 1 skipped" in out
    assert "BROKEN  tanh : O(3)" in out and "marked `equivariance`, but nothing was checked" in out
    assert "unknown argument 'trails'. Did you mean 'trials'?" in out
    assert "equivariance: 1 of 3 checks hold" in out
    # The traceback ends at the caller's line: neither the fixture nor the report is shown.
    assert "pytest_plugin.py" not in out.split("test_misspelt")[0] and "report.py" not in out


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_options_and_page(run, tmp_path: Path, workers: list[str]) -> None:
    page = tmp_path / "equivariance.html"
    options = ["--equiv-trials", "10", "--equiv-seed", "7", "--equiv-html", str(page), "-k", "good or bad"]
    code, out = run(*PLUGIN, *workers, *options, trials=10, seed=7)
    assert code == 1 and "1 failed, 1 passed" in out
    text = page.read_text()
    assert "1 of 2 hold what they declare" in text and "test_it.py::test_good" in text and "seed 7" in text


def test_suites_take_the_options(run, tmp_path: Path) -> None:
    text = """
from geomlib.testing import LayerSuite
from geomlib.layers import VectorHead
class TestHead(LayerSuite):
    layer = VectorHead
"""
    page = tmp_path / "page.html"
    code, out = run(*PLUGIN, "-k", "equivariance", "--equiv-seed", "5", "--equiv-html", str(page), text=text)
    assert code == 0 and "1 passed" in out and "seed 5" in page.read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--equiv-html", "absent/page.html"], "there is no folder 'absent'"),
        (["--equiv-trials", "0"], "invalid _positive value"),
    ],
)
def test_wrong_options_are_usage_errors(run, options: list[str], says: str) -> None:
    code, out = run(*PLUGIN, *options)
    assert code == 4 and says in out


def test_only_when_asked(run) -> None:
    code, out = run("--equiv-trials", "10")
    assert code == 4 and "unrecognized arguments: --equiv-trials" in out


def test_it_can_be_asked_for_in_conftest(run, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["geomlib.verify.pytest_plugin"]\n')
    code, out = run("-k", "good", "--equiv-trials", "10", trials=10)
    assert code == 0 and "1 passed" in out


def test_nothing_at_collection(run) -> None:
    """Loading the plugin and collecting import no torch."""
    text = "import sys\nassert 'torch' not in sys.modules\ndef test_it(equivariance):\n    assert 'torch' not in sys.modules"
    code, out = run(*PLUGIN, text=text)
    assert code == 0, out
