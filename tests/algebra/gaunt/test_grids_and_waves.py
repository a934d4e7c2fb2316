"""Grids, Fourier coefficients and vector constants against stored numbers, closed forms and brute integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.gaunt import (
    fourier_coefficients,
    fourier_projection,
    polar_functions,
    smooth_size,
    sparse_table,
    sphere_grid,
    vector_constant,
    vector_harmonics,
    vector_labels,
)
from geomlib.algebra.irreps import spherical_harmonics


def stored(data, name):
    return np.load(data / "tensor_products" / f"{name}.npz", allow_pickle=False)


def harmonics(lmax, xyz):
    return spherical_harmonics(list(range(lmax + 1)), torch.from_numpy(xyz), normalization="integral").numpy()


@pytest.mark.parametrize("degree", [3, 6, 9])
def test_stored_grids(data, degree):
    grid, theirs = sphere_grid(degree), stored(data, "quadrature_grids")
    assert grid.points == len(theirs[f"w_{degree}"])
    assert abs(np.sort(grid.weight) - np.sort(theirs[f"w_{degree}"])).max() < 1e-13
    # The azimuth offset is free: the polar angles and every moment are not.
    assert abs(np.sort(grid.xyz[:, 1]) - np.sort(theirs[f"xyz_{degree}"][:, 1])).max() < 1e-13
    ours = grid.weight @ harmonics(degree, grid.xyz)
    assert abs(ours - theirs[f"w_{degree}"] @ harmonics(degree, theirs[f"xyz_{degree}"])).max() < 1e-13


@pytest.mark.parametrize("degree", [0, 1, 5, 8, 13])
@pytest.mark.parametrize("half", [False, True])
def test_degree_of_exactness(degree, half):
    """Every harmonic up to the degree integrates to what it must, and one of the next degrees does not."""

    def error(l):
        grid = sphere_grid(degree, half)
        moments = grid.weight @ harmonics(l, grid.xyz)[:, l * l :]
        return abs(moments - (math.sqrt(4 * math.pi) if l == 0 else 0.0)).max()

    for l in range(0, degree + 1, 2 if half else 1):
        assert error(l) < 1e-12
    assert max(error(l) for l in (degree + 1, degree + 2, degree + 3) if not (half and l % 2)) > 1e-3


@pytest.mark.parametrize(("level", "full", "half"), [
    (1, 8, 4), (2, 28, 16), (3, 50, 25), (4, 91, 49), (5, 128, 64), (6, 190, 100), (8, 325, 169)])  # fmt: skip
def test_number_of_points(level, full, half):
    assert sphere_grid(3 * level).points == full and sphere_grid(3 * level, half=True).points == half


def test_harmonics_and_gradients_on_a_grid():
    grid, degrees = sphere_grid(9), (0, 2, 3, 1)
    columns = [n for l in degrees for n in range(l * l, (l + 1) ** 2)]
    assert abs(grid.harmonics(degrees) - harmonics(3, grid.xyz)[:, columns]).max() < 1e-14
    by_beta, by_alpha = grid.gradients(degrees)
    step = 1e-5
    b, a = np.repeat(grid.beta, len(grid.alpha)), np.tile(grid.alpha, len(grid.beta))

    def at(db, da):
        p, q = b + db, a + da
        return harmonics(3, np.stack([np.sin(p) * np.sin(q), np.cos(p), np.sin(p) * np.cos(q)], 1))[
            :, columns
        ]

    assert abs(by_beta - (at(step, 0) - at(-step, 0)) / (2 * step)).max() < 1e-9
    assert abs(by_alpha * np.sin(b)[:, None] - (at(0, step) - at(0, -step)) / (2 * step)).max() < 1e-9
    assert polar_functions(0, grid.beta)[0].shape == (5, 1, 1)


def test_stored_waves(data):
    theirs = stored(data, "fourier2d")
    for name in theirs.files:
        numbers = [int(n) for n in name.split("_")[1:]]
        ours = fourier_coefficients(*numbers) if name[0] == "y" else fourier_projection(*numbers)
        assert ours.shape == theirs[name].shape and abs(ours - theirs[name]).max() < 1e-13


@pytest.mark.parametrize("lmax", [0, 1, 4, 7])
def test_waves_make_the_harmonics(lmax):
    y = fourier_coefficients(lmax)
    rng = np.random.default_rng(0)
    b, a = rng.uniform(0, math.pi, 9), rng.uniform(0, 2 * math.pi, 9)
    u = np.arange(-lmax, lmax + 1)
    waves = np.exp(1j * (b[:, None, None] * u[None, :, None] + a[:, None, None] * u[None, None, :]))
    value = np.einsum("kuv,puv->pk", y, waves)
    xyz = np.stack([np.sin(b) * np.sin(a), np.cos(b), np.sin(b) * np.cos(a)], 1)
    assert abs(value - harmonics(lmax, xyz)).max() < 1e-13
    assert np.count_nonzero(abs(y).sum(axis=1)) <= 2 * (lmax + 1) ** 2  # two of the columns
    with pytest.raises(ValueError, match="read-only"):
        y[0, 0, 0] = 1


def test_projection_without_solid_angle():
    """Against Gauss-Legendre quadrature in beta itself."""
    node, weight = np.polynomial.legendre.leggauss(40)
    beta, weight = (node + 1) * math.pi / 2, weight * math.pi / 2
    polar = polar_functions(2, beta)[0]
    z = fourier_projection(2, 3, solid_angle=False)
    for l, m, u in [(0, 0, 1), (1, 0, -2), (2, 1, 3), (2, 2, 0)]:
        expected = (weight * polar[:, l, m] * np.exp(1j * u * beta)).sum() * (
            2 * math.pi if m == 0 else math.pi
        )
        assert abs(z[l * l + l + m, 3 + u, 3 + m] - expected) < 1e-12


def test_smooth_sizes():
    for n in range(1, 200):
        size = smooth_size(n)
        rest = size
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        assert size >= n and rest == 1


def test_stored_vector_constants(data):
    """415 couplings as stored, sign included."""
    rows = stored(data, "vector_signal")["rows"]
    found = [
        vector_constant(tuple(map(int, r[:3])), tuple(map(int, r[3:6])), tuple(map(int, r[6:9])))
        for r in rows
    ]
    assert len(rows) >= 400 and abs(np.array(found) - rows[:, 9]).max() < 1e-13


def test_vector_harmonics_are_orthonormal():
    labels = tuple(label for j in range(4) for label in vector_labels(j))
    grid = sphere_grid(8)
    v = vector_harmonics(labels, grid.harmonics(tuple(range(5))))
    assert abs(np.einsum("p,api,apj->ij", grid.weight, v, v) - np.eye(v.shape[2])).max() < 1e-13


@pytest.mark.parametrize("kind", ["gaunt", "bracket"])
def test_stored_dense_tables(data, kind):
    theirs = stored(data, f"{kind}_dense_4_4_8")
    dense = np.zeros(tuple(theirs["shape"]))
    dense[tuple(theirs["index"])] = theirs["value"]
    ours = sparse_table(kind, tuple(range(5)), tuple(range(5)), tuple(range(9))).dense()
    assert abs(ours - dense).max() < (1e-12 if kind == "gaunt" else 1e-10)


def test_counts_of_the_table():
    for level, count in zip((1, 2, 3, 4, 5, 6), (10, 83, 353, 1158, 2907, 6460), strict=True):
        assert len(sparse_table("gaunt", *[tuple(range(level + 1))] * 3).value) == count


@pytest.mark.parametrize("kind", ["gaunt", "bracket", "vector"])
def test_total_symmetry(kind):
    space = tuple(range(4)) if kind != "vector" else tuple(x for j in range(3) for x in vector_labels(j))
    t = sparse_table(kind, space, space, space).dense()
    assert np.abs(t).max() > 0.1
    sign = 1 if kind == "gaunt" else -1
    assert abs(t - sign * t.transpose(1, 0, 2)).max() < 1e-14 and abs(t - t.transpose(1, 2, 0)).max() < 1e-14


def test_vector_table_by_integration():
    labels = tuple(x for j in range(3) for x in vector_labels(j))
    grid = sphere_grid(9)
    v = vector_harmonics(labels, grid.harmonics(tuple(range(4))))
    cross = np.zeros((3, 3, 3))
    cross[0, 1, 2] = cross[1, 2, 0] = cross[2, 0, 1] = 1
    cross = cross - cross.transpose(1, 0, 2)
    whole = np.einsum("p,abc,api,bpj,cpk->ijk", grid.weight, cross, v, v, v, optimize=True)
    j = np.repeat([x[0] for x in labels], [2 * x[0] + 1 for x in labels])
    odd = (j[:, None, None] + j[None, :, None] + j[None, None, :]) % 2 == 1
    t = sparse_table("vector", labels, labels, labels).dense()
    scale = 1 / math.sqrt(6)
    assert min(abs(t - s * scale * whole * odd).max() for s in (1, -1)) < 1e-13


def test_misuse():
    with pytest.raises(InvalidInput, match="kind"):
        sparse_table("cross", (1,), (1,), (1,))
    with pytest.raises(InvalidInput, match="labels"):
        sparse_table("vector", (1,), (1,), (1,))
    with pytest.raises(InvalidInput, match="negative"):
        sphere_grid(-1)
    with pytest.raises(InvalidInput, match="negative"):
        fourier_coefficients(-1)
