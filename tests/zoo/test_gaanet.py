"""GAANet: order of points, masks, the three origins, labels, symmetry of every read-out, learning, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.datasets import load
from geomlib.datasets.nacl import make_nacl, make_nacl_blank
from geomlib.verify import check
from geomlib.zoo import GAANet

VARIANTS = {
    "classes": {},
    "rank 3": {"rank": 3, "merge_fun": "concat", "invariant_mode": "full"},
    "normalized": {"include_normalized_products": True, "last_rank": 1, "join_fun": "concat"},
    "vector": {"read_out": "vector", "covariant_mode": "partial"},
    "one vector": {"read_out": "vector", "last_rank": 1},
    "labels": {"read_out": "vector", "labels": 3},
    "center": {"origin": "center", "read_out": "vector", "merge_fun": "concat"},
    "forces": {"origin": "points", "read_out": "vector", "last_rank": 1},
    "points": {"origin": "points"},
}


def model(name: str, dim: int = 5) -> GAANet:
    torch.manual_seed(0)
    return GAANet(features=4, outputs=3, dim=dim, **{"layers": 1, **VARIANTS[name]}).double()


def inputs(name: str, points: int = 4, samples: int = 3) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    sizes = {"pos": (points, 3), "x": (points, 4)} | ({"label": (2, 3)} if name == "labels" else {})
    return {k: torch.randn(samples, *s, generator=g, dtype=torch.float64) for k, s in sizes.items()}


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", VARIANTS)
def test_symmetry_is_as_declared(name):
    net = model(name)
    report = check(net, example=inputs(name), trials=6, stress=False)
    assert report.verdict == "EXACT", report
    assert all(seen > 1e3 for seen in report.breaks.values())
    # Covariants of pairs are pseudovectors; even weights let only vectors be left of them.
    groups = {"rank 3": "SO(3)", "center": "SE(3)", "forces": "E(3)", "points": "E(3)"}
    assert net.symmetry.group == f"{groups.get(name, 'O(3)')}*S_n"


@pytest.mark.parametrize("name", VARIANTS)
def test_order_of_points_and_samples(name):
    net, data = model(name), inputs(name)
    order = torch.tensor([2, 0, 3, 1])
    moved = {k: v[:, order] if k != "label" else v for k, v in data.items()}
    out = net(**data)
    close(net(**moved), out[:, order] if name == "forces" else out)
    alone = torch.cat([net(**{k: v[i : i + 1] for k, v in data.items()}) for i in range(3)])
    close(alone, out)
    wanted = {
        "vector": (3, 3),
        "one vector": (3, 3),
        "labels": (3, 2, 3),
        "center": (3, 3),
        "forces": (3, 4, 3),
    }
    assert tuple(out.shape) == wanted.get(name, (3, 3))


@pytest.mark.parametrize("name", VARIANTS)
def test_masked_points_are_not_there(name):
    net, data = model(name), inputs(name)
    filled = {
        k: torch.cat([v, torch.full_like(v[:, :2], 1e3)], 1) if k != "label" else v for k, v in data.items()
    }
    mask = torch.tensor([True] * 4 + [False] * 2).expand(3, 6)
    out = net(**filled, mask=mask)
    if name == "forces":
        assert not bool(out[:, 4:].any())
        out = out[:, :4]
    close(out, net(**data))


def test_config_builds_the_same_model():
    for name in VARIANTS:
        net = model(name)
        again = create_model(**net.config).double()
        again.load_state_dict(net.state_dict())
        close(again(**inputs(name)), net(**inputs(name)))


def test_gradients():
    for name in ("classes", "vector", "forces"):
        net, data = model(name, dim=3), inputs(name, points=3, samples=1)
        x = data["x"]
        assert torch.autograd.gradcheck(lambda pos, net=net, x=x: net(pos, x), data["pos"].requires_grad_())


def train(net, data, target, loss, steps, lr=5e-3):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    data = {k: v.float() if v.is_floating_point() else v for k, v in data.items()}
    for _ in range(steps):
        i = torch.randint(0, len(data["pos"]), (32,))
        optimizer.zero_grad()
        loss(net(data["pos"][i], data["x"][i]), data[target][i]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@pytest.mark.slow
def test_squished_environments_are_told_apart():
    """The trivial predictors are right in one of two and in five of six."""
    torch.manual_seed(0)
    net = GAANet(features=4, outputs=2, dim=16, layers=1)
    train(net, make_nacl(512, 0), "label", torch.nn.functional.cross_entropy, 500, lr=3e-3)
    test = make_nacl(2048, 2)
    with torch.no_grad():
        found = net(test["pos"].float(), test["x"].float()).argmax(-1)
    assert float((found == test["label"]).double().mean()) > 0.95


def test_vectors_are_learned():
    """A third of the error of the vector zero, 0.69, after 80 steps with vectors of single points."""
    torch.manual_seed(0)
    net = GAANet(features=4, dim=12, layers=1, read_out="vector", last_rank=1)
    train(net, make_nacl_blank(512, 0), "missing", torch.nn.functional.mse_loss, 80, lr=1e-2)
    test = make_nacl_blank(512, 2)
    with torch.no_grad():
        error = (net(test["pos"].float(), test["x"].float()) - test["missing"]).square().mean()
    assert float(error) < 0.25


@pytest.mark.slow
def test_forces_of_a_molecule_are_learned():
    """Whether vectors of pairs can be forces at all: a quarter less error than no force after 600 steps."""
    data = load("ethanol")
    pos, forces, z = data.pos.view(-1, 9, 3).float(), data.forces.view(-1, 9, 3).float(), data.z.view(-1, 9)
    x = torch.nn.functional.one_hot(torch.bucketize(z, torch.tensor([1, 6, 8])), 3).float()
    order = torch.randperm(len(pos), generator=torch.Generator().manual_seed(0))
    learn, ask = order[:1000], order[1000:]
    scale = forces[learn].square().mean().sqrt()
    torch.manual_seed(0)
    net = GAANet(features=3, dim=32, layers=1, origin="points", read_out="vector", merge_fun="concat", join_fun="concat",
                 invariant_mode="full", include_normalized_products=True)  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=600, pct_start=0.1)
    for _ in range(600):
        i = learn[torch.randint(0, len(learn), (16,))]
        optimizer.zero_grad()
        (net(pos[i], x[i]) - forces[i] / scale).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        error = scale * net.eval()(pos[ask], x[ask]) - forces[ask]
    assert float(error.square().mean().sqrt()) < 0.75 * float(forces[ask].square().mean().sqrt())


def test_misuse():
    net, data = model("classes"), inputs("classes")
    for bad, text in [
        (lambda: net(data["pos"][..., :2], data["x"]), "`pos` has shape"),
        (lambda: net(data["pos"], data["x"][:, :3]), "`x` has shape"),
        (lambda: net(data["pos"].float(), data["x"]), "Cast one"),
        (lambda: net(**data, label=data["x"]), "`label` is given"),
        (lambda: model("labels")(**data), "`label` is missing"),
        (lambda: GAANet(origin="centre"), "Did you mean 'center'"),
        (lambda: GAANet(read_out="vectors"), "read_out='vectors'"),
        (lambda: GAANet(labels=3), "read_out='vector'"),
        (lambda: GAANet(dim=0), "dim=0"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            bad()
