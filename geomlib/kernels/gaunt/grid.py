r"""Products by evaluation on an exact grid: :math:`z = S_3^\top \mathrm{diag}(\omega)\, [(S_1 x) \odot (S_2 y)]`.

Three forms of the same exact sum. *dense*: one matrix per factor. *half*: even and odd degrees apart, because then one
point of every antipodal pair is enough. *separable*: Legendre functions order by order, then a Fourier sum in the azimuth.

Source: Xie, Daigavane, Kotak, Smidt, *The Price of Freedom*, arXiv 2506.13523.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.gaunt.quadrature import polar_functions, sphere_grid
from geomlib.algebra.gaunt.tables import degree_of
from geomlib.algebra.gaunt.vectors import vector_harmonics
from geomlib.errors import InvalidInput
from geomlib.kernels.gaunt.constants import cast_once
from geomlib.kernels.gaunt.spec import SignalProduct, Space

__all__ = ["FORMS", "grid_product"]

FORMS = ("dense", "half", "separable")


def grid_product(spec: SignalProduct, form: str, x: Tensor, y: Tensor) -> Tensor:
    """Return the product of columns, x (d1, n) and y (d2, n) to (d3, n).

    Raises:
        InvalidInput: vector signals on anything but the dense grid.
    """
    if spec.kind == "vector":
        if form != "dense":
            raise InvalidInput(f"grid={form!r}: vector signals have the dense grid only; use grid='dense'.")
        return _vector(spec, x, y)
    return {"dense": _dense, "half": _half, "separable": _separable}[form](spec, x, y)


def _total(spec: SignalProduct) -> int:
    """Return the largest degree of the integrand."""
    return sum(max((s if isinstance(s, int) else s[1] for s in space), default=0) for space in spec.spaces)


# dense


@cast_once
def _dense_matrices(spec: SignalProduct) -> dict[str, Any]:
    grid = sphere_grid(_total(spec))
    synthesis = (grid.harmonics(_scalar(spec.out)) * grid.weight[:, None]).T
    one, two = (_evaluate(spec.kind, grid, _scalar(s)) for s in (spec.first, spec.second))
    return {"one": one, "two": two, "out": synthesis}


def _scalar(space: Space) -> tuple[int, ...]:
    return tuple(degree_of(s) for s in space)


def _evaluate(kind: str, grid: Any, degrees: tuple[int, ...]) -> np.ndarray:
    """Return the values at the points, or the two components of the gradient below each other."""
    return grid.harmonics(degrees) if kind == "gaunt" else np.concatenate(grid.gradients(degrees))


def _pointwise(kind: str, f: Tensor, g: Tensor) -> Tensor:
    """Return f g, or the bracket from components of gradients below each other."""
    if kind == "gaunt":
        return f * g
    (fb, fa), (gb, ga) = f.chunk(2), g.chunk(2)
    return fb * ga - fa * gb


def _dense(spec: SignalProduct, x: Tensor, y: Tensor) -> Tensor:
    m = _dense_matrices(spec, dtype=x.dtype, device=x.device)
    return m["out"] @ _pointwise(spec.kind, m["one"] @ x, m["two"] @ y)


# half


@cast_once
def _half_matrices(spec: SignalProduct) -> dict[str, Any]:
    grid = sphere_grid(_total(spec), half=True)
    found: dict[str, Any] = {}
    for name, space in zip(("one", "two", "out"), spec.spaces, strict=True):
        degrees = _scalar(space)
        if name == "out":
            matrix = (grid.harmonics(degrees) * grid.weight[:, None]).T
        else:
            matrix = _evaluate(spec.kind, grid, degrees)
        parity = np.repeat([l % 2 for l in degrees], [2 * l + 1 for l in degrees]).astype(np.int64)
        rows = [np.flatnonzero(parity == p) for p in (0, 1)]
        found[f"{name}_rows"] = rows
        found[name] = [matrix[r] if name == "out" else matrix[:, r] for r in rows]
        found[f"{name}_order"] = np.argsort(np.concatenate(rows))
    return found


def _half(spec: SignalProduct, x: Tensor, y: Tensor) -> Tensor:
    m = _half_matrices(spec, dtype=x.dtype, device=x.device)
    f = [s @ x.index_select(0, r) for s, r in zip(m["one"], m["one_rows"], strict=True)]
    g = [s @ y.index_select(0, r) for s, r in zip(m["two"], m["two_rows"], strict=True)]
    same = _pointwise(spec.kind, f[0], g[0]) + _pointwise(spec.kind, f[1], g[1])
    mixed = _pointwise(spec.kind, f[0], g[1]) + _pointwise(spec.kind, f[1], g[0])
    # The bracket of two functions of the same parity is odd, their product even.
    even, odd = (same, mixed) if spec.kind == "gaunt" else (mixed, same)
    return torch.cat([m["out"][0] @ even, m["out"][1] @ odd]).index_select(0, m["out_order"])


# separable


@cast_once
def _separable_matrices(spec: SignalProduct) -> dict[str, Any]:
    grid = sphere_grid(_total(spec))
    found: dict[str, Any] = {}
    for name, space in zip(("one", "two", "out"), spec.spaces, strict=True):
        degrees = _scalar(space)
        top = max(degrees, default=0)
        value, slope = polar_functions(top, grid.beta)
        orders = np.arange(-top, top + 1)
        # Padded places read component 0 with the factor 0.
        index = np.zeros((2 * top + 1, len(degrees)), dtype=np.int64)
        polar = np.zeros((3, 2 * top + 1, len(degrees), len(grid.beta)))
        start = 0
        for p, l in enumerate(degrees):
            for m in range(-l, l + 1):
                index[top + m, p] = start + l + m
                of = value[:, l, abs(m)], slope[:, l, abs(m)], value[:, l, abs(m)] / np.sin(grid.beta)
                for kind, curve in enumerate(of):
                    polar[kind, top + m, p] = curve
            start += 2 * l + 1
        wave = np.stack(
            [np.cos(m * grid.alpha) if m >= 0 else np.sin(-m * grid.alpha) for m in orders], axis=1
        )
        found[f"{name}_index"], found[f"{name}_wave"] = index.reshape(-1), wave
        found[f"{name}_polar"] = [p.transpose(0, 2, 1) for p in polar]  # (M, T, l)
        if name == "out":
            weight = grid.polar_weight * grid.azimuth_weight
            found["out_polar"] = [polar[0] * weight]  # (M, l, T)
            found["out_wave"] = wave.T
            place = np.zeros(start, dtype=np.int64)
            for m in range(-top, top + 1):
                for p, l in enumerate(degrees):
                    if abs(m) <= l:
                        place[index[top + m, p]] = (top + m) * len(degrees) + p
            found["out_place"] = place
        else:
            # d/da of cos m a is -m sin m a, of sin m a it is m cos m a.
            found[f"{name}_turn"] = -orders * wave[:, ::-1]
    return found


def _separable(spec: SignalProduct, x: Tensor, y: Tensor) -> Tensor:
    m = _separable_matrices(spec, dtype=x.dtype, device=x.device)
    if not (x.numel() and y.numel() and spec.dims[2]):
        return x.new_zeros(spec.dims[2], x.shape[1])

    def spread(t: Tensor, name: str) -> Callable[[int, str], Tensor]:
        index = m[f"{name}_index"]
        orders = m[f"{name}_wave"].shape[1]
        ordered = t.index_select(0, index).reshape(orders, -1, t.shape[1])

        def evaluate(kind: int, wave: str) -> Tensor:  # (A, T n)
            return m[f"{name}_{wave}"] @ (m[f"{name}_polar"][kind] @ ordered).reshape(orders, -1)

        return evaluate

    f, g = spread(x, "one"), spread(y, "two")
    if spec.kind == "gaunt":
        h = f(0, "wave") * g(0, "wave")
    else:
        h = f(1, "wave") * g(2, "turn") - f(2, "turn") * g(1, "wave")
    orders = m["out_wave"].shape[0]
    collected = (m["out_wave"] @ h).reshape(orders, -1, x.shape[1])  # (M, T, n)
    z = (m["out_polar"][0] @ collected).reshape(-1, x.shape[1])
    return z.index_select(0, m["out_place"])


# vector signals


@cast_once
def _vector_matrices(spec: SignalProduct) -> dict[str, Any]:
    grid = sphere_grid(_total(spec))
    found: dict[str, Any] = {}
    # w3j(1, 1, 1) is the cross product times this.
    scale = float(np.sqrt(1 / 6))
    for name, space in zip(("one", "two", "out"), spec.spaces, strict=True):
        labels = tuple(s for s in space if not isinstance(s, int))
        top = max((l for _, l in labels), default=0)
        v = vector_harmonics(labels, grid.harmonics(tuple(range(top + 1))))  # (3, P, d)
        changed = np.repeat([int(j != l) for j, l in labels], [2 * j + 1 for j, _ in labels])
        flat = v.reshape(-1, v.shape[2])
        rows = [np.flatnonzero(changed == c).astype(np.int64) for c in (0, 1)]
        if name == "out":
            flat = flat * (scale * np.tile(grid.weight, 3))[:, None]
            found["out"] = [flat[:, r].T for r in rows]
            found["out_order"] = np.argsort(np.concatenate(rows))
        else:
            found[name] = [flat[:, r] for r in rows]
            found[f"{name}_rows"] = rows
    return found


def _cross(f: Tensor, g: Tensor) -> Tensor:  # (3 P, n)
    (a, b, c), (p, q, r) = f.chunk(3), g.chunk(3)
    return torch.cat([b * r - c * q, c * p - a * r, a * q - b * p])


def _vector(spec: SignalProduct, x: Tensor, y: Tensor) -> Tensor:
    """Return the odd paths: an odd number of the three signals is made of harmonics of another degree than its own."""
    m = _vector_matrices(spec, dtype=x.dtype, device=x.device)
    f = [s @ x.index_select(0, r) for s, r in zip(m["one"], m["one_rows"], strict=True)]
    g = [s @ y.index_select(0, r) for s, r in zip(m["two"], m["two_rows"], strict=True)]
    kept = m["out"][0] @ (_cross(f[0], g[1]) + _cross(f[1], g[0]))
    changed = m["out"][1] @ (_cross(f[0], g[0]) + _cross(f[1], g[1]))
    return torch.cat([kept, changed]).index_select(0, m["out_order"])
