r"""Subspaces as points of a manifold: geodesics, distances, means, and the operations of a gyrovector space."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import mean_weights
from geomlib.algebra.manifolds.grassmann import blocks, frames
from geomlib.algebra.manifolds.grassmann.bases import dominant_frame, projector
from geomlib.algebra.manifolds.grassmann.checks import (
    require_frame,
    require_near,
    require_projector,
    require_shape,
    require_tangent,
)
from geomlib.algebra.manifolds.grassmann.means import karcher_mean
from geomlib.algebra.manifolds.spd.metric import safe_sqrt, stretched
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

__all__ = ["Grassmann"]


class Grassmann:
    r"""The subspaces of dimension p of :math:`R^n`.

    Points are frames (..., n, p) in the view ``"onb"`` and projectors (..., n, n) in the view ``"proj"``; tangents are
    matrices D with :math:`U^\top D = 0`, or :math:`D U^\top + U D^\top`. The metric is ``scale`` times
    :math:`\operatorname{tr} VW` on projectors, :math:`2\,\mathrm{scale}\,\operatorname{tr} D^\top E` on frames; with 1/2 the
    distance is the 2-norm of the principal angles.

    The gyro operations have the span of the first p coordinates as identity, with :math:`\bar P = [\log_{\tilde I} P, \tilde
    I]`:

    .. math:: P \oplus Q = e^{\bar P} Q e^{-\bar P}, \qquad t \otimes P = \exp_{\tilde I}(t \log_{\tilde I} P), \qquad
              \operatorname{gyr}[P, Q] R = F R F^{-1}, \quad F = e^{-\overline{P \oplus Q}} e^{\bar P} e^{\bar Q}

    They are gyrocommutative; the loop property of gyrogroups does not hold. Compare frames by :meth:`dist` or
    :meth:`same_subspace`: their entries depend on the choice of a frame.

    Where two subspaces have an angle of 90 degrees (the cut locus) the shortest geodesic is not unique. Distances and their
    gradients need none; logarithms take one, or, with ``cut="error"``, refuse.

    **Group** O(n) acts on subspaces and keeps exp, log, dist, inner, transport, geodesic and mean; of the gyro operations it
    keeps none, since they have an identity. All are free of the choice of the frame, O(p).

    Args:
        n: dimension of the space.
        p: of the subspaces.
        view: of points, ``"onb"`` or ``"proj"``.
        scale: of the metric.
        cut: what is done on the cut locus, ``"any"`` or ``"error"``; values are looked at on the CPU only, outside of
            compiled code and transforms.

    Raises:
        InvalidInput: sizes and options that do not fit; points and tangents that are none.

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560;
    Bendokat, Zimmermann and Absil, *A Grassmann manifold handbook*, arXiv 2011.13699.

    >>> space = Grassmann(5, 2)
    >>> U, V = torch.linalg.qr(torch.randn(2, 5, 2, dtype=torch.float64))[0]
    >>> W = space.exp(U, space.log(U, V))
    >>> bool(space.same_subspace(W, V))
    True
    >>> bool(space.same_subspace(space.add(space.neg(U), space.add(U, V)), V))
    True
    """

    def __init__(
        self,
        n: int,
        p: int,
        view: Literal["onb", "proj"] = "onb",
        scale: float = 0.5,
        cut: Literal["any", "error"] = "any",
    ) -> None:
        if not 0 < p < n:
            raise InvalidInput(f"Grassmann: n={n}, p={p}, expected 0 < p < n.")
        if not 0 < scale < float("inf"):
            raise InvalidInput(f"Grassmann: scale={scale}, expected a positive number.")
        for name, given, known in (("view", view, ("onb", "proj")), ("cut", cut, ("any", "error"))):
            if given not in known:
                raise InvalidInput(
                    f"Grassmann: {name}={given!r}, expected {' or '.join(map(repr, known))}.{closest(str(given), known)}"
                )
        self.n, self.p, self.view, self.metric_scale, self.cut = n, p, view, float(scale), cut

    def __repr__(self) -> str:
        return f"Grassmann({self.n}, {self.p}, view={self.view!r}, scale={self.metric_scale})"

    # Points and tangents of the view, to frames and back.

    def frame(self, P: Tensor, name: str = "P") -> Tensor:
        """Return a frame of a point of this view."""
        self._checked(P, name)
        return P if self.view == "onb" else dominant_frame(P, self.p)

    def _checked(self, P: Tensor, name: str) -> None:
        if self.view == "onb":
            require_shape(name, P, (self.n, self.p), f"a frame of Gr({self.n}, {self.p})")
            require_frame(name, P)
        else:
            require_shape(name, P, (self.n, self.n), f"a projector of Gr({self.n}, {self.p})")
            require_projector(name, P, self.p)

    def point(self, U: Tensor) -> Tensor:
        """Return a frame as a point of this view."""
        return U if self.view == "onb" else projector(U)

    def origin(self, like: Tensor) -> Tensor:
        """Return the identity of the gyro operations, of the type and place of a tensor."""
        return self.point(torch.eye(self.n, self.p, dtype=like.dtype, device=like.device))

    def _lift(self, U: Tensor, V: Tensor, name: str) -> Tensor:
        """Return the tangent of a frame."""
        if self.view == "proj":
            require_shape(name, V, (self.n, self.n), "a tangent, a symmetric matrix")
            return frames.horizontal(U, V @ U)
        require_shape(name, V, (self.n, self.p), "a tangent, of the shape of the frame")
        require_tangent(name, V, U)
        return V

    def _lower(self, U: Tensor, D: Tensor) -> Tensor:
        """Return the tangent of this view."""
        if self.view == "onb":
            return D
        half = D @ U.mT
        return half + half.mT

    def _near(self, name: str, M: Tensor) -> None:
        if self.cut == "error":
            require_near(name, M)

    def _block(self, U: Tensor, name: str) -> Tensor:
        self._near(name, U[..., : self.p, :])
        return blocks.block(U)

    # Riemannian geometry.

    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the end of the geodesic from P with velocity V, exact for any length."""
        U = self.frame(P)
        return self.point(frames.frame_exp(U, self._lift(U, V, "V")))

    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the velocity at P of the shortest geodesic to Q."""
        U, W = self.frame(P), self.frame(Q, "Q")
        self._near("Q", U.mT @ W)
        return self._lower(U, frames.frame_log(U, W))

    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:  # (...)
        """Return the squared distance, smooth where subspaces coincide."""
        return 2 * self.metric_scale * frames.squared_angle(self.frame(P), self.frame(Q, "Q"))

    def dist(self, P: Tensor, Q: Tensor) -> Tensor:  # (...)
        """Return the distance; where it is 0, so is the derivative that is taken."""
        q = self.sqdist(P, Q)
        return safe_sqrt(q)

    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:  # (...)
        """Return the inner product of two tangents at P."""
        del P
        return (2.0 if self.view == "onb" else 1.0) * self.metric_scale * (V * W).sum((-2, -1))

    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return the parallel transport of V from P to Q along the shortest geodesic."""
        U, W = self.frame(P), self.frame(Q, "Q")
        self._near("Q", U.mT @ W)
        return self._lower(W, frames.frame_transport(U, W, self._lift(U, V, "V")))

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return the point of the shortest geodesic from P, at t = 0, to Q, at t = 1."""
        U, W = self.frame(P), self.frame(Q, "Q")
        self._near("Q", U.mT @ W)
        return self.point(frames.frame_exp(U, stretched(t) * frames.frame_log(U, W)))

    def mean(
        self, points: Tensor, weights: Tensor | None = None, iters: int = 16, tol: float | None = None
    ) -> Tensor:
        """Return the weighted Karcher mean over the axis before the matrices.

        Steps start at the extrinsic mean. Without derivatives they end when all are shorter than ``tol`` (by default a few
        times rounding); with derivatives, compiled or on a card all are taken, so that derivatives converge too.

        Args:
            points: (..., k, n, p) or (..., k, n, n).
            weights: (..., k), normalised here; equal by default.
            iters: steps at most.
            tol: length of a step that ends the search.
        """
        weights = mean_weights(points, weights)
        U = self.frame(points, "points")
        return self.point(karcher_mean(U, (weights / weights.sum(-1, keepdim=True)).to(U), iters, tol))

    def principal_angles(self, P: Tensor, Q: Tensor) -> Tensor:  # (..., p)
        """Return the principal angles in increasing order."""
        return frames.angles(self.frame(P), self.frame(Q, "Q"))

    def same_subspace(self, P: Tensor, Q: Tensor, tol: float = 1e-6) -> Tensor:  # (...) bool
        """Return whether the sine of the largest angle is at most tol."""
        U, W = self.frame(P), self.frame(Q, "Q")
        return torch.linalg.matrix_norm(W - U @ (U.mT @ W), 2) <= tol

    # Gyrovector space.

    def add(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyrosum: Q turned by the rotation that carries the identity to P."""
        B = self._block(self.frame(P), "P")
        self._checked(Q, "Q")
        half = blocks.block_rotate(B, Q)
        return half if self.view == "onb" else blocks.block_rotate(B, half.mT)

    def neg(self, P: Tensor) -> Tensor:
        """Return the inverse."""
        return self.scale(P, -1.0)

    def scale(self, P: Tensor, t: float | Tensor) -> Tensor:
        """Return t times P, on the geodesic from the identity through P."""
        return self.point(blocks.block_exp(stretched(t) * self._block(self.frame(P), "P")))

    def gyration(self, P: Tensor, Q: Tensor) -> Tensor:  # (..., n, n)
        r"""Return the rotation F of gyr[P, Q]: frames go to F R, projectors to :math:`F R F^\top`."""
        return self._turning(P, Q)(torch.eye(self.n, dtype=P.dtype, device=P.device))

    def gyrate(self, P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
        """Return gyr[P, Q] R without the matrix: an isometry that keeps the identity and sums."""
        self._checked(R, "R")
        turn = self._turning(P, Q)
        half = turn(R)
        return half if self.view == "onb" else turn(half.mT)

    def _turning(self, P: Tensor, Q: Tensor) -> Callable[[Tensor], Tensor]:
        U, W = self.frame(P), self.frame(Q, "Q")
        first, second = self._block(U, "P"), self._block(W, "Q")
        total = self._block(blocks.block_rotate(first, W), "P + Q")

        def turn(X: Tensor) -> Tensor:
            turned = blocks.block_rotate(first, blocks.block_rotate(second, X))
            return blocks.block_rotate(total, turned, inverse=True)

        return turn

    def ginner(self, P: Tensor, Q: Tensor) -> Tensor:  # (...)
        """Return the inner product of the logarithms at the identity."""
        first, second = self._block(self.frame(P), "P"), self._block(self.frame(Q, "Q"), "Q")
        return 2 * self.metric_scale * (first * second).sum((-2, -1))
