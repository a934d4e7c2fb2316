r"""Filtered ranking: where the right answer comes among all candidates, known answers to the same query left out."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["HITS", "KnownTails", "filtered_ranks", "rank_scores"]

#: k of the reported hits@k.
HITS = (1, 3, 10)


class KnownTails:
    """All known answers to every query (head, relation), as sparse lists.

    Args:
        head: (N,) int64, of all known facts.
        relation: likewise.
        tail: likewise. Facts given twice count once.

    Raises:
        InvalidInput: not three equally long lists of whole numbers, or a negative one.

    >>> known = KnownTails(torch.tensor([0, 0, 5]), torch.tensor([1, 1, 0]), torch.tensor([4, 2, 3]))
    >>> known.others(torch.tensor([0, 5]), torch.tensor([1, 0]), torch.tensor([4, 3])).tolist()
    [[2], [-1]]
    """

    def __init__(self, head: Tensor, relation: Tensor, tail: Tensor) -> None:
        for name, value in (("head", head), ("relation", relation), ("tail", tail)):
            if value.ndim != 1 or len(value) != len(head) or value.is_floating_point():
                raise InvalidInput(
                    f"KnownTails: `{name}` is {value.dtype} of shape {tuple(value.shape)}, expected "
                    f"whole numbers ({len(head)},)."
                )
            if value.numel() and int(value.min()) < 0:
                raise InvalidInput(f"KnownTails: `{name}` holds {int(value.min())}, expected numbers from 0.")
        self._relations, tails = (int(x.max()) + 1 if len(x) else 1 for x in (relation, tail))
        facts = ((head * self._relations + relation) * tails + tail).unique()  # sorted by query, then by tail
        query, self._tails = torch.div(facts, tails, rounding_mode="floor"), facts % tails
        self._queries, counts = query.unique_consecutive(return_counts=True)
        self._start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def __len__(self) -> int:
        return len(self._tails)

    def others(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:  # (B,) -> (B, K)
        """Return the known answers to every query but the given one, and -1 behind them.

        Args:
            head: (B,).
            relation: (B,).
            tail: (B,), the answers that are asked about.
        """
        if not len(self._queries):
            return tail.new_empty(len(tail), 0)
        query = head * self._relations + relation
        at = torch.searchsorted(self._queries, query).clamp(max=len(self._queries) - 1)
        known = (self._queries[at] == query) & (relation < self._relations)
        start = self._start[at]
        count = torch.where(known, self._start[at + 1] - start, 0)
        width = int(count.max()) if len(count) else 0
        column = torch.arange(width, device=tail.device)
        inside = column < count[:, None]
        found = self._tails[(start[:, None] + column).clamp(max=len(self._tails) - 1)]
        found = torch.where(inside & (found != tail[:, None]), found, -1)
        # the asked one leaves a gap: -1 go behind the others
        most = int((found >= 0).sum(1).max()) if found.numel() else 0
        return found.sort(1, descending=True).values[:, :most]


def filtered_ranks(scores: Tensor, tail: Tensor, others: Tensor | None = None) -> Tensor:  # (B,)
    r"""Return the rank of every right answer; answers with the same score share the mean of their ranks.

    .. math:: 1 + \#\{e : s_e > s_t\} + \tfrac12\, \#\{e \ne t : s_e = s_t\}, \qquad e \text{ not among the others known}

    so a scorer that says the same of all candidates gets the mean rank, not the first.

    **Shapes** ``scores`` (B, E), ``tail`` (B,), ``others`` (B, K) to (B,) in float64.

    Args:
        scores: of every candidate, high for likely ones.
        tail: the right answers.
        others: further right answers, which are left out; -1 fills up, see :meth:`KnownTails.others`.

    Raises:
        InvalidInput: shapes that do not fit, an answer that is no candidate, or scores that are not numbers.

    >>> filtered_ranks(torch.tensor([[3.0, 2.0, 2.0, 1.0]]), torch.tensor([1]), torch.tensor([[0, -1]]))
    tensor([1.5000], dtype=torch.float64)
    """
    if scores.ndim != 2 or tail.shape != scores.shape[:1]:
        raise InvalidInput(
            f"filtered_ranks: scores {tuple(scores.shape)} and tail {tuple(tail.shape)}: expected (B, E) and (B,)."
        )
    if others is not None and (others.ndim != 2 or len(others) != len(tail)):
        raise InvalidInput(f"filtered_ranks: others {tuple(others.shape)}, expected ({len(tail)}, K).")
    entities = scores.shape[1]
    for name, value in (("tail", tail), ("others", others)):
        low = 0 if name == "tail" else -1
        if (
            value is not None
            and value.numel()
            and not (low <= int(value.min()) and int(value.max()) < entities)
        ):
            raise InvalidInput(
                f"filtered_ranks: `{name}` holds {int(value.min())}..{int(value.max())}, expected {low}..{entities - 1}."
            )
    scores = scores.detach()
    if bool(scores.isnan().any()):
        row = int(scores.isnan().any(1).nonzero()[0])
        raise InvalidInput(f"filtered_ranks: the scores of query {row} of the batch hold NaN.")
    own = scores.gather(1, tail[:, None])
    more, equal = scores > own, scores == own
    if others is not None and others.numel():
        given = others >= 0
        place = torch.where(given, others, tail[:, None])  # the right answer itself is not left out twice
        left = torch.zeros_like(more).scatter_(1, place, True).scatter_(1, tail[:, None], False)
        more, equal = more & ~left, equal & ~left
    return more.sum(1).double() + 0.5 * (equal.sum(1).double() + 1.0)


def rank_scores(ranks: Tensor) -> dict[str, float]:
    """Return the mean reciprocal rank, hits@1, @3 and @10, and the mean rank.

    Args:
        ranks: (N,), of :func:`filtered_ranks`.

    Raises:
        InvalidInput: no ranks.

    >>> rank_scores(torch.tensor([1.0, 2.0, 20.0, 4.0]))["mrr"]
    0.45
    """
    if not ranks.numel():
        raise InvalidInput("rank_scores: no ranks, expected one or more.")
    ranks = ranks.double()
    hits = {f"hits@{k}": float((ranks <= k).double().mean()) for k in HITS}
    return {"mrr": float((1.0 / ranks).mean()), **hits, "mean rank": float(ranks.mean())}
