"""Which method is the fastest for a product: a prior from operations and bytes, corrected by timing once.

The first call that may choose times the candidates on made-up numbers (a few milliseconds; the random state is not
touched) and keeps the result in ``gaunt_costs.json`` of the cache folder. Nothing is timed while torch traces or compiles.
"""

from __future__ import annotations

import json
import math
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from geomlib.algebra.gaunt.fourier import smooth_size
from geomlib.algebra.gaunt.quadrature import sphere_grid
from geomlib.errors import CheckpointError, InvalidInput
from geomlib.files.atomic import write_atomic
from geomlib.files.folder import cache_dir
from geomlib.kernels.gaunt.methods import chunked, methods_of
from geomlib.kernels.gaunt.spec import SignalProduct

__all__ = ["Cost", "Situation", "best_method", "explain", "flops", "prior"]

_FORMAT = 1
_FILE = "gaunt_costs.json"
#: Candidates whose prior is so many times the best one are not timed.
_HOPELESS = 6.0
_COLUMNS = 2048


@dataclass(frozen=True)
class Situation:
    """Where a product runs.

    Args:
        device: type of the device.
        dtype: type of the numbers.
        backend: ``"cpu"`` where the Numba loops serve, else ``"torch"``.
        threads: number of threads of torch.
    """

    device: str
    dtype: torch.dtype
    backend: str
    threads: int


@dataclass(frozen=True)
class Cost:
    """What one row and channel costs by one method.

    Args:
        method: its name.
        flops: floating-point operations.
        prior: estimated nanoseconds.
        measured: timed nanoseconds, None if not timed.
    """

    method: str
    flops: float
    prior: float
    measured: float | None

    @property
    def time(self) -> float:
        """The measured time, else the estimate."""
        return self.prior if self.measured is None else self.measured


def _top(space: Any) -> int:
    return max((s if isinstance(s, int) else s[1] for s in space), default=0)


def flops(spec: SignalProduct, method: str) -> float:
    """Return the floating-point operations per row and channel.

    >>> levels = tuple(range(4))
    >>> [flops(SignalProduct("gaunt", levels, levels, levels), m) for m in ("sparse", "dense")]
    [1059, 4800]
    """
    d1, d2, d3 = spec.dims
    if method == "sparse":
        return 3 * len(spec.table.value)
    one, two, out = (_top(s) for s in spec.spaces)
    factors = {"gaunt": 1, "bracket": 2, "vector": 3}[spec.kind]
    returns = 3 if spec.kind == "vector" else 1
    if method in ("dense", "half"):
        points = sphere_grid(one + two + out, method == "half").points
        return points * ((2 * d1 + 2 * d2) * factors + 2 * d3 * returns)
    if method == "separable":
        grid = sphere_grid(one + two + out)
        polar, azimuths = len(grid.beta), len(grid.alpha)
        steps = [(top, factors) for top in (one, two)] + [(out, 1)]
        return sum(n * 2 * (2 * t + 1) * polar * (t + 1 + azimuths) for t, n in steps)
    size = smooth_size(2 * (one + two) + 1)
    transforms = 2 * factors + 1
    fast = 2.5 * size * size * math.log2(max(2, size * size)) * transforms
    return fast + 4 * size * (factors * (d1 + d2) + d3)


def prior(spec: SignalProduct, method: str, backend: str) -> float:
    """Return the estimated nanoseconds per row and channel: fixed part, operations, bytes."""
    work = flops(spec, method)
    bytes_moved = 4 * sum(spec.dims)
    if method == "sparse" and backend == "cpu":
        return 0.02 * bytes_moved + 0.01 * work
    if method == "sparse":
        return 30 + 1.2 * work
    rate, fixed = {"dense": (0.015, 30), "half": (0.016, 70), "separable": (0.035, 120), "fft": (0.3, 1000)}[
        method
    ]
    return fixed + rate * work + 0.1 * bytes_moved


_lock = threading.Lock()
_measured: dict[str, dict[str, float]] = {}
_chosen: dict[tuple[str, Situation], str] = {}
_loaded: set[str] = set()


def _key(spec: SignalProduct, where: Situation) -> str:
    degrees = "-".join(",".join(map(str, space)).replace(" ", "") for space in spec.spaces)
    return (
        f"{where.device} {where.dtype} {where.backend} {where.threads} threads {spec.kind} {degrees} "
        f"{spec.channels} {spec.layout}"
    )


def best_method(spec: SignalProduct, where: Situation, *, may_time: bool = True) -> str:
    """Return the fastest method; once chosen, it stays for the life of the process.

    Args:
        spec: the product.
        where: device, type, backend.
        may_time: time the candidates if that was not done before; otherwise what is known decides.
    """
    short = spec.key, where
    found = _chosen.get(short)
    if found is not None:
        return found
    with _lock:
        if short not in _chosen:
            key = _key(spec, where)
            if may_time and where.device == "cpu":
                _load()
                if key not in _measured:
                    _measured[key] = _time_all(spec, where)
                    _save()
            costs = _costs(spec, where)
            _chosen[short] = min(costs, key=lambda c: c.time).method
        return _chosen[short]


def _costs(spec: SignalProduct, where: Situation) -> list[Cost]:
    known = _measured.get(_key(spec, where), {})
    costs = [
        Cost(m, flops(spec, m), prior(spec, m, where.backend), known.get(m)) for m in methods_of(spec.kind)
    ]
    # A measured time and an estimate are not compared: what was not timed had no chance.
    return [c for c in costs if c.measured is not None] or costs


def _time_all(spec: SignalProduct, where: Situation) -> dict[str, float]:
    estimates = {m: prior(spec, m, where.backend) for m in methods_of(spec.kind)}
    limit = _HOPELESS * min(estimates.values())
    rows = max(1, _COLUMNS // spec.channels)
    x, y = (
        torch.linspace(-1, 1, rows * size, dtype=where.dtype, device=where.device).view(rows, size)
        for size in spec.sizes[:2]
    )
    runs = {m: 0.0 for m, estimate in estimates.items() if estimate <= limit}
    with torch.no_grad():
        for m in runs:
            chunked(spec, m, where.backend, x, y)  # compiles, makes tables, fills caches
            runs[m] = math.inf
        for _ in range(5):  # interleaved, so that other work on the machine meets all alike
            for m in runs:
                start = time.perf_counter()
                chunked(spec, m, where.backend, x, y)
                runs[m] = min(runs[m], time.perf_counter() - start)
    return {m: round(1e9 * t / (rows * spec.channels), 3) for m, t in runs.items()}


def _read() -> dict[str, dict[str, float]]:
    """Return what the file holds; a file of another format, or a damaged one, holds nothing."""
    path = cache_dir(create=False) / _FILE
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text())
        entries = stored["entries"] if stored["format"] == _FORMAT else {}
        return {str(k): {str(m): float(t) for m, t in times.items()} for k, times in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path} cannot be read ({error}): Gaunt products are timed again.", stacklevel=2)
        return {}


def _load() -> None:
    if not _loaded:
        _loaded.add(_FILE)
        _measured.update({k: v for k, v in _read().items() if k not in _measured})


def _save() -> None:
    """Add to the file, which other processes may have written to meanwhile."""
    try:
        merged = {**_read(), **_measured}
        text = json.dumps({"format": _FORMAT, "unit": "ns per row and channel", "entries": merged}, indent=1)
        write_atomic(cache_dir() / _FILE, [text.encode()])
    except (CheckpointError, InvalidInput) as error:
        warnings.warn(f"Timings of Gaunt products are not kept: {error}", stacklevel=2)


def explain(spec: SignalProduct, where: Situation, *, may_time: bool = True) -> str:
    """Return the methods with their costs, and which one ``auto`` takes."""
    chosen = best_method(spec, where, may_time=may_time)
    known = _measured.get(_key(spec, where), {})
    lines = [f"{spec.kind} product, {spec.dims[0]} x {spec.dims[1]} -> {spec.dims[2]} components, "
             f"{spec.channels} channels, {where.device} {where.dtype}, backend {where.backend}",
             f"{'method':>10} {'flops':>10} {'prior ns':>10} {'timed ns':>10}"]  # fmt: skip
    for m in methods_of(spec.kind):
        timed = f"{known[m]:10.1f}" if m in known else f"{'-':>10}"
        mark = "  <- auto" if m == chosen else ""
        lines.append(f"{m:>10} {flops(spec, m):10.0f} {prior(spec, m, where.backend):10.1f} {timed}{mark}")
    return "\n".join(lines)
