"""Generated problems of tensors: exact targets of the fixtures, independent formulas, invariants, misuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import torch

from geomlib import InvalidInput
from geomlib.algebra.groups import parse_group, symplectic_form
from geomlib.datasets.double_spring_pendulum import (
    make_double_spring_pendulum,
    pendulum_energy,
    rollout_error,
)
from geomlib.datasets.emlp_regression import (
    inertia_tensor,
    make_inertia,
    make_o5_synthetic,
    make_particle_interaction,
    scattering_element,
)
from geomlib.datasets.gaussian_states import (
    make_gaussian_states,
    make_poisson_brackets,
    random_symplectic,
    state_entropy,
    symplectic_eigenvalues,
)
from geomlib.datasets.path_signature import make_path_signature, path_signature
from geomlib.datasets.sparse_vector import (
    NOISES,
    PRIORS,
    make_sparse_vector,
    recovery_score,
    spectral_matrix,
)
from geomlib.datasets.tasks import load_task, make_task

NAMES = (
    "double_spring_pendulum", "gaussian_states", "inertia", "o5_synthetic", "particle_interaction", "path_signature",
    "poisson_brackets", "sparse_vector",
)  # fmt: skip


def close(a, b, rtol=1e-10):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=rtol, atol=1e-12)


@pytest.fixture(scope="module")
def exact():
    with np.load(Path(__file__).parents[1] / "data" / "diagrams" / "tasks.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


@pytest.mark.parametrize("name", NAMES)
def test_seeds_splits_shapes_and_types(name):
    """The same seed gives the same samples; the sets differ, and do not depend on each other's sizes."""
    task = load_task(name)
    options = {"start": 0} if name == "double_spring_pendulum" else {}
    a, b = (make_task(name, sizes=(4, 3, 5), seed=7, **options) for _ in range(2))
    for split in a:
        for key, value in a[split].tensors.items():
            assert torch.equal(value, b[split].tensors[key]) and value.dtype == torch.float64
            assert bool(torch.isfinite(value).all())
    assert {k: len(v) for k, v in a.items()} == {"train": 4, "val": 3, "test": 5}
    key = task.inputs[0]
    assert torch.equal(
        make_task(name, sizes=(2, 0, 5), seed=7, **options)["test"].tensors[key], a["test"].tensors[key]
    )
    assert len(torch.cat([s.tensors[key].flatten(1) for s in a.values()]).unique(dim=0)) == 12
    scores = task.baselines(a["train"].tensors, a["test"].tensors)
    assert scores and all(np.isfinite(list(scores.values())))
    with pytest.raises(InvalidInput, match="n=0"):
        task.make(0, 0)


def test_targets_are_those_of_the_fixture(exact):
    close(inertia_tensor(exact["inertia/mass"], exact["inertia/position"]), exact["inertia/y"])
    close(scattering_element(exact["particle/x"]), exact["particle/y"])
    close(pendulum_energy(exact["pendulum/z"].view(-1, 4, 3)), exact["pendulum/energy"])
    close(symplectic_eigenvalues(exact["gauss/sigma"]), exact["gauss/nu"])


def test_distributions_are_those_of_the_fixture(exact):
    """Means and deviations of thousands of samples, within what 64 of the fixture allow."""
    many = make_inertia(4000, 0)
    assert float(many["scalars"].mean()) == pytest.approx(float(exact["inertia/mass"].mean()), rel=0.1)
    assert float(many["vectors"].std()) == pytest.approx(float(exact["inertia/position"].std()), rel=0.1)
    momenta = make_particle_interaction(4000, 0)["vectors"]
    assert float(momenta.std()) == pytest.approx(float(exact["particle/x"].std()), rel=0.1)
    assert float(make_o5_synthetic(4000, 0)["vectors"].std()) == pytest.approx(
        float(exact["o5/x"].std()), rel=0.1
    )
    nu = make_gaussian_states(4000, 0)["nu"].mean(0)
    close(nu, torch.tensor([1.5, 2.5], dtype=torch.float64), rtol=0.05)  # ordered exponential numbers
    close(nu, exact["gauss/nu"].mean(0), rtol=0.15)
    start = make_double_spring_pendulum(4000, 0, points=2, start=0)["state"].flatten(1)
    close(start.std(0).view(4, 3).mean(1), torch.tensor([0.2, 0.2, 0.4, 0.4], dtype=torch.float64), rtol=0.05)


def test_targets_by_other_formulas():
    d = make_o5_synthetic(50, 0)
    one, two = d["vectors"].unbind(1)
    cosine = torch.nn.functional.cosine_similarity(one, two, dim=-1)
    close(d["y"], one.norm(dim=-1).sin() - two.norm(dim=-1) ** 3 / 2 + cosine)
    d = make_inertia(20, 1, points=3)
    axes = torch.randn(20, 3, dtype=torch.float64)
    energy = (
        d["scalars"] * torch.linalg.cross(axes[:, None].expand(-1, 3, -1), d["vectors"]).square().sum(-1)
    ).sum(1)
    close(torch.einsum("na,nab,nb->n", axes, d["y"], axes), energy)  # twice the energy of rotation
    group = parse_group("O(1,3)")
    g = group.sample("+-", torch.Generator().manual_seed(0)).linear
    d = make_particle_interaction(20, 2)
    close(scattering_element(d["vectors"] @ g.T), d["y"], rtol=1e-9)
    assert float((scattering_element(2 * d["vectors"]) / d["y"] - 16).abs().max()) < 1e-9


def test_pendulum_obeys_its_equations():
    """Beside an adaptive integrator that has the forces by differentiation; energy and angular momentum stay."""
    d = make_double_spring_pendulum(6, 3, points=51, start=0, duration=10.0)
    path = torch.cat([d["state"][:, None], d["later"]], 1)

    def slope(_, z):
        state = torch.from_numpy(z).view(4, 3).requires_grad_()
        (g,) = torch.autograd.grad(pendulum_energy(state), state)
        return torch.cat([g[2:], -g[:2]]).flatten().numpy()

    times = 0.2 * np.arange(11)
    start = path[0, 0].flatten().numpy()
    true = scipy.integrate.solve_ivp(
        slope, (0, 2), start, method="DOP853", t_eval=times, rtol=1e-9, atol=1e-10
    )
    torch.testing.assert_close(path[0, :11].flatten(1), torch.from_numpy(true.y.T), rtol=1e-6, atol=1e-7)
    energy = pendulum_energy(path)
    assert float((energy - energy[:, :1]).abs().max()) < 1e-6
    x, p = path[..., :2, :], path[..., 2:, :]
    spin = torch.linalg.cross(x, p).sum(-2)[..., 2]
    assert float((spin - spin[:, :1]).abs().max()) < 1e-10
    swing = torch.linalg.cross(x, p).sum(-2)[..., 0]
    assert float((swing - swing[:, :1]).abs().max()) > 0.1  # gravity has a direction


def test_pendulum_pieces():
    whole = make_double_spring_pendulum(8, 5, points=31, start=0, duration=6.0)
    path = torch.cat([whole["state"][:, None], whole["later"]], 1)
    piece = make_double_spring_pendulum(8, 5, points=4, start=20, duration=6.0)
    close(piece["state"], path[:, 20])
    close(piece["later"], path[:, 21:24])
    drawn = make_double_spring_pendulum(64, 6, duration=2.0)["state"]
    start = make_double_spring_pendulum(64, 6, start=0, duration=2.0)["state"]
    moved = (drawn - start).flatten(1).norm(dim=1)
    assert 1 <= int((moved < 1e-12).sum()) <= 30  # one of seven starts where the run does
    assert drawn[0].isfinite().all() and torch.equal(
        make_double_spring_pendulum(64, 6, duration=2.0)["state"], drawn
    )
    for options in ({"points": 1}, {"points": 200}, {"start": 150}, {"start": -1}):
        with pytest.raises(InvalidInput, match="expected 2 points"):
            make_double_spring_pendulum(2, 0, **options)
    with pytest.raises(InvalidInput, match="dt=0"):
        make_double_spring_pendulum(2, 0, dt=0.0)


def test_rollout_error():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 7, 12, dtype=torch.float64, generator=g)
    rms = lambda v: v.square().mean(-1).sqrt()  # noqa: E731
    by_hand = torch.stack(
        [(rms(x - y) / (rms(x) + rms(y))).prod() ** (1 / 7) for x, y in zip(a, b, strict=True)]
    )
    close(rollout_error(a, b), by_hand.mean())
    assert float(rollout_error(a, a)) == pytest.approx(1e-7)
    assert float(rollout_error(torch.full_like(a, float("nan")), a)) == 1
    with pytest.raises(InvalidInput, match="one shape"):
        rollout_error(a, b[..., :3])


@pytest.mark.parametrize("modes", [1, 2, 3])
def test_gaussian_states(modes):
    d = make_gaussian_states(30, 0, modes=modes)
    sigma, omega = d["matrices"][:, 0], symplectic_form(2 * modes)
    close(symplectic_eigenvalues(sigma), d["nu"], rtol=1e-9)
    spectrum = torch.linalg.eigvals(omega @ sigma)  # plus and minus i nu
    close(spectrum.imag.sort(-1).values[:, modes:], d["nu"], rtol=1e-8)
    close(torch.einsum("nij,nji->n", omega @ sigma, omega @ sigma), -2 * d["nu"].square().sum(-1), rtol=1e-9)
    assert float(d["nu"].min()) >= 1 and float(torch.linalg.eigvalsh(sigma).min()) > 0
    s = torch.from_numpy(random_symplectic(30, modes, np.random.default_rng(1), squeezing=1.0))
    assert float((s.mT @ omega @ s - omega).abs().max()) < 1e-12
    assert float((s.mT @ s - torch.eye(2 * modes)).abs().max()) > 0.5
    close(symplectic_eigenvalues(s @ sigma @ s.mT), d["nu"], rtol=1e-9)
    block = torch.arange(2 * modes).view(modes, 2).T.flatten()
    close(symplectic_eigenvalues(sigma[:, block][:, :, block], "block"), d["nu"], rtol=1e-9)


def test_entropy_is_that_of_thermal_light():
    """Each mode is a geometric distribution of photons with mean (nu - 1)/2."""
    nu = torch.tensor([1.0, 1.5, 4.0], dtype=torch.float64)
    mean = (nu - 1) / 2
    count = torch.arange(400, dtype=torch.float64)[:, None]
    p = (mean / (1 + mean)) ** count / (1 + mean)
    close(state_entropy(nu[:, None]), -torch.xlogy(p, p).sum(0), rtol=1e-9)
    assert float(state_entropy(torch.tensor([0.5]))) == 0


def test_brackets_by_differentiation():
    d = make_poisson_brackets(5, 0)
    omega = symplectic_form(4)
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    for pair, bracket in zip(d["matrices"], d["bracket"], strict=True):
        f = [0.5 * (omega @ x) @ m @ (omega @ x) for m in (pair[0], pair[1], bracket)]
        a, b = (torch.autograd.grad(v, x, retain_graph=True)[0] for v in f[:2])
        close((a @ omega @ b).detach(), f[2].detach())
    close(d["bracket"], d["bracket"].mT)


def test_symplectic_misuse():
    for bad, text in [(torch.eye(3), "shape"), (torch.zeros(2, 4), "shape"), (-torch.eye(4), "not positive")]:
        with pytest.raises(InvalidInput, match=text):
            symplectic_eigenvalues(bad)


def test_signature_by_loops_and_by_its_laws():
    g = torch.Generator().manual_seed(0)
    path = torch.randn(2, 6, 3, dtype=torch.float64, generator=g)
    for points, found in zip(path, zip(*path_signature(path), strict=True), strict=True):
        one, two, three = (torch.zeros((3,) * k, dtype=torch.float64) for k in (1, 2, 3))
        for v in points.diff(dim=0):  # Chen: multiply by the exponential of every piece
            vv = torch.outer(v, v)
            three += torch.einsum("ab,c->abc", two, v) + torch.einsum("a,bc->abc", one, vv) / 2
            three += torch.einsum("ab,c->abc", vv, v) / 6
            two += torch.outer(one, v) + vv / 2
            one += v
        for mine, want in zip(found, (one, two, three), strict=True):
            close(mine, want)
    one, two, three = path_signature(path)
    close(two + two.mT, one[:, :, None] * one[:, None, :])  # shuffle product
    shuffled = three + three.transpose(-1, -2) + three.permute(0, 2, 3, 1)
    close(shuffled, torch.einsum("nab,nc->nabc", two, one))
    finer = torch.stack([path[:, :-1], (path[:, :-1] + path[:, 1:]) / 2], 2).flatten(1, 2)
    for a, b in zip(path_signature(torch.cat([finer, path[:, -1:]], 1)), (one, two, three), strict=True):
        close(a, b)  # the speed does not matter
    assert all(not bool(s.any()) for s in path_signature(path[:, :1]))
    for bad in (
        lambda: path_signature(path, 4),
        lambda: path_signature(path[:, :0]),
        lambda: path_signature(one[0]),
    ):
        with pytest.raises(InvalidInput, match="path_signature"):
            bad()


def test_signatures_of_curves():
    d = make_path_signature(600, 0, level=1)
    close(d["y"], d["vectors"][:, -1] - d["vectors"][:, 0])
    few, all_points = (make_path_signature(20, 1, level=3, points=p, fine=200) for p in (10, 200))
    assert torch.equal(few["y"], all_points["y"]) and few["vectors"].shape == (20, 10, 3)
    close(path_signature(all_points["vectors"])[-1], few["y"], rtol=1e-9)
    scores = load_task("path_signature").baselines(few, all_points)
    assert scores["joined points"] < 1e-20 < scores["mean"]
    with pytest.raises(InvalidInput, match="points=1"):
        make_path_signature(2, 0, points=1)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("noise", NOISES)
def test_hidden_vectors(prior, noise):
    d = make_sparse_vector(40, 0, rows=60, dim=4, prior=prior, noise=noise)
    a, u = d["vectors"], d["u"]
    close(a.mT @ a, torch.eye(4, dtype=torch.float64).expand(40, 4, 4))
    v = (a @ u[..., None])[..., 0]
    close(v.norm(dim=1), torch.ones(40, dtype=torch.float64))
    close(d["y"], u[:, :, None] * u[:, None, :])
    zeros = (v.abs() < 1e-12).double().mean()
    if prior == "accept_reject":
        assert float((v**4).sum(1).min()) >= 1 / (0.25 * 60) and float(zeros) == 0
    else:
        assert float(zeros) == pytest.approx(0.75, abs=0.05)
    if prior == "bernoulli_rademacher":
        size = v.abs().amax(1, keepdim=True)
        assert bool(((v.abs() < 1e-12) | ((v.abs() - size).abs() < 1e-12)).all())
    assert float(u.mean(0).abs().max()) < 0.3  # turned at random


def test_the_spectral_method_finds_very_sparse_vectors():
    d = make_sparse_vector(100, 1, rows=200, sparsity=0.05, prior="bernoulli_gaussian")
    matrix = spectral_matrix(d["vectors"])
    by_hand = torch.stack(
        [sum((a @ a - 5 / 200) * torch.outer(a, a) for a in rows) for rows in d["vectors"][:3]]
    )
    close(matrix[:3], by_hand)
    assert float(recovery_score(matrix, d["u"]).mean()) > 0.98
    assert float(recovery_score(-matrix, d["u"]).mean()) < 0.05
    close(recovery_score(d["y"], d["u"]), torch.ones(100, dtype=torch.float64))
    for options, text in [
        ({"prior": "bernouli_gaussian"}, "Did you mean"), ({"noise": "white"}, "noise='white'"), ({"dim": 101}, "dim=101"),
        ({"sparsity": 0.0}, "sparsity=0.0"), ({"prior": "accept_reject", "sparsity": 0.05}, "sparsity=0.05"),
    ]:  # fmt: skip
        with pytest.raises(InvalidInput, match=text):
            make_sparse_vector(2, 0, **options)
