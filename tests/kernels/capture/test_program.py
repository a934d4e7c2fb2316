"""A replay repeats the recorded operations on new values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geomlib.kernels import recording
from geomlib.kernels.capture import CaptureError, Replay, capture, round_up
from geomlib.kernels.capture.memory import arrange
from geomlib.kernels.capture.tape import leaves

torch.manual_seed(0)


def layer_norm_force_loss(x, net):
    """A loss of a gradient: every operator of two backward passes."""
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        energy = net(y).sin().sum() + y.prod(1).exp().sum()
        (g,) = torch.autograd.grad(energy, y, create_graph=True)
        loss = g.square().mean() + energy
        return {"loss": loss.detach(), "grads": list(torch.autograd.grad(loss, list(net.parameters())))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_backward_passes_are_replayed(dtype):
    net = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 3), nn.Softplus()).to(dtype)
    x = torch.randn(5, 4, dtype=dtype)
    program = capture(lambda: layer_norm_force_loss(x, net))
    # While a mode listens, autograd takes its out-of-place formulas: equal up to rounding.
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-14}
    for _ in range(3):
        with torch.no_grad():
            x.normal_()
            for p in net.parameters():
                p.add_(0.1 * torch.randn_like(p))
        expected, found = layer_norm_force_loss(x, net), program()
        for a, b in zip(leaves(expected), leaves(found), strict=True):
            torch.testing.assert_close(a, b, **close)
        first = [t.clone() for t in leaves(found)]
        assert all(torch.equal(a, b) for a, b in zip(first, leaves(program()), strict=True))


def unusual(x, index):
    """Operators without an out form, with several results, in place, of integers, on views, with scalars."""
    total = torch.zeros(6, dtype=x.dtype)
    total.index_add_(0, index, x[:, 0])
    buffer = torch.empty_like(x)
    buffer.copy_(x.T.contiguous().T)
    buffer[1:3] *= 2.0
    values, places = x.sort(dim=1)
    top = torch.where(x > 0, x, torch.zeros_like(x)).cumsum(0)
    mean, variance = torch.var_mean(x, dim=0)
    pieces = torch.cat([x, buffer]).chunk(2)
    ones = torch.ones(3)[None].expand(2, 3).sum()
    return [
        total,
        buffer,
        values,
        places,
        top,
        mean,
        variance,
        pieces[1],
        ones,
        x.to(torch.float64),
        x.t(),
        -x,
    ]


def test_unusual_operators():
    x, index = torch.randn(4, 3), torch.tensor([0, 5, 5, 2])
    program = capture(lambda: unusual(x, index))
    for _ in range(3):
        x.normal_()
        index.random_(0, 6)
        for k, (a, b) in enumerate(zip(unusual(x, index), program(), strict=True)):
            assert torch.equal(a, b), k
            assert a.shape == b.shape and a.dtype == b.dtype and a.stride() == b.stride()


def test_shapes_without_elements():
    x = torch.randn(0, 3)
    program = capture(lambda: (x @ torch.ones(3, 2), x.sum(0), torch.cat([x, x])))
    out = program()
    assert out[0].shape == (0, 2) and torch.equal(out[1], torch.zeros(3)) and out[2].shape == (0, 3)


def test_what_depends_on_no_input_is_not_repeated_and_dead_code_is_dropped():
    x = torch.randn(3)

    def function():
        table = torch.arange(3.0).exp()  # always the same
        _ = x.cos().sin()  # never read
        return x * table

    program = capture(function)
    assert program.num_calls == 1
    x.fill_(2.0)
    torch.testing.assert_close(program(), 2.0 * torch.arange(3.0).exp())


def test_memory_is_shared_between_intermediates():
    x = torch.randn(1000)

    def function():
        y = x
        for _ in range(20):
            y = (y + 1.0).tanh()
        return y

    program = capture(function)
    assert program.arena_bytes <= 3 * 4096
    assert torch.equal(program(), function())


def test_changes_of_outside_tensors_happen_in_every_replay():
    count, x = torch.zeros(()), torch.randn(2)

    def function():
        count.add_(1.0)
        return x + count

    program = capture(function)
    program()
    assert float(count) == 2.0 and torch.equal(program(), x + 3.0)


@pytest.mark.parametrize(
    "function",
    [lambda: X.sum().item(), lambda: X if X.sum() > 0 else -X, lambda: X[X > 0], lambda: X.nonzero()],
)
def test_reading_a_value_is_refused(function):
    with pytest.raises(CaptureError, match="reads a value"):
        capture(function)
    assert recording.active() is None


X = torch.randn(4)


@pytest.mark.parametrize("draw", [lambda: torch.rand(3), lambda: nn.functional.dropout(X, 0.5)])
def test_random_numbers_are_refused(draw):
    with pytest.raises(CaptureError, match="random"):
        capture(draw)


def test_recordings_do_not_nest():
    with pytest.raises(RuntimeError, match="do not nest"):
        capture(lambda: capture(lambda: X + 1)())
    assert recording.active() is None


def test_an_error_inside_ends_the_recording():
    with pytest.raises(ZeroDivisionError):
        capture(lambda: 1 / 0)
    assert recording.active() is None
    assert torch.equal(capture(lambda: X + 1)(), X + 1)


def test_compiled_loops_are_replayed():
    pytest.importorskip("numba")
    from geomlib.kernels.cartesian import cpu

    x = torch.randn(9, 4, 3)
    constants = torch.tensor([0.5**0.5, 3**-0.5, (2 / 3) ** 0.5, 1.5**0.5, 0.5, 1 / 3]).numpy()

    def function():
        y = 2 * x
        out = torch.empty_like(y)
        cpu.normalize(constants, y.numpy(), out.numpy())
        return out + 1

    program = capture(function)
    x.normal_()
    assert torch.equal(program(), function())
    assert program.num_calls == 3


def test_checks_run_after_every_replay():
    seen = []
    x = torch.ones(2)

    def function():
        y = x * 3
        recording.deferred(lambda t: seen.append(float(t.sum())), y)
        return y.sum()

    program = capture(function)
    assert seen == []
    program()
    x.fill_(2.0)
    program()
    assert seen == [6.0, 12.0]
    function()
    assert seen[-1] == 12.0 and len(seen) == 3


spans = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 20), st.integers(0, 20)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(spans)
def test_arena_never_overlaps_what_lives_together(items):
    lifetimes = {k: (size, min(a, b), max(a, b)) for k, (size, a, b) in enumerate(items)}
    offsets, total = arrange(lifetimes)
    for k, (size, first, last) in lifetimes.items():
        assert offsets[k] % 64 == 0 and offsets[k] + size <= total
        for n, (other, a, b) in lifetimes.items():
            if n != k and size and other and first <= b and a <= last:
                assert offsets[k] + size <= offsets[n] or offsets[n] + other <= offsets[k]


def test_one_recording_per_shape_and_the_oldest_goes():
    replay = Replay(lambda inputs, key: inputs["x"] * key, limit=2)
    for n in (1, 2, 1, 2, 3, 1):
        x = torch.randn(n)
        assert torch.equal(replay({"x": x}, key=3), 3 * x)
    assert replay.recordings == 4 and replay.seconds > 0  # 1, 2, 3, and 1 again: 3 pushed it out
    assert torch.equal(replay({"x": x}, key=5), 5 * x) and replay.recordings == 5


def test_state_that_moved_is_recorded_again():
    weight = nn.Parameter(torch.ones(3))
    replay = Replay(lambda inputs, key: (inputs["x"] * weight).detach(), lambda: [weight])
    x = torch.randn(3)
    assert torch.equal(replay({"x": x}), x)
    with torch.no_grad():
        weight.mul_(2.0)
    assert torch.equal(replay({"x": x}), 2 * x) and replay.recordings == 1
    weight.data = torch.full((3,), 5.0)
    assert torch.equal(replay({"x": x}), 5 * x) and replay.recordings == 2


@given(st.integers(0, 100_000))
def test_sizes_grow_little(n):
    size = round_up(n)
    assert n <= size <= max(n + 7, int(n * 1.0625) + 1) and round_up(size) == size


def test_few_sizes():
    assert len({round_up(n) for n in range(200, 400)}) <= 20
