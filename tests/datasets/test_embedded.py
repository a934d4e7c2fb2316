"""The data set in the package: what its card says is true, and tblite agrees with its labels."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from geomlib import CheckpointError, InvalidInput
from geomlib.datasets import dataset_card, embedded_sets, generate, load, single_points


@pytest.fixture(scope="module")
def ethanol():
    return load("ethanol")


def test_content(ethanol):
    assert len(ethanol) == 1200
    assert ethanol.z.reshape(1200, 9)[0].tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]
    assert bool((ethanol.z.reshape(1200, 9) == ethanol.z[:9]).all())
    assert ethanol.missing == {}
    assert not bool(ethanol.pbc.any())
    assert ethanol.extra["dipole"].shape == (1200, 3)
    assert ethanol.extra["charges"].shape == (10800,)
    assert torch.equal(ethanol.extra["time_fs"], 2010.0 + 10.0 * torch.arange(1200, dtype=torch.float64))


def test_statistics_are_those_expected_of_the_recipe(ethanol):
    # Bounds from the recipe's description, not from our own run.
    assert 490 < float(ethanol.extra["temperature"].mean()) < 510
    assert float(ethanol.energy.mean()) == pytest.approx(-309.59, abs=0.01)
    assert float(ethanol.energy.std()) == pytest.approx(0.135, abs=0.01)
    assert float(ethanol.forces.std()) == pytest.approx(1.00, abs=0.03)
    assert 5 < float(ethanol.forces.norm(dim=1).max()) < 7


def test_labels_are_physical(ethanol):
    from geomlib.datasets.units import BOLTZMANN

    forces = ethanol.forces.reshape(1200, 9, 3)
    pos = ethanol.pos.reshape(1200, 9, 3)
    assert float(forces.sum(1).abs().max()) < 2e-6  # rounded to float32
    assert float(torch.linalg.cross(pos, forces).sum(1).abs().max()) < 1e-5  # no net torque
    masses = torch.tensor([12.011] * 2 + [15.999] + [1.008] * 6, dtype=torch.float64)
    assert float((masses[:, None] * pos).sum(1).abs().max() / masses.sum()) < 1e-6  # recentred
    assert float(ethanol.extra["charges"].reshape(1200, 9).sum(1).abs().max()) < 1e-5
    dipole = (ethanol.extra["charges"].reshape(1200, 9, 1) * pos).sum(1)
    # GFN2 adds atomic dipoles to the point charges, so this is a correlation, not an identity.
    both = torch.stack([dipole.reshape(-1), ethanol.extra["dipole"].reshape(-1)])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9
    # The potential energy of a thermal molecule spreads as that of its 3N - 6 modes: kT sqrt((3N - 6) / 2).
    assert float(ethanol.energy.std()) == pytest.approx(BOLTZMANN * 500 * (21 / 2) ** 0.5, rel=0.1)


def test_energies_follow_forces_along_the_trajectory(ethanol):
    """Frames are 10 fs apart, too far for a trapezoid; still the sign of the work must win."""
    step = ethanol.pos.reshape(1200, 27).diff(dim=0)
    forces = ethanol.forces.reshape(1200, 27)
    work = -((forces[1:] + forces[:-1]) / 2 * step).sum(1)
    pair = torch.stack([work, ethanol.energy.diff()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.8


def test_card(ethanol):
    card = dataset_card("ethanol")
    assert card["frames"] == 1200
    assert "MIT" in card["licence"]
    assert {"tblite", "ase", "rdkit"} <= card["versions"].keys()
    stated = card["statistics"]
    assert float(ethanol.energy.mean()) == pytest.approx(stated["mean_energy_eV"], abs=1e-6)
    assert float(ethanol.energy.std()) == pytest.approx(stated["std_energy_eV"], abs=1e-6)
    assert float(ethanol.forces.std()) == pytest.approx(stated["std_force_component_eV_per_A"], abs=1e-5)
    assert float(ethanol.forces.norm(dim=1).max()) == pytest.approx(
        stated["max_force_norm_eV_per_A"], abs=1e-4
    )
    path = embedded_sets._FOLDER / card["file"]
    assert path.stat().st_size == card["bytes"] < 700_000


def test_damage_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(embedded_sets._FOLDER, tmp_path / "embedded")
    monkeypatch.setattr(embedded_sets, "_FOLDER", tmp_path / "embedded")
    assert len(load("ethanol")) == 1200
    data, card = (tmp_path / "embedded" / f"ethanol_gfn2.{s}" for s in ("safetensors", "json"))
    blob, text = data.read_bytes(), card.read_text(encoding="utf-8")
    for at in (0, 100, len(blob) // 2, len(blob) - 1):
        bad = bytearray(blob)
        bad[at] ^= 1
        data.write_bytes(bad)
        with pytest.raises(CheckpointError, match="sha256"):
            load("ethanol")
    data.write_bytes(blob[:-1])
    with pytest.raises(CheckpointError, match="sha256"):
        load("ethanol")
    data.write_bytes(blob)
    for bad_card in ("{", "[]", json.dumps({"sha256": 1, "file": "x"}), json.dumps({"sha256": "0" * 64}), ""):
        card.write_text(bad_card)
        with pytest.raises(CheckpointError, match="card"):
            load("ethanol")
    digest = json.loads(text)["sha256"]
    card.write_text(text.replace(digest, "0" + digest[1:] if digest[0] != "0" else "1" + digest[1:]))
    with pytest.raises(CheckpointError, match="sha256"):
        load("ethanol")
    escaping = json.loads(text) | {"file": "../../../../etc/passwd"}
    card.write_text(json.dumps(escaping))
    with pytest.raises((CheckpointError, InvalidInput)):
        load("ethanol")


def test_labels_are_those_of_the_method(ethanol):
    """Single points of a few shipped frames, up to the rounding to float32 and the convergence of xTB."""
    pytest.importorskip("tblite")
    pytest.importorskip("ase")
    chosen = ethanol[[0, 17, 600, 1199]]
    again = single_points(chosen)
    np.testing.assert_allclose(again.energy.numpy(), chosen.energy.numpy(), rtol=0, atol=5e-6)
    np.testing.assert_allclose(again.forces.numpy(), chosen.forces.numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        again.extra["dipole"].numpy(), chosen.extra["dipole"].numpy(), rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(
        again.extra["charges"].numpy(), chosen.extra["charges"].numpy(), rtol=0, atol=1e-4
    )
    # and the forces are the slope of that energy
    step = 1e-3
    moved = chosen[0].pos.repeat(2, 1)
    moved[2, 0] += step
    moved[9 + 2, 0] -= step
    pair = single_points(chosen[[0, 0]].replace(pos=moved))
    slope = -(pair.energy[0] - pair.energy[1]) / (2 * step)
    assert float(slope) == pytest.approx(float(chosen.forces[2, 0]), abs=1e-3)


@pytest.mark.slow
def test_the_recipe_gives_the_shipped_statistics(ethanol):
    """A tenth of the recipe. Chaos parts trajectories within picoseconds: they agree only as samples."""
    pytest.importorskip("tblite")
    pytest.importorskip("rdkit")
    s = generate("ethanol", frames=120)
    assert torch.equal(s.z, ethanol.z[: 120 * 9])
    assert float(s.energy.mean()) == pytest.approx(float(ethanol.energy.mean()), abs=0.06)
    assert float(s.energy.std()) == pytest.approx(float(ethanol.energy.std()), rel=0.35)
    assert float(s.forces.std()) == pytest.approx(float(ethanol.forces.std()), rel=0.1)
    assert torch.equal(s.extra["time_fs"], ethanol.extra["time_fs"][:120])
