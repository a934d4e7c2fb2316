"""The reader on small files written by hand, against `ase.io.read` where it has an opinion."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets import iterate_extxyz, load, read_extxyz, units
from tests.datasets.conftest import same

CELL = 'Lattice="4 0 0 0 5 0 1 0 6"'
TWO = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\nH 0 0 0 1 2 3\nHe 0 0 1 -1 -2 -3\n"


def one_atom(comment: str, row: str = "C 0 0 0") -> str:
    return f"1\n{comment}\n{row}\n"


def test_labels_and_source(write):
    s = read_extxyz(write(TWO))
    assert s.z.tolist() == [1, 2]
    assert s.energy.tolist() == [-1.5]
    assert s.forces.tolist() == [[1, 2, 3], [-1, -2, -3]]
    assert s.source.endswith("1 structures, energy from 'energy' (eV), forces from 'forces' (eV/Å)")


@pytest.mark.parametrize("name", ["REF_energy", "Energy", "dft_energy", "total_energy"])
def test_other_names_of_the_energy(write, name):
    s = read_extxyz(write(one_atom(f"Properties=species:S:1:pos:R:3 {name}=2")))
    assert s.energy.tolist() == [2.0]
    assert repr(name) in s.source


@pytest.mark.parametrize("name", ["REF_forces", "force", "dft_forces"])
def test_other_names_of_the_forces(write, name):
    s = read_extxyz(write(one_atom(f"Properties=species:S:1:pos:R:3:{name}:R:3", "C 0 0 0 1 2 3")))
    assert s.forces.tolist() == [[1.0, 2.0, 3.0]]
    assert repr(name) in s.source


def test_keys_by_name(write):
    text = one_atom("Properties=species:S:1:pos:R:3:f:R:3 e=1 energy=2", "C 0 0 0 1 2 3")
    s = read_extxyz(write(text), energy_key="e", forces_key="f")
    assert s.energy.tolist() == [1.0]
    assert s.extra["file_energy"].tolist() == [2.0]
    with pytest.raises(InvalidInput, match="Did you mean 'energy'"):
        read_extxyz(write(text), energy_key="enrgy")
    with pytest.raises(InvalidInput, match="forces_key='g' is in no frame"):
        read_extxyz(write(text), forces_key="g")


def test_two_energies_that_differ_are_not_guessed(write):
    text = "Properties=species:S:1:pos:R:3 energy=1 REF_energy="
    with pytest.raises(InvalidInput, match=r"file.xyz:2: both 'energy' and 'REF_energy'"):
        read_extxyz(write(one_atom(text + "1.5")))
    assert read_extxyz(write(one_atom(text + "1.0"))).energy.tolist() == [1.0]
    assert read_extxyz(write(one_atom(text + "1.5")), energy_key="REF_energy").energy.tolist() == [1.5]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('stress="1 2 3 4 5 6"', [[1, 6, 5], [6, 2, 4], [5, 4, 3]]),  # Voigt xx yy zz yz xz xy
        ('stress="1 2 3 2 4 5 3 5 6"', [[1, 2, 3], [2, 4, 5], [3, 5, 6]]),
        ('stress="_JSON [[1, 2, 3], [2, 4, 5], [3, 5, 6]]"', [[1, 2, 3], [2, 4, 5], [3, 5, 6]]),
        ('virial="-120 0 0 0 -240 0 0 0 120"', [[1, 0, 0], [0, 2, 0], [0, 0, -1]]),  # volume 120
        ('REF_virial="-120 -240 120 0 0 0"', [[1, 0, 0], [0, 2, 0], [0, 0, -1]]),
    ],
)
def test_stress_and_virial(write, value, expected):
    s = read_extxyz(write(one_atom(f"{CELL} Properties=species:S:1:pos:R:3 {value}")))
    np.testing.assert_allclose(s.stress[0].numpy(), expected, atol=1e-15)


def test_virial_without_a_cell(write):
    with pytest.raises(InvalidInput, match="volume"):
        read_extxyz(write(one_atom('Properties=species:S:1:pos:R:3 virial="1 0 0 0 1 0 0 0 1"')))


def test_a_lattice_does_not_make_a_crystal(write):
    # Trap: MD sets of molecules carry a 50 Å box with pbc F F F.
    text = 'Lattice="50 0 0 0 50 0 0 0 50" Properties=species:S:1:pos:R:3'
    assert read_extxyz(write(one_atom(text + ' pbc="F F F"'))).pbc.tolist() == [[False] * 3]
    assert read_extxyz(write(one_atom(text))).pbc.tolist() == [[True] * 3]
    assert read_extxyz(write(one_atom(text + ' pbc="T T F"'))).pbc.tolist() == [[True, True, False]]
    assert read_extxyz(write(one_atom(text + " pbc=[T, F, 1]".replace(", 1", ", T")))).pbc.tolist() == [
        [True, False, True]
    ]
    assert read_extxyz(write(one_atom("Properties=species:S:1:pos:R:3"))).pbc.tolist() == [[False] * 3]


def test_rows_of_the_lattice_are_vectors(write):
    s = read_extxyz(write(one_atom('Lattice="1 2 3 4 5 6 7 8 10" Properties=species:S:1:pos:R:3')))
    assert s.cell[0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 10]]


@pytest.mark.parametrize("name", ["kcal/mol", "Hartree", "kJ/mol", "meV"])
def test_units(write, name):
    s = read_extxyz(write(TWO), units=name)
    factor = units.ENERGY_UNITS[name]
    assert s.energy.tolist() == [-1.5 * factor]
    assert s.forces[0].tolist() == [1 * factor, 2 * factor, 3 * factor]
    assert name in s.source
    assert "converted to eV" in s.source


def test_atomic_units(write):
    head = f'{CELL} Properties=species:S:1:pos:R:3:forces:R:3 energy=1 virial="-1 0 0 0 0 0 0 0 0"'
    text = one_atom(head, "C 0 0 1 1 0 0")
    s = read_extxyz(write(text), units={"energy": "Hartree", "length": "Bohr"})
    assert s.pos[0, 2] == units.BOHR
    assert s.cell[0, 2, 2] == 6 * units.BOHR
    assert s.forces[0, 0] == pytest.approx(units.HARTREE / units.BOHR, rel=1e-15)
    assert s.stress[0, 0, 0] == pytest.approx(units.HARTREE / (120 * units.BOHR**3), rel=1e-14)


def test_energies_in_other_units_are_noticed(write):
    text = "9\nProperties=species:S:1:pos:R:3 energy={}\n" + "".join(
        f"{e} 0 0 {i}\n" for i, e in enumerate("CCOHHHHHH")
    )
    for energy, unit in ((-97195.0, "kcal/mol"), (-154.9, "Hartree")):
        with pytest.warns(UserWarning, match=f"look like {unit}"):
            read_extxyz(write(text.format(energy)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_extxyz(write(text.format(energy)), units=unit)
            read_extxyz(write(text.format(energy)), units="eV")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_extxyz(write(text.format(-4209.4)))  # DFT in eV
        read_extxyz(write(text.format(-309.6)))  # valence electrons only


def test_comment_values(write):
    comment = (
        'Properties=species:S:1:pos:R:3 a=1 b=1.5 c=T d=word e="two words" f="1 2 3" g={4 5} h=[6, 7.5] '
        'i="_JSON [[1, 2], [3, 4]]" '
        """flag 'odd key'=3 j='single quoted' k="say \\"hi\\"" l="T F" m=1e5 n=[8] """
        '"quoted key"=9 <R2>=2 o=-1.5E-3'
    )
    info = next(iter(iterate_extxyz(write(one_atom(comment))))).info
    found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in info.items()}
    assert found == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "word",
        "e": "two words",
        "f": [1, 2, 3],
        "g": [4, 5],
        "h": [6, 7.5],
        "i": [[1, 2], [3, 4]],
        "flag": True,
        "odd key": 3,
        "j": "single quoted",
        "k": 'say "hi"',
        "l": [True, False],
        "m": 1e5,
        "n": [8],
        "quoted key": 9,
        "<R2>": 2,
        "o": -1.5e-3,
    }
    assert isinstance(found["a"], int)


def test_long_json_lines(write):
    values = np.random.default_rng(0).normal(size=(300, 200)).tolist()
    text = one_atom(f'Properties=species:S:1:pos:R:3 eigenvalues="_JSON {json.dumps(values)}"')
    s = read_extxyz(write(text))
    np.testing.assert_array_equal(s.extra["eigenvalues"][0].numpy(), values)


def test_columns_of_every_type(write):
    text = one_atom(
        "Properties=Z:I:1:pos:R:3:move:L:1:tag:I:2:name:S:1:charge:R:1 charge=-1", "6 0 0 0 T 4 -5 CA 0.25"
    )
    s = read_extxyz(write(text))
    assert s.z.tolist() == [6]
    assert s.extra["move"].tolist() == [True]
    assert s.extra["tag"].tolist() == [[4, -5]]
    assert s.extra["charge"].tolist() == [0.25]  # the column; the total is in `charge`
    assert s.charge.tolist() == [-1.0]
    assert "left out: name" in s.source


def test_extras_that_some_frames_lack(write):
    head = "Properties=species:S:1:pos:R:3"
    s = read_extxyz(write(one_atom(f"{head} a=1 t=x") + one_atom(f"{head} b=2") + one_atom(f"{head} a=3")))
    np.testing.assert_array_equal(s.extra["a"].numpy(), [1.0, np.nan, 3.0])
    assert s.text["t"] == ("x", "", "")


def test_plain_xyz(write):
    s = read_extxyz(write("2\nwater without water\nO 0 0 0\nH 0 0 1\n"))
    assert s.z.tolist() == [8, 1]
    assert s.energy is None
    assert read_extxyz(write("1\n\nO 0 0 0\n")).z.tolist() == [8]


@pytest.mark.parametrize("tail", ["", "\n", "\n\n  \n"])
def test_line_ends_and_marks(write, tail):
    plain = read_extxyz(write(TWO))
    for text in (TWO.replace("\n", "\r\n"), "\ufeff" + TWO, TWO.rstrip("\n"), TWO.replace(" ", "\t ")):
        changed = text.replace(
            "Properties=species:S:1:pos:R:3:forces:R:3\t energy",
            "Properties=species:S:1:pos:R:3:forces:R:3 energy",
        )
        same(read_extxyz(write(changed + tail)), plain)


def test_reading_is_lazy(write):
    frames = iterate_extxyz(write(TWO + "garbage\n"))
    assert next(frames).z.tolist() == [1, 2]
    with pytest.raises(InvalidInput, match=r"file\.xyz:5"):
        next(frames)


def test_number_of_frames_can_be_demanded(write):
    assert len(read_extxyz(write(TWO * 3), expect=3)) == 3
    with pytest.raises(InvalidInput, match="3 frames, expected 4"):
        read_extxyz(write(TWO * 3), expect=4)


def test_nan_labels(write):
    bad = TWO.replace("-1.5", "nan")
    worse = TWO.replace("1 2 3", "1 nan 3")
    none = "1\nProperties=species:S:1:pos:R:3 energy=1\nH 0 0 0\n"
    path = write(TWO + bad + worse + none)
    with pytest.raises(InvalidInput, match=r"file\.xyz:6: 'energy' is nan.*on_nan='mask'"):
        read_extxyz(path)
    masked = read_extxyz(path, on_nan="mask")
    assert len(masked) == 4
    assert masked.missing == {"energy": 1, "forces": 2}
    assert masked.source.endswith("; masked energy in 1 frames, forces in 2 frames (missing or NaN)")
    assert torch.isnan(masked.forces[4:]).all()
    dropped = read_extxyz(path, on_nan="drop")
    assert len(dropped) == 1
    assert "dropped 3 frames" in dropped.source
    same(dropped.replace(extra={}), read_extxyz(write(TWO)))
    with pytest.raises(InvalidInput, match="leaves no structure"):
        read_extxyz(write(bad), on_nan="drop")
    with pytest.raises(InvalidInput, match="on_nan='skip'"):
        read_extxyz(path, on_nan="skip")


SMALL = [
    "molecules/botnet/dataset_3BPA/iso_atoms.xyz",
    "molecules/botnet/dataset_ethanol/isolated_atoms.xyz",
    "molecules/gnl/gnl-v0.2-val.xyz",
    "molecules/metatrain/DOS_structures.xyz",
    "molecules/metatrain/carbon_allotropes.xyz",
    "molecules/metatrain/carbon_reduced_100.xyz",
    "molecules/metatrain/flashmd.xyz",
    "molecules/metatrain/qm7x_reduced_100.xyz",
    "molecules/misc/mace_test_one_mol.xyz",
    "molecules/gfn2/3bpa_gfn2_600K_test.extxyz",
    "cumulenes_gfn2/cumulene_gfn2_val.extxyz",
    "crystals/nequip_Cu-cubic.xyz",
    "crystals/mlearn_Li_test.extxyz",
    "crystals/mlearn_Si_test.extxyz",
    "crystals/fitsnap_Ta_363.extxyz",
    "crystals/mace_history_gete_validate.xyz",
    "crystals/metatrain_mad_small.xyz",
]


@pytest.mark.parametrize("name", SMALL)
def test_every_number_is_the_one_ase_reads(shared, name):
    io = pytest.importorskip("ase.io")
    path = shared(f"data/{name}")
    s, frames = load(path), io.read(path, ":")
    assert len(s) == len(frames)
    for i, (one, atoms) in enumerate(zip(s, frames, strict=True)):
        assert one.z.tolist() == atoms.numbers.tolist(), i
        np.testing.assert_array_equal(one.pos.numpy(), atoms.positions)
        np.testing.assert_array_equal(one.pbc[0].numpy(), atoms.pbc)
        np.testing.assert_array_equal(one.cell[0].numpy(), np.asarray(atoms.cell))
        results = atoms.calc.results if atoms.calc else {}
        if one.energy is not None:
            assert float(one.energy[0]) == results["energy"]
        if one.forces is not None:
            np.testing.assert_array_equal(
                one.forces.numpy(), results.get("forces", atoms.arrays.get("force"))
            )
        if "stress" in results:
            # ASE keeps six numbers and averages the off-diagonal pairs.
            sym = (one.stress[0] + one.stress[0].mT) / 2
            np.testing.assert_allclose(sym.numpy(), atoms.get_stress(voigt=False), rtol=1e-14, atol=1e-17)
