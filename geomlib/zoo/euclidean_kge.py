r"""EuclideanKGE: entities of a knowledge graph as points of a vector space, the baseline of the same size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.zoo._relation_maps import OPERATIONS, RelationMap
from geomlib.zoo._tail_scorer import TailScorer, flat_scores, one_of
from geomlib.zoo.registry import register_model

__all__ = ["EuclideanKGE"]


class _Planes(RelationMap):
    """Rotations or reflections in the planes (0, 1), (2, 3), ..."""

    def __init__(self, relations: int, size: int, operation: str) -> None:
        super().__init__(relations, size, size // 2, operation)

    def _turned(self, x: Tensor, relation: Tensor, angles: Tensor, reflect: bool) -> Tensor:
        chosen = torch.nn.functional.embedding(relation, angles)
        c, s = chosen.cos(), chosen.sin()
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        turned = (c * a + s * b, s * a - c * b) if reflect else (c * a - s * b, s * a + c * b)
        return torch.stack(turned, -1).flatten(-2)


@register_model("euclidean_kge")
class EuclideanKGE(TailScorer):
    r"""Score facts (head, relation, tail) by a Euclidean distance.

    .. math:: s(h, r, t) = -|S_r\, h + r - t|^2 + b_h + b_t

    :math:`S_r` is the identity (``"translation"``, with biases and squared distances TransE), a diagonal matrix, rotations or
    reflections of the planes of neighbouring coordinates, or both weighed by attention.

    **Group** S_n: queries in another order have their scores in that order.
    **Shapes** ``head``, ``relation`` (B,) to (B, entities), or with ``candidates`` (K,) to (B, K).

    Args:
        entities: number of entities.
        relations: number of relations, reversed ones included.
        dim: of the space; even for rotations and reflections.
        op: ``"translation"``, ``"scaling"``, ``"rotation"``, ``"reflection"`` or ``"attention"``.
        init: deviation of the initial coordinates.

    Raises:
        InvalidInput: unknown options; shapes, types or numbers that do not fit at the call.

    Source: Bordes, Usunier, Garcia-Duran, Weston and Yakhnenko, *Translating embeddings for modeling multi-relational data*
    (2013); Chami, Wolf, Juan, Sala, Ravi and Ré, *Low-dimensional hyperbolic knowledge graph embeddings*, arXiv 2005.00545,
    for rotations, reflections and attention.

    >>> model = EuclideanKGE(entities=9, relations=4, dim=6, op="rotation")
    >>> model(torch.tensor([0, 5]), torch.tensor([3, 1]), candidates=torch.tensor([2, 7, 8])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        entities: int = 135,
        relations: int = 92,
        dim: int = 15,
        op: str = "translation",
        init: float = 1e-3,
    ) -> None:
        super().__init__(entities, relations, dim, init)
        one_of("EuclideanKGE", op=(op, ("translation", *OPERATIONS)))
        if dim % 2 and op not in ("translation", "scaling"):
            raise InvalidInput(
                f"EuclideanKGE: dim={dim} is odd and op={op!r} works on pairs of coordinates: take {dim + 1}."
            )
        self._options: dict[str, Any] = {
            "entities": entities, "relations": relations, "dim": dim, "op": op, "init": float(init),
        }  # fmt: skip
        self.map = None if op == "translation" else _Planes(relations, dim, op)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "euclidean_kge", **self._options}

    def _queries(self, head: Tensor, relation: Tensor) -> Tensor:  # (B, dim)
        moved = head if self.map is None else self.map(head, relation)
        return moved + torch.nn.functional.embedding(relation, self.shift)

    def _scores(self, query: Tensor, tails: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return flat_scores(query, tails, a, b)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[EuclideanKGE, dict[str, Any]]:
        """Return a small instance with attention, and seven queries."""
        model = cls(entities=5, relations=4, dim=6, op="attention", init=0.3)
        return model, cls._example_queries(5, 4, generator)

    def extra_repr(self) -> str:
        """Return the operation and sizes."""
        return f"dim={self._options['dim']}, {self._options['op']}, {super().extra_repr()}"
