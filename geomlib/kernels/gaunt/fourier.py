r"""Products by two-dimensional Fourier transforms on the torus.

Coefficients of both factors are convolved by fast transforms of the half spectrum (the signals are real), padded to sizes
without large prime factors; the conversions use that a harmonic of order m lives in the columns m and -m alone.

Source: Luo, Chen, Krishnapriyan, *Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor
Products*, arXiv 2401.10216.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.gaunt.fourier import fourier_coefficients, fourier_projection, smooth_size
from geomlib.algebra.gaunt.tables import degree_of
from geomlib.errors import InvalidInput
from geomlib.kernels.gaunt.constants import cast_once, real_columns
from geomlib.kernels.gaunt.spec import SignalProduct, Space

__all__ = ["fourier_product"]


def fourier_product(spec: SignalProduct, x: Tensor, y: Tensor, *, spectrum: str = "half") -> Tensor:
    """Return the product of columns, x (d1, n) and y (d2, n) to (d3, n).

    Args:
        spec: a Gaunt product or a bracket.
        x: first factor.
        y: second factor.
        spectrum: ``"half"``, or ``"full"`` for complex transforms, which give the same and exist for comparison.

    Raises:
        InvalidInput: vector signals.
    """
    if spec.kind == "vector":
        raise InvalidInput("method='fft': vector signals have the methods 'sparse' and 'grid'.")
    full = spectrum == "full"
    m = (_full_matrices if full else _half_matrices)(spec, dtype=x.dtype, device=x.device)
    shape = m["shape"]
    fs, gs = ([_synthesis(t, p, m, full) for p in m[n]] for t, n in ((x, "one"), (y, "two")))
    h = fs[0] * gs[0] if spec.kind == "gaunt" else fs[0] * gs[1] - fs[1] * gs[0]
    if full:
        wave = torch.view_as_real(torch.fft.fft2(h, norm="forward")).reshape(x.shape[1], -1)
        return (wave @ m["out"]).transpose(0, 1)
    wave = torch.view_as_real(
        torch.fft.rfft2(h, s=shape, norm="forward")[..., : len(m["out"])].movedim(-1, 0)
    )
    columns = [w.reshape(x.shape[1], -1) @ z for w, z in zip(wave, m["out"], strict=True)]
    return (
        torch.cat([x.new_zeros(x.shape[1], 0), *columns], dim=1)
        .transpose(0, 1)
        .index_select(0, m["out_order"])
    )


def _synthesis(t: Tensor, parts: Any, m: dict[str, Any], full: bool) -> Tensor:  # (d, n) -> (n, U, V)
    rows = t.transpose(0, 1)
    size = m["shape"]
    if full:
        return torch.fft.ifft2(_complex(rows @ parts, size), norm="forward")
    columns = [_complex(rows.index_select(1, index) @ matrix, size[:1]) for index, matrix in parts]
    return torch.fft.irfft2(torch.stack(columns, dim=-1), s=size, norm="forward")


def _complex(t: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.view_as_complex(t.reshape(t.shape[0], *size, 2))


def _bands(spec: SignalProduct) -> tuple[int, int, int]:
    one, two, out = (max((degree_of(s) for s in space), default=0) for space in spec.spaces)
    return one, two, out


def _places(space: Space) -> list[int]:
    """Return the flat index l l + l + m of every component."""
    return [n for s in space for n in range(degree_of(s) ** 2, (degree_of(s) + 1) ** 2)]


def _slopes(kind: str, wave: np.ndarray, u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """Return the coefficients, or those of the derivatives in beta and in alpha; axes (lm, u, v)."""
    return [wave] if kind == "gaunt" else [1j * u[:, None] * wave, 1j * v[None, :] * wave]


@cast_once
def _half_matrices(spec: SignalProduct) -> dict[str, Any]:
    one, two, out = _bands(spec)
    band = one + two
    # Waves above the output's band may fold onto each other, but not onto it.
    azimuths = max(band + min(out, band), 2 * max(one, two)) + 1
    shape = smooth_size(2 * band + 1), smooth_size(azimuths)
    found: dict[str, Any] = {"shape": shape}
    for name, space, top in (("one", spec.first, one), ("two", spec.second, two)):
        u = np.arange(-top, top + 1)
        y = fourier_coefficients(top)[_places(space)]
        found[name] = [
            [_padded(part, space, v, shape[0]) for v in range(top + 1)]
            for part in _slopes(spec.kind, y, u, u)
        ]
    z = fourier_projection(out, band, spec.kind == "gaunt")[_places(spec.out)]
    found["out"], order = [], []
    for v in range(min(out, band) + 1):
        rows = _of_order(spec.out, v)
        matrix = np.zeros((shape[0], 2, len(rows)))
        # Twice the real part stands for the columns v and -v.
        wave = (2.0 if v else 1.0) * z[rows][:, :, band + v].T
        matrix[np.arange(-band, band + 1), 0], matrix[np.arange(-band, band + 1), 1] = wave.real, -wave.imag
        found["out"].append(matrix.reshape(-1, len(rows)))
        order += rows
    silent = sorted(set(range(spec.dims[2])) - set(order))
    if silent:
        found["out"][0] = np.pad(found["out"][0], ((0, 0), (0, len(silent))))
        count = len(_of_order(spec.out, 0))
        order[count:count] = silent
    found["out_order"] = np.argsort(np.array(order, dtype=np.int64))
    return found


def _of_order(space: Space, v: int) -> list[int]:
    """Return the components of order v or -v."""
    orders = [m for s in space for m in range(-degree_of(s), degree_of(s) + 1)]
    return [n for n, m in enumerate(orders) if abs(m) == v]


def _padded(wave: np.ndarray, space: Space, v: int, size: int) -> list[np.ndarray]:
    """Return the components of order v and their coefficients in column v, in the order of a transform."""
    rows = _of_order(space, v)
    top = wave.shape[1] // 2
    out = np.zeros((len(rows), size), dtype=np.complex128)
    out[:, np.arange(-top, top + 1)] = wave[rows][:, :, top + v]
    return [np.array(rows, dtype=np.int64), real_columns(out)]


@cast_once
def _full_matrices(spec: SignalProduct) -> dict[str, Any]:
    one, two, out = _bands(spec)
    band = one + two
    size = smooth_size(2 * band + 1)
    found: dict[str, Any] = {"shape": (size, size)}
    for name, space, top in (("one", spec.first, one), ("two", spec.second, two)):
        u = np.arange(-top, top + 1)
        y = fourier_coefficients(top)[_places(space)]
        found[name] = []
        for part in _slopes(spec.kind, y, u, u):
            wave = np.zeros((len(part), size, size), dtype=np.complex128)
            wave[:, u[:, None], u[None, :]] = part
            found[name].append(real_columns(wave).reshape(len(part), -1))
    z = fourier_projection(out, band, spec.kind == "gaunt")[_places(spec.out)]
    back = np.zeros((size, size, 2, len(z)))
    u = np.arange(-band, band + 1)
    back[u[:, None], u[None, :]] = np.stack([z.real, -z.imag], axis=1).transpose(2, 3, 1, 0)
    found["out"] = back.reshape(-1, len(z))
    return found
