"""Divided differences of the orders 1 to 5 against 200 digits, at equal, close and distant arguments."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.manifolds.spectral.divided_differences import divided_differences, index_sets
from geomlib.algebra.manifolds.spectral.higher import directional
from geomlib.algebra.manifolds.spectral.scalar import divided_difference, loewner
from tests.algebra.manifolds.spectral.common import (
    mp_directional,
    mp_divided_difference,
    relative,
    symmetric,
)

#: Ascending; the last: neither far apart enough for quotients nor close enough for short series.
POINTS = {
    "log": [[1.0, 1.0, 1.0], [1.0, 1 + 1e-12, 2.0], [1e-8, 1.0, 1e3], [1e-5, 1e-5, 1e5], [2.0, 2.7, 3.1]],
    "exp": [[0.0, 0.0, 0.0], [-1.0, 1e-12, 1e-3], [-30.0, 0.0, 3.0], [5.0, 5.4, 6.1], [-700.0, 1.0, 700.0]],
}
SMOOTH = [
    ("log", None),
    ("exp", None),
    ("pow", 0.3),
    ("pow", -1.5),
    ("pow", 2.6),
    ("pow", 7.5),
]


@pytest.mark.parametrize(("f", "t"), SMOOTH)
@pytest.mark.parametrize("order", [2, 3, *(pytest.param(k, marks=pytest.mark.slow) for k in (4, 5))])
def test_smooth_functions(f: str, t: float | None, order: int) -> None:
    for points in POINTS.get(f, POINTS["log"]):
        w = torch.tensor(points, dtype=torch.float64)
        sets, row = index_sets(3, order + 1, w.device)
        found = divided_differences(f, w, sets, t or 0.0)
        assert row.shape == (3,) * (order + 1) and int(row.max()) == len(sets) - 1
        for indices, value in zip(sets.tolist(), found.tolist(), strict=True):
            wanted = mp_divided_difference(f, [points[i] for i in indices], t)
            # Every order above 2 may lose a digit to the last quotient; what underflows is lost.
            error = abs(value - wanted)
            assert error <= 2e-15 * 6**order * abs(wanted) + 1e-300, (points, indices, value, float(wanted))


@pytest.mark.parametrize(
    ("f", "t"), [*SMOOTH, ("sqrt", None), ("invsqrt", None), ("inv", None), ("clamp", 0.5)]
)
def test_first_order(f: str, t: float | None) -> None:
    """To a few units in the last place, each matrix of a batch on its own."""
    w = torch.tensor(POINTS.get(f, POINTS["log"]), dtype=torch.float64)
    K = loewner(f, w, t or 0.0)
    for b, points in enumerate(w.tolist()):
        for i, x in enumerate(points):
            for j, y in enumerate(points):
                wanted = mp_divided_difference(f, [x, y], t)
                assert abs(float(K[b, i, j]) - wanted) <= 2e-14 * abs(wanted) + 1e-300, (x, y)
    alone = divided_difference(f, w[2, :, None], w[2, None, :], t or 0.0)
    assert torch.allclose(K[2], alone, rtol=2e-15, atol=0)  # vectorised loops may round otherwise


def test_polynomials() -> None:
    """Differences of an order above the degree vanish, but for the rounding of lower ones."""
    w = torch.tensor([0.2, 0.9, 1.0, 3.0], dtype=torch.float64)
    for degree, order in ((1, 2), (2, 3), (3, 4)):
        sets, _ = index_sets(4, order + 1, w.device)
        assert divided_differences("pow", w, sets, float(degree)).abs().max() < 1e-13
        lower, _ = index_sets(4, degree + 1, w.device)
        assert (divided_differences("pow", w, lower, float(degree)) - 1).abs().max() < 1e-14


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_floor(order: int) -> None:
    points = [0.1, 0.1, 0.5, 0.5000001, 2.0]
    w = torch.tensor(points, dtype=torch.float64)
    sets, _ = index_sets(5, order + 1, w.device)
    for indices, value in zip(
        sets.tolist(), divided_differences("clamp", w, sets, 0.5).tolist(), strict=True
    ):
        wanted = mp_divided_difference("clamp", [points[i] for i in indices], 0.5)
        # From 0.5 to 0.5000001 no digit is lost: the quotient is exactly 1.
        assert abs(value - wanted) <= 1e-8 * abs(wanted), (indices, value, wanted)


@pytest.mark.parametrize("f", ["sqrt", "invsqrt", "inv", "log", "exp", "clamp"])
@pytest.mark.parametrize("order", [2, 3])
def test_directional_derivatives(f: str, order: int) -> None:
    """Sums over all paths, each divided difference from 200 digits."""
    for w in ([0.2, 1.0, 1.0], [1e-6, 1e-6, 3.0], [1.0, 1 + 1e-11, 1 + 1e-5]):
        close = w[0] == 1
        t = (1 + 1e-6 if close else 0.6) if f == "clamp" else None
        bound = 1e-10 if f == "clamp" and close else 1e-13  # a gap of 1e-5 has eleven digits
        E = [symmetric(3, 3, seed=s) for s in range(order)]
        found = directional(torch.tensor(w, dtype=torch.float64), f, t or 0.0, E)
        assert relative(found, mp_directional(f, w, E, t)) < bound, w
