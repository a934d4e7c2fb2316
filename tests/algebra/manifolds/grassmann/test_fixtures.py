"""Parity with geomstats and with our own dense script, for both views."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.manifolds.grassmann import Grassmann, projector
from tests.algebra.manifolds.grassmann.common import error, load


@pytest.mark.parametrize(("name", "n", "p"), [("grassmann_n4_p2", 4, 2), ("grassmann_n8_p3", 8, 3)])
@pytest.mark.parametrize("view", ["onb", "proj"])
def test_geometry(name, n, p, view):
    z, space = load(name), Grassmann(n, p, view)
    letter = "Y" if view == "onb" else "P"
    A, B = z[f"{letter}0"], z[f"{letter}1"]

    def shown(X):
        return projector(X) if view == "onb" else X

    log = space.log(A, B)
    assert error(log, z[f"log_{view}"]) < 1e-12
    assert error(shown(space.exp(A, 0.5 * log)), z["exp_proj"]) < 1e-12
    assert error(space.dist(A, B), z["dist"]) < 1e-12
    assert error(space.inner(A, log, log), z["dist"].square()) < 1e-12
    assert error(Grassmann(n, p, view, scale=1.0).dist(A, B), z["geomstats_dist"]) < 1e-12
    assert error(space.principal_angles(A, B), z["angles"]) < 1e-12
    assert error(shown(space.add(A, B)), z["gr_gyroadd"]) < 1e-12
    assert error(shown(space.scale(A, 0.7)), z["gr_scal_0.7"]) < 1e-12
    assert error(shown(space.neg(A)), z["gr_inverse"]) < 1e-12
    assert error(space.ginner(A, B), z["gr_gyroinner"]) < 1e-12
    if view == "proj":
        assert error(space.transport(A, B, z["W_proj"]), z["transport_proj"]) < 1e-12
    else:
        assert error(shown(space.add(A, B)), projector(z["gr_gyroadd_onb"])) < 1e-12


def test_gyrations():
    z, space = load("grassmann_gyr_angles_n7_p2"), Grassmann(7, 2, "proj")
    assert error(space.gyration(z["P"], z["Q"]), z["F"]) < 1e-12
    assert error(space.gyrate(z["P"], z["Q"], z["R"]), z["gyr_R"]) < 1e-12
    assert error(space.add(z["P"], z["Q"]), z["add_PQ"]) < 1e-12


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 2e-15), (torch.float32, 4e-7)])
def test_hard_angles(dtype, bound):
    """Angles of 1e-6, equal ones, within 1e-6 of 90 degrees, and zero."""
    z, space = load("grassmann_gyr_angles_n7_p2"), Grassmann(7, 2)
    U, V, angles = z["ang_Y0"].to(dtype), z["ang_Y1"].to(dtype), z["ang_theta"]
    assert error(space.log(U, V).double(), z["ang_log"]) < bound
    assert error(space.principal_angles(U, V).double(), angles.sort(-1)[0]) < bound
    assert error(space.dist(U, V).double(), angles.norm(dim=-1)) < bound
