"""SPD matrices under one of five metrics."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportConstantRedefinition=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import (
    first_bad,
    mean_weights,
    named,
    require_spd,
    require_square,
    require_symmetric,
    symmetrize,
    values_known,
)
from geomlib.algebra.manifolds.spd import gyro
from geomlib.algebra.manifolds.spd.affine_invariant import AffineInvariant
from geomlib.algebra.manifolds.spd.bures_wasserstein import BuresWasserstein
from geomlib.algebra.manifolds.spd.flat import Flat
from geomlib.algebra.manifolds.spd.log_cholesky import LogCholesky, LogCholeskyLimit
from geomlib.algebra.manifolds.spd.log_euclidean import LogEuclidean
from geomlib.algebra.manifolds.spd.metric import Metric, safe_sqrt
from geomlib.algebra.manifolds.spd.pulled import Generalised, Power, PowerFlat
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput

__all__ = ["METRICS", "SPD"]

METRICS = ("ai", "le", "lc", "bw", "gbw")


@dataclass(frozen=True, eq=False)
class SPD:
    r"""Symmetric positive definite matrices with a Riemannian metric, and its gyrovector operations where it is complete.

    ======  ====================  ==============================================================================
    name    metric                invariances
    ======  ====================  ==============================================================================
    "ai"    affine-invariant      congruence by every invertible matrix, inversion
    "le"    log-Euclidean         conjugation by O(n), scaling, inversion, translations of the chart; flat
    "lc"    log-Cholesky          translations of its chart only; flat
    "bw"    Bures-Wasserstein     conjugation by O(n); incomplete, so without gyro operations
    "gbw"   the same around M     congruence by matrices A with A M A^T = M; incomplete
    ======  ====================  ==============================================================================

    Arguments and results are matrices (..., n, n) whose leading dimensions broadcast, scalars (...). Derivatives of every
    order are exact, at repeated eigenvalues and coincident points too. All is computed in ``eig_dtype``, and returned in the
    type of the arguments. With a power theta every metric is pulled back by P -> P^theta and divided by theta^2; theta = 0 is
    the limit, a flat metric (not for "gbw"), and the rounding of small powers is eps / abs(theta).

    Args:
        metric: one of the names above.
        theta: power of the deformation.
        alpha: weight of tr XY at the identity, for "ai" and "le".
        beta: weight of tr X tr Y at the identity, for "ai" and "le"; alpha and alpha + n beta must be positive.
        M: SPD matrix (n, n) of "gbw".
        n: size of the matrices, if it shall be checked.
        eig_dtype: least type to compute in.
        check: whether values are looked at, which is done for plain tensors on the CPU only; elsewhere, and without it, what
            is not positive definite gives NaN or an error of a spectral function.

    Raises:
        InvalidInput: an unknown metric, a parameter that the metric does not have or that makes it indefinite. Every method
            raises it for arguments that are not SPD, not symmetric or do not fit, naming the argument and the matrix.

    Source: X. S. Nguyen, S. Yang, Building neural networks on matrix manifolds: a gyrovector space approach (arXiv
    2305.04560); Z. Chen et al., RMLR: extending multinomial logistic regression into general geometries (arXiv 2409.19433).

    >>> space = SPD("ai")
    >>> P, Q = torch.eye(2), torch.diag(torch.tensor([1.0, 4.0]))
    >>> space.geodesic(P, Q, 0.5)
    tensor([[1., 0.],
            [0., 2.]])
    >>> torch.allclose(space.exp(P, space.log(P, Q)), Q)
    True
    """

    metric: str = "ai"
    theta: float = 1.0
    alpha: float = 1.0
    beta: float = 0.0
    M: Tensor | None = None
    n: int | None = None
    eig_dtype: torch.dtype = torch.float64
    check: bool = True
    rule: Metric = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InvalidInput(
                f"SPD: unknown metric {self.metric!r}, expected one of {METRICS}.{closest(self.metric, METRICS)}"
            )
        if self.metric not in ("ai", "le") and (self.alpha, self.beta) != (1.0, 0.0):
            raise InvalidInput(
                f"SPD(metric={self.metric!r}): alpha = {self.alpha} and beta = {self.beta} are parameters "
                "of 'ai' and 'le' only."
            )
        if (self.M is not None) != (self.metric == "gbw"):
            raise InvalidInput(
                "SPD(metric='gbw') needs M, an SPD matrix (n, n)." if self.M is None
                else f"SPD(metric={self.metric!r}) takes no M; the metric with one is 'gbw'."
            )  # fmt: skip
        if not math.isfinite(self.theta):
            raise InvalidInput(f"SPD: theta = {self.theta} is no power; it must be finite.")
        if self.metric == "gbw" and self.theta == 0:
            raise InvalidInput("SPD(metric='gbw') needs a power theta that is not zero.")
        if self.M is not None:
            require_spd("M", self.M)
            if self.M.ndim != 2 or self.n not in (None, self.M.shape[-1]):
                raise InvalidInput(
                    f"`M` has shape {tuple(self.M.shape)}, expected one matrix (n, n)"
                    + ("." if self.n is None else f" with n = {self.n}.")
                )
            object.__setattr__(self, "n", self.M.shape[-1])
        self._definite(self.n or 1)
        object.__setattr__(self, "rule", self._rule())

    def _rule(self) -> Metric:
        if self.metric == "le":
            return LogEuclidean(self.alpha, self.beta)  # a power changes nothing
        if self.theta == 0:
            if self.metric == "lc":
                return LogCholeskyLimit()
            return LogEuclidean(0.25 if self.metric == "bw" else self.alpha, self.beta)
        if self.metric == "lc":
            return LogCholesky() if self.theta == 1 else PowerFlat(LogCholesky(), self.theta)
        base: Metric = AffineInvariant(self.alpha, self.beta) if self.metric == "ai" else BuresWasserstein()
        if self.M is not None:
            base = Generalised(base, self.M)
        return base if self.theta == 1 else Power(base, self.theta)

    def _definite(self, n: int) -> None:
        if not (self.alpha > 0 and self.alpha + n * self.beta > 0):
            raise InvalidInput(
                f"SPD: alpha = {self.alpha} and beta = {self.beta} give no inner product for n = {n}: alpha and alpha + "
                "n beta must be positive. "
                + (f"Raise beta above {-self.alpha / n:.4g}." if self.alpha > 0 else "Raise alpha above 0.")
            )

    def exp(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the end of the geodesic that starts at P with velocity V.

        Raises:
            InvalidInput: also where a Bures-Wasserstein tangent leaves the domain.
        """
        return self._call(self.rule.exp, {"P": P}, {"V": V})

    def log(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the velocity at P of the geodesic that reaches Q at time 1."""
        return self._call(self.rule.log, {"P": P, "Q": Q})

    def exp0(self, V: Tensor) -> Tensor:
        """Return exp at the identity."""
        return self._call(self.rule.exp0, {}, {"V": V})

    def log0(self, P: Tensor) -> Tensor:
        """Return log at the identity."""
        return self._call(self.rule.log0, {"P": P})

    def sqdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the squared distance, smooth everywhere."""
        return self._call(self.rule.sqdist, {"P": P, "Q": Q})

    def dist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the distance, with subgradient zero where the points coincide."""
        return self._call(self.rule.dist, {"P": P, "Q": Q})

    def inner(self, P: Tensor, V: Tensor, W: Tensor) -> Tensor:
        """Return the inner product of tangents at P."""
        return self._call(self.rule.inner, {"P": P}, {"V": V, "W": W})

    def rgrad(self, P: Tensor, G: Tensor) -> Tensor:
        """Return the Riemannian gradient of a function whose gradient by the entries of P is G.

        It is the tangent R with inner(P, R, V) = tr(G V) for every symmetric V; its negative is the direction of steepest
        descent, to be followed by `exp`.
        """
        return self._call(self.rule.rgrad, {"P": P}, {"G": symmetrize(G)})

    def transport(self, P: Tensor, Q: Tensor, V: Tensor) -> Tensor:
        """Return the tangent V at P carried in parallel along the geodesic to Q.

        For "bw" and "gbw" there is no closed form; the equation of parallel fields is integrated to round-off.
        """
        return self._call(self.rule.transport, {"P": P, "Q": Q}, {"V": V})

    def geodesic(self, P: Tensor, Q: Tensor, t: float | Tensor) -> Tensor:
        """Return the point at time t, a number or one per matrix, of the geodesic from P at 0 to Q at 1."""
        return self._call(self.rule.geodesic, {"P": P, "Q": Q}, {}, t)

    def mean(
        self,
        points: Tensor,  # (..., K, n, n)
        weights: Tensor | None = None,  # (..., K)
        iters: int = 50,
        tol: float = 1e-8,
        order: int = 2,
    ) -> Tensor:  # (..., n, n)
        """Return the point with the least weighted sum of squared distances.

        Flat metrics average their charts. The others take Newton steps, every mean of a batch until its own step is shorter
        than ``tol``; the error that is left is the square of that step. Values are looked at on the CPU only: elsewhere all
        ``iters`` steps are taken and those after convergence change nothing. Derivatives are those of the mean, not of the
        iteration; with fewer ``iters`` than convergence takes, both are approximate.

        Args:
            points: at least one along the last axis but two.
            weights: not negative, normalised to sum one; equal by default.
            iters: most steps.
            tol: length of the last step, in the metric's own coordinates at the mean.
            order: derivatives are exact up to this order.
        """
        weights = mean_weights(points, weights, self.check)

        def found(points: Tensor) -> Tensor:
            w = weights.to(points.dtype)
            w = (w / w.sum(-1, keepdim=True)).expand(torch.broadcast_shapes(w.shape, points.shape[:-2]))
            return self.rule.mean(points.expand(*w.shape, *points.shape[-2:]), w, iters, tol, order)

        return self._call(found, {"points": points})

    def chart(self, P: Tensor) -> Tensor:
        """Return the coordinates of a point, a matrix: log P for "le", a lower triangle for "lc"."""
        return self._call(self._flat().chart, {"P": P})

    def unchart(self, X: Tensor) -> Tensor:
        """Return the point with these coordinates."""
        return self._call(self._flat().unchart, coordinates={"X": X})

    def push(self, P: Tensor, V: Tensor) -> Tensor:
        """Return the coordinates of a tangent at P, the derivative of `chart`."""
        return self._call(self._flat().push, {"P": P}, {"V": V})

    def pull(self, P: Tensor, X: Tensor) -> Tensor:
        """Return the tangent at P with these coordinates."""
        return self._call(self._flat().pull, {"P": P}, coordinates={"X": X})

    def chart_inner(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the inner product of coordinates."""
        return self._call(self._flat().chart_inner, coordinates={"X": X, "Y": Y})

    def chart_sqdist(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the squared distance of points given by coordinates."""
        return self._call(self._flat().chart_sqdist, coordinates={"X": X, "Y": Y})

    def chart_dist(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the distance of points given by coordinates, with subgradient zero where they coincide."""
        return safe_sqrt(self.chart_sqdist(X, Y))

    def chart_logits(self, X: Tensor, Y: Tensor, A: Tensor) -> Tensor:
        """Return `logits` of points X for hyperplanes through points Y, both given by coordinates."""
        return self._call(self._flat().chart_logits, {}, {"A": A}, coordinates={"X": X, "Y": Y})

    def add(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyro sum of P and Q."""
        return self._call(self.rule.add, {"P": P, "Q": Q})

    def neg(self, P: Tensor) -> Tensor:
        """Return the gyro inverse."""
        return self._call(self.rule.neg, {"P": P})

    def scale(self, P: Tensor, t: float | Tensor) -> Tensor:
        """Return the gyro multiple t of P, where t is a number or one per matrix."""
        return self._call(self.rule.scale, {"P": P}, {}, t)

    def gyration(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the orthogonal matrix F of the gyration R -> F R F^T; the identity in flat metrics."""
        return self._call(self.rule.gyration, {"P": P, "Q": Q})

    def gyrate(self, P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
        """Return the gyration of R by P and Q."""
        return self._call(partial(gyro.gyrate, self.rule), {"P": P, "Q": Q, "R": R})

    def coadd(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyro cosum, P added to the gyration of Q by P and the inverse of Q."""
        return self._call(partial(gyro.coadd, self.rule), {"P": P, "Q": Q})

    def ginner(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the inner product of the logarithms at the identity."""
        return self._call(self.rule.ginner, {"P": P, "Q": Q})

    def gnorm(self, P: Tensor) -> Tensor:
        """Return the distance from the identity, with subgradient zero there."""
        return self._call(partial(gyro.gnorm, self.rule), {"P": P})

    def gdist(self, P: Tensor, Q: Tensor) -> Tensor:
        """Return the gyro norm of the inverse of P plus Q, which is the geodesic distance."""
        self._complete()
        return self.dist(P, Q)

    def gangle(self, P: Tensor, Q: Tensor, R: Tensor) -> Tensor:
        """Return the angle at P between Q and R in radians; zero where one of them is P."""
        self._complete()
        return self._call(partial(gyro.gangle, self.rule), {"P": P, "Q": Q, "R": R})

    def hyperplane(self, X: Tensor, P: Tensor, W: Tensor) -> Tensor:
        """Return the signed distance of X from the hyperplane through P with the point W as its normal.

        It is the pseudo-gyrodistance, positive on the side of W, and in flat metrics the distance.
        """
        self._complete()
        return self._call(partial(gyro.hyperplane, self.rule), {"X": X, "P": P, "W": W})

    def logits(self, S: Tensor, P: Tensor, A: Tensor) -> Tensor:
        r"""Return the logits of multinomial regression, one for every triple of matrices.

        ======  ==========================================================================================
        "ai"    :math:`\theta^{-1} \langle \log(P^{-\theta/2} S^\theta P^{-\theta/2}), A\rangle`
        "le"    :math:`\langle \log S - \log P, A\rangle`
        "lc"    inner product of the difference of the charts of S and P with half(A)
        "bw"    :math:`(2\theta)^{-1} \langle \mathrm{Log}_{P'} S', L_{P'}(K A K^T)\rangle` with P' = P^theta = K K^T
        ======  ==========================================================================================

        The inner products are those of alpha and beta. For K classes give S as (..., 1, n, n), and P and A as (K, n, n): the
        result is (..., K).

        Args:
            S: points to classify.
            P: a point on every hyperplane.
            A: its normal, a tangent at the identity.
        """
        return self._call(self.rule.logit, {"S": S, "P": P}, {"A": A})

    def origin(self, like: Tensor) -> Tensor:
        """Return the identity, the origin of the gyro operations, in the shape, type and place of ``like``."""
        require_square("like", like)
        return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device).expand(like.shape)

    @property
    def flat(self) -> bool:
        """Whether there is a chart in which the space is Euclidean."""
        return self.rule.flat

    @property
    def complete(self) -> bool:
        """Whether there are gyro operations."""
        return self.rule.complete

    def _flat(self) -> Flat:
        if not isinstance(self.rule, Flat):
            raise InvalidInput(
                f"SPD(metric={self.metric!r}) is curved and has no flat chart. Use log0 and exp0, or metric 'le' or 'lc'."
            )
        return self.rule

    def _complete(self) -> None:
        if not self.rule.complete:
            self.rule.incomplete()

    def _call(
        self,
        function: Callable[..., Tensor],
        points: dict[str, Tensor] | None = None,
        tangents: dict[str, Tensor] | None = None,
        t: float | Tensor | None = None,
        coordinates: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Check the arguments, compute in the wide type, and return the narrow one."""
        groups = (points or {}, tangents or {}, coordinates or {})
        symmetric = isinstance(self.rule, Flat) and self.rule.symmetric
        given = {name: A for group in groups for name, A in group.items()}
        first = next(iter(given))
        for name, A in given.items():
            require_square(name, A)
            n = self.n or given[first].shape[-1]
            if A.shape[-1] != n:
                raise InvalidInput(f"`{name}` has shape {tuple(A.shape)}, expected matrices (..., {n}, {n}).")
            if self.check and name in groups[0]:
                require_spd(name, A)
            elif self.check and (name in groups[1] or symmetric):
                require_symmetric(name, A, 1.0 if name in groups[2] or not groups[0] else 0.0)
        if self.beta:
            self._definite(given[first].shape[-1])
        dtype = given[first].dtype
        for A in given.values():
            dtype = torch.promote_types(dtype, A.dtype)
        wide = torch.promote_types(dtype, self.eig_dtype)
        args: list[Any] = [
            A.to(wide) if name in groups[2] and not symmetric else symmetrize(A.to(wide))
            for name, A in given.items()
        ]
        if t is not None:
            args.append(t.to(wide) if isinstance(t, Tensor) else float(t))
        try:
            found = function(*args).to(dtype)
        except InvalidInput as error:
            if "`A`" not in str(error) or "A" in given:
                raise
            made = " and ".join(f"`{name}`" for name in given)
            raise InvalidInput(
                f"SPD(metric={self.metric!r}): a matrix `A` made of {made} has no function: {error}"
            ) from error
        if self.check and values_known(found) and not bool((good := found.detach().isfinite()).all()):
            where = first_bad(good)[: max(A.ndim for A in given.values()) - 2]
            raise InvalidInput(
                f"SPD(metric={self.metric!r}): {named('the result', where)} overflows {dtype}. "
                "Shorten the tangent or scale the points, or compute in torch.float64."
            )
        return found
