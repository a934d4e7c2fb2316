"""CGENN models: the released n-body network, numbers of weights, symmetries by hand, extreme inputs, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.verify import check
from geomlib.zoo import CGENNO3, CGENNO5, CGENNHull, CGENNLorentz, CGENNNBody
from geomlib.zoo._samples import complete_graph
from tests.algebra.clifford.common import load

D = torch.float64
MODELS = [CGENNHull, CGENNLorentz, CGENNNBody, CGENNO3, CGENNO5]
BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")
every = pytest.mark.parametrize("cls", MODELS)


def example(cls, dtype=D):
    torch.manual_seed(0)
    model, inputs = cls.example(torch.Generator().manual_seed(0))
    return model.to(dtype), {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}


def close(a, b, tol):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(b.detach().abs().max())))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_released_nbody_network(backend):
    """Prediction, loss and all gradients of the reference code."""
    d = load("cgenn_nbody_model")
    model = CGENNNBody(hidden=6, layers=2, released=True).double()
    start = "model.param."
    model.load_state_dict({k.removeprefix(start): v for k, v in d.items() if k.startswith(start)})
    with use_backend(backend):
        out = model(d["loc"], d["vel"], d["charges"][..., 0])
        close(out.flatten(0, 1), d["loc_pred"], 1e-12)
        loss = (out - d["loc_end"]).square().mean()
        close(loss, d["loss"], 1e-12)
        loss.backward()
    for name, p in model.named_parameters():
        close(p.grad, d[f"model.grad.{name}"], 1e-10)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("cgenn_o3", {"hidden": 96, "released": True}, 48_913),
        ("cgenn_hull", {}, 58_849),
        ("cgenn_o5", {}, 344_077),
        ("cgenn_nbody", {}, 134_625),
    ],
)
def test_numbers_of_weights_are_those_of_the_paper(name, options, count):
    assert sum(p.numel() for p in create_model(name, **options).parameters()) == count


@pytest.mark.parametrize(
    "model",
    [
        lambda: CGENNHull(6, 4, 4, 2, released=True),
        lambda: CGENNO3(3, released=True),
        lambda: CGENNNBody(4, 1, 1, released=True),
    ],
)
def test_released_forms_are_exact(model):
    torch.manual_seed(0)
    net = model()
    inputs = type(net).example(torch.Generator().manual_seed(0))[1]
    assert check(net, example=inputs, trials=6, stress=False).verdict == "EXACT"


def test_the_released_hull_sees_where_the_origin_is():
    torch.manual_seed(0)
    net = CGENNHull(7, 4, 4, 2, released=True).double()
    pos = torch.randn(3, 7, 4, dtype=D)
    assert float((net(pos + 1) - net(pos)).detach().abs().max()) > 1e-3


def test_particles_may_come_in_any_order():
    order = torch.tensor([2, 0, 3, 1])
    model, inputs = example(CGENNNBody)
    moved = model(**{k: v[:, order] for k, v in inputs.items()})
    close(moved, model(**inputs)[:, order], 1e-12)
    model, inputs = example(CGENNLorentz)
    order = torch.tensor([2, 4, 0, 3, 1])
    close(model(**{k: v[:, order] for k, v in inputs.items()}), model(**inputs), 1e-12)


def test_padded_particles_change_nothing_whatever_they_hold():
    model, inputs = example(CGENNLorentz)
    want = model(**inputs)
    filled = inputs["momenta"].masked_fill(~inputs["mask"][..., None], float("nan"))
    close(model(filled, inputs["mask"]), want, 1e-12)
    close(model(inputs["momenta"][2:, :3]), want[2:], 1e-12)
    longer = torch.cat([inputs["momenta"], torch.randn(3, 4, 4, dtype=D)], 1)
    close(model(longer, torch.nn.functional.pad(inputs["mask"], (0, 4))), want, 1e-12)
    numbers = inputs["mask"].double()
    close(model(inputs["momenta"], numbers), want, 1e-14)


def test_a_jet_looks_the_same_from_a_moving_frame():
    """A boost along z and its invariants, written out."""
    model, inputs = example(CGENNLorentz)
    a = torch.tensor(0.8, dtype=D)
    boost = torch.eye(4, dtype=D)
    boost[0, 0] = boost[3, 3] = a.cosh()
    boost[0, 3] = boost[3, 0] = a.sinh()
    close(model(inputs["momenta"] @ boost, inputs["mask"]), model(**inputs), 1e-12)
    close(
        model(2 * inputs["momenta"], inputs["mask"]),
        CGENNLorentz.forward(_with_unit(model, 0.5), **inputs),
        1e-12,
    )


def _with_unit(model, unit):
    again = create_model(**{**model.config, "unit": unit}).double()
    again.load_state_dict(model.state_dict())
    return again


@every
def test_samples_do_not_see_each_other(cls):
    model, inputs = example(cls)
    together = model(**inputs)
    for b in range(len(together)):
        close(model(**{k: v[b : b + 1] for k, v in inputs.items()}), together[b : b + 1], 1e-12)
    none = model(**{k: v[:0] for k, v in inputs.items()})
    assert none.shape == (0, *together.shape[1:])


@every
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_zero_and_extreme_inputs_stay_finite(cls, dtype):
    model, inputs = example(cls, dtype)
    for factor in (0.0, 1e-20, 1e3):
        given = {k: (factor * v).requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
        out = model(**given)
        found = torch.autograd.grad(
            out.sum(), [*(v for v in given.values() if v.requires_grad), *model.parameters()]
        )
        assert bool(torch.isfinite(out).all()) and all(bool(torch.isfinite(g).all()) for g in found)


@every
def test_strides_change_nothing(cls):
    model, inputs = example(cls)
    spread = {k: torch.stack([v] * 2, -1)[..., 1] for k, v in inputs.items()}
    close(model(**spread), model(**inputs), 1e-14)


def compiled_models():
    return [
        pytest.param(cls, marks=[pytest.mark.slow] if cls in (CGENNLorentz, CGENNNBody) else [])
        for cls in MODELS
    ]


@pytest.mark.parametrize("cls", compiled_models())
def test_compiles_in_one_graph(cls):
    model, inputs = example(cls, torch.float32)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    close(compiled(**inputs), model(**inputs), 1e-5)


def test_alone_in_space():
    model, _ = example(CGENNNBody)
    x = torch.randn(2, 1, 3, dtype=D)
    assert model(x, x, torch.ones(2, 1, dtype=D)).shape == x.shape


def test_shift_and_scale_of_the_target():
    pos = torch.randn(4, 2, 5)
    for cls, x in ((CGENNO5, pos), (CGENNHull, torch.randn(4, 16, 5))):
        net = cls()
        moved = cls(shift=3.0, scale=2.0)
        moved.load_state_dict(net.state_dict())
        torch.testing.assert_close(moved(x), 3 + 2 * net(x))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_complete_graphs(n):
    found = complete_graph(3, n, torch.device("cpu")).T.tolist()
    want = {(b * n + i, b * n + j) for b in range(3) for i in range(n) for j in range(n) if i != j}
    assert len(found) == len(want) and {tuple(e) for e in found} == want


@every
def test_misuse(cls):
    model, inputs = example(cls)
    first = next(iter(inputs))
    with pytest.raises(InvalidInput, match=f"`{first}` has shape"):
        model(**{**inputs, first: inputs[first][..., :2]})
    with pytest.raises(InvalidInput, match=f"`{first}` has shape"):
        model(**{**inputs, first: inputs[first][0]})
    with pytest.raises(InvalidInput, match="Cast one"):
        model(**{**inputs, first: inputs[first].float()})


def test_more_misuse():
    with pytest.raises(InvalidInput, match="layers=1"):
        CGENNO3(layers=1)
    with pytest.raises(InvalidInput, match="the released network has 2"):
        CGENNO3(layers=3, released=True)
    with pytest.raises(InvalidInput, match="unit=0"):
        CGENNLorentz(unit=0)
    model, inputs = example(CGENNLorentz)
    with pytest.raises(InvalidInput, match="`mask` has shape"):
        model(inputs["momenta"], inputs["mask"][:, :2])
    model, inputs = example(CGENNNBody)
    with pytest.raises(InvalidInput, match="`charge` has shape"):
        model(**{**inputs, "charge": inputs["charge"][..., None]})
