"""Batch normalisation of SPD matrices under five metrics."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import require_spd, values_known
from geomlib.algebra.manifolds.commuting_transport import from_identity, to_identity
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import (
    apply_spectrum,
    decompose,
    sym_sqrt_pair,
    symfun,
    symmetrize,
)
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import FLAT, checked_matrices, checked_metric, example_spd, positive, spd_symmetry
from geomlib.layers._spd_steps import stepped_mean

__all__ = ["SPDBatchNorm"]

METRICS = ("ai", "le", "lc", "bw", "gbw")


class SPDBatchNorm(nn.Module):
    r"""Move the Fréchet mean of a batch of SPD matrices to a learned point and its variance to a learned square.

    .. math:: V_k = \Gamma_{G \to I}\, \mathrm{Log}_G X_k, \qquad v = \frac1K \sum_k d^2(G, X_k), \qquad
              Y_k = \mathrm{Exp}_B\Big(\Gamma_{I \to B}\, \frac{s}{\sqrt{\max(v, \epsilon)}}\, V_k\Big)

    with G the mean. In training G and v are those of the batch, and gradients pass through both; running values, the mean
    along geodesics, are kept for evaluation. Centring and scaling are one step in one tangent space, so the mean of the output
    is B and its variance s², to round-off, whatever the dispersion of the input, for every metric:

    ========  =====================================================================================================
    "le"      averages of logarithms
    "lc"      averages of Cholesky factors with logarithmic diagonals
    "ai"      affine-invariant, G by Newton's method
    "bw"      Bures-Wasserstein: transport to the identity along commuting points
    "gbw"     the same around ``M``, that is of M^-1/2 X M^-1/2
    ========  =====================================================================================================

    Bures-Wasserstein geodesics end at singular matrices. Where a scaled tangent would pass the end its eigenvalues are capped
    (Exp sees no eigenvalue of I + L[V] below ``margin``); ``capped`` counts such matrices of training. Then mean and variance
    are no longer exact.

    A batch of one goes to B. All leading dimensions are one batch. Curved metrics compute in float64 whatever the type of x.

    **Group** with the statistics of the batch (in training, or always with ``track_running_stats=False``), and without bias
    and M: O(n), for "lc" permutations of rows only; with running statistics permutations of rows. **Shapes** ``x``
    (..., n, n) to the same.

    Args:
        n: size of the matrices.
        metric: one of the names above.
        theta: power of the deformation: the metric is pulled back by P -> P^theta and divided by theta².
        momentum: share of the batch in the running values.
        n_mean_steps: of the fixed-point iteration from the arithmetic mean, as published, biased by what is missing; by
            default the mean is exact, and so are its first two derivatives.
        eps: least variance that is divided by.
        bias: learn B, the identity at the start; otherwise it stays there. It is the exponential of a free symmetric matrix
            (for "lc" of a triangular one in its chart), so that any optimiser trains it.
        dispersion: learn s, 1 at the start; otherwise it stays there.
        M: SPD matrix (n, n) of "gbw"; the identity by default.
        learn_M: train M, as the exponential of a symmetric matrix.
        alpha: weight of tr VW in the inner product of "ai" and "le".
        beta: weight of tr V tr W.
        margin: see above.
        track_running_stats: keep running values; otherwise the batch's are used in evaluation too.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call, matrices that are not positive definite, an empty
            batch in training.

    Source: Chen, Song, Liu and Sebe, *A Lie group approach to Riemannian batch normalization*, arXiv 2403.11261 (LE, LC, AI);
    Wang, Jin, Chen, Luo and Wu, *Learning to normalize on the SPD manifold under Bures-Wasserstein geometry*, arXiv 2504.00660
    (BW, GBW); here with the variance of the centred batch and without the first of two exponentials.

    >>> layer = SPDBatchNorm(3, "ai").double()
    >>> x = torch.randn(50, 3, 9, dtype=torch.float64)
    >>> y = layer(x @ x.mT).detach()
    >>> torch.allclose(layer.space().mean(y), torch.eye(3, dtype=torch.float64))
    True
    """

    running_mean: Tensor
    running_var: Tensor
    capped: Tensor
    M: Tensor | None

    def __init__(
        self,
        n: int,
        metric: str = "ai",
        *,
        theta: float = 1.0,
        momentum: float = 0.1,
        n_mean_steps: int | None = None,
        eps: float = 1e-5,
        bias: bool = True,
        dispersion: bool = True,
        M: Tensor | None = None,
        learn_M: bool = False,
        alpha: float = 1.0,
        beta: float = 0.0,
        margin: float = 1e-3,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        positive("SPDBatchNorm", n=n, **({} if n_mean_steps is None else {"n_mean_steps": n_mean_steps}))
        self.metric = checked_metric("SPDBatchNorm", metric, METRICS)
        self._check_numbers(theta, momentum, eps, margin)
        if metric not in ("ai", "le") and (alpha, beta) != (1.0, 0.0):
            raise InvalidInput(
                f"SPDBatchNorm: alpha={alpha}, beta={beta}, but metric={metric!r} has no such family; leave them at 1 and 0."
            )
        if (M is not None or learn_M) and metric != "gbw":
            raise InvalidInput(f"SPDBatchNorm: M belongs to metric='gbw', found metric={metric!r}.")
        self.n, self.theta, self.momentum, self.eps = n, float(theta), float(momentum), float(eps)
        self.n_mean_steps, self.margin = n_mean_steps, float(margin)
        self.alpha, self.beta, self.track_running_stats = float(alpha), float(beta), track_running_stats
        start = torch.eye(n) if M is None else M.detach().clone()
        if M is not None:
            require_spd("M", start)
            if tuple(start.shape) != (n, n):
                raise InvalidInput(f"SPDBatchNorm: `M` has shape {tuple(start.shape)}, expected ({n}, {n}).")
        self.bias = nn.Parameter(torch.zeros(n, n)) if bias else None
        self.weight = nn.Parameter(torch.ones(())) if dispersion else None
        self.log_M = nn.Parameter(symfun(start, "log").to(torch.get_default_dtype())) if learn_M else None
        fixed = M is not None and not learn_M
        self.register_buffer("M", start.to(torch.get_default_dtype()) if fixed else None)
        self._moved = fixed or learn_M
        self.register_buffer("running_mean", torch.eye(n))
        self.register_buffer("running_var", torch.ones(()))
        self.register_buffer("capped", torch.zeros((), dtype=torch.long), persistent=False)
        self._base()  # alpha and beta are checked there

    @staticmethod
    def _check_numbers(theta: float, momentum: float, eps: float, margin: float) -> None:
        if not (math.isfinite(theta) and theta != 0 and 0 <= momentum <= 1 and eps > 0 and 0 < margin < 1):
            raise InvalidInput(
                f"SPDBatchNorm: theta={theta}, momentum={momentum}, eps={eps}, margin={margin}: expected a finite power "
                "other than 0, a momentum from 0 to 1, eps > 0 and a margin between 0 and 1."
            )

    # What statistics and tests need to know of the layer.

    def space(self) -> SPD:
        """Return the manifold with the metric of the layer, in which mean and variance are what they are."""
        M = self._matrix()
        more: dict[str, Any] = {"M": M.detach()} if self.metric == "gbw" else {}
        if self.metric in ("ai", "le"):
            more = {"alpha": self.alpha, "beta": self.beta}
        return SPD(self.metric, theta=self.theta, n=self.n, **more)

    def bias_point(self) -> Tensor:  # (n, n)
        """Return B."""
        if self.bias is None:
            return torch.eye(self.n).to(self.running_mean)
        if self.metric in FLAT:
            return self._base().unchart(self._chart_bias())
        return symfun(symmetrize(self.bias), "exp")

    def deviation(self) -> Tensor:  # ()
        """Return s."""
        return self.running_var.new_ones(()) if self.weight is None else self.weight

    def _matrix(self) -> Tensor:
        if self.log_M is not None:
            return symfun(symmetrize(self.log_M), "exp")
        return torch.eye(self.n).to(self.running_mean) if self.M is None else self.M

    def _base(self) -> SPD:
        """Return the metric before powers and M: curved ones are handled by `_to` and `_back`."""
        if self.metric in FLAT or self.metric == "ai":
            more: dict[str, Any] = {} if self.metric == "lc" else {"alpha": self.alpha, "beta": self.beta}
            theta = self.theta if self.metric == "lc" else 1.0
            return SPD(self.metric, theta=theta, n=self.n, check=False, **more)
        return SPD("bw", n=self.n, check=False)

    def _chart_bias(self) -> Tensor:
        assert self.bias is not None
        return self._tidy(self.bias)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., n, n) -> (..., n, n)
        """Return the normalised matrices.

        Raises:
            InvalidInput: shapes or types that do not fit, matrices that are not positive definite, nothing to average over.
        """
        checked_matrices("SPDBatchNorm", x, self.n, self.running_mean)
        of_batch = self.training or not self.track_running_stats
        if 0 in x.shape[:-2]:
            if of_batch:
                raise InvalidInput(
                    f"SPDBatchNorm: `x` has shape {tuple(x.shape)}, no matrices to average over; call layer.eval() or skip it."
                )
            return x
        require_spd("x", x)
        flat = x.reshape(-1, self.n, self.n)
        out = self._flat(flat, of_batch) if self.metric in FLAT else self._curved(flat, of_batch)
        return out.view(x.shape)

    def _factor(self, v: Tensor) -> Tensor:
        return self.deviation() / v.clamp(min=self.eps).sqrt()

    def _keep(self, mean: Tensor, v: Tensor) -> None:
        if self.training and self.track_running_stats:
            with torch.no_grad():
                self.running_mean.copy_(mean)
                self.running_var.lerp_(v.detach().to(self.running_var.dtype), self.momentum)

    def _flat(self, x: Tensor, of_batch: bool) -> Tensor:
        space = self._base()
        chart = space.chart(x)
        mean = self._tidy(chart.mean(0)) if of_batch else space.chart(self.running_mean)
        centred = chart - mean
        v = space.chart_inner(centred, centred).mean() if of_batch else self.running_var
        if self.training and self.track_running_stats:
            with torch.no_grad():
                old = space.chart(self.running_mean)
                self._keep(space.unchart(self._tidy(old.lerp(mean.detach(), self.momentum))), v)
        moved = self._tidy(self._factor(v) * centred)
        return space.unchart(moved if self.bias is None else moved + self._chart_bias())

    def _tidy(self, chart: Tensor) -> Tensor:
        """Return coordinates that are symmetric, or triangular, also where nothing but rounding is left of them."""
        return symmetrize(chart) if self.metric == "le" else chart.tril()

    def _curved(self, x: Tensor, of_batch: bool) -> Tensor:
        # In float64 throughout: products of two roots have the square of the condition number.
        pair = sym_sqrt_pair(self._matrix().double()) if self._moved else None
        y = self._to(x.double(), pair)
        if not of_batch:
            mean = self._to(self.running_mean.double(), pair)
        elif self.n_mean_steps is None:
            # The two steps that carry the derivatives take the error from 1e-10 to round-off.
            mean = self._base().mean(y, tol=1e-5)
        else:
            mean = stepped_mean(y, self.n_mean_steps, self._base().metric)
        steps = self._affine if self.metric == "ai" else self._wasserstein
        out, v = steps(y, mean, pair, of_batch)
        if self.training and self.track_running_stats:
            with torch.no_grad():
                old = self._to(self.running_mean.double(), pair)
                self._keep(self._back(self._base().geodesic(old, mean.detach(), self.momentum), pair), v)
        return self._back(out, pair).to(x.dtype)

    def _to(self, x: Tensor, pair: tuple[Tensor, Tensor] | None) -> Tensor:
        y = x if self.theta == 1 else symfun(x, "pow", self.theta)
        return y if pair is None else symmetrize(pair[1] @ y @ pair[1])

    def _back(self, y: Tensor, pair: tuple[Tensor, Tensor] | None) -> Tensor:
        x = y if pair is None else symmetrize(pair[0] @ y @ pair[0])
        return x if self.theta == 1 else symfun(x, "pow", 1 / self.theta)

    def _affine(self, y: Tensor, mean: Tensor, pair: Any, of_batch: bool) -> tuple[Tensor, Tensor]:
        inverse = symfun(mean, "invsqrt")
        seen = symmetrize(inverse @ y @ inverse)
        w, u = decompose(seen)
        tangent, spectrum = apply_spectrum(seen, w, u, "log"), w.log()
        if (
            of_batch and len(y) == 1
        ):  # the one is the mean: what is left is rounding, which would be magnified
            tangent, spectrum = 0 * tangent, 0 * spectrum
        v = (
            self._base().rule.inner0(tangent, tangent).mean() / self.theta**2
            if of_batch
            else self.running_var
        )
        factor = self._factor(v)
        # The scaled tangent has the eigenvectors that are known.
        out = apply_spectrum(factor * tangent, factor.detach() * spectrum, u, "exp")
        if self.bias is not None:
            root = symfun(symmetrize(self.bias.double()) * (self.theta / 2), "exp")
            out = symmetrize(root @ out @ root)
        return out, v

    def _wasserstein(self, y: Tensor, mean: Tensor, pair: Any, of_batch: bool) -> tuple[Tensor, Tensor]:
        unit = torch.eye(self.n, dtype=y.dtype, device=y.device)
        w, u = decompose(mean)
        root, inverse = apply_spectrum(mean, w, u, "sqrt"), apply_spectrum(mean, w, u, "invsqrt")
        optimal = inverse @ symfun(symmetrize(root @ y @ root), "sqrt") @ inverse
        tangent = to_identity(mean, optimal - unit, (w, u))
        if of_batch and len(y) == 1:
            tangent = 0 * tangent
        v = tangent.square().sum((-2, -1)).mean() / (4 * self.theta**2) if of_batch else self.running_var
        scaled = self._factor(v) * tangent
        if self.bias is None and pair is None:
            step = self._inside(unit + scaled / 2)
            return symmetrize(step @ step), v
        centre, spectrum = unit, None
        if self.bias is not None:
            log = symmetrize(self.bias.double()) * self.theta
            w, u = decompose(log)
            centre, spectrum = apply_spectrum(log, w, u, "exp"), (w.exp(), u)
        if pair is not None:
            centre, spectrum = symmetrize(pair[1] @ centre @ pair[1]), None
        step = self._inside(unit + from_identity(centre, scaled, spectrum))
        return symmetrize(step @ centre @ step), v

    def _inside(self, step: Tensor) -> Tensor:
        """Return matrices whose eigenvalues are at least the margin, and count those that were not."""
        unit = self.margin * torch.eye(self.n, dtype=step.dtype, device=step.device)
        outside = torch.linalg.cholesky_ex(step.detach() - unit)[1] != 0
        if values_known(step) and not bool(outside.any()):
            return step
        if self.training:
            self.capped.add_(outside.sum())
        return torch.where(outside[:, None, None], symfun(step, "clamp", self.margin), step)

    @property
    def symmetry(self) -> Symmetry:
        """O(n) with statistics of the batch, no bias and no M; otherwise permutations of rows."""
        of_batch = self.training or not self.track_running_stats
        if of_batch and self.bias is None and not self._moved and self.metric != "lc":
            return spd_symmetry(self.n)
        return rows_symmetry()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDBatchNorm, dict[str, Any]]:
        """Return an instance with statistics of the batch, which commutes with O(3), and six matrices."""
        layer = cls(3, "le", bias=False, track_running_stats=False)
        return layer, {"x": example_spd(generator, 3, 6)}

    def extra_repr(self) -> str:
        """Return the options."""
        steps = "" if self.n_mean_steps is None else f", n_mean_steps={self.n_mean_steps}"
        return f"{self.symmetry.group}, n={self.n}, metric={self.metric}, theta={self.theta}, momentum={self.momentum}{steps}"
