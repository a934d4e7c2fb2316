"""What a check found; the modules ``text``, ``serial`` and ``html`` write it down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geomlib.errors import GeomlibError, InvalidInput
from geomlib.verify.serial import SCHEMA_VERSION, SEVERITY, as_dict, to_text, write
from geomlib.verify.text import text_of

__all__ = ["SCHEMA_VERSION", "SEVERITY", "EquivarianceError", "FieldResult", "Replay", "Report"]

_OK = ("EXACT", "APPROXIMATE")


class EquivarianceError(GeomlibError, AssertionError):
    """A check failed; the message is the report."""


class Replay(str):
    """The line that gives the worst number again, and the call itself: ``print(r.replay)``, ``r.replay()``.

    Args:
        text: the line.
        again: does what it says.
        trial: number of the trial that it repeats.
    """

    __slots__ = ("_again", "trial")
    _again: Callable[[], Report] | None
    trial: int | None

    def __new__(
        cls, text: str = "", again: Callable[[], Report] | None = None, trial: int | None = None
    ) -> Replay:
        """Return the line, with the function that does what it says."""
        line = super().__new__(cls, text)
        line._again, line.trial = again, trial
        return line

    def __call__(self) -> Report:
        """Run the worst trial again and return its report.

        Raises:
            InvalidInput: the report was read from a file, or was not made by `geomlib.verify.check`.
        """
        if self._again is None:
            raise InvalidInput(f"this report cannot be run again from here; run {str(self)!r} instead.")
        return self._again()

    def worded(self, text: str) -> Replay:
        """Return the same call under another line, for example that of the command."""
        return Replay(text, self._again, self.trial)

    def __deepcopy__(self, memo: dict[int, Any]) -> str:
        return str(self)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


@dataclass(frozen=True)
class FieldResult:
    """Worst errors of one output over all classes of inputs.

    Args:
        name: name of the output, ``d/d x`` for a gradient.
        type: declared type.
        e64: relative equivariance error in float64.
        e32: the same in float32.
        d32: relative round-off of float32, measured.
        tau64: largest e64 that an exact function would show.
        ratio: e64 in units of the expected float64 round-off; exact functions stay below 16.
        verdict: one of `SEVERITY`.
        where: class of inputs and move of the worst trial.
        reason: one sentence where the verdict is not EXACT.
        median: median e64 over the generic trials.
    """

    name: str
    type: str
    e64: float
    e32: float
    d32: float
    tau64: float
    ratio: float
    verdict: str
    where: str
    reason: str = ""
    median: float = math.nan


def _no_counts() -> dict[str, int]:
    return {}


def _no_errors() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Report:
    """Result of `geomlib.verify.check`.

    Args:
        target: what was tested.
        group: declared group.
        seed: seed of all random choices; the same seed gives the same report.
        trials: number of moves tried.
        fields: one entry per output.
        components: moves tried per connected component.
        breaks: for every claimed break, the e64 / tau64 seen there (must be large).
        failures: claims that did not hold besides the fields.
        warnings: what was not tested, and suspicious inputs.
        passes: subgroups that still hold, when the check failed.
        fails: subgroups that do not.
        advice: the sentence that they imply.
        first_broken: first submodule in call order that is not equivariant, where there is one.
        leaks: what is computed in a narrower type, with operation and module.
        lie: error of every Lie generator by its name.
        replay: the line that gives the worst number again; ``report.replay()`` runs it.
        case: the group element and the inputs of the worst trial; not written to files.
    """

    target: str
    group: str
    seed: int
    trials: int
    fields: tuple[FieldResult, ...]
    components: dict[str, int] = field(default_factory=_no_counts)
    breaks: dict[str, float] = field(default_factory=_no_errors)
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    advice: str = ""
    first_broken: str = ""
    leaks: tuple[str, ...] = ()
    lie: Mapping[str, float] = field(default_factory=_no_errors)
    replay: Replay = field(default_factory=Replay)
    case: tuple[Any, dict[str, Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def verdict(self) -> str:
        """The worst verdict of all fields; VACUOUS when nothing was tested."""
        found = [f.verdict for f in self.fields] or ["VACUOUS"]
        if self.failures:
            found.append("BROKEN")
        return max(found, key=SEVERITY.index)

    @property
    def ok(self) -> bool:
        """Whether every declared promise holds."""
        return self.verdict in _OK

    @property
    def e64(self) -> float:
        """Largest relative error in float64."""
        return max((f.e64 for f in self.fields), default=float("nan"))

    @property
    def ratio(self) -> float:
        """Largest error in units of round-off; exact functions stay below 16."""
        return max((f.ratio for f in self.fields), default=float("nan"))

    def raise_if_failed(self) -> Report:
        """Return the report itself, or raise.

        Raises:
            EquivarianceError: the verdict is neither EXACT nor APPROXIMATE.
        """
        __tracebackhide__ = True  # pytest shows the caller's line
        if not self.ok:
            raise EquivarianceError(str(self))
        return self

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON that follows `geomlib.verify.serial.SCHEMA`, and write it if a path is given.

        Raises:
            InvalidInput: the folder of the path does not exist.
        """
        text = to_text(as_dict(self))
        if path is not None:
            write(path, text, "to_json")
        return text

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one HTML file, which needs no network and no script, and return its path.

        Raises:
            InvalidInput: the folder of the path does not exist.
        """
        from geomlib.verify.html import page

        return write(path, page([as_dict(self)], f"{self.target}: {self.verdict}"), "to_html")

    def __str__(self) -> str:
        return text_of(self)
