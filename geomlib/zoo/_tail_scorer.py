r"""What the embeddings of knowledge graphs share: entities and relations as tables, biases, checks, all tails at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import values_known
from geomlib.algebra.symmetry import Symmetry, closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision

__all__ = ["TailScorer", "flat_scores", "one_of"]


def one_of(model: str, **choices: tuple[str, Sequence[str]]) -> None:
    """Raise unless every option has one of its values.

    Raises:
        InvalidInput: naming the option, its values and the nearest one.
    """
    for name, (value, known) in choices.items():
        if value not in known:
            raise InvalidInput(
                f"{model}: {name}={value!r}: expected one of {', '.join(known)}.{closest(value, known)}"
            )


def flat_scores(
    q: Tensor,  # (B, d)
    x: Tensor,  # (K, d)
    a: Tensor,  # (B,)
    b: Tensor,  # (K,)
) -> Tensor:  # (B, K)
    """Return ``a + b - |q - x|^2`` of all pairs by one product of matrices.

    >>> flat_scores(torch.zeros(1, 2), torch.ones(2, 2), torch.ones(1), torch.tensor([0.0, 5.0]))
    tensor([[-1.,  4.]])
    """
    left = torch.cat([2.0 * q, (a - q.square().sum(-1))[:, None], torch.ones_like(a)[:, None]], 1)
    right = torch.cat([x, torch.ones_like(b)[:, None], (b - x.square().sum(-1))[:, None]], 1)
    return left @ right.mT


class TailScorer(nn.Module):
    r"""Scores every entity as the tail of a query, :math:`-d^2(q(h, r), t) + b_h + b_t`.

    A subclass says what q and d are.

    Args:
        entities: number of entities.
        relations: number of relations, reversed ones included.
        size: coordinates of an entity.
        init: deviation of the initial coordinates.

    Raises:
        InvalidInput: sizes that are not positive.
    """

    def __init__(self, entities: int, relations: int, size: int, init: float) -> None:
        super().__init__()
        name = type(self).__name__
        if min(entities, relations, size) < 1 or not init > 0:
            raise InvalidInput(
                f"{name}: entities={entities}, relations={relations}, {size} coordinates, init={init}: expected positive "
                "numbers."
            )
        self.entity = nn.Parameter(init * torch.randn(entities, size))
        self.shift = nn.Parameter(init * torch.randn(relations, size))
        self.head_bias = nn.Parameter(torch.zeros(entities))
        self.tail_bias = nn.Parameter(torch.zeros(entities))
        #: Whether numbers of entities and relations are checked, on the CPU.
        self.validate = True

    def _queries(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return q(h, r) of coordinates (B, size) of heads and numbers (B,) of relations."""
        raise NotImplementedError

    def _scores(self, query: Tensor, tails: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Return a (B,) + b (K,) less the squared distances (B, K) of queries to coordinates (K, size) of tails."""
        raise NotImplementedError

    @full_precision
    def forward(
        self,
        head: Tensor,  # (B,)
        relation: Tensor,  # (B,)
        candidates: Tensor | None = None,  # (K,)
    ) -> Tensor:  # (B, entities) or (B, K)
        """Return the scores of all entities as tails, or of some.

        Args:
            head: numbers of entities.
            relation: numbers of relations.
            candidates: numbers of the entities to score; all if not given.

        Raises:
            InvalidInput: shapes or types that do not fit, numbers that do not exist.
        """
        self._check(head, relation, candidates)
        h, tails, bias = self.entity, self.entity, self.tail_bias
        if candidates is None:
            h = nn.functional.embedding(head, h)
        else:  # one look-up: the gradient of each is as large as the table
            both = nn.functional.embedding(torch.cat([head, candidates]), h)
            h, tails, bias = both[: len(head)], both[len(head) :], bias[candidates]
        return self._scores(self._queries(h, relation), tails, self.head_bias[head], bias)

    def _check(self, head: Tensor, relation: Tensor, candidates: Tensor | None) -> None:
        model, entities = type(self).__name__, len(self.entity)
        given = {"head": (head, entities), "relation": (relation, len(self.shift))}
        if candidates is not None:
            given["candidates"] = (candidates, entities)
        for name, (x, count) in given.items():
            if x.ndim != 1 or x.dtype != torch.int64 or (name == "relation" and x.shape != head.shape):
                raise InvalidInput(
                    f"{model}: `{name}` is {x.dtype} of shape {tuple(x.shape)}, expected int64 "
                    f"({'K' if name == 'candidates' else head.shape[0] if head.ndim else 'B'},)."
                )
            if not self.validate or not values_known(x) or not x.numel():
                continue
            low, high = int(x.min()), int(x.max())
            if low < 0 or high >= count:
                raise InvalidInput(
                    f"{model}: `{name}` holds {low}..{high}, expected 0..{count - 1}: the model was made for {entities} "
                    f"entities and {len(self.shift)} relations (reversed ones included)."
                )

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of the queries; relabelled entities are other weights."""
        return Symmetry("S_n", inputs={"head": "node:inv", "relation": "node:inv"}, outputs="node:inv")

    @staticmethod
    def _example_queries(entities: int, relations: int, generator: torch.Generator) -> dict[str, Any]:
        """Return seven queries."""
        return {
            "head": torch.randint(entities, (7,), generator=generator),
            "relation": torch.randint(relations, (7,), generator=generator),
        }

    def extra_repr(self) -> str:
        """Return the numbers of entities, relations and weights."""
        count = sum(p.numel() for p in self.parameters())
        return f"{len(self.entity):,} entities, {len(self.shift):,} relations, {count:,} weights"
