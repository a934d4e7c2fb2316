"""What layers on symmetric positive definite matrices share: checks, declarations, examples."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import require_spd
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

__all__ = [
    "FLAT",
    "ROWS",
    "chart_of",
    "checked_chart",
    "checked_matrices",
    "checked_metric",
    "example_chart",
    "example_spd",
    "logarithm",
    "point_of",
    "positive",
    "spd_symmetry",
]

#: Metrics with a global chart in which they are Euclidean.
FLAT = ("le", "lc")
#: Rows of examples.
ROWS = 20


def checked_metric(layer: str, metric: str, allowed: tuple[str, ...]) -> str:
    """Return the name of a metric.

    Raises:
        InvalidInput: it is not among those allowed.
    """
    if metric not in allowed:
        raise InvalidInput(
            f"{layer}: metric={metric!r}, expected one of {', '.join(map(repr, allowed))}.{closest(str(metric), allowed)}"
        )
    return metric


def checked_chart(layer: str, metric: str, **flags: bool) -> None:
    """Raise `InvalidInput` where a chart is asked for and the metric has none."""
    for name, asked in flags.items():
        if asked and metric not in FLAT:
            raise InvalidInput(
                f"{layer}: {name}=True needs a flat metric, 'le' or 'lc'; metric={metric!r} has no chart in which it is "
                f"Euclidean. Drop {name}."
            )


def positive(layer: str, **sizes: int) -> None:
    """Raise `InvalidInput` unless every size is a positive integer."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - user input
            raise InvalidInput(f"{layer}: {name} = {value!r}, expected a positive integer.")


def checked_matrices(
    layer: str, x: Tensor, n: int, like: Tensor | None = None, *, before: tuple[int | None, ...] = ()
) -> Tensor:
    """Return x of shape (..., *before, n, n); None in ``before`` stands for any length.

    Raises:
        InvalidInput: another shape, a type that is not floating, or another type than the weights.
    """
    want = (*before, n, n)
    found = tuple(x.shape[x.dim() - len(want) :]) if x.dim() >= len(want) else None
    if found is None or any(w is not None and f != w for f, w in zip(found, want, strict=True)):
        text = ", ".join("T" if w is None else str(w) for w in want)
        raise InvalidInput(f"{layer}: `x` has shape {tuple(x.shape)}, expected (..., {text}).")
    if not x.is_floating_point():
        raise InvalidInput(f"{layer}: `x` is {x.dtype}; pass floating matrices, such as x.double().")
    if like is not None and like.dtype != x.dtype:
        raise InvalidInput(
            f"{layer}: `x` is {x.dtype} and the weights are {like.dtype}. Cast one of them: layer.to({x.dtype}) or "
            f"x.to({like.dtype})."
        )
    return x


def logarithm(x: Tensor) -> Tensor:  # (..., n, n)
    """Return log x.

    Raises:
        InvalidInput: naming ``x`` and the matrix that is not positive definite.
    """
    try:
        return symfun(x, "log")
    except InvalidInput:
        require_spd("x", x)  # says the same of the layer's argument
        raise


def chart_of(metric: str, x: Tensor, theta: float = 1.0) -> Tensor:  # (..., n, n)
    """Return the chart of a flat metric: a symmetric matrix for "le", a lower triangle for "lc".

    Raises:
        InvalidInput: naming ``x`` and the matrix that is not positive definite.
    """
    if metric == "le":
        return logarithm(x)
    require_spd("x", x)
    return SPD("lc", theta=theta, check=False).chart(x)


def point_of(metric: str, chart: Tensor, theta: float = 1.0) -> Tensor:  # (..., n, n)
    """Return the SPD matrix of a chart."""
    return SPD(metric, theta=theta, check=False).unchart(chart)


def example_chart(metric: str, x: Tensor, theta: float = 1.0) -> Tensor:
    """Return the chart of examples, computed in float64 and rounded once."""
    return chart_of(metric, x.double(), theta).to(x.dtype)


def example_spd(generator: torch.Generator, n: int = 3, *lead: int) -> Tensor:  # (*lead, n, n)
    """Return random matrices of condition 30 or so."""
    a = torch.randn(*(lead or (ROWS,)), n, n, generator=generator) / n**0.5
    return (a @ a.mT + a.new_ones(n).diag_embed() / 10).contiguous()


def spd_symmetry(n: int, inputs: str = "spd", outputs: str = "spd") -> Symmetry:
    """Return the symmetry of a layer that commutes with orthogonal congruence: O(n), rows are independent.

    ``"spd"`` or ``"sym"`` (any symmetric matrices).
    """
    types = {"spd": f"node:spd({n})", "sym": "node:sym2"}
    return Symmetry(f"O({n})*S_n", inputs={"x": types[inputs]}, outputs=types[outputs])
