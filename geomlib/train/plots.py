"""Learning curve and parity plot, as PNG files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geomlib.datasets.structures import Structures
from geomlib.files import write_atomic

if TYPE_CHECKING:
    from geomlib.train.evaluation import Predictions

__all__ = ["learning_curve", "parity_plot", "prediction_plot", "rank_plot"]

_MAX_POINTS = 20_000
_BLUE, _ORANGE = "#2a6f97", "#d1782c"


def _figure(columns: int) -> tuple[Any, Any] | None:
    """Return a figure that no global state of matplotlib knows, or None with a warning."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        warnings.warn(
            f"no plots: matplotlib is missing ({error}); pip install matplotlib", UserWarning, stacklevel=3
        )
        return None
    figure = Figure(figsize=(5.2 * columns, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _store(figure: Any, path: Path) -> Path:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    write_atomic(path, [data.getvalue()])
    return path


_PANELS = (("F_mae", "forces, meV/Å"), ("E_mae", "energy, meV"), ("S_mae", "stress, meV/Å³"))


def learning_curve(
    history: Sequence[Mapping[str, float]],
    path: str | Path,
    panels: Sequence[tuple[str, str]] | None = None,
) -> Path | None:
    """Plot the errors of every epoch on logarithmic axes.

    Args:
        history: rows with `epoch`, `train_F_mae`, `val_F_mae`, ...
        path: PNG to write.
        panels: names in the history and titles; mean absolute errors of energies, forces and stress if not given.

    Returns:
        The path, or None (with a warning) if matplotlib is missing.
    """
    panels = [(n, f"mean absolute error of {t}") for n, t in _PANELS] if panels is None else panels
    shown = [(name, title) for name, title in panels if any(f"train_{name}" in row for row in history)]
    made = _figure(max(1, len(shown)))
    if made is None:
        return None
    from matplotlib.ticker import LogFormatter, MaxNLocator

    figure, axes = made
    for axis, (name, title) in zip(axes, shown, strict=False):
        for part, colour in (("train", _BLUE), ("val", _ORANGE)):
            key = f"{part}_{name}"
            points = [(row["epoch"], row[key]) for row in history if key in row]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    label=part,
                    lw=1.5,
                    marker="." if len(points) < 3 else "",
                )
        axis.set(xlabel="epoch", ylabel=title, yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axis.grid(alpha=0.3, which="both", lw=0.5)
        axis.legend(frameon=False)
    return _store(figure, Path(path))


def parity_plot(predictions: Predictions, structures: Structures, path: str | Path) -> Path | None:
    """Plot predicted against reference energies and force components.

    Energies are shown relative to their mean; per atom, where the number of atoms differs.

    Returns:
        The path, or None (with a warning) if matplotlib is missing or there are no labels.
    """
    panels: list[tuple[str, torch.Tensor, torch.Tensor, float, str]] = []
    if structures.energy is not None:
        same = int(structures.num_atoms.min()) == int(structures.num_atoms.max())
        n = torch.ones_like(structures.num_atoms) if same else structures.num_atoms
        centre = torch.nanmean(structures.energy / n)
        x, y = structures.energy / n - centre, predictions.energy / n - centre
        mae = 1000 * float(torch.nanmean((predictions.energy - structures.energy).abs()))
        title = "energy" if same else "energy per atom"
        panels.append((f"{title}, relative, eV", x, y, mae, "meV"))
    if structures.forces is not None and predictions.forces is not None:
        x, y = structures.forces.reshape(-1), predictions.forces.reshape(-1)
        panels.append(("force component, eV/Å", x, y, 1000 * float(torch.nanmean((y - x).abs())), "meV/Å"))
    made = _figure(len(panels)) if panels else None
    if made is None:
        return None
    figure, axes = made
    for axis, (title, x, y, mae, unit) in zip(axes, panels, strict=True):
        known = torch.isfinite(x) & torch.isfinite(y)
        x, y = x[known], y[known]
        step = max(1, -(-x.numel() // _MAX_POINTS))
        if x.numel():
            low, high = float(torch.minimum(x, y).min()), float(torch.maximum(x, y).max())
            axis.plot([low, high], [low, high], color="0.6", lw=1, zorder=0)
        axis.plot(x[::step].numpy(), y[::step].numpy(), ".", color=_BLUE, ms=3, alpha=0.5, rasterized=True)
        axis.set(xlabel=f"reference {title}", ylabel=f"model {title}", title=f"MAE {mae:.2f} {unit}")
        axis.grid(alpha=0.3, lw=0.5)
    return _store(figure, Path(path))


def prediction_plot(value: torch.Tensor, label: torch.Tensor, path: str | Path, name: str) -> Path | None:
    """Plot predictions against targets; for classes, how often each was taken for each.

    Args:
        value: predictions, or logits (B, K) where labels are class numbers.
        label: targets.
        path: PNG to write.
        name: of the target.

    Returns:
        The path, or None (with a warning) if matplotlib is missing.
    """
    made = _figure(1)
    if made is None:
        return None
    figure, (axis,) = made
    if not label.is_floating_point():
        classes = value.shape[-1]
        counts = torch.bincount(label * classes + value.argmax(-1), minlength=classes**2)
        axis.imshow(counts.view(classes, classes).numpy(), cmap="Blues")
        axis.set(xlabel=f"predicted {name}", ylabel=f"true {name}")
        return _store(figure, Path(path))
    x, y = label.reshape(-1), value.reshape(-1)
    step = max(1, -(-x.numel() // _MAX_POINTS))
    low, high = float(torch.minimum(x, y).min()), float(torch.maximum(x, y).max())
    axis.plot([low, high], [low, high], color="0.6", lw=1, zorder=0)
    axis.plot(x[::step].numpy(), y[::step].numpy(), ".", color=_BLUE, ms=3, alpha=0.5, rasterized=True)
    axis.set(xlabel=f"reference {name}", ylabel=f"model {name}")
    axis.grid(alpha=0.3, lw=0.5)
    return _store(figure, Path(path))


def rank_plot(ranks: torch.Tensor, path: str | Path, name: str) -> Path | None:
    """Plot the share of answers whose rank is at most k, over k.

    Args:
        ranks: (N,), from 1.
        path: PNG to write.
        name: of the target.

    Returns:
        The path, or None (with a warning) if matplotlib is missing.
    """
    made = _figure(1)
    if made is None:
        return None
    figure, (axis,) = made
    at = ranks.sort().values
    axis.step(at.numpy(), ((torch.arange(len(at)) + 1) / len(at)).numpy(), color=_BLUE, where="post")
    axis.set(xlabel="k", ylabel=f"right {name} among the first k", xscale="log", ylim=(0, 1))
    axis.grid(alpha=0.3, lw=0.5)
    return _store(figure, Path(path))
