"""CSMPN: the reference's loss and gradients, symmetries, lifted sets, both outputs, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.datasets.tasks import Samples
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.verify import check
from geomlib.zoo.csmpn import CSMPN
from geomlib.zoo.lifted import LiftedSamples, lift_of, lifted_inputs
from tests.algebra.clifford.common import load

BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")
BONES = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 3], [3, 4]])


def close(a, b, tol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(b.detach().abs().max())))


def small(**options):
    """A model whose parameters are all random, in float64."""
    torch.manual_seed(0)
    model = CSMPN(**{"dim": 3, "channels": 3, "layers": 2, **options}).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def cloud(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
def test_hull_model_is_the_reference(backend):
    """The authors' checkpoint loads by its names, with the map that nobody reads; loss and all gradients agree."""
    d, start = load("csmpn_hull_model"), "model.param."
    model = CSMPN(5, 3, 1, safe=False, legacy_duplicates=True).double()
    model.load_state_dict({k.removeprefix(start): v for k, v in d.items() if k.startswith(start)})
    with use_backend(backend):
        squares = (model(d["pos"]) - d["target"]).square()
        close(squares, d["loss_per_graph"])
        names, parameters = zip(*model.named_parameters(), strict=True)
        grads = torch.autograd.grad(squares.mean(), parameters)
    close(squares.mean(), d["loss"])
    for name, g in zip(names, grads, strict=True):
        close(g, d[f"model.grad.{name}"], 1e-10)


def test_number_of_weights():
    """At the paper's setting the authors count 254,329: four are in the map that nobody reads."""
    assert sum(p.numel() for p in CSMPN().parameters()) == 254_329 - 4


def test_exact_in_five_dimensions():
    report = check(
        small(dim=5, channels=2, layers=1), example={"pos": cloud(1, 6, 5)}, trials=2, stress=False
    )
    assert report.verdict == "EXACT"


@pytest.mark.parametrize(
    "options",
    [{"lift": "rips", "distance": 1.5, "learned_kinds": True, "aggregation": "sum"}, {"lift": "bones"}],
    ids=["rips", "bones"],
)
def test_positions_follow(options):
    model = small(output="positions", velocities=True, **options)
    example = {"pos": cloud(2, 5, 3), "vel": cloud(2, 5, 3, seed=2)}
    if options["lift"] == "bones":
        example["bones"] = BONES.expand(2, -1, -1)
    assert check(model, example=example, trials=2, stress=False).verdict == "EXACT"


@pytest.mark.parametrize("lift", ["hull", "rips", "bones"])
@pytest.mark.parametrize("output", ["scalar", "positions"])
def test_order_of_points(lift, output):
    """Permuted points, with their bones, give the same number or the permuted positions; samples do not mix."""
    model = small(output=output, lift=lift, distance=1.5)
    x, order = cloud(3, 6, 3), torch.tensor([3, 5, 0, 1, 4, 2])
    bones = BONES.expand(3, -1, -1) if lift == "bones" else None
    moved = None if bones is None else order.argsort()[bones].flip(2)
    wanted, found = model(x, bones=bones), model(x[:, order], bones=moved)
    close(found, wanted if output == "scalar" else wanted[:, order])
    alone = [model(x[i : i + 1], bones=None if bones is None else bones[:1]) for i in range(3)]
    close(torch.cat(alone), wanted)
    assert float((wanted[0] - wanted[1]).detach().abs().max()) > 1e-4


def test_lifted_sets_are_the_points_lifted():
    for options in ({}, {"lift": "rips", "distance": 2.0, "legacy_duplicates": True}, {"lift": "bones"}):
        model = small(velocities=True, **options)
        samples = Samples(
            {
                "pos": cloud(7, 6, 3),
                "vel": cloud(7, 6, 3, seed=2),
                "bones": BONES.expand(7, -1, -1),
                "y": cloud(7),
            }
        )
        lifted = model.prepare(samples)
        assert isinstance(lifted, LiftedSamples) and len(lifted) == 7
        index = torch.tensor([5, 0, 5, 2])
        batch = lifted.batch(index)
        assert torch.equal(batch.pop("y"), samples.tensors["y"][index])
        bones = samples.tensors["bones"][index]
        close(model(**batch), model(samples.tensors["pos"][index], samples.tensors["vel"][index], bones))
    assert len(lifted.batch(torch.zeros(0, dtype=torch.int64))["edges"].T) == 0


def test_it_learns_areas():
    """Areas of hulls of six points in the plane: 60 steps take most of the variance of 48 samples away."""
    from scipy.spatial import ConvexHull

    torch.manual_seed(0)
    x = cloud(48, 6, 2)
    area = torch.tensor([ConvexHull(p.numpy()).volume for p in x], dtype=torch.float64)
    model = CSMPN(dim=2, channels=6, layers=1).double()
    inputs = lifted_inputs(lift_of("hull", x))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x, **inputs) - area).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * float(area.var())


def test_config_and_dtypes():
    model = small(output="positions", lift="rips", distance=1.0, learned_kinds=True, aggregation="sum")
    again = create_model(**model.config).double()
    again.load_state_dict(model.state_dict())
    x = cloud(2, 4, 3)
    assert torch.equal(again(x), model(x)) and again(x).dtype == torch.float64
    assert create_model(**model.config)(x.float()).dtype == torch.float32
    assert "E(3), rips -> positions" in repr(model)


def test_extreme_inputs_are_finite():
    model = small(lift="rips", distance=1.0)
    for x in (torch.zeros(2, 5, 3), 1e6 * cloud(2, 5, 3), 1e-12 * cloud(2, 5, 3)):
        x = x.double().requires_grad_()
        out = model(x)
        (grad,) = torch.autograd.grad(out.sum(), x)
        assert bool(torch.isfinite(out).all() and torch.isfinite(grad).all())
    assert model(torch.zeros(0, 5, 3).double()).shape == (0,)


@pytest.mark.slow
def test_compiled_without_graph_breaks():
    model = small(dim=2, channels=2, layers=1)
    x = cloud(2, 4, 2)
    inputs = lifted_inputs(lift_of("hull", x))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    out, wanted = compiled(x, **inputs), model(x, **inputs)
    close(out, wanted.detach(), 1e-13)
    a, b = (torch.autograd.grad(y.sum(), list(model.parameters())) for y in (out, wanted))
    for p, q in zip(a, b, strict=True):
        close(p, q, 1e-12)


def test_misuse():
    model = CSMPN(dim=3, channels=2, layers=1)
    x = torch.randn(2, 5, 3)
    with pytest.raises(InvalidInput, match=r"expected \(samples, points, 3\)"):
        model(x[0])
    with pytest.raises(InvalidInput, match="built without"):
        model(x, torch.randn(2, 5, 3))
    with pytest.raises(InvalidInput, match="pass all of"):
        model(x, edges=torch.tensor([[0], [1]]))
    with pytest.raises(InvalidInput, match="more than d points"):
        model(x[:, :3])
    moving = CSMPN(dim=3, channels=2, layers=1, velocities=True, lift="bones")
    with pytest.raises(InvalidInput, match="`vel` is missing"):
        moving(x)
    with pytest.raises(InvalidInput, match="`vel` has shape"):
        moving(x, x[:, :4])
    with pytest.raises(InvalidInput, match="needs `bones`"):
        moving(x, x)
    with pytest.raises(InvalidInput, match=r"outside 0\.\.4"):
        moving(x, x, torch.full((2, 1, 2), 5))
    for options, reason in (
        ({"output": "energy"}, "output='energy'"), ({"lift": "knn"}, "lift='knn'"), ({"layers": -1}, "layers=-1"),
        ({"lift": "rips"}, "distance"), ({"aggregation": "max"}, "aggregation"), ({"channels": 0}, "out_channels=0"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=reason):
            CSMPN(**options)
    with pytest.raises(InvalidInput, match="expected one of hull, rips, bones"):
        lift_of("knn", x)
    with pytest.raises(InvalidInput, match="distance"):
        lift_of("rips", x)
