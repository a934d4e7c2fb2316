"""Riemannian optimisers of geoopt on our manifolds reach the mean that we compute."""

from __future__ import annotations

import sys

import pytest
import torch

from geomlib.algebra.manifolds.grassmann import Grassmann
from geomlib.algebra.manifolds.spd import SPD
from geomlib.errors import InvalidInput, MissingDependency
from geomlib.interop import geoopt_manifold
from geomlib.testing import random_spd, random_symmetric

geoopt = pytest.importorskip("geoopt")


def draw(count: int) -> torch.Tensor:
    return random_spd(count, 3, kappa=10.0, generator=torch.Generator().manual_seed(0))


SPACES = {
    "ai": lambda: SPD("ai"),
    "ai trace": lambda: SPD("ai", theta=0.5, beta=0.2),
    "le": lambda: SPD("le", alpha=2.0, beta=0.2),
    "lc": lambda: SPD("lc"),
    "lc power": lambda: SPD("lc", theta=0.5),
    "lc limit": lambda: SPD("lc", theta=0.0),
    "bw": lambda: SPD("bw"),
    "gbw": lambda: SPD("gbw", M=draw(1)[0], theta=0.5),
}


@pytest.mark.parametrize("name", SPACES)
def test_riemannian_gradient(name: str) -> None:
    """The inner product with it is the derivative in every direction."""
    space, P = SPACES[name](), draw(3)
    G, V = (random_symmetric(3, 3, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    want = (G * V).sum((-2, -1))
    torch.testing.assert_close(space.inner(P, space.rgrad(P, G), V), want, rtol=1e-11, atol=1e-11)


def reached(space: SPD | Grassmann, start: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    point = geoopt.ManifoldParameter(start.clone(), manifold=geoopt_manifold(space))
    optimiser = geoopt.optim.RiemannianAdam([point], lr=0.3, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.95)
    for _ in range(70):
        optimiser.zero_grad()
        space.sqdist(point, points).mean().backward()
        optimiser.step()
        schedule.step()
    assert geoopt_manifold(space).check_point_on_manifold(point.detach())
    return point.detach()


@pytest.mark.parametrize("name", ["ai", "le", "lc"])
def test_adam_reaches_the_mean(name: str) -> None:
    space, points = SPACES[name](), draw(4)
    found = reached(space, torch.eye(3, dtype=torch.float64), points)
    torch.testing.assert_close(found, space.mean(points), rtol=0, atol=1e-6)


@pytest.mark.parametrize("view", ["onb", "proj"])
def test_adam_reaches_the_mean_subspace(view: str) -> None:
    space = Grassmann(4, 2, view=view)  # pyright: ignore[reportArgumentType]
    frames = torch.linalg.qr(
        torch.eye(4, 2, dtype=torch.float64) + 0.3 * torch.randn(4, 4, 2, dtype=torch.float64)
    )[0]
    points = space.point(frames)
    found = reached(space, points[0], points)
    assert float(space.dist(found, space.mean(points))) < 1e-6


def test_the_manifold_as_geoopt_sees_it() -> None:
    space, (P, Q) = SPD("ai"), draw(2)
    manifold = geoopt_manifold(space)
    theirs, V = geoopt.SymmetricPositiveDefinite(), random_symmetric(1, 3)[0]
    for name, args in (
        ("dist", (P, Q)), ("expmap", (P, 0.3 * V)), ("logmap", (P, Q)), ("transp", (P, Q, V)), ("inner", (P, V, V)),
        ("egrad2rgrad", (P, V)), ("proju", (P, V)),
    ):  # fmt: skip
        torch.testing.assert_close(
            getattr(manifold, name)(*args), getattr(theirs, name)(*args), rtol=1e-9, atol=1e-9
        )
    assert (
        manifold.check_point_on_manifold(P)
        and not manifold.check_point_on_manifold(-P)
        and not manifold.check_point_on_manifold(P + P.tril(-1))
    )
    assert manifold.check_point_on_manifold(manifold.projx(P - 2 * torch.eye(3)))
    assert manifold.check_point_on_manifold(manifold.random(2, 3, 3)) and manifold.check_point_on_manifold(
        manifold.origin(2, 3, 3)
    )
    assert manifold.check_vector_on_tangent(P, V) and "SPD" in repr(manifold)


def test_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="SPD or a Grassmann"):
        geoopt_manifold(torch.eye(2))  # pyright: ignore[reportArgumentType]
    from geomlib.interop import geoopt as module

    module._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "geoopt.manifolds.base", None)
    with pytest.raises(MissingDependency, match="manifolds"):
        geoopt_manifold(SPD("ai"))
