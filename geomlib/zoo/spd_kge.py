r"""SPDKGE: entities and relations of a knowledge graph as symmetric positive definite matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import first_bad, values_known
from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import spectrum, symfun
from geomlib.algebra.manifolds.vech import unvech, vech
from geomlib.errors import InvalidInput
from geomlib.zoo._relation_maps import OPERATIONS, RelationMap, plane_products
from geomlib.zoo._tail_scorer import TailScorer, flat_scores, one_of
from geomlib.zoo.registry import register_model

__all__ = ["SPDKGE"]

METRICS = ("le", "lc", "ai")
DISTANCES = ("riemannian", "finsler_one", "finsler_infinity")


class _Congruence(RelationMap):
    """Symmetric tangents H to G H G^T; coordinates are orthonormal at the identity."""

    def __init__(self, relations: int, n: int, operation: str, metric: str) -> None:
        super().__init__(relations, n * (n + 1) // 2, n * (n - 1) // 2, operation)
        self.n, self.metric = n, metric

    def tangent(self, x: Tensor) -> Tensor:  # (..., d) -> (..., n, n)
        """Return the tangent at the identity."""
        if self.metric != "lc":
            return unvech(x)
        A = unvech(
            x
        )  # the log-Cholesky metric at I: off-diagonal entries count once, those of the diagonal a quarter
        diagonal = torch.eye(self.n, dtype=torch.bool, device=x.device)
        return torch.where(diagonal, 2.0 * A, math.sqrt(2.0) * A)

    def coordinates(self, A: Tensor) -> Tensor:  # (..., n, n) -> (..., d)
        """Return the coordinates of a tangent, the inverse."""
        if self.metric != "lc":
            return vech(A)
        diagonal = torch.eye(self.n, dtype=torch.bool, device=A.device)
        return vech(torch.where(diagonal, 0.5 * A, math.sqrt(0.5) * A))

    def _turned(self, x: Tensor, relation: Tensor, angles: Tensor, reflect: bool) -> Tensor:
        G = plane_products(angles, self.n, reflect=reflect)[relation]
        return self.coordinates(G @ self.tangent(x) @ G.mT)


def _require_positive(w: Tensor) -> None:  # (B, K, n)
    good = w[..., 0] > w.shape[-1] * torch.finfo(w.dtype).eps * w[..., -1]
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"SPDKGE: query {where[0]} of the batch and tail {where[1]} are too far apart for {w.dtype}: the eigenvalues of "
            f"q^-1 t run from {1 / w[where][-1]:.3g} to {1 / w[where][0]:.3g}. Lower the learning rate or `init`."
        )


@register_model("spd_kge")
class SPDKGE(TailScorer):
    r"""Score facts (head, relation, tail) by a distance between symmetric positive definite matrices.

    .. math:: s(h, r, t) = -d\big((S_r \circ h) \oplus r,\; t\big)^2 + b_h + b_t

    Entities and relations are tangents at the identity, in coordinates that are orthonormal there. :math:`S_r` scales the
    entries, or conjugates by a product of n(n-1)/2 plane rotations or reflections, or weighs both by attention;
    :math:`\oplus` is the gyroaddition of the metric. ``"le"`` (log-Euclidean) and ``"lc"`` (log-Cholesky) are flat: nothing
    leaves the chart, and all tails are scored by one product of matrices. With ``op="scaling"`` both are then the same
    function as a diagonal scaling and a translation of n(n+1)/2 coordinates (``euclidean_kge``); what is their own is the
    conjugation, which mixes the coordinates of a matrix, and the Finsler distances. ``"ai"`` (affine-invariant) adds
    :math:`\sqrt h\, r\, \sqrt h` and takes the spectrum of every pair of query and tail: for small graphs.

    With v the sorted logarithms of the eigenvalues of :math:`q^{-1} t` (``"ai"``), or the eigenvalues of
    :math:`\log t - \log q` (``"le"``), d is :math:`|v|_2`, or :math:`\sum_{i \le n/2} (v_{n+1-i} - v_i)`
    (``"finsler_one"``), or :math:`v_n - v_1` (``"finsler_infinity"``). The last two do not see a common factor of q and t.

    **Group** S_n: queries in another order have their scores in that order.
    **Shapes** ``head``, ``relation`` (B,) to (B, entities), or with ``candidates`` (K,) to (B, K).

    Args:
        entities: number of entities.
        relations: number of relations, reversed ones included.
        n: size of the matrices; 2 or more for the Finsler distances.
        metric: ``"le"``, ``"lc"`` or ``"ai"``.
        op: ``"scaling"``, ``"rotation"``, ``"reflection"`` or ``"attention"``.
        distance: ``"riemannian"``, or ``"finsler_one"`` or ``"finsler_infinity"`` with ``"le"`` and ``"ai"``.
        init: deviation of the initial coordinates.

    Raises:
        InvalidInput: unknown options; shapes, types or numbers that do not fit at the call; with ``"ai"``, on the CPU,
            matrices too far apart for float64 (elsewhere NaN).

    Source: Lopez, Pozzetti, Trettel, Strube and Wienhard, *Vector-valued distance and gyrocalculus on the space of symmetric
    positive definite matrices*, arXiv 2110.13475; Nguyen and Yang, *Building neural networks on matrix manifolds: a
    gyrovector space approach*, arXiv 2305.04560.

    >>> model = SPDKGE(entities=9, relations=4, n=3, op="rotation")
    >>> model(torch.tensor([0, 5]), torch.tensor([3, 1])).shape
    torch.Size([2, 9])
    """

    def __init__(
        self,
        entities: int = 135,
        relations: int = 92,
        n: int = 5,
        metric: str = "le",
        op: str = "scaling",
        distance: str = "riemannian",
        init: float = 1e-3,
    ) -> None:
        super().__init__(entities, relations, n * (n + 1) // 2, init)
        one_of("SPDKGE", metric=(metric, METRICS), op=(op, OPERATIONS), distance=(distance, DISTANCES))
        if metric == "lc" and distance != "riemannian":
            raise InvalidInput(
                f"SPDKGE: distance={distance!r} is a function of eigenvalues, and differences in the log-Cholesky chart are "
                "triangular. Use metric='le' or 'ai', or distance='riemannian'."
            )
        if n < 2 and distance != "riemannian":
            raise InvalidInput(
                f"SPDKGE: n={n}: distance={distance!r} of numbers is zero. Take n = 2 or more."
            )
        self._options: dict[str, Any] = {
            "entities": entities, "relations": relations, "n": n, "metric": metric, "op": op, "distance": distance,
            "init": float(init),
        }  # fmt: skip
        self.metric, self.distance = metric, distance
        self.map = _Congruence(relations, n, op, metric)
        self._ai = SPD("ai", n=n)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "spd_kge", **self._options}

    def _queries(self, head: Tensor, relation: Tensor) -> Tensor:  # (B, d), or (B, n, n) for "ai"
        moved, r = self.map(head, relation), torch.nn.functional.embedding(relation, self.shift)
        if self.metric != "ai":
            return moved + r
        # in float64: the matrices of far entities are worse conditioned than float32 can tell from singular ones
        root = symfun(0.5 * self.map.tangent(moved).double(), "exp")
        return root @ symfun(self.map.tangent(r).double(), "exp") @ root

    def _scores(self, query: Tensor, tails: Tensor, a: Tensor, b: Tensor) -> Tensor:  # (B, K)
        if self.metric != "ai" and self.distance == "riemannian":
            return flat_scores(query, tails, a, b)
        return a[:, None] + b - self._sqdist(query, tails).to(b.dtype)

    def _sqdist(self, query: Tensor, tails: Tensor) -> Tensor:  # (B, K)
        if self.metric != "ai":
            return self._finsler(spectrum(unvech(tails - query[:, None])))
        tangents = self.map.tangent(tails).double()
        if self.distance == "riemannian":
            return self._ai.sqdist(query[:, None], symfun(tangents, "exp"))
        inverse_root = symfun(-0.5 * tangents, "exp")
        w = spectrum(inverse_root @ query[:, None] @ inverse_root)
        if self.validate and values_known(w) and w.numel():
            _require_positive(w)
        return self._finsler(w.log())

    def _finsler(self, v: Tensor) -> Tensor:  # (..., n) -> (...)
        if self.distance == "finsler_infinity":
            return (v[..., -1] - v[..., 0]).square()
        half = v.shape[-1] // 2
        return (v[..., -half:].sum(-1) - v[..., :half].sum(-1)).square()

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SPDKGE, dict[str, Any]]:
        """Return a small instance with the affine-invariant metric and attention, and seven queries."""
        model = cls(entities=5, relations=4, n=3, metric="ai", op="attention", init=0.3)
        return model, cls._example_queries(5, 4, generator)

    def extra_repr(self) -> str:
        """Return metric, operation, sizes."""
        o = self._options
        return f"n={o['n']}, {o['metric']}, {o['op']}, {o['distance']}, {super().extra_repr()}"
