"""Manifolds of geomlib as manifolds of geoopt, so that its optimisers move parameters on them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import symmetrize
from geomlib.algebra.manifolds.grassmann import Grassmann
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import symfun, top_projector
from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["geoopt_manifold"]


def geoopt_manifold(space: SPD | Grassmann) -> Any:
    """Return a ``geoopt.Manifold`` whose exp, log, metric, transport and gradients are those of a space of geomlib.

    Steps are taken by the exponential map; one of a Bures-Wasserstein metric that would leave its domain is refused, so choose
    a smaller rate. The layers of geomlib need none of this: their parameters are free, and any optimiser trains them.

    Args:
        space: an `SPD` or a `Grassmann`.

    Raises:
        MissingDependency: geoopt is not installed.
        InvalidInput: another kind of space.

    >>> import pytest
    >>> geoopt = pytest.importorskip("geoopt")
    >>> manifold = geoopt_manifold(SPD("ai"))
    >>> point = geoopt.ManifoldParameter(torch.eye(2, dtype=torch.float64), manifold=manifold)
    >>> target = 2 * torch.eye(2, dtype=torch.float64)
    >>> optimiser = geoopt.optim.RiemannianSGD([point], lr=0.5)
    >>> SPD("ai").sqdist(point, target).backward()
    >>> optimiser.step()
    >>> torch.allclose(point, target)
    True
    """
    if isinstance(space, SPD):
        return _classes()[0](space)
    if isinstance(space, Grassmann):  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        return _classes()[1](space)
    raise InvalidInput(f"geoopt_manifold: expected an SPD or a Grassmann, got {type(space).__name__}.")


@functools.cache
def _classes() -> tuple[type[Any], type[Any]]:
    try:
        from geoopt.manifolds.base import Manifold
    except ImportError as error:
        raise MissingDependency(
            'geoopt_manifold needs geoopt, which is not installed: pip install "geomlib-torch[manifolds]".'
        ) from error

    class Shared(Manifold):
        """What both spaces answer in the same way."""

        ndim = 2
        reversible = False

        def __init__(self, space: Any) -> None:
            super().__init__()
            self.space = space

        def _check_vector_on_tangent(
            self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
        ) -> Any:
            ok = torch.allclose(self.proju(x, u), u, atol=atol, rtol=rtol)
            return ok, None if ok else "the vector is not tangent"

        def expmap(self, x: Tensor, u: Tensor) -> Tensor:
            return self.space.exp(x, u)

        def retr(self, x: Tensor, u: Tensor) -> Tensor:
            return self.projx(self.space.exp(x, u))

        def logmap(self, x: Tensor, y: Tensor) -> Tensor:
            return self.space.log(x, y)

        def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
            return self.space.transport(x, y, v)

        def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
            found = self.space.inner(x, u, u if v is None else v)
            return found[..., None, None] if keepdim else found

        def component_inner(self, x: Tensor, u: Tensor, v: Tensor | None = None) -> Tensor:
            return self.inner(x, u, v, keepdim=True).expand_as(x)

        def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
            found = self.space.dist(x, y)
            return found[..., None, None] if keepdim else found

        def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
            found = self.space.sqdist(x, y)
            return found[..., None, None] if keepdim else found

        def extra_repr(self) -> str:
            return repr(self.space)

    class SPDManifold(Shared):
        """SPD matrices."""

        name = "SPD of geomlib"

        def _check_point_on_manifold(self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> Any:
            if not torch.allclose(x, x.mT, atol=atol, rtol=rtol):
                return False, "the matrix is not symmetric"
            ok = bool((torch.linalg.eigvalsh(symmetrize(x)) > 0).all())
            return ok, None if ok else "the matrix is not positive definite"

        def projx(self, x: Tensor) -> Tensor:
            """Raise eigenvalues to eps of the mean of their absolute values."""
            x = symmetrize(x)
            w, v = torch.linalg.eigh(x.double())
            floor = torch.finfo(x.dtype).eps * w.abs().mean(-1, keepdim=True)
            found = symmetrize((v * torch.maximum(w, floor).unsqueeze(-2)) @ v.mT).to(x.dtype)
            return torch.where((w > floor).all(-1)[..., None, None], x, found)

        def proju(self, x: Tensor, u: Tensor) -> Tensor:
            return symmetrize(u)

        def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
            return self.space.rgrad(x, u)

        def random(self, *size: int, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
            return symfun(0.5 * symmetrize(torch.randn(*size, dtype=dtype, device=device)), "exp")

        def origin(self, *size: int, dtype: Any = None, device: Any = None, seed: int | None = 42) -> Tensor:
            return torch.eye(size[-1], dtype=dtype, device=device).expand(*size).clone()

    class GrassmannManifold(Shared):
        """Subspaces."""

        name = "Grassmann of geomlib"

        def _check_point_on_manifold(self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> Any:
            ok = torch.allclose(self.projx(x), x, atol=atol, rtol=rtol)
            return ok, None if ok else f"the matrix is no point of {self.space!r}"

        def projx(self, x: Tensor) -> Tensor:
            if self.space.view == "proj":
                return top_projector(x, self.space.p)
            return x @ symfun(x.mT @ x, "invsqrt")

        def proju(self, x: Tensor, u: Tensor) -> Tensor:
            if self.space.view == "proj":
                half = symmetrize(u) @ x
                half = half - x @ half
                return half + half.mT
            return u - x @ (x.mT @ u)

        def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
            scale = self.space.metric_scale * (1.0 if self.space.view == "proj" else 2.0)
            return self.proju(x, u) / scale

        def random(self, *size: int, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
            frame = torch.linalg.qr(
                torch.randn(*size[:-2], self.space.n, self.space.p, dtype=dtype, device=device)
            )[0]
            return self.space.point(frame)

        def origin(self, *size: int, dtype: Any = None, device: Any = None, seed: int | None = 42) -> Tensor:
            return self.space.origin(torch.empty(0, dtype=dtype, device=device)).expand(*size).clone()

    return SPDManifold, GrassmannManifold
