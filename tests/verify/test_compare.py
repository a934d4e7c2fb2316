"""Certificates: every classical mistake of a fast kernel is seen, and none in a kernel that only rounds differently."""

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from geomlib import verify
from geomlib.errors import InvalidInput


def reference(x, y):
    r"""Sum over columns of x^3 y: every derivative is different and none of them vanishes."""
    return (x.pow(3) * y).sum(-1)


def made(rows, generator):
    return {name: torch.randn(rows, 4, generator=generator) for name in ("x", "y")}


def kernel(forward=None, first=None, second=None):
    """Return the reference as hand-written kernels, with parts exchanged by faulty ones."""
    forward = forward or (lambda x, y: (x * x * x * y).sum(-1))
    first = first or (lambda g, x, y: (3 * g[:, None] * x * x * y, g[:, None] * x * x * x))
    second = second or (
        lambda a, b, g, x, y: (
            (a * 3 * x * x * y + b * x * x * x).sum(-1),
            g[:, None] * (a * 6 * x * y + b * 3 * x * x),
            g[:, None] * a * 3 * x * x,
        )
    )

    class Value(Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return forward(x, y)

        @staticmethod
        def backward(ctx, grad):
            return Gradient.apply(grad, *ctx.saved_tensors)

    class Gradient(Function):
        @staticmethod
        def forward(ctx, grad, x, y):
            ctx.save_for_backward(grad, x, y)
            return first(grad, x, y)

        @staticmethod
        def backward(ctx, a, b):
            return second(a, b, *ctx.saved_tensors)

    return Value.apply


def contiguous_only(x):
    """Read the memory of a tensor as if its rows lay one behind the other."""
    return x.detach().as_strided(x.shape, torch.empty(x.shape).stride()) if x.numel() else x


class Once(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return (x * x * x * y).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return 3 * grad[:, None] * x * x * y, grad[:, None] * x * x * x


def in_place(x, y):
    with torch.no_grad():
        x.data.add_(1e-3)
    return reference(x, y)


def one_row(x, y):
    return reference(x, y) if len(x) != 1 else 2 * reference(x, y)


def not_empty(x, y):
    if not len(x):
        raise RuntimeError("a grid of zero blocks")
    return reference(x, y)


def odd_sizes(x, y):
    out = reference(x, y)
    return out if len(x) % 2 == 0 or len(x) < 3 else torch.cat([out[:-1], 0 * out[-1:]])


def twisted(grad, x, y):
    """Assume that both gradients are always wanted together: exchange them where one is missing."""
    return (3 * grad[:, None] * x * x * y).flip(0), grad[:, None] * x * x * x


def tangent_of_ones(a, b, g, x, y):
    """A backward that reads the first tangent for all of them."""
    a = a[:1].expand_as(a)
    return (
        (a * 3 * x * x * y + b * x * x * x).sum(-1),
        g[:, None] * (a * 6 * x * y + b * 3 * x * x),
        g[:, None] * a * 3 * x * x,
    )


FAULTS = {
    "value off by 1e-5": (lambda x, y: (1 + 1e-5) * reference(x, y), "forward"),
    "value off by 1e-12 in float64": (lambda x, y: reference(x, y) * (1 + 1e-12), "forward"),
    "float32 inside float64": (lambda x, y: reference(x.float(), y.float()).to(x), "forward"),
    "sign of a gradient": (kernel(first=lambda g, x, y: (-3 * g[:, None] * x * x * y, g[:, None] * x**3)), "backward"),
    "rows of a gradient exchanged": (kernel(first=twisted), "backward"),
    "factor in the double backward": (
        kernel(second=lambda a, b, g, x, y: (0 * g, 0 * x, g[:, None] * a * 3 * x * x)), "double backward"),
    "one tangent read for all": (kernel(second=tangent_of_ones), "double backward"),
    "strides ignored": (kernel(forward=lambda x, y: reference(contiguous_only(x), y)), "gaps in memory"),
    "strides of the gradient ignored": (
        kernel(first=lambda g, x, y: (3 * contiguous_only(g)[:, None] * x * x * y, contiguous_only(g)[:, None] * x**3)),
        "gaps in memory",
    ),
    "no second derivative": (Once.apply, "double backward"),
    "detached": (lambda x, y: reference(x, y.detach()), "backward"),
    "no gradient at all": (lambda x, y: reference(x, y).detach(), "backward"),
    "changes its input": (in_place, "modified in place"),
    "fails without rows": (not_empty, "zero blocks"),
    "wrong for one row": (one_row, "rows 1 "),
    "last row of odd sizes": (odd_sizes, "rows 7 "),
    "NaN becomes a number": (lambda x, y: reference(x.nan_to_num(), y.nan_to_num()), "NaN in x"),
    "NaN in one row spoils all": (lambda x, y: reference(x, y) + 0 * x.sum(), "NaN in x"),
    "another type": (lambda x, y: reference(x, y).double(), "is torch.float64"),
    "another shape": (lambda x, y: reference(x, y)[:, None], "has shape"),
    "another name": (lambda x, y: {"a": reference(x, y)}, "returns ['a']"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_seen(name):
    faulty, evidence = FAULTS[name]
    certificate = verify.compare(faulty, reference, made)
    assert not certificate.ok and certificate.failures, str(certificate)
    assert evidence in str(certificate) or any(evidence in (r.kind, r.case) for r in certificate.failures)
    assert str(certificate).startswith("DIFFERENT")
    with pytest.raises(AssertionError, match="DIFFERENT"):
        certificate.raise_if_failed()


def test_the_fault_and_nothing_else_fails():
    certificate = verify.compare(FAULTS["sign of a gradient"][0], reference, made)
    assert {r.kind for r in certificate.failures} == {"backward"}
    certificate = verify.compare(FAULTS["one tangent read for all"][0], reference, made)
    assert {r.kind for r in certificate.failures} == {"double backward"}
    certificate = verify.compare(one_row, reference, made)
    assert {r.case for r in certificate.failures} == {"rows 1"}


def chunked(x, y):
    """The same sums in another order."""
    return (x * y * x * x).flip(-1).cumsum(-1)[..., -1]


TWINS = {
    "itself": reference,
    "by hand": kernel(),
    "another order": chunked,
    "another formula": lambda x, y: torch.einsum("ni,ni,ni,ni->n", x, x, x, y),
    "in blocks": lambda x, y: torch.cat([reference(*p) for p in zip(x.split(3), y.split(3), strict=True)]),
}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", TWINS)
def test_correct_twins_are_certified(name, scale):
    twin = TWINS[name]
    certificate = verify.compare(
        lambda x, y: scale * twin(x, y), lambda x, y: scale * reference(x, y), made
    ).raise_if_failed()
    assert str(certificate).startswith("CERTIFIED")
    assert {r.kind for r in certificate.rows} == {"forward", "backward", "double backward"}
    assert {"rows 0", "rows 1", "gaps in memory", "expanded gradient", "only x wants a gradient"} <= {
        r.case for r in certificate.rows
    }
    assert {r.dtype for r in certificate.rows} == {"float32", "float64"}


def test_the_tolerance_is_the_round_off_of_the_reference():
    """A reference that cancels digits earns its kernel a wider tolerance, measured, not chosen."""

    def cancelling(x, y):
        return ((x + 1e3) - 1e3) * y

    exact = verify.compare(lambda x, y: x * y, lambda x, y: (x * y).clone(), made)
    loose = verify.compare(lambda x, y: ((x + 1e3) - 1e3) * y.clone(), cancelling, made)
    assert exact.ok and loose.ok
    assert loose.round_off["forward"] > 100 * exact.round_off["forward"]
    row = next(r for r in exact.rows if r.dtype == "float64" and r.kind == "forward")
    assert row.allowed == 16 * max(exact.round_off["forward"], 2.0**-24) * 2.0**-29


def test_several_outputs_constants_and_static_arguments():
    def two(x, weight, power):
        return {"a": x.pow(power) * weight, "b": (x * weight).sum(-1)}

    def inputs(rows, generator):
        return {
            "x": torch.randn(rows, 3, generator=generator),
            "weight": torch.rand(3, generator=generator),
            "power": 2,
        }

    certificate = verify.compare(two, lambda **k: two(**k), inputs, constants=("weight",))
    assert certificate.ok
    assert {"only output a is used", "only output b is used"} <= {r.case for r in certificate.rows}
    # A kernel that divides by the gradient of an output that is not there.
    wrong = verify.compare(
        lambda x, weight, power: {"a": x.pow(power) * weight, "b": (x * weight).sum(-1) * (1 + 1e-3 * x.detach().sum())},
        two, inputs, constants=("weight",),
    )  # fmt: skip
    assert not wrong.ok
    # Fixed arguments whose tensors share no axis: one size, and it is said.
    fixed = verify.compare(two, two, inputs(5, torch.Generator().manual_seed(0)), constants=("weight",))
    assert fixed.ok and "sizes:" in str(fixed)


def test_fixed_inputs_are_sliced_along_the_axis_they_share():
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    certificate = verify.compare(reference, reference, (x, x + 1))
    assert {f"rows {n}" for n in (0, 1, 2, 7, 9)} <= {r.case for r in certificate.rows}
    assert not verify.compare(one_row, reference, (x, x + 1)).ok
    assert verify.compare(lambda x: x.square(), lambda x: x * x, x).ok


def test_fewer_derivatives_promised():
    assert verify.compare(Once.apply, reference, made, derivatives=1).ok
    assert verify.compare(lambda x, y: reference(x, y).detach(), reference, made, derivatives=0).ok


def test_shapes_beyond_two_to_the_31():
    def narrow(x, y):
        if x.numel() > 2**31 - 1:
            raise OverflowError("int32 index")
        return reference(x, y)

    certificate = verify.compare(narrow, reference, made)
    assert [r.case for r in certificate.failures] == ["2^31 elements, shapes"]

    def refuses(x, y):
        if x.numel() > 2**31 - 1:
            raise InvalidInput("too many elements for this kernel, use backend='torch'")
        return reference(x, y)

    assert verify.compare(refuses, reference, made).ok


def test_refusals_and_state():
    with pytest.raises(InvalidInput, match="no floating tensor"):
        verify.compare(reference, reference, {"x": torch.arange(3)})
    with pytest.raises(InvalidInput, match="the reference fails"):
        verify.compare(reference, not_empty, made)
    with pytest.raises(InvalidInput, match="zero on all inputs"):
        verify.compare(reference, lambda x, y: 0 * reference(x, y), made)
    with pytest.raises(InvalidInput, match="constants"):
        verify.compare(reference, reference, made, constants=("z",))
    with pytest.raises(InvalidInput, match="derivatives=3"):
        verify.compare(reference, reference, made, derivatives=3)
    with pytest.raises(InvalidInput, match="arguments by name"):
        verify.compare(reference, reference, 3)
    state = torch.random.get_rng_state()
    rows = [
        [(r.case, r.kind, r.ok) for r in verify.compare(kernel(), reference, made).rows] for _ in range(2)
    ]
    assert rows[0] == rows[1]
    assert torch.equal(state, torch.random.get_rng_state())
