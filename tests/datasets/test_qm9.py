from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

from geomlib import InvalidInput
from geomlib.datasets import load, read_qm9, units
from geomlib.datasets.qm9 import QM9_TARGETS, qm9_atomrefs, read_uncharacterized

# Made up in the form of the original files, with the Fortran exponents that break float().
VALUES = [
    100.5,
    90.25,
    80.125,
    1.5,
    13.25,
    -0.25,
    0.125,
    0.375,
    35.5,
    0.0625,
    -40.5,
    -40.25,
    -40.125,
    -40.75,
    6.5,
]


def raw(index: int = 1, charge: str = "-0.5", x: str = "1.5*^-6") -> str:
    targets = "\t".join(str(v) for v in VALUES)
    rows = f"C\t{x}\t0.5\t-0.25\t{charge}\nH\t1.0\t2.0\t3.0\t0.5\n"
    return f"2\ngdb {index}\t{targets}\t\n{rows}1341.3\t1500.2\nC\tC\t\nInChI=1S/CH\tInChI=1S/CH\n"


@pytest.fixture
def folder(tmp_path):
    for i in (1, 2, 3):
        (tmp_path / f"dsgdb9nsd_{i:06}.xyz").write_text(raw(i))
    return tmp_path


def check(s, indices=(1, 2, 3)):
    assert len(s) == len(indices)
    assert s.extra["gdb_index"].tolist() == list(indices)
    assert s.z[:2].tolist() == [6, 1]
    for name, value in zip(QM9_TARGETS, VALUES, strict=True):
        factor = units.HARTREE if QM9_TARGETS[name] == "eV" else 1.0
        assert float(s.extra[name][0]) == value * factor, name
    assert float(s.energy[0]) == -40.5 * units.HARTREE


def test_folder_of_original_files(folder):
    s = load(folder)
    check(s)
    assert float(s.pos[0, 0]) == 1.5e-6
    assert s.extra["charges"][:2].tolist() == [-0.5, 0.5]
    assert s.text["smiles"] == ("C", "C", "C")


def test_one_original_file(folder):
    check(load(folder / "dsgdb9nsd_000002.xyz"), (2,))


@pytest.mark.parametrize("mode", ["w:bz2", "w:gz", "w"])
def test_archive(folder, mode):
    path = folder / {"w:bz2": "q.tar.bz2", "w:gz": "q.tar.gz", "w": "q.tar"}[mode]
    with tarfile.open(path, mode) as archive:
        for file in sorted(folder.glob("*.xyz")):
            archive.add(file, arcname=f"inner/{file.name}")
    before = sorted(p.name for p in folder.iterdir())
    check(load(path))
    assert sorted(p.name for p in folder.iterdir()) == before  # nothing was unpacked


def test_sdf_with_table(tmp_path):
    block = (
        "gdb_{0}\n  made up\n\n  2  1  0  0  0  0            999 V2000\n"
        "    0.0000    0.5000   -0.2500 C   0  0\n    1.0000    2.0000    3.0000 H   0  0\n"
        "  1  2  1  0\nM  END\n$$$$\n"
    )
    (tmp_path / "gdb9.sdf").write_text("".join(block.format(i) for i in (1, 2, 3)))
    names = "mol_id,A,B,C,mu,alpha,homo,lumo,gap,r2,zpve,u0,u298,h298,g298,cv\n"
    values = ",".join(map(str, VALUES))
    (tmp_path / "gdb9.sdf.csv").write_text(names + "".join(f"gdb_{i},{values}\n" for i in (1, 2, 3)))
    for path in (tmp_path, tmp_path / "gdb9.sdf", tmp_path / "gdb9.sdf.csv"):
        check(load(path))
    (tmp_path / "gdb9.sdf.csv").write_text(names + f"gdb_2,{values}\n")
    with pytest.raises(InvalidInput, match="molecule 'gdb_1', but line 2"):
        load(tmp_path)
    (tmp_path / "gdb9.sdf.csv").write_text(names + "".join(f"gdb_{i},{values}\n" for i in (1, 2, 3, 4)))
    with pytest.raises(InvalidInput, match="damaged or missing molecule for line 5"):
        load(tmp_path)
    (tmp_path / "gdb9.sdf.csv").unlink()
    with pytest.raises(InvalidInput, match="not beside it"):
        load(tmp_path)


def test_table_without_geometry(tmp_path):
    (tmp_path / "qm9.csv").write_text("mol_id,smiles\n")
    with pytest.raises(InvalidInput, match="holds no positions"):
        load(tmp_path / "qm9.csv")


def test_npz_layouts(tmp_path):
    pos = np.arange(15.0).reshape(5, 3)
    np.savez(tmp_path / "flat.npz", N=[2, 3], Z=[6, 1, 8, 1, 1], R=pos, U0=[-1.0, -2.0], id=[4, 7])
    s = load(tmp_path / "flat.npz")
    assert s.energy.tolist() == [-1.0, -2.0]  # circulates in eV
    assert s.extra["gdb_index"].tolist() == [4, 7]
    assert s.num_atoms.tolist() == [2, 3]
    padded = np.zeros((2, 4, 3))
    padded[0, :2], padded[1, :3] = pos[:2], pos[2:]
    z = np.array([[6, 1, 0, 0], [8, 1, 1, 0]])
    np.savez(tmp_path / "padded.npz", num_atoms=[2, 3], charges=z, positions=padded, U0=[-1.0, -2.0])
    t = load(tmp_path / "padded.npz")
    assert t.energy.tolist() == [-units.HARTREE, -2 * units.HARTREE]
    np.testing.assert_array_equal(t.pos.numpy(), s.pos.numpy())
    np.testing.assert_array_equal(t.z.numpy(), s.z.numpy())
    np.savez(tmp_path / "bad.npz", N=[2, 4], Z=[6, 1, 8, 1, 1], R=pos)
    with pytest.raises(InvalidInput, match="shapes do not fit"):
        load(tmp_path / "bad.npz")


def test_exclusion(folder):
    path = folder / "uncharacterized.txt"
    path.write_text(
        "List of molecules\n\nIndex  Smiles\n  2  CC  CO\n  999  N  N\n\n3054 compounds\n".replace(
            "3054 c", "total 3054 c"
        )
    )
    assert read_uncharacterized(path) == {2, 999}
    s = read_qm9(folder, exclude=path)
    check(s, (1, 3))
    assert s.source.endswith("1 excluded")
    np.save(folder / "skip.npy", np.array([1, 3]))
    check(read_qm9(folder, exclude=folder / "skip.npy"), (2,))
    check(read_qm9(folder, exclude=[3]), (1, 2))
    with pytest.raises(InvalidInput, match="no QM9 molecules"):
        read_qm9(folder, exclude=[1, 2, 3])
    check(read_qm9(folder, limit=2), (1, 2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: expected the number of atoms"),
        (raw().replace("2\ngdb", "9\ngdb"), "file ends early: 9 atoms declared"),
        (raw().replace("2\ngdb", "0\ngdb"), "file ends early: 0 atoms"),
        (raw().replace("\t6.5", ""), ":2: expected 'gdb'"),
        (raw().replace("-40.5", "minus"), ":2: got 'minus'"),
        (raw().replace("-40.5", "nan"), ":2: U0 is nan"),
        (raw(x="1.5*^x"), ":3: got '1.5\\*\\^x'"),
        (raw(x="inf"), ":3: not finite"),
        (raw().replace("C\t1.5", "Qq\t1.5"), ":3: unknown element 'Qq'"),
        (raw().replace("\t0.5\nH", "\nH").replace("-0.5\n", "\n"), ":3: 4 columns|:3:"),
    ],
)
def test_damaged_originals(tmp_path, text, words):
    (tmp_path / "dsgdb9nsd_000001.xyz").write_text(text)
    with pytest.raises(InvalidInput, match=words) as caught:
        load(tmp_path)
    assert "dsgdb9nsd_000001.xyz" in str(caught.value)


def test_repeated_index(folder):
    (folder / "dsgdb9nsd_000004.xyz").write_text(raw(2))
    with pytest.raises(InvalidInput, match="gdb index 2 occurs twice"):
        load(folder)


def test_empty_folder_and_unknown_target(tmp_path):
    with pytest.raises(InvalidInput, match=r"no \.xyz or \.sdf"):
        load(tmp_path)
    with pytest.raises(InvalidInput, match="target 'zpve'"):
        read_qm9(tmp_path, target="zpve")


def tar_with(path, name, content=b"x", kind=tarfile.REGTYPE, link=""):
    with tarfile.open(path, "w:bz2") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(content) if kind == tarfile.REGTYPE else 0, kind, link
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "name", ["../evil.xyz", "/etc/evil.xyz", "a/../../evil.xyz", "..\\evil.xyz", "C:evil.xyz"]
)
def test_members_that_escape(tmp_path, name):
    with pytest.raises(InvalidInput, match="points outside the archive; refused"):
        load(tar_with(tmp_path / "q.tar.bz2", name, raw().encode()))
    assert [p.name for p in tmp_path.iterdir()] == ["q.tar.bz2"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices(tmp_path, kind):
    with pytest.raises(InvalidInput, match="link or a device; refused"):
        load(tar_with(tmp_path / "q.tar.bz2", "a.xyz", kind=kind, link="/etc/passwd"))


def test_damaged_archives(tmp_path, folder):
    path = folder / "q.tar.bz2"
    with tarfile.open(path, "w:bz2") as archive:
        for file in sorted(folder.glob("*.xyz")):
            archive.add(file, arcname=file.name)
    blob = path.read_bytes()
    for size in (0, 10, len(blob) // 2, len(blob) - 20, len(blob) - 5, len(blob) - 1):
        path.write_bytes(blob[:size])
        with pytest.raises(InvalidInput, match=r"q\.tar\.bz2"):
            load(path)
    plain = folder / "q.tar"
    with tarfile.open(plain, "w") as archive:
        for file in sorted(folder.glob("*.xyz")):
            archive.add(file, arcname=file.name)
    blob = plain.read_bytes()
    for size in (0, 100, 512, 1024, 1536, 2048, 2500):  # also between two members
        plain.write_bytes(blob[:size])
        with pytest.raises(InvalidInput, match=r"q\.tar"):
            load(plain)
    second = blob.index(b"dsgdb9nsd_000002")
    plain.write_bytes(blob[:second] + b"\xff" + blob[second + 1 :])  # the header's checksum no longer fits
    with pytest.raises(InvalidInput, match="damaged archive"):
        load(plain)
    with pytest.raises(InvalidInput, match="has 2000000 bytes"):
        load(tar_with(path, "big.xyz", b"0" * 2_000_000))


def test_reduced_set(shared):
    s = load(shared("data/molecules/metatrain/qm9_reduced_100.xyz"), format="qm9")
    assert len(s) == 100
    assert (int(s.num_atoms.min()), int(s.num_atoms.max())) == (3, 17)
    assert float(s.energy[0]) == pytest.approx(-40.47893 * units.HARTREE, rel=1e-14)
    assert float(s.extra["gap"][0]) == pytest.approx(0.5048 * units.HARTREE, rel=1e-14)
    assert set(s.extra) == set(QM9_TARGETS)
    # The database of the same molecules is in eV: the first entries are the same molecule.
    db = load(shared("data/molecules/schnetpack/qm9_subset_asedb.db"))
    assert float(db.energy[0]) == pytest.approx(float(s.energy[0]), rel=1e-8)


def test_atomic_references(shared):
    with np.load(shared("data/molecules/schnetpack/qm9_atomref.npz"), allow_pickle=False) as file:
        table, labels = file["atom_ref"], file["labels"].tolist()
    ratios = []
    for target in ("U0", "U", "H", "G"):
        for z, value in qm9_atomrefs(target).items():
            assert value == pytest.approx(table[z, labels.index(target)], rel=1e-7), (target, z)
            ratios.append(table[z, labels.index(target)] / value)
    # All twenty differ by one factor, the Hartree of the table: every printed digit is right.
    assert max(ratios) - min(ratios) < 1e-14 and len(ratios) == 20
    with pytest.raises(InvalidInput, match="zpve"):
        qm9_atomrefs("zpve")


def test_published_exclusions(shared):
    skip = read_uncharacterized(shared("data/molecules/schnetpack/qm9_evilmols.npy"))
    assert len(skip) == 3054
    assert min(skip) >= 1
    assert max(skip) <= 133_885
