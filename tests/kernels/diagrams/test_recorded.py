"""Maps of tensors inside recorded steps: their tables may be made there, and stay right for plain calls."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.diagrams import diagrams, tensor_group
from geomlib.algebra.diagrams.matrices import entries
from geomlib.kernels.capture import Replay
from geomlib.kernels.diagrams import tensor_map, tensor_plan

GROUPS = ("S_4", "A_4", "B(3)", "O(3)", "SO(3)", "Sp(4)", "O(1,2)")


@pytest.mark.parametrize("group", GROUPS)
def test_tables_may_be_made_while_a_step_is_recorded(group):
    """No table reads a value through an operator: a recorder would refuse it. Nothing is cached below `entries`."""
    found = tensor_group(group)
    for d in diagrams(found, 2, 2):
        replay = Replay(lambda inputs, _, d=d: inputs["x"] * entries(d, found)[1].sum())
        expected = entries(d, found)[1].sum()
        for factor in (1.0, 2.0):
            x = torch.full((), factor, dtype=torch.float64)
            assert torch.equal(replay({"x": x}), x * expected)


@pytest.mark.parametrize("group", GROUPS)
def test_replays_give_what_plain_calls_give(group):
    plan = tensor_plan(group, 2, 2)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(len(plan), 3, 2, generator=generator)
    replay = Replay(lambda inputs, _: tensor_map(inputs["x"], weights, plan), lambda: [weights])
    for _ in range(3):
        x = torch.randn(2, 2, plan.n, plan.n, generator=generator)
        found = replay({"x": x}).clone()
        torch.testing.assert_close(found, tensor_map(x, weights, plan))
    assert replay.recordings == 1
