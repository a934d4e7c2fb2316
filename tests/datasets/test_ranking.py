"""Filtered ranks against a brute force, ties, known answers, and scores that say nothing."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from geomlib import InvalidInput
from geomlib.datasets.ranking import KnownTails, filtered_ranks, rank_scores


def brute_rank(row, tail, known):
    """Mean place of the answer over all orders in which equal scores may stand, by sorting."""
    kept = [e for e in range(len(row)) if e == tail or e not in known]
    better = [e for e in kept if row[e] > row[tail]]
    equal = [e for e in kept if row[e] == row[tail]]
    places = range(len(better) + 1, len(better) + len(equal) + 1)
    return sum(places) / len(places)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4), st.integers(0, 40), st.integers(1, 5))
def test_ranks_are_those_of_a_brute_force(seed, entities, relations, facts, levels):
    g = torch.Generator().manual_seed(seed)
    h, t = (torch.randint(entities, (facts + 3,), generator=g) for _ in range(2))
    r = torch.randint(relations, (facts + 3,), generator=g)
    known = KnownTails(h[:facts], r[:facts], t[:facts])
    answers = {}
    for a, b, c in zip(h[:facts].tolist(), r[:facts].tolist(), t[:facts].tolist(), strict=True):
        answers.setdefault((a, b), set()).add(c)
    assert len(known) == sum(map(len, answers.values()))
    scores = torch.randint(levels, (facts + 3, entities), generator=g).double()
    others = known.others(h, r, t)  # also of queries that nothing is known of
    want = [
        brute_rank(row, tail, answers.get((a, b), set()))
        for row, a, b, tail in zip(scores.tolist(), h.tolist(), r.tolist(), t.tolist(), strict=True)
    ]
    assert filtered_ranks(scores, t, others).tolist() == want
    for row, a, b, tail in zip(others.tolist(), h.tolist(), r.tolist(), t.tolist(), strict=True):
        assert sorted(x for x in row if x >= 0) == sorted(answers.get((a, b), set()) - {tail})


def test_a_constant_scorer_gets_the_mean_rank():
    """Counting strictly better scores would give it 1; 100 candidates less 9 others known have mean rank 46."""
    others = torch.arange(1, 10).expand(4, 9)
    tail = torch.tensor([0, 20, 50, 99])
    assert filtered_ranks(torch.zeros(4, 100), tail, others).tolist() == [46.0] * 4
    assert filtered_ranks(torch.zeros(4, 100), tail).tolist() == [50.5] * 4
    found = rank_scores(filtered_ranks(torch.zeros(4, 100), tail))
    assert found["hits@10"] == 0 and found["mrr"] == pytest.approx(1 / 50.5)


def test_scores_by_hand():
    found = rank_scores(torch.tensor([1.0, 1.5, 3.0, 10.0, 11.0], dtype=torch.float64))
    mrr = (1 + 1 / 1.5 + 1 / 3 + 0.1 + 1 / 11) / 5
    assert found == {
        "mrr": pytest.approx(mrr),
        "hits@1": 0.2,
        "hits@3": 0.6,
        "hits@10": 0.8,
        "mean rank": 5.3,
    }


def test_the_right_answer_is_never_left_out():
    scores = torch.tensor([[5.0, 4.0, 3.0, -torch.inf]])
    assert filtered_ranks(scores, torch.tensor([1]), torch.tensor([[1, 0, -1]])).tolist() == [1.0]
    assert filtered_ranks(scores, torch.tensor([3])).tolist() == [4.0]


def test_no_queries_and_no_facts():
    known = KnownTails(*(torch.empty(0, dtype=torch.int64),) * 3)
    assert known.others(torch.tensor([1]), torch.tensor([0]), torch.tensor([2])).shape == (1, 0)
    some = KnownTails(*(torch.tensor([1]),) * 3)
    empty = torch.empty(0, dtype=torch.int64)
    assert some.others(empty, empty, empty).shape == (0, 0)
    assert filtered_ranks(torch.zeros(0, 4), empty, some.others(empty, empty, empty)).shape == (0,)
    # a relation beyond the known ones must not be taken for another query
    assert some.others(torch.tensor([0]), torch.tensor([3]), torch.tensor([0])).shape == (1, 0)
    with pytest.raises(InvalidInput, match="no ranks"):
        rank_scores(torch.empty(0))


def test_wrong_input():
    scores, tail = torch.zeros(2, 3), torch.tensor([0, 2])
    for bad, match in (
        ((scores[0], tail), "expected \\(B, E\\) and \\(B,\\)"),
        ((scores, tail[:1]), "expected \\(B, E\\)"),
        ((scores, torch.tensor([0, 3])), r"`tail` holds 0\.\.3, expected 0\.\.2"),
        ((scores, tail, torch.tensor([[3], [-1]])), r"`others` holds -1\.\.3, expected -1\.\.2"),
        ((scores, tail, torch.tensor([1])), "others"),
        ((torch.tensor([[0.0, 1, 2], [0, float("nan"), 1]]), tail), "query 1 of the batch hold NaN"),
    ):
        with pytest.raises(InvalidInput, match=match):
            filtered_ranks(*bad)
    one = torch.tensor([1])
    for bad, match in (
        ((one, one, torch.tensor([1.0])), "`tail` is torch.float32"),
        ((one, torch.tensor([1, 2]), one), "`relation` .*expected whole numbers"),
        ((-one, one, one), "`head` holds -1"),
    ):
        with pytest.raises(InvalidInput, match=match):
            KnownTails(*bad)
