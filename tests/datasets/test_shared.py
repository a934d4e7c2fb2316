"""Every shared file in scope: counts, units and signs as its README says (acceptance A20 and A27)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib.datasets import load
from geomlib.datasets.units import GPA, KCAL_MOL

# path: structures, fewest and most atoms, periodic, labels
FILES = {
    "molecules/botnet/dataset_3BPA/train_300K.xyz": (500, 27, 27, False, "EF"),
    "molecules/botnet/dataset_3BPA/train_mixedT.xyz": (500, 27, 27, False, "EF"),
    "molecules/botnet/dataset_3BPA/iso_atoms.xyz": (4, 1, 1, False, "E"),
    "molecules/botnet/dataset_acac/train_300K.xyz": (500, 15, 15, False, "EF"),
    "molecules/botnet/dataset_acac/train_600K.xyz": (500, 15, 15, False, "EF"),
    "molecules/botnet/dataset_acac/isolated_atoms.xyz": (3, 1, 1, False, "E"),
    "molecules/botnet/dataset_ethanol/train.xyz": (1000, 9, 9, False, "EF"),
    "molecules/botnet/dataset_ethanol/test_MD.xyz": (1000, 9, 9, False, "EF"),
    "molecules/botnet/dataset_ethanol/train_eth_meth.xyz": (1300, 6, 9, False, "EF"),
    "molecules/botnet/dataset_ethanol/isolated_atoms.xyz": (4, 1, 1, False, "E"),
    "molecules/gnl/gnl-v0.2-train.xyz": (200, 7, 18, False, "EF"),
    "molecules/gnl/gnl-v0.2-val.xyz": (50, 7, 18, False, "EF"),
    "molecules/comp6/s66x8_wb97x6-31gd.h5": (528, 6, 34, False, "EF"),
    "molecules/schnetpack/qm9_subset_asedb.db": (500, 3, 20, False, "E"),
    "molecules/schnetpack/ani1_tiny.db": (20, 5, 5, False, "E"),
    "molecules/schnetpack/iso17_tiny.db": (40, 19, 19, False, "EF"),
    "molecules/schnetpack/si16.db": (1, 16, 16, True, "EFS"),
    "molecules/metatrain/qm7x_reduced_100.xyz": (100, 14, 14, False, ""),
    "molecules/metatrain/carbon_reduced_100.xyz": (100, 4, 4, True, "EFS"),
    "molecules/metatrain/carbon_allotropes.xyz": (30, 16, 36, True, ""),
    "molecules/metatrain/flashmd.xyz": (10, 32, 32, True, "EFS"),
    "molecules/metatrain/DOS_structures.xyz": (2, 2, 2, True, "EF"),
    "molecules/misc/mace_test_one_mol.xyz": (1, 52, 52, False, "EF"),
    "molecules/gfn2/3bpa_gfn2_300K_train.extxyz": (500, 27, 27, False, "EF"),
    "molecules/gfn2/3bpa_gfn2_600K_test.extxyz": (150, 27, 27, False, "EF"),
    "molecules/gfn2/aspirin_gfn2_500K.extxyz": (600, 21, 21, False, "EF"),
    "cumulenes_gfn2/cumulene_gfn2_train.extxyz": (200, 7, 18, False, "EF"),
    "cumulenes_gfn2/cumulene_gfn2_val.extxyz": (50, 7, 18, False, "EF"),
    "cumulenes_gfn2/cumulene_gfn2_scan.extxyz": (280, 7, 34, False, "EF"),
    "crystals/metatrain_mad_small.xyz": (1000, 1, 200, True, "EFS"),
    "crystals/mace_history_gete_validate.xyz": (200, 81, 81, True, "EFS"),
    "crystals/mlearn_Li_training.extxyz": (241, 2, 84, True, "EFS"),
    "crystals/mlearn_Li_test.extxyz": (29, 2, 84, True, "EFS"),
    "crystals/mlearn_Ge_training.extxyz": (228, 12, 64, True, "EFS"),
    "crystals/mlearn_Ge_test.extxyz": (25, 12, 64, True, "EFS"),
    "crystals/mlearn_Si_training.extxyz": (214, 12, 96, True, "EFS"),
    "crystals/mlearn_Si_test.extxyz": (25, 12, 96, True, "EFS"),
    "crystals/fitsnap_Ta_363.extxyz": (363, 2, 100, True, "EFS"),
    "crystals/nequip_Cu-cubic.xyz": (15, 4, 4, True, "EF"),
    "deepmd/water/data": (400, 192, 192, True, "EF"),
    "deepmd/water/dplr/train": (30, 384, 384, True, "EFS"),
    "deepmd/nopbc/data/C1H4O2": (1562, 7, 7, False, "EF"),
    "deepmd/nopbc/data/C3H3O4": (485, 10, 10, False, "EF"),
    "deepmd/nopbc/data/C4H3O1": (15, 8, 8, False, "EF"),
}
FILES |= {
    f"deepmd/water_tensor/{kind}/{part}_data_reformat/{level}_system": (n, 192, 192, True, "")
    for kind in ("dipole", "polar")
    for part in ("training", "validation")
    for level, n in (("global", 80), ("atomic", 80 if kind == "dipole" else 60))
}
KCAL = {
    "molecules/schnetpack/md17_ethanol_sample.xyz": (2000, 9),
    "molecules/metatrain/ethanol_reduced_100.xyz": (100, 9),
    "molecules/misc/nequip_aspirin.xyz": (15, 21),
}


@pytest.mark.parametrize("name", FILES)
def test_counts(shared, name):
    if name.endswith(".h5"):
        pytest.importorskip("h5py")
    b, low, high, periodic, labels = FILES[name]
    s = load(shared(f"data/{name}"))
    assert len(s) == b
    assert low <= int(s.num_atoms.min()) <= int(s.num_atoms.max()) <= high
    # The test parts of mlearn are draws, so they need not reach both ends of the stated range.
    if "mlearn" not in name:
        assert (int(s.num_atoms.min()), int(s.num_atoms.max())) == (low, high)
    assert bool(s.pbc.any(dim=1).all()) == bool(s.pbc.any()) == periodic
    assert bool(s.pbc.all()) == (
        periodic and "allotropes" not in name
    )  # graphene is periodic in two directions
    assert [s.energy is not None, s.forces is not None, s.stress is not None] == [k in labels for k in "EFS"]
    assert s.missing == {}


@pytest.mark.parametrize("name", KCAL)
def test_kcal_is_recognised_and_converted(shared, name):
    path = shared(f"data/{name}")
    with pytest.warns(UserWarning, match="look like kcal/mol"):
        raw = load(path)
    s = load(path, units="kcal/mol")
    assert (len(s), int(s.num_atoms[0])) == KCAL[name]
    torch.testing.assert_close(s.energy, raw.energy * KCAL_MOL, rtol=1e-15, atol=0)
    torch.testing.assert_close(s.forces, raw.forces * KCAL_MOL, rtol=1e-15, atol=0)


def net_force(s) -> float:
    return float(torch.zeros(len(s), 3, dtype=torch.float64).index_add_(0, s.batch, s.forces).abs().max())


def test_net_forces_tell_the_quality_of_labels(shared):
    at = "data/molecules/"
    assert net_force(load(shared(at + "botnet/dataset_ethanol/train.xyz"))) < 2e-7
    assert 4e-3 < net_force(load(shared(at + "gnl/gnl-v0.2-train.xyz"))) < 6e-3
    md17 = load(shared(at + "schnetpack/md17_ethanol_sample.xyz"), units="kcal/mol")
    assert 0.1 < net_force(md17) / KCAL_MOL < 0.3
    assert (
        net_force(load(shared(at + "gfn2/aspirin_gfn2_500K.extxyz"))) < 1e-7
    )  # eight printed digits, 21 atoms
    assert 0.2 < net_force(load(shared("data/deepmd/water/data"))) < 0.5


def test_old_and_revised_md17_agree_on_units(shared):
    """The same molecule from two sets, in kcal/mol and in eV: mean energies agree to the change of method."""
    old = load(shared("data/molecules/schnetpack/md17_ethanol_sample.xyz"), units="kcal/mol")
    new = load(shared("data/molecules/botnet/dataset_ethanol/train.xyz"))
    assert float(old.energy.mean() / new.energy.mean()) == pytest.approx(1.0, abs=5e-3)
    assert float(old.forces.std() / new.forces.std()) == pytest.approx(1.0, abs=0.05)


def test_work_along_s66x8_has_the_sign_of_forces(shared):
    """Trap 1: the file holds the gradient. Trapezoid over neighbouring separations."""
    pytest.importorskip("h5py")
    s = load(shared("data/molecules/comp6/s66x8_wb97x6-31gd.h5"))
    group = s.text["group"]
    work, change = [], []
    for i in range(len(s) - 1):
        if group[i] == group[i + 1]:
            a, b = s[i], s[i + 1]
            step = b.pos - a.pos
            if float(step.norm(dim=1).max()) < 0.6:
                work.append(float(-0.5 * ((a.forces + b.forces) * step).sum()))
                change.append(float(b.energy - a.energy))
    assert len(work) >= 370
    w, c = np.array(work), np.array(change)
    assert w @ c / (w @ w) == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(w, c)[0, 1] > 0.998
    assert "from -'forces'" in s.source
    # Per-atom arrays lost their total: one row per atom.
    assert s.extra["cm5"].shape == (len(s.z),)
    assert s.extra["hirdipole"].shape == (len(s.z), 3)


def test_pressure_of_tantalum_is_the_slope_of_its_energy(shared):
    """Trap 2: along Volume_BCC, -dE/dV of a spline equals -tr(stress)/3."""
    interpolate = pytest.importorskip("scipy.interpolate")
    s = load(shared("data/crystals/fitsnap_Ta_363.extxyz"))
    s = s[[i for i, c in enumerate(s.text["config_type"]) if c == "Volume_BCC"]]
    volume = torch.linalg.det(s.cell).abs()
    order = volume.argsort()
    pressure = -s.stress.diagonal(dim1=1, dim2=2).mean(1)[order].numpy()
    slope = -interpolate.CubicSpline(volume[order].numpy(), s.energy[order].numpy())(volume[order].numpy(), 1)
    np.testing.assert_allclose(slope[1:-1], pressure[1:-1], rtol=0.01)
    assert {round(float(p) / GPA, 1) for p in pressure} >= {396.4, 27.0, -33.4}


def test_tantalum_groups(shared):
    groups = list(load(shared("data/crystals/fitsnap_Ta_363.extxyz")).text["config_type"])
    expected = {
        "Elastic_BCC": 100,
        "Elastic_FCC": 100,
        "Volume_FCC": 31,
        "Volume_A15": 30,
        "GSF_110": 22,
        "GSF_112": 22,
    }
    expected |= {
        "Volume_BCC": 21,
        "Displaced_A15": 9,
        "Displaced_BCC": 9,
        "Displaced_FCC": 9,
        "Surface": 7,
        "Liquid": 3,
    }
    assert {g: groups.count(g) for g in groups} == expected


def test_mad(shared):
    s = load(shared("data/crystals/metatrain_mad_small.xyz"))
    subsets = list(s.text["subset"])
    assert {g: subsets.count(g) for g in subsets} == {
        "MC3D": 444,
        "MC3D-rattled": 398,
        "SHIFTML-molcrys": 107,
        "MC3D-random": 51,
    }
    assert len(s.elements) == 85
    assert int((s.num_atoms == 1).sum()) == 6
    assert 96 < float(s.forces.abs().max()) < 98


def test_virial_becomes_a_stress(shared):
    s = load(shared("data/molecules/metatrain/carbon_reduced_100.xyz"))
    assert "forces from 'force'" in s.source
    assert "-virial/V of 'virial'" in s.source
    volume = float(torch.linalg.det(s.cell[0]).abs())
    assert float(s.stress[0, 0, 0]) == pytest.approx(-17.67401361 / volume, rel=1e-12)


def test_labels_kept_apart(shared):
    s = load(shared("data/molecules/gnl/gnl-v0.2-train.xyz"))
    assert torch.equal(s.extra["orca_vtscf_forces"], s.forces)
    assert sorted(set(s.extra["nC"].tolist())) == [*range(3, 11), 13, 14]


def test_surrogate_of_the_3bpa_test_sets(shared):
    """Trap 3: 31 frames of the first block also occur in the training file."""
    train = load(shared("data/molecules/botnet/dataset_3BPA/train_300K.xyz"))
    mixed = load(shared("data/molecules/botnet/dataset_3BPA/train_mixedT.xyz"))
    known = {p.numpy().tobytes() for p in train.pos.reshape(500, 81)}
    repeated = [p.numpy().tobytes() in known for p in mixed.pos.reshape(500, 81)]
    assert sum(repeated[:167]) == sum(repeated) == 31


def test_statistics_of_the_gfn2_sets(shared):
    for name, mean, std, force, largest in (
        ("3bpa_gfn2_300K_train", -1133.9176, 0.1406, 0.8802, 5.81),
        ("3bpa_gfn2_600K_test", -1132.9622, 0.2895, 1.2118, 5.53),
        ("aspirin_gfn2_500K", -1077.1654, 0.2135, 1.1424, 6.10),
    ):
        s = load(shared(f"data/molecules/gfn2/{name}.extxyz"))
        assert float(s.energy.mean()) == pytest.approx(mean, abs=1e-4)
        assert float(s.energy.std(correction=0)) == pytest.approx(std, abs=1e-4)
        assert float(s.forces.std()) == pytest.approx(force, abs=1e-4)
        assert float(s.forces.abs().max()) == pytest.approx(largest, abs=5e-3)
        assert s.extra["dipole"].shape == (len(s), 3)


def test_statistics_of_the_cumulenes(shared):
    at = "data/cumulenes_gfn2/cumulene_gfn2_"
    train = load(shared(at + "train.extxyz"))
    assert float(train.forces.square().mean().sqrt()) == pytest.approx(0.702, abs=5e-4)
    fit = np.polyfit(train.extra["nC"].double().numpy(), train.energy.numpy(), 1)
    np.testing.assert_allclose(fit, [-57.5122, -54.3827], atol=1e-3)
    scan = load(shared(at + "scan.extxyz"))
    assert float(scan.forces.square().mean().sqrt()) == pytest.approx(0.101, abs=5e-4)
    for n, difference in ((3, -2.388), (4, 2.003), (16, 0.484), (30, 0.227)):
        rows = scan.extra["nC"] == n
        energy, angle = scan.energy[rows], scan.extra["dihedral"][rows]
        assert float(energy[angle == 90] - energy[angle == 0]) == pytest.approx(difference, abs=6e-4)


def test_water_energies_are_single_precision(shared):
    s = load(shared("data/deepmd/water/data"))
    assert s.energy.dtype == torch.float64
    assert torch.equal(s.energy, s.energy.float().double())
    assert float(s.energy.mean()) == pytest.approx(-29944, abs=1)
    assert "float32" in s.source
    assert s[0].z.tolist() == [8] * 64 + [1] * 128  # the map says O, H
    assert float(s.cell[0, 0, 0]) == pytest.approx(12.4447, abs=1e-4)


def test_water_tensors(shared):
    at = "data/deepmd/water_tensor/"
    raw = load(shared(at + "polar/training_data_reformat/global_system"), symmetrise=False).extra[
        "polarizability"
    ]
    s = load(shared(at + "polar/training_data_reformat/global_system"))
    assert 0.05 < float((raw - raw.mT).abs().max()) < 0.6
    assert torch.equal(s.extra["polarizability"], s.extra["polarizability"].mT)
    assert "symmetrised" in s.source
    assert 100 < float(s.extra["polarizability"].diagonal(dim1=1, dim2=2).mean()) < 140
    s = load(shared(at + "dipole/training_data_reformat/atomic_system"))
    assert float(s.extra["atomic_dipole"][s.z == 1].abs().max()) == 0.0
    assert float(s.extra["atomic_dipole"][s.z == 8].abs().max()) > 0.1
    dplr = load(shared("data/deepmd/water/dplr/train"))
    assert float(dplr.extra["atomic_dipole"][dplr.z == 1].abs().max()) == 0.0
    assert bool((dplr.extra["atomic_dipole"][dplr.z == 8].norm(dim=1) > 0).all())


def test_databases_keep_their_units(shared):
    at = "data/molecules/schnetpack/"
    assert float(load(shared(at + "qm9_subset_asedb.db")).energy[0]) == pytest.approx(
        -40.47893 * 27.211386, rel=1e-7
    )
    s = load(shared(at + "si16.db"))
    assert s.stress.shape == (1, 3, 3)
    torch.testing.assert_close(s.stress, s.stress.mT, rtol=1e-6, atol=1e-9)
    iso17 = load(shared(at + "iso17_tiny.db"))
    assert sorted(set(iso17.z[:19].tolist())) == [1, 6, 8]
    assert "'total_energy'" in iso17.source
    assert "'atomic_forces'" in iso17.source
