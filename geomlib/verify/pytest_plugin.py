"""A pytest plugin, for those who ask for it: ``pytest_plugins = ["geomlib.verify.pytest_plugin"]``.

It is no entry point, because then every run of pytest on the machine would import torch. Nothing happens at
collection, and torch is imported by the first test that uses the fixture.

.. code-block:: python

    @pytest.mark.equivariance(group="O(3)", inputs="vector", outputs="vector")
    def test_my_layer(equivariance):
        equivariance(MyLayer())

Options: ``--equiv-trials N`` and ``--equiv-seed N`` go before what a test says, ``--equiv-html FILE`` writes one page of
all reports (with pytest-xdist too). The suites of `geomlib.testing` follow them as well.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from geomlib.verify import Report

__all__ = ["Equivariance", "equivariance"]

_MADE = pytest.StashKey[list[dict[str, Any]]]()
_MARKER = "equivariance(group, inputs, outputs, **options): what the fixture `equivariance` checks by default"
#: Attribute of the reports that pytest-xdist sends home.
_CARRIED = "geomlib_equivariance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--equiv-trials``, ``--equiv-seed`` and ``--equiv-html``."""
    group = parser.getgroup("equivariance", "equivariance of layers and models (geomlib)")
    group.addoption(
        "--equiv-trials", type=_positive, metavar="N", help="random group elements of every check"
    )
    group.addoption("--equiv-seed", type=int, metavar="N", help="seed of every check")
    group.addoption(
        "--equiv-html", type=Path, metavar="FILE", help="write one page with the reports of all checks"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known and refuse a page that could not be written."""
    config.addinivalue_line("markers", _MARKER)
    page: Path | None = config.getoption("equiv_html")
    if page is not None and not page.parent.is_dir():
        raise pytest.UsageError(f"--equiv-html: there is no folder {str(page.parent)!r}. Create it first.")
    config.pluginmanager.register(_Collector(page), "geomlib_equivariance_collector")


class Equivariance:
    """The fixture: call it with what `geomlib.verify.check` takes.

    Args:
        defaults: arguments of the marker.
        options: what the command line says.
    """

    def __init__(self, defaults: dict[str, Any], options: dict[str, int]) -> None:
        self.defaults, self.options = defaults, options
        self.reports: list[Report] = []

    def __call__(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Report:
        """Check the target, fail unless it is equivariant, and return the report."""
        __tracebackhide__ = True
        return self.check(target, *args, **kwargs).raise_if_failed()

    def check(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Report:
        """Return the report, whatever it says: for tests of what must *not* be equivariant."""
        __tracebackhide__ = True
        from geomlib.verify import check

        names = [name for name in inspect.signature(check).parameters if name != "target"]
        given = {**self.defaults, **dict(zip(names, args, strict=False)), **kwargs}
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise pytest.UsageError(
                    f"equivariance: unknown argument {name!r}.{hint} Known: {', '.join(names)}."
                )
        merged: dict[str, Any] = {**given, **self.options}
        report = check(target, **merged)
        self.reports.append(report)
        return report


def _options(config: pytest.Config) -> dict[str, int]:
    found = {"trials": config.getoption("equiv_trials"), "seed": config.getoption("equiv_seed")}
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture
def equivariance(request: pytest.FixtureRequest) -> Equivariance:
    """Return `Equivariance`: ``equivariance(layer)`` fails the test unless the layer is equivariant."""
    defaults: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("equivariance"))):  # the closest one last
        defaults |= {**dict(zip(("group", "inputs", "outputs"), marker.args, strict=False)), **marker.kwargs}
    return Equivariance(defaults, _options(request.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hand the options to suites, keep the reports, and fail a marked test that checked nothing."""
    item.stash[_MADE] = []
    instance: Any = getattr(item, "instance", None)
    suite = getattr(instance, "equivariance_options", None)
    if suite is not None:
        suite(**_options(item.config))
    fixture: Any = getattr(item, "funcargs", {}).get("equivariance")
    try:
        result = yield
    finally:
        made = [*(fixture.reports if isinstance(fixture, Equivariance) else ())]
        made += getattr(instance, "equivariance_reports", ()) if suite is not None else ()
        if made:
            from geomlib.verify.serial import as_dict

            item.stash[_MADE] = [{**as_dict(r), "test": item.nodeid} for r in made]
    if not made and item.get_closest_marker("equivariance") is not None:
        pytest.fail(
            "marked `equivariance`, but nothing was checked: call the fixture, equivariance(layer)",
            pytrace=False,
        )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Send what was checked along with the outcome of the test."""
    report = yield
    if call.when == "call" and _MADE in item.stash:
        setattr(report, _CARRIED, item.stash[_MADE])
    return report


class _Collector:
    """Keeps the reports of all tests, those of other processes too, and writes the page."""

    def __init__(self, page: Path | None) -> None:
        self.page, self.found = page, list[dict[str, Any]]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what came along with an outcome."""
        self.found += getattr(report, _CARRIED, [])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Write the page, and say in one line what was checked."""
        if self.page is not None:
            from geomlib.verify.html import page
            from geomlib.verify.serial import write

            write(self.page, page(self.found, "Equivariance"), "--equiv-html")
        if self.found or self.page is not None:
            held = sum(r["ok"] for r in self.found)
            where = f", page {self.page}" if self.page is not None else ""
            terminalreporter.write_line(f"equivariance: {held} of {len(self.found)} checks hold{where}")
