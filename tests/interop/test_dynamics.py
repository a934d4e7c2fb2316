"""Molecular dynamics against analytic results, statistics, ASE, and its own claims."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import geomlib
from geomlib import InvalidInput
from geomlib.datasets import Structures, load
from geomlib.interop import run_md
from geomlib.interop.constants import ACCELERATION, BOLTZMANN, masses_of
from tests.interop.toys import Broken, Free, Morse, Well

F64 = torch.float64


def cluster(n=4, seed=0):
    """Atoms on a slightly shaken grid, 1.2 Å apart."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.cartesian_prod(*[torch.arange(math.ceil(n ** (1 / 3)), dtype=F64)] * 3)[:n] * 1.2
    pos = grid + 0.05 * torch.randn(n, 3, generator=generator, dtype=F64)
    return Structures(z=torch.tensor([6, 8, 1, 7] * n)[:n], pos=pos, ptr=[0, n])


def water():
    return Structures(z=[8, 1, 1], pos=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], ptr=[0, 3])


def test_harmonic_oscillator_has_the_frequency_of_the_discrete_map():
    """Velocity Verlet turns a harmonic well exactly into cos(w' t) with sin(w' dt/2) = w dt/2."""
    start = Structures(z=[1, 8], pos=[[0.3, 0, 0], [0, 0.2, -0.1]], ptr=[0, 2])
    dt, steps, k = 0.7, 500, 2.0
    result = run_md(Well(k), start, steps=steps, timestep=dt, velocities=torch.zeros(2, 3))
    omega = (k * ACCELERATION / masses_of(start.z)).sqrt()
    discrete = 2.0 / dt * torch.asin(0.5 * omega * dt)
    expected = start.pos * torch.cos(discrete * dt * steps)[:, None]
    assert torch.allclose(result.pos, expected, rtol=0, atol=1e-12)
    # The continuous solution differs: the test above is sharp.
    assert (result.pos - start.pos * torch.cos(omega * dt * steps)[:, None]).abs().max() > 1e-3


def test_kinetic_energy_and_units():
    v = torch.tensor([[0.01, 0.02, -0.03]], dtype=F64)
    one = Structures(z=[8], pos=[[0, 0, 0]], ptr=[0, 1])
    result = run_md(Free(), one, steps=1, timestep=2.0, velocities=v)
    joule = 0.5 * 15.999 * 1.66053906660e-27 * float(v.square().sum()) * 1e10
    assert float(result.kinetic[0, 0]) == pytest.approx(joule / 1.602176634e-19, rel=1e-12)
    assert torch.allclose(result.pos, 2.0 * v, rtol=0, atol=1e-15)
    assert float(result.temperature[0, 0]) == pytest.approx(
        joule / (1.5 * 1.380649e-23), rel=1e-12
    )  # 3 degrees of freedom


def test_nve_is_reversible_in_time():
    start = cluster(6)
    forward = run_md(Morse(), start, steps=300, timestep=0.5, temperature=400, seed=3)
    there = start.replace(pos=forward.pos)
    back = run_md(Morse(), there, steps=300, timestep=-0.5, velocities=forward.velocities)
    assert (forward.pos - start.pos).abs().max() > 0.1
    assert torch.allclose(back.pos, start.pos, rtol=0, atol=1e-11)


def test_energy_error_falls_with_the_square_of_the_time_step():
    start = cluster(6)
    fluctuations = []
    for dt in (0.5, 0.25):
        result = run_md(Morse(), start, steps=int(800 / dt), timestep=dt, log_every=1, seed=1)
        row = result.summary()[0]
        fluctuations.append(row["fluctuation_meV_per_atom"])
        assert row["max_momentum"] < 1e-12
    assert 3.5 < fluctuations[0] / fluctuations[1] < 4.5
    assert abs(row["drift_meV_per_atom_per_ps"]) < 0.05


def test_summary_recovers_a_known_drift():
    result = run_md(Free(), water(), steps=100, timestep=1.0, log_every=1)
    tilted = result.kinetic + 3e-3 * 2e-3 * result.time_fs[:, None]  # 2 meV/atom/ps for three atoms
    row = type(result)(**{**vars(result), "kinetic": tilted}).summary()[0]
    assert row["drift_meV_per_atom_per_ps"] == pytest.approx(2.0, rel=1e-9)
    assert row["fluctuation_meV_per_atom"] < 1e-9


def test_momentum_and_energies_of_a_real_model():
    torch.manual_seed(0)
    model = geomlib.create_model("tensornet", channels=8, layers=1, num_radial=8, max_z=10)
    result = run_md(model, water(), steps=100, replicas=3, log_every=1, temperature=200)
    assert float(result.momentum.max()) <= 1e-12
    assert result.total.shape == (101, 3)
    assert result.summary()[0]["fluctuation_meV_per_atom"] < 1.0
    single = run_md(model, water(), steps=50, replicas=3, log_every=1, temperature=200, dtype="float32")
    assert float(single.momentum.max()) <= 1e-4
    assert next(model.parameters()).dtype == torch.float32


def test_same_path_as_ase():
    md = pytest.importorskip("ase.md.verlet")
    from ase import units

    from geomlib.interop import ASECalculator

    torch.manual_seed(0)
    model = geomlib.create_model("tensornet", channels=8, layers=1, num_radial=8, max_z=10)
    v = torch.randn(3, 3, dtype=F64) * 0.005
    ours = run_md(model, water(), steps=40, timestep=0.5, velocities=v)
    atoms = water().to_ase()[0]
    atoms.calc = ASECalculator(model)
    atoms.set_velocities(v.numpy() / units.fs)
    md.VelocityVerlet(atoms, timestep=0.5 * units.fs).run(40)
    assert np.abs(atoms.positions - ours.pos.numpy()).max() < 1e-6  # ASE uses CODATA 2014
    assert atoms.get_potential_energy() == pytest.approx(float(ours.potential[-1, 0]), abs=1e-6)


@pytest.mark.parametrize("removed", [True, False])
def test_start_temperature_counts_the_right_degrees_of_freedom(removed):
    result = run_md(Free(), water(), steps=0, replicas=4000, temperature=300, remove_momentum=removed, seed=5)
    dof = 6 if removed else 9
    error = 300 * math.sqrt(2 / dof / 4000)
    assert abs(float(result.temperature.mean()) - 300) < 4 * error
    # The kinetic energy itself, so that a wrong count cannot hide in the temperature.
    mean = float(result.kinetic.mean()) / (0.5 * dof * BOLTZMANN)
    assert abs(mean - 300) < 4 * error
    assert (float(result.momentum.max()) < 1e-12) == removed


def test_single_atom_keeps_its_velocity():
    one = Structures(z=[8], pos=[[0, 0, 0]], ptr=[0, 1])
    result = run_md(Free(), one, steps=2, temperature=300, replicas=2000)
    assert abs(float(result.temperature.mean()) - 300) < 4 * 300 * math.sqrt(2 / 3 / 2000)


def test_langevin_samples_the_canonical_distribution():
    """BAOAB in a harmonic well: <k x^2> = kT exactly, <m v^2> = kT (1 - (w dt)^2 / 4)."""
    n, k, dt, kelvin = 400, 2.0, 4.0, 300.0
    start = Structures(z=[1] * n, pos=torch.zeros(n, 3), ptr=range(n + 1))
    omega = math.sqrt(k * ACCELERATION / 1.008)
    potential, kinetic, state, v = [], [], start, None
    for block in range(30):
        result = run_md(
            Well(k), state, steps=30, timestep=dt, ensemble="langevin", temperature=kelvin, friction=0.05,
            velocities=v, seed=block,
        )  # fmt: skip
        state, v = start.replace(pos=result.pos), result.velocities
        if block >= 4:
            potential.append(float(result.potential[-1].sum()))
            kinetic.append(float(result.kinetic[-1].sum()))
    expected = 1.5 * n * BOLTZMANN * kelvin
    error = math.sqrt(2 / (3 * n * len(potential)))
    assert abs(np.mean(potential) / expected - 1) < 4 * error
    biased = 1 - (omega * dt) ** 2 / 4
    assert 1 - biased > 6 * error  # sharp enough to see the bias of this step
    assert abs(np.mean(kinetic) / expected - biased) < 4 * error


def test_langevin_moves_the_centre_of_mass():
    """Three degrees of freedom belong to it; removing the noise there would run cold or hot."""
    result = run_md(
        Free(),
        water(),
        steps=60,
        timestep=2.0,
        ensemble="langevin",
        temperature=300,
        friction=0.05,
        replicas=1500,
    )
    last = result.temperature[-1]
    assert abs(float(last.mean()) - 300) < 4 * 300 * math.sqrt(2 / 9 / 1500)
    mass = 15.999 + 2 * 1.008
    centre = result.momentum[-1].square().mean() / (2 * mass * ACCELERATION) / (1.5 * BOLTZMANN)
    assert abs(float(centre) - 300) < 4 * 300 * math.sqrt(2 / 3 / 1500)


def test_replicas_of_a_batch_run_as_they_would_alone():
    pair = Structures.concatenate([cluster(4), cluster(6, seed=2)])
    v = 0.01 * torch.randn(20, 3, dtype=F64)
    both = run_md(Morse(), pair, steps=50, replicas=2, velocities=v)
    alone = run_md(Morse(), pair[1], steps=50, velocities=v[14:20])
    assert torch.allclose(both.pos[14:20], alone.pos, rtol=0, atol=1e-12)
    assert torch.allclose(both.potential[:, 3], alone.potential[:, 0], rtol=0, atol=1e-12)
    assert both.num_atoms.tolist() == [4, 6, 4, 6]


def test_seed_decides_and_the_kept_list_does_not():
    cell = torch.eye(3, dtype=F64)[None] * 3.6
    crystal = cluster(8).replace(cell=cell, pbc=torch.ones(1, 3, dtype=torch.bool))
    options = {"steps": 200, "timestep": 1.0, "ensemble": "langevin", "temperature": 600}
    runs = [
        run_md(Morse(), crystal, **options, skin=skin, seed=seed) for skin, seed in ((0, 1), (0.7, 1), (0, 2))
    ]
    assert torch.equal(runs[0].pos, runs[1].pos)
    assert not torch.equal(runs[0].pos, runs[2].pos)
    assert runs[1].neighbor_searches < 100 < runs[0].neighbor_searches


def test_a_run_goes_on_where_another_stopped():
    start = cluster(5)
    whole = run_md(Morse(), start, steps=60, seed=4)
    half = run_md(Morse(), start, steps=30, seed=4)
    rest = run_md(Morse(), start.replace(pos=half.pos), steps=30, velocities=half.velocities)
    assert torch.equal(whole.pos, rest.pos) and torch.equal(whole.velocities, rest.velocities)


def test_ensembles_follow_the_mean_force():
    wells = [Well(1.0), Well(3.0)]
    start = Structures(z=[1], pos=[[0.3, 0, 0]], ptr=[0, 1])
    still = torch.zeros(1, 3)
    both = run_md(wells, start, steps=100, velocities=still)
    mean = run_md(Well(2.0), start, steps=100, velocities=still)
    assert torch.allclose(both.pos, mean.pos, rtol=0, atol=1e-12)


def test_files(tmp_path):
    read = pytest.importorskip("ase.io").read
    crystal = cluster(8).replace(
        cell=torch.eye(3, dtype=F64)[None] * 3.6,
        pbc=torch.tensor([[True, True, False]]),
        charge=torch.ones(1),
    )
    steps = []
    result = run_md(
        Morse(), crystal, steps=25, replicas=2, log_every=5, log=tmp_path / "md.csv",
        trajectory=tmp_path / "t.extxyz", trajectory_every=10, on_step=steps.append,
    )  # fmt: skip
    assert steps == list(range(1, 26))
    table = np.genfromtxt(tmp_path / "md.csv", delimiter=",", names=True)
    assert table.dtype.names == (
        "step", "time_fs", "replica", "potential_eV", "kinetic_eV", "total_eV", "temperature_K",
    )  # fmt: skip
    assert len(table) == 6 * 2
    assert np.array_equal(table["total_eV"].reshape(6, 2), result.total.numpy())
    frames = read(tmp_path / "t.extxyz", ":")
    assert [f.info["step"] for f in frames] == [0, 0, 10, 10, 20, 20, 25, 25]
    assert [f.info["replica"] for f in frames] == [0, 1] * 4
    last = frames[-1]
    assert np.array_equal(last.positions, result.pos[8:].numpy()) and last.pbc.tolist() == [True, True, False]
    assert last.get_potential_energy() == float(result.potential[-1, 1])
    assert np.array_equal(last.get_forces(), result.forces[8:].numpy())
    # ASE has its own table of masses.
    assert last.get_kinetic_energy() == pytest.approx(float(result.kinetic[-1, 1]), rel=1e-6)
    loaded = load(tmp_path / "t.extxyz")
    assert torch.equal(loaded[-1].pos, result.pos[8:]) and float(loaded[-1].charge) == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ensemble": "npt"}, "`ensemble`"), ({"steps": -1}, "`steps`"), ({"steps": 1.5}, "`steps`"),
        ({"timestep": 0.0}, "`timestep`"), ({"timestep": math.nan}, "`timestep`"),
        ({"ensemble": "langevin", "timestep": -1.0}, "backwards"), ({"temperature": -1.0}, "`temperature`"),
        ({"friction": math.inf}, "`friction`"), ({"replicas": 0}, "`replicas`"),
        ({"log_every": 0}, "`log_every`"), ({"trajectory_every": 0}, "`trajectory_every`"),
        ({"dtype": "half"}, "`dtype`"),
        ({"velocities": torch.zeros(2, 3)}, "`velocities`"), ({"skin": -1.0}, "`skin`"),
        ({"log": "no/such/folder/md.csv"}, "cannot write"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(change, words):
    with pytest.raises(InvalidInput, match=words):
        run_md(Free(), water(), **{"steps": 1, **change})


def test_explosions_stop_with_the_step_and_the_atom(tmp_path):
    two = Structures(z=[1, 8], pos=[[0, 0, 0.1], [0, 0, -0.1]], ptr=[0, 2])
    kicked = torch.zeros(4, 3)
    kicked[2, 2] = 2.1
    with pytest.raises(InvalidInput, match=r"step \d+: replica 1, atom 0 \(H\): it moved more than"):
        run_md(Well(), two, steps=100, replicas=2, velocities=kicked, log=tmp_path / "md.csv")
    assert (tmp_path / "md.csv").read_text().count("\n") == 3  # the header and the start of both
    inside = Structures(z=[1, 8], pos=[[0, 0, 0.2], [0, 0, -0.1]], ptr=[0, 2])
    push = torch.tensor([[0.0, 0, 0], [0.0, 0.5, 0.0]])
    with pytest.raises(InvalidInput, match=r"replica 0, atom 1 \(O\): its force is not finite"):
        run_md(Broken(), inside, steps=100, velocities=push)
    with pytest.raises(InvalidInput, match="structures"):
        run_md(Free(), Structures(z=[], pos=torch.zeros(0, 3), ptr=[0]), steps=1)
