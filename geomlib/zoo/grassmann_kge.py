r"""GrassmannKGE: entities and relations of a knowledge graph as subspaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.grassmann import block_exp, block_rotate, squared_angle
from geomlib.errors import InvalidInput
from geomlib.zoo._tail_scorer import TailScorer
from geomlib.zoo.registry import register_model

__all__ = ["GrassmannKGE"]


@register_model("grassmann_kge")
class GrassmannKGE(TailScorer):
    r"""Score facts (head, relation, tail) by the principal angles between p-dimensional subspaces of R^n.

    .. math:: s(h, r, t) = -e^\tau \sum_i \theta_i^2\big((S_r \circ h) \oplus r,\; t\big) + b_h + b_t

    An entity is a block B of shape (n-p, p), the tangent at the first p coordinates, and the subspace :math:`e^{\Omega(B)}
    I_{n,p}`; a relation scales the entries of the head's block and adds a subspace of its own, :math:`U \oplus V =
    e^{\Omega(U)} V`. Squared angles are at most :math:`p\,\pi^2/4`, so a learned factor :math:`e^\tau` lets the softmax become
    sharp. This design is ours: the Grassmannian counterpart of :class:`~geomlib.zoo.SPDKGE`. Every pair of query and tail
    takes a polar decomposition of a p x p matrix: for small graphs.

    **Group** S_n: queries in another order have their scores in that order.
    **Shapes** ``head``, ``relation`` (B,) to (B, entities), or with ``candidates`` (K,) to (B, K).

    Args:
        entities: number of entities.
        relations: number of relations, reversed ones included.
        n: dimension of the space.
        p: dimension of the subspaces.
        init: deviation of the initial entries.

    Raises:
        InvalidInput: unknown options; shapes, types or numbers that do not fit at the call.

    Source: Nguyen and Yang, *Building neural networks on matrix manifolds: a gyrovector space approach*, arXiv 2305.04560,
    for the operations.

    >>> model = GrassmannKGE(entities=9, relations=4, n=5, p=2)
    >>> model(torch.tensor([0, 5]), torch.tensor([3, 1])).shape
    torch.Size([2, 9])
    """

    def __init__(
        self, entities: int = 135, relations: int = 92, n: int = 7, p: int = 2, init: float = 1e-3
    ) -> None:
        if not 0 < p < n:
            raise InvalidInput(f"GrassmannKGE: n={n}, p={p}: expected 0 < p < n.")
        super().__init__(entities, relations, (n - p) * p, init)
        self._options: dict[str, Any] = {
            "entities": entities, "relations": relations, "n": n, "p": p, "init": float(init),
        }  # fmt: skip
        self.p = p
        self.scale = nn.Parameter(2.0 * torch.rand(relations, (n - p) * p) - 1.0)
        self.sharpness = nn.Parameter(torch.zeros(()))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "grassmann_kge", **self._options}

    def _block(self, x: Tensor) -> Tensor:  # (..., (n-p) p) -> (..., n-p, p)
        return x.unflatten(-1, (-1, self.p))

    def _queries(self, head: Tensor, relation: Tensor) -> Tensor:  # (B, n, p)
        moved = nn.functional.embedding(relation, self.scale) * head
        r = nn.functional.embedding(relation, self.shift)
        return block_rotate(self._block(moved), block_exp(self._block(r)))

    def _scores(self, query: Tensor, tails: Tensor, a: Tensor, b: Tensor) -> Tensor:  # (B, K)
        angles = squared_angle(query[:, None], block_exp(self._block(tails)))
        return a[:, None] + b - self.sharpness.exp() * angles

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GrassmannKGE, dict[str, Any]]:
        """Return a small instance and seven queries."""
        return cls(entities=5, relations=4, n=5, p=2, init=0.3), cls._example_queries(5, 4, generator)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"Gr({self._options['n']}, {self.p}), {super().extra_repr()}"
