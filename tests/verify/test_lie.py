"""Errors per generator: the direction in which a function is not equivariant, also where forward mode lies."""

import itertools

import pytest
import torch

from geomlib import create_model, verify
from geomlib.errors import InvalidInput

TWO = ("vector", "vector")
ROTATIONS = ("Rx", "Ry", "Rz")
#: Round-off of a forward derivative.
ROUND_OFF = 1e-14


def leak(v):
    """A vector whose z component grows: turns about z are fine."""
    return v + 0.4 * v[:, 2:] * torch.tensor([0.0, 0.0, 1.0]).to(v)


def failing(errors):
    assert set(errors.failing) == {name for name, error in errors.items() if error > 1e-7}
    return set(errors.failing)


def test_a_leak_along_z():
    errors = verify.lie(leak, "SO(3)", "vector", "vector")
    assert failing(errors) == {"Rx", "Ry"} and errors["Rz"] < ROUND_OFF
    assert not errors.ok and "Rx, Ry fail; Rz hold" in str(errors)


@pytest.mark.parametrize("axis", range(3))
def test_the_size_of_the_leak_is_measured(axis):
    """d/dt of A exp(tX) v - exp(tX) A v at v, by hand."""
    a = torch.eye(3, dtype=torch.float64)
    a[axis, axis] = 1.4
    v = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    errors = verify.lie(lambda x: x @ a, "SO(3)", "vector", "vector", example={"0": v}, points=1)
    for name, (i, j) in zip(ROTATIONS, [(1, 2), (2, 0), (0, 1)], strict=True):
        x = torch.zeros(3, 3, dtype=torch.float64)
        x[j, i], x[i, j] = 1.0, -1.0
        moved, turned = v @ x.T @ a, v @ a @ x.T
        expected = (moved - turned).norm() / max((v @ a).norm(), moved.norm(), turned.norm())
        assert errors[name] == pytest.approx(float(expected), rel=1e-12, abs=1e-15)


def test_missing_centring_shows_in_the_translations_alone():
    errors = verify.lie(lambda pos: pos - 0.9 * pos.mean(0), "E(3)", {"pos": "point"}, "node:vector")
    assert failing(errors) == {"Tx", "Ty", "Tz"} and "not centred" in errors.reading
    assert verify.lie(lambda pos: pos - pos.mean(0), "E(3)", {"pos": "point"}, "node:vector").ok


def test_componentwise_functions_keep_the_cube():
    errors = verify.lie(torch.tanh, "O(3)", "vector", "vector")
    assert failing(errors) == set(ROTATIONS) and errors["mirror x"] < ROUND_OFF
    assert "equivariant for the cubic group, not for SO(3)" in errors.reading
    errors = verify.lie(lambda v: v + v[:, [1, 2, 0]] * v.norm(), "SO(3)", "vector", "vector")
    assert "cubic" not in errors.reading and failing(errors)


def test_parity_needs_the_discrete_element():
    errors = verify.lie(torch.linalg.cross, "O(3)", TWO, "vector")
    assert failing(errors) == {"mirror x"}
    assert max(errors[name] for name in ROTATIONS) < ROUND_OFF and errors["mirror x"] == pytest.approx(2.0)
    assert "parity label" in errors.reading
    assert verify.lie(torch.linalg.cross, "O(3)", TWO, "pseudovector").ok


@pytest.mark.parametrize(
    ("layer", "group", "inputs", "outputs"),
    [
        (lambda x: x * x.norm(dim=-1, keepdim=True), "O(3)", "vector", "vector"),
        (lambda x, y: x[:, :, None] * y[:, None], "O(3)", TWO, "tensor(2)"),
        (lambda x: x.square().sum(-1), "O(3)", "vector", "scalar"),
        (lambda x: {"a": 2 * x, "b": x.norm(dim=-1)}, "SO(3)", "4x2e+1x1o", {"a": "4x2e+1x1o"}),
        (lambda x: x.softmax(0), "S_n", "node:scalar", "node:scalar"),
    ],
)
def test_exact_layers(layer, group, inputs, outputs):
    errors = verify.lie(layer, group, inputs, outputs)
    assert errors.ok and max(errors.values()) < ROUND_OFF, str(errors)


def test_other_groups():
    generator = torch.Generator().manual_seed(0)
    x = {"x": torch.randn(6, 4, generator=generator)}
    metric = torch.tensor([1.0, -1.0, -1.0, -1.0]).double()
    good = verify.lie(
        lambda x: x * (x * metric * x).sum(-1, keepdim=True), "O(1,3)", {"x": "vector"}, "vector", example=x
    )
    assert good.ok, str(good)
    bad = verify.lie(
        lambda x: x * x.norm(dim=-1, keepdim=True), "O(1,3)", {"x": "vector"}, "vector", example=x
    )
    assert {name[0] for name in failing(bad)} == {"K"}  # rotations keep the Euclidean norm, boosts do not
    order = verify.lie(lambda x: x.cumsum(0), "S_n", "node:scalar", "node:scalar")
    assert failing(order) == {"transposition", "n-cycle"}


class OnlyBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0].tanh() ** 2)


@pytest.fixture(scope="module")
def silent():
    """An operator of torch.library with a backward and no forward rule: its tangent is zero, without a word."""
    operator = torch.library.custom_op(
        "geomlib_tests::tanh", lambda x: x.tanh(), mutates_args=(), schema="(Tensor x) -> Tensor"
    )
    operator.register_autograd(
        lambda ctx, grad: grad * (1 - ctx.out**2),
        setup_context=lambda ctx, inputs, output: setattr(ctx, "out", output),
    )
    return operator


def test_forward_mode_gives_a_zero_tangent_and_is_not_believed(silent):
    x = torch.randn(4, 3, dtype=torch.float64)
    tangent = torch.func.jvp(silent, (x,), (torch.ones_like(x),))[1]
    assert torch.count_nonzero(tangent) == 0, "torch has learned to refuse: the trap is gone"
    errors = verify.lie(silent, "SO(3)", "vector", "vector")
    assert failing(errors) == set(ROTATIONS) and "silently zero" in errors.method
    assert "differences along the flow" in str(errors)
    # Beside a term with a proper tangent, the sum disagrees.
    errors = verify.lie(lambda v: v + silent(v), "SO(3)", "vector", "vector")
    assert failing(errors) == set(ROTATIONS) and "disagrees" in errors.method
    # An equivariant function made of it is not blamed.
    errors = verify.lie(lambda v: v * silent(v.norm(dim=-1, keepdim=True)), "SO(3)", "vector", "vector")
    assert errors.ok and "differences" in errors.method


def test_a_refusal_of_forward_mode_falls_back_to_differences():
    errors = verify.lie(OnlyBackward.apply, "O(3)", "vector", "vector")
    assert failing(errors) == set(ROTATIONS) and "forward mode is refused" in errors.method
    assert verify.lie(
        lambda v: v * OnlyBackward.apply(v.norm(dim=-1, keepdim=True)), "O(3)", "vector", "vector"
    ).ok


def test_both_methods_agree():
    forward = verify.lie(torch.tanh, "SO(3)", "vector", "vector")
    backward = verify.lie(OnlyBackward.apply, "SO(3)", "vector", "vector")
    assert "forward mode, compared" in forward.method
    assert all(forward[name] == pytest.approx(backward[name], rel=1e-6) for name in ROTATIONS)


@pytest.mark.parametrize("mode", ["O(3)", "SO(3)"])
def test_tensornet(mode):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("tensornet", channels=8, layers=1, group=mode).eval()
    errors = verify.lie(model, "E(3)*S_n")
    assert errors.ok == (mode == "O(3)"), str(errors)
    assert failing(errors) == (set() if errors.ok else {"mirror x"})
    assert {"Rx", "Tz", "n-cycle"} <= set(errors)


def test_an_error_in_any_output_counts():
    types = {"a": "vector", "b": "scalar"}
    sound = verify.lie(lambda v: {"a": v, "b": v.norm(dim=-1)}, "SO(3)", "vector", types)
    assert sound.ok
    for broken in ({"a": leak}, {"b": lambda v: v[:, 2]}):
        parts = {"a": lambda v: v, "b": lambda v: v.norm(dim=-1)} | broken

        def both(v, parts=parts):
            return {name: f(v) for name, f in parts.items()}

        assert failing(verify.lie(both, "SO(3)", "vector", types)) >= {"Rx", "Ry"}


def test_refusals_and_state():
    with pytest.raises(InvalidInput, match="no types are known for the outputs"):
        verify.lie(torch.tanh, "SO(3)", "vector")
    with pytest.raises(InvalidInput, match="points=0"):
        verify.lie(torch.tanh, "SO(3)", "vector", "vector", points=0)
    state = torch.random.get_rng_state()
    texts = {str(verify.lie(leak, "O(3)", "vector", "vector", seed=2)) for _ in range(2)}
    assert len(texts) == 1 and torch.equal(state, torch.random.get_rng_state())


def test_nothing_to_test_is_not_a_pass():
    one = {"x": torch.ones(1)}
    errors = verify.lie(lambda x: 2 * x, "S_n", {"x": "node:scalar"}, "node:scalar", example=one)
    assert not errors and not errors.ok and "nothing was tested" in str(errors)


def test_an_input_without_a_type_is_mentioned():
    inputs = {"0": torch.randn(4, 3), "1": torch.randn(4, 3)}
    errors = verify.lie(torch.linalg.cross, "SO(3)", {"0": "vector"}, "vector", example=inputs)
    assert not errors.ok and "`1`" in str(errors)


def test_linear_layers_are_certified_completely():
    """A linear map passes all generators and the mirror exactly where it commutes with the group."""
    generator = torch.Generator().manual_seed(0)
    for scalar, other in itertools.product((0.0, 1.0), repeat=2):
        a = 2.0 * torch.eye(3) + other * torch.randn(3, 3, generator=generator) * 1e-5 + scalar * torch.eye(3)
        errors = verify.lie(lambda v, a=a: v @ a.to(v), "O(3)", "vector", "vector")
        assert errors.ok == (other == 0.0)
