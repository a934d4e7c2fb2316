r"""The certificate of a fast implementation: it computes what its reference computes, with all derivatives.

Both are evaluated on the same inputs, in every layout that autograd and users produce. The round-off of the *reference*,
float32 against float64, is measured per quantity; the kernel must stay within K = 16 times that (float32) or its
:math:`2^{-29}` part (float64) of the float64 reference.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomlib.errors import GeomlibError, InvalidInput
from geomlib.verify.arguments import call
from geomlib.verify.backend_cases import Case, Quantities, Results, cases_of, evaluated, sized_inputs, typed
from geomlib.verify.state import preserved_state, reseed
from geomlib.verify.statistic import HEADROOM, UNIT_RATIO
from geomlib.verify.values import Tree, leaves, map_leaves, outputs_of

__all__ = ["Certificate", "CertificateRow", "compare"]

_ROUND_OFF_32 = 2.0**-24
_KINDS = ("forward", "backward", "double backward")
_SIZES = (0, 1, 2, 7, 33)
# Rows on meta tensors, after a trial with fewer that must not take longer than this many seconds.
_MANY, _SOME, _PATIENCE = 2**31, 2**10, 0.05


@dataclass(frozen=True)
class CertificateRow:
    """One quantity of one case in one type.

    Args:
        case: sizes, layout and which gradients are asked for.
        kind: ``forward``, ``backward`` or ``double backward``.
        dtype: ``float32`` or ``float64``.
        error: largest relative difference to the float64 reference.
        allowed: K times the round-off of the reference.
        reason: what failed, where it is not the number.
    """

    case: str
    kind: str
    dtype: str
    error: float
    allowed: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the kernel may differ by this much."""
        return not self.reason and self.error <= self.allowed


@dataclass(frozen=True)
class Certificate:
    """Result of `compare`.

    Args:
        kernel: name of the kernel.
        reference: name of its reference.
        rows: one per case, quantity and type.
        round_off: measured relative float32 round-off of the reference by quantity.
        notes: what was not tested.
    """

    kernel: str
    reference: str
    rows: tuple[CertificateRow, ...]
    round_off: dict[str, float]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every row is within round-off, and something was compared."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def failures(self) -> tuple[CertificateRow, ...]:
        """The rows that are not."""
        return tuple(row for row in self.rows if not row.ok)

    def raise_if_failed(self) -> Certificate:
        """Return the certificate itself, or raise.

        Raises:
            AssertionError: kernel and reference differ.
        """
        if not self.ok:
            from geomlib.verify.report import EquivarianceError

            raise EquivarianceError(str(self))
        return self

    def __str__(self) -> str:
        measured = ", ".join(f"{kind} {d:.1e}" for kind, d in self.round_off.items())
        head = f"{'CERTIFIED' if self.ok else 'DIFFERENT'}  {self.kernel} beside {self.reference}"
        table: list[tuple[str, ...]] = [("case", "type", *_KINDS)]
        for case, dtype in dict.fromkeys((r.case, r.dtype) for r in self.rows):
            found = {r.kind: r for r in self.rows if (r.case, r.dtype) == (case, dtype)}
            table.append((case, dtype, *(_cell(found.get(kind)) for kind in _KINDS)))
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = [
            " " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        reasons = [f" {r.case}, {r.dtype}, {r.kind}: {r.reason}" for r in self.failures if r.reason]
        units = "errors in units of what round-off explains; at most 1"
        return "\n".join(
            [head, f" round-off of the reference: {measured}", *lines, f" ({units})", *reasons, *self.notes]
        )


def _cell(row: CertificateRow | None) -> str:
    if row is None:
        return ""
    if row.reason:
        return "FAILS"
    return f"{row.error / row.allowed:.2g}" + ("" if row.ok else " FAILS")


def compare(
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Any,
    *,
    constants: Sequence[str] = (),
    sizes: Sequence[int] = _SIZES,
    derivatives: int = 2,
    nan: bool = True,
    seed: int = 0,
) -> Certificate:
    r"""Return the certificate of a kernel beside its reference.

    Cases: every size; gaps between elements and transposed memory; expanded (stride 0) inputs and gradients; one
    differentiable input at a time (the other gradients are None); one output and one tangent at a time; NaN; float32 and
    float64; shapes beyond :math:`2^{31}` elements where both run on ``meta`` tensors.

    .. math:: \|q_{kernel} - q_{64}\| \le 16\, \max(d_{32}, 2^{-24})\,\|q_{64}\| \quad (\times 2^{-29}\text{ in float64})

    Args:
        kernel: the implementation under test.
        reference: its specification in plain torch, for any floating type.
        inputs: arguments by name, a tuple of them, or ``(rows, generator) -> arguments`` for all sizes. Fixed arguments
            are sliced along the first axis where all tensors share it.
        constants: floating arguments that get no gradient.
        sizes: numbers of rows.
        derivatives: how many orders the kernel promises.
        nan: whether a NaN must come out in the rows where the reference has one, and nowhere else.
        seed: of cotangents and tangents.

    Returns:
        A `Certificate`: ``ok``, ``rows``, ``raise_if_failed()``, and the table as ``str(certificate)``.

    Raises:
        InvalidInput: no floating input, or a reference that fails.

    >>> cube, wrong = lambda x: x * x * x, lambda x: x * x.abs() * x.detach().abs()
    >>> compare(cube, lambda x: x.pow(3), {"x": torch.randn(9, 3)}).ok
    True
    >>> compare(wrong, lambda x: x.pow(3), {"x": torch.randn(9, 3)}).ok
    False
    """
    if derivatives not in (0, 1, 2):
        raise InvalidInput(f"verify.compare: derivatives={derivatives}, expected 0, 1 or 2.")
    with preserved_state():
        reseed(seed)
        generator = torch.Generator().manual_seed(seed)
        trees, notes = sized_inputs(inputs, sizes, generator)
        cases = cases_of(reference, trees, constants, derivatives, generator)
        run = _Comparison(kernel, reference, cases)
        rows = run.rows()
        if nan:
            rows += run.nans()
        rows += _shapes(kernel, reference, trees[max(trees)], notes)
        return Certificate(_name(kernel), _name(reference), tuple(rows), run.round_off, tuple(notes))


class _Comparison:
    """All cases evaluated by the reference, in both types, and then by the kernel."""

    def __init__(self, kernel: Callable[..., Any], reference: Callable[..., Any], cases: list[Case]):
        self.kernel, self.reference, self.cases = kernel, reference, cases
        self.wide = [evaluated(reference, case, torch.float64) for case in cases]
        narrow = [evaluated(reference, case, torch.float32) for case in cases]
        failed = [r.error for r in (*self.wide, *narrow) if r.error]
        if failed:
            raise InvalidInput(f"verify.compare: the reference fails: {failed[0]}")
        if all(_norm(x) == 0.0 for r in self.wide for x in r.found.get("forward", {}).values()):
            raise InvalidInput(
                "verify.compare: the reference is zero on all inputs; nothing could be told apart."
            )
        #: Typical size of one element of a quantity, where a single case is zero.
        self.typical = self._typical()
        self.round_off: dict[str, float] = {}
        for case_wide, case_narrow in zip(self.wide, narrow, strict=True):
            for kind, found in case_wide.found.items():
                d = self._distance(kind, case_narrow.found[kind], found)
                self.round_off[kind] = max(self.round_off.get(kind, 0.0), d)

    def rows(self) -> list[CertificateRow]:
        """Return one row per case, quantity and type."""
        rows: list[CertificateRow] = []
        for case, wide in zip(self.cases, self.wide, strict=True):
            for dtype in (torch.float32, torch.float64):
                got = evaluated(self.kernel, case, dtype)
                for kind, want in wide.found.items():
                    rows.append(self._row(case, kind, dtype, got, want))
        return rows

    def nans(self) -> list[CertificateRow]:
        """Return whether a NaN stays what it is, and stays where it is."""
        case = next(c for c in reversed(self.cases) if c.label.startswith("rows"))
        rows: list[CertificateRow] = []
        for name in case.wrt:
            spoiled = case.spoiled(name)
            want, got = (evaluated(f, spoiled, torch.float32) for f in (self.reference, self.kernel))
            reason = got.error
            for out, x in want.found.get("forward", {}).items():
                y = got.found.get("forward", {}).get(out)
                if not reason and (y is None or y.shape != x.shape or not _same_nans(x, y)):
                    reason = f"a NaN in `{name}` comes out elsewhere, or as a number"
            rows.append(CertificateRow(f"NaN in {name}", "forward", "float32", 0.0, 1.0, reason))
        return rows

    def _row(
        self, case: Case, kind: str, dtype: torch.dtype, got: Results, want: Quantities
    ) -> CertificateRow:
        allowed = HEADROOM * max(self.round_off[kind], _ROUND_OFF_32)
        allowed *= UNIT_RATIO if dtype == torch.float64 else 1.0
        where = (case.label, kind, str(dtype).removeprefix("torch."))
        if kind not in got.found:
            return CertificateRow(*where, float("inf"), allowed, got.error or "not computed")
        reason = _unlike(got.found[kind], want, dtype) or got.touched
        if reason:
            return CertificateRow(*where, float("inf"), allowed, reason)
        return CertificateRow(*where, self._distance(kind, got.found[kind], want), allowed)

    def _distance(self, kind: str, got: Quantities, want: Quantities) -> float:
        """Return the largest relative difference of the tensors of one quantity."""
        worst = 0.0
        for name, x in want.items():
            size = max(_norm(x), self.typical[kind, name] * x.numel() ** 0.5)
            error = _norm(got[name].double() - x)
            ratio = error / size if size > 0.0 else (0.0 if error == 0.0 else float("inf"))
            worst = ratio if ratio != ratio else max(worst, ratio)
        return worst

    def _typical(self) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], list[float]] = {}
        for result in self.wide:
            for kind, quantities in result.found.items():
                for name, x in quantities.items():
                    rms = _norm(x) / x.numel() ** 0.5 if x.numel() else 0.0
                    found.setdefault((kind, name), []).append(rms)
        return {key: statistics.median(values) for key, values in found.items()}


def _unlike(got: Quantities, want: Quantities, dtype: torch.dtype) -> str:
    """Return how outputs differ in name, shape or type."""
    if set(got) != set(want):
        return f"returns {sorted(got)}, the reference {sorted(want)}"
    for name, x in got.items():
        if x.shape != want[name].shape:
            return f"`{name}` has shape {tuple(x.shape)}, the reference {tuple(want[name].shape)}"
        if x.dtype != dtype and want[name].is_floating_point():
            return f"`{name}` is {x.dtype}, the inputs are {dtype}"
    return ""


def _same_nans(want: Tensor, got: Tensor) -> bool:
    """Return whether NaN is in the same rows, and nowhere but where the reference has it.

    Inside a row a kernel may have fewer: a dense reference multiplies NaN by the zeros of a sparse coupling.
    """
    a, b = want.isnan(), got.isnan()
    rows = [x.flatten(1).any(1) if x.dim() > 1 else x for x in (a, b)]
    return torch.equal(rows[0], rows[1]) and not bool((b & ~a).any())


def _shapes(
    kernel: Callable[..., Any], reference: Callable[..., Any], tree: Tree, notes: list[str]
) -> list[CertificateRow]:
    """Compare shapes beyond 2^31 elements on ``meta`` tensors; a typed refusal is an answer too."""
    found = [x for x in leaves(tree).values() if x.dim()]
    rows = {len(x) for x in found}
    if len(rows) != 1 or rows == {0}:
        return []
    many = _MANY // max(x[0].numel() for x in found) + 1
    try:
        start = time.process_time()
        for function in (reference, kernel):
            _meta(function, tree, _SOME)
        slow = time.process_time() - start > _PATIENCE
        want = {} if slow else _meta(reference, tree, many)
    except (RuntimeError, ValueError, NotImplementedError, GeomlibError):
        return []  # it needs values, or refuses such tensors in words: no shape logic to compare
    if slow:
        notes.append(" 2^31 elements: not tested, time grows with the number of rows even on meta tensors")
        return []
    reason = ""
    try:
        got = _meta(kernel, tree, many)
        reason = "" if got == want else "other shapes beyond 2^31 elements"
    except GeomlibError:
        reason = ""  # a refusal in words is an answer too
    except Exception as error:  # an operation may fail in any way; the row says how
        reason = f"{type(error).__name__} beyond 2^31 elements: {str(error).splitlines()[0][:80]}"
    return [CertificateRow("2^31 elements, shapes", "forward", "float32", 0.0, 1.0, reason)]


def _meta(function: Callable[..., Any], tree: Tree, rows: int) -> dict[str, torch.Size]:
    """Return the shapes of the outputs for this many rows, computed on ``meta`` tensors."""

    def grown(_: str, x: Tensor) -> Tensor:
        return torch.empty((rows, *x.shape[1:]) if x.dim() else (), dtype=x.dtype, device="meta")

    found = outputs_of(call(function, typed(map_leaves(tree, grown), torch.float32)))
    return {name: x.shape for name, x in found.items()}


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x.double()))


def _name(function: Any) -> str:
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__
