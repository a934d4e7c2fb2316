"""Tensor networks of physics: symmetry for every group, a block by hand, what it learns at once, Hamilton's equations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.algebra.groups import metric, parse_group, symplectic_form
from geomlib.algebra.representations import act
from geomlib.algebra.types import parse_type
from geomlib.datasets.double_spring_pendulum import make_double_spring_pendulum, pendulum_energy
from geomlib.datasets.tasks import load_task
from geomlib.train.task_presets import TASK_PRESETS
from geomlib.verify import check
from geomlib.zoo import model_card
from geomlib.zoo.equivariant_tensor_net import EquivariantTensorNet
from geomlib.zoo.hamiltonian_tensor_net import HamiltonianTensorNet

CASES = {
    "O(5) scalar": ("O(5)", {"vectors": 2, "highest": 1}),
    "O(3) vector": ("O(3)", {"vectors": 2, "scalars": 1, "order": 1}),
    "O(3) three axes": ("O(3)", {"vectors": 2, "order": 3, "outputs": 2}),
    "SO(2)": ("SO(2)", {"vectors": 1, "order": 2}),
    "SO(3)": ("SO(3)", {"vectors": 2, "order": 1}),
    "SO(4)": ("SO(4)", {"vectors": 2, "order": 2}),
    "O(1,3) scalar": ("O(1,3)", {"vectors": 3}),
    "O(1,3) matrix": ("O(1,3)", {"vectors": 2, "matrices": 1, "order": 2}),
    "Sp(4) matrix": ("Sp(4)", {"vectors": 0, "matrices": 2, "order": 2}),
    "Sp(4,block)": ("Sp(4,block)", {"vectors": 1, "matrices": 1, "order": 1, "outputs": 3}),
}


def model(name, **options):
    torch.manual_seed(0)
    group, config = CASES[name]
    net = EquivariantTensorNet(group, **{"channels": 4, "hidden": 8, **config, **options})
    with torch.no_grad():  # the perceptrons start at zero
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.double()


def inputs(net, rows=3):
    made = net.example_inputs(torch.Generator().manual_seed(1), rows)
    return {k: v.double() for k, v in made.items()}


@pytest.mark.parametrize("name", CASES)
def test_symmetry_is_as_declared(name):
    net = model(name)
    report = check(net, example=inputs(net), trials=5, stress=False)
    assert report.verdict == "EXACT", report
    assert net.symmetry.group == f"{CASES[name][0]}*S_n"


@pytest.mark.parametrize(
    ("name", "wider", "component"),
    [
        ("SO(2)", "O(2)", "improper"), ("SO(3)", "O(3)", "improper"), ("SO(4)", "O(4)", "improper"),
        ("O(1,3) scalar", "O(4)", "proper"), ("Sp(4) matrix", "O(4)", "proper"), ("Sp(4,block)", "Sp(4)", "symplectic"),
    ],
)  # fmt: skip
def test_it_sees_what_the_group_may_see(name, wider, component):
    """Handedness for SO(n); which directions are time, and which form is kept."""
    net = model(name)
    x = inputs(net)
    kinds = {k: parse_type(v) for k, v in net.symmetry.inputs.items()}
    g = replace(
        parse_group(wider).sample(component, torch.Generator().manual_seed(3)),
        nodes=torch.arange(len(net(**x))),
    )
    moved = {k: act(kinds[k], g, v) for k, v in x.items()}
    found, want = net(**moved), act(net.symmetry.outputs, g, net(**x))
    assert float((found - want).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_config_weights_and_rows(name):
    net = model(name)
    x = inputs(net, rows=4)
    again = create_model(**net.config).double()
    again.load_state_dict(net.state_dict())
    out = net(**x)
    torch.testing.assert_close(again(**x), out, rtol=1e-12, atol=1e-14)
    alone = torch.cat([net(**{k: v[i : i + 1] for k, v in x.items()}) for i in range(4)])
    torch.testing.assert_close(alone, out, rtol=1e-11, atol=1e-13)
    assert net(**{k: v[:0] for k, v in x.items()}).shape == (0, *out.shape[1:])
    strided = {k: torch.stack([v, v], -1)[..., 0] for k, v in x.items()}
    torch.testing.assert_close(net(**strided), out, rtol=1e-12, atol=1e-14)
    loss = net(**x).square().sum()
    assert all(g is not None for g in torch.autograd.grad(loss, list(net.parameters())))


@pytest.mark.parametrize("name", ["O(5) scalar", "O(3) vector", "O(1,3) matrix", "Sp(4) matrix"])
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e4])
def test_zero_tiny_and_large_inputs(name, size):
    net = model(name).float()
    x = {k: (size * v).float().requires_grad_() for k, v in inputs(net).items()}
    out = net(**x)
    gradients = torch.autograd.grad(out.sum(), [*x.values(), *net.parameters()], allow_unused=True)
    assert bool(out.isfinite().all()) and all(bool(g.isfinite().all()) for g in gradients if g is not None)


@pytest.mark.parametrize("name", ["O(5) scalar", "SO(3)", "O(1,3) matrix"])
def test_gradients(name):
    net = model(name, channels=2, hidden=3, blocks=1)
    x = inputs(net, rows=2)
    key = "vectors"
    rest = {k: v for k, v in x.items() if k != key}
    f = lambda v: net(**{key: v}, **rest)  # noqa: E731
    assert torch.autograd.gradcheck(f, x[key].requires_grad_())
    assert torch.autograd.gradgradcheck(f, x[key])


@pytest.mark.parametrize("group", ["O(3)", "O(1,3)", "Sp(4,block)"])
def test_a_block_by_hand(group):
    """Products and gates with explicit sums, from the mixed channels."""
    torch.manual_seed(0)
    net = EquivariantTensorNet(
        group, scalars=2, vectors=2, matrices=2, order=2, channels=3, hidden=5
    ).double()
    block = net.blocks[0]
    torch.nn.init.normal_(block.mlp[2].weight)
    n = net.group.n
    f = {"O(3)": torch.eye(3), "O(1,3)": metric(1, 3), "Sp(4,block)": symplectic_form(4, "block")}[
        group
    ].double()
    x = {k: torch.randn(4, 2, *(n,) * k, dtype=torch.float64) for k in range(3)}
    mixed = block.maps(x)
    (r, t, u), (a, b), (p, q) = (mixed[k].split(3, 1) for k in range(3))
    brackets = torch.einsum("zci,ij,zcj->zc", a, f, b) / n**0.5
    both = torch.einsum("zcij,ik,jl,zckl->zc", p, f, f, q) / n
    lengths = [(a.square().sum(-1) + 1e-6).sqrt()] if group == "O(3)" else []
    z = 100 * torch.asinh(torch.cat([r, t * u, brackets, *lengths, both], 1) / 100)
    g = (block.linear(z) + block.mlp(z)).split(3, 1)
    vector = g[1][..., None] * a + g[2][..., None] * torch.einsum("zcij,jk,zck->zci", p, f, b) / n**0.5
    matrix = g[3][..., None, None] * p + g[4][..., None, None] * torch.einsum("zci,zcj->zcij", a, b)
    matrix = matrix + g[5][..., None, None] * torch.einsum("zcij,jk,zckl->zcil", p, f, q) / n**0.5
    for found, want in zip(block(x).values(), (g[0], vector, matrix), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("task", sorted(t for t, m in TASK_PRESETS.items() if "equivariant_tensor_net" in m))
def test_presets_fit_their_tasks(task):
    problem, preset = load_task(task), TASK_PRESETS[task]["equivariant_tensor_net"]
    net = create_model("equivariant_tensor_net", **preset["model"])
    made = problem.make(3, 0)
    x = {k: made[k].float() for k in problem.inputs}
    assert net(**x).shape == made[problem.target].shape
    if "scale" in preset["model"]:
        spread = float(problem.make(2000, 0)[problem.target].std())
        assert preset["model"]["scale"] == pytest.approx(spread, rel=0.1)


def test_brackets_are_learned_at_once():
    """They are products that one block has: 200 steps leave less than a hundredth of the variance."""
    problem, preset = (
        load_task("poisson_brackets"),
        TASK_PRESETS["poisson_brackets"]["equivariant_tensor_net"],
    )
    torch.manual_seed(0)
    net = create_model("equivariant_tensor_net", **{**preset["model"], "channels": 4, "hidden": 8})
    made, test = ({k: v.float() for k, v in problem.make(300, seed).items()} for seed in (0, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(200):
        for part in optimizer.param_groups:
            part["lr"] = 2e-2 * (1 - step / 200)
        optimizer.zero_grad()
        (net(matrices=made["matrices"]) - made["bracket"]).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = (net(matrices=test["matrices"]) - test["bracket"]).square().mean()
    assert float(error / test["bracket"].var()) < 0.01


def test_misuse():
    net = model("O(3) vector")
    x = inputs(net)
    for bad, text in [
        (lambda: net(vectors=x["vectors"]), "`scalars` is missing"),
        (lambda: net(**x, matrices=torch.zeros(3, 1, 3, 3).double()), "`matrices` is given"),
        (lambda: net(x["scalars"], x["vectors"][..., :2]), "`vectors` has shape"),
        (lambda: net(x["scalars"], x["vectors"].float()), "Cast one"),
        (lambda: EquivariantTensorNet("S_5"), "keeps a form"),
        (lambda: EquivariantTensorNet("O(3)", vectors=0), "expected an input"),
        (lambda: EquivariantTensorNet("O(3)", channels=0), "channels=0"),
        (lambda: EquivariantTensorNet("O(3)", order=4), "order=4"),
        (lambda: EquivariantTensorNet("O(3)", order=2, highest=1), "highest=1"),
        (lambda: EquivariantTensorNet("O(3)", order=1, shift=0.5), "shift=0.5"),
        (lambda: EquivariantTensorNet("O(3)", scalars=1, vectors=0, order=3), "needs vectors"),
        (lambda: EquivariantTensorNet("O(3)", vectors=0, scalars=2, order=1), "make nothing of orders"),
        (lambda: EquivariantTensorNet("Sp(3)"), "even"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            bad()


def test_published_errors_that_the_card_quotes_are_those_of_the_fixture():
    file = Path(__file__).parents[1] / "data" / "diagrams" / "emlp_reference.json"
    rows = json.loads(file.read_text())
    names = {
        "O5Synthetic": "o5_synthetic",
        "Inertia": "inertia",
        "ParticleInteraction": "particle_interaction",
    }
    known = {(names[r["dataset"]], f"N = {r['n_train']}", r["method"]): r["test_mse_mean"] for r in rows}
    quoted = model_card("equivariant_tensor_net")["paper_results"]
    found = {(t, n, m): e for t in names.values() for n, line in quoted[t].items() for m, e in line.items()}
    assert found == {k: v for k, v in known.items() if k[1] in ("N = 1000", "N = 3000")} and len(found) >= 20


# -- Hamilton's equations


def pendulum(**options):
    torch.manual_seed(0)
    net = HamiltonianTensorNet(**{"channels": 4, "hidden": 8, **options})
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net.double()


def test_a_true_energy_gives_true_trajectories():
    """With the energy of the pendulum in place of the network, the states are those of the data."""
    net = pendulum(substeps=20)

    def energy(state, gravity):
        upright = torch.cat([state[..., :2], -(state * gravity[:, None]).sum(-1, keepdim=True)], -1)
        return pendulum_energy(upright)

    net.energy = energy
    d = make_double_spring_pendulum(4, 0, points=11, start=0, duration=5.0)
    with torch.no_grad():
        found = net(d["state"], d["gravity"], points=11)
    torch.testing.assert_close(found, d["later"], rtol=1e-5, atol=1e-6)


def test_learned_energy_is_kept_and_trains():
    net = pendulum(substeps=8)
    d = make_double_spring_pendulum(3, 1, start=0)
    with torch.no_grad():
        path = net(d["state"], d["gravity"], points=9)
        energy = torch.stack([net.energy(z, d["gravity"]) for z in path.unbind(1)])
        first = net.energy(d["state"], d["gravity"])
    assert float((energy - first).abs().max()) < 1e-4 * float(energy.std() + energy.abs().mean())
    assert float((path[:, 0] - d["state"]).abs().max()) > 1e-3
    loss = net(d["state"], d["gravity"]).square().mean()
    gradients = torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad])
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_gradients_of_trajectories():
    net = pendulum(points=2, substeps=1, channels=2, hidden=3)
    d = make_double_spring_pendulum(1, 2, start=0)
    f = lambda z: net(z, d["gravity"])  # noqa: E731
    assert torch.autograd.gradcheck(f, d["state"].requires_grad_())
    weight = next(p for p in net.parameters() if p.dim() == 2)
    loss = net(d["state"].detach(), d["gravity"]).square().sum()
    (g,) = torch.autograd.grad(loss, weight)
    with torch.no_grad():
        weight[0, 0] += 1e-6
        more = net(d["state"].detach(), d["gravity"]).square().sum()
    assert float((more - loss.detach()) / 1e-6) == pytest.approx(float(g[0, 0]), rel=1e-3, abs=1e-6)


def test_pendulum_misuse():
    net, d = pendulum(), make_double_spring_pendulum(2, 0, start=0)
    for bad, text in [
        (lambda: net(d["state"][:, :3], d["gravity"]), "`state` has shape"),
        (lambda: net(d["state"], d["gravity"][:1]), "2 rows of `state` and 1"),
        (lambda: net(d["state"].float(), d["gravity"]), "Cast one"),
        (lambda: HamiltonianTensorNet(points=1), "points=1"),
        (lambda: HamiltonianTensorNet(substeps=0), "substeps=0"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            bad()
    assert net(d["state"], d["gravity"], points=1).shape == (2, 0, 4, 3)


@pytest.mark.parametrize("blocks", [1, 3])
def test_what_only_shifts_the_energy_is_not_trained(blocks):
    """Every weight that is trained moves the trajectories, and three biases are not."""
    model = HamiltonianTensorNet(channels=2, hidden=4, blocks=blocks)
    states, gravity = torch.randn(3, 4, 3), torch.randn(3, 3)
    model(states, gravity).square().sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is None} == {
        n for n, p in model.named_parameters() if not p.requires_grad
    }
    assert sum(not p.requires_grad for p in model.parameters()) == 3
