"""Damaged files: each must name the file and the line, none may be read as something else."""

from __future__ import annotations

import re

import numpy as np
import pytest

from geomlib import InvalidInput
from geomlib.datasets import load

HEAD = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5"
GOOD = f"2\n{HEAD}\nH 0 0 0 1 2 3\nO 0 0 1 -1 -2 -3\n"


def replace(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD + GOOD.replace(old, new)  # the second frame is damaged: lines 5 to 8


DAMAGED = {
    "empty file": ("", ":1: empty file"),
    "only blank lines": ("\n\n", ":1: empty file"),
    "cut inside a frame": (GOOD + GOOD[: GOOD.index("O 0")], ":7: file ends inside frame 1: 1 of 2 atoms"),
    "cut inside a row": (GOOD + GOOD[:-6], ":8: 5 columns, expected 7"),
    "cut after the count": (GOOD + "2\n", ":6: file ends where the comment line of frame 1"),
    "huge number of atoms": (
        replace("2\nP", "999999999999\nP"),
        ":8: file ends inside frame 1: 2 of 999999999999",
    ),
    "number of atoms beyond integers": (replace("2\nP", "9" * 40 + "\nP"), ":5: frame 1 declares"),
    "negative number of atoms": (replace("2\nP", "-2\nP"), ":5: frame 1 declares -2"),
    "no atoms": (replace("2\nP", "0\nP"), ":5: frame 1 declares 0"),
    "number of atoms not a number": (replace("2\nP", "two\nP"), ":5: got 'two'"),
    "fractional number of atoms": (replace("2\nP", "2.0\nP"), ":5: got '2.0'"),
    "one atom more than declared": (GOOD + "H 0 0 0 1 2 3\n" + GOOD, ":5: got 'H 0 0 0 1 2 3'"),
    "one atom fewer than declared": (replace("O 0 0 1 -1 -2 -3\n", "") + GOOD, ":8: 1 columns, expected 7"),
    "blank line inside": (GOOD + "\n" + GOOD, ":5: empty line"),
    "missing column": (replace("H 0 0 0 1 2 3", "H 0 0 0 1 2"), ":7: 6 columns, expected 7"),
    "extra column": (replace("H 0 0 0 1 2 3", "H 0 0 0 1 2 3 4"), ":7: 8 columns, expected 7"),
    "unknown element": (replace("O 0", "Qq 0"), ":8: unknown element 'Qq'"),
    "wrong case of an element": (replace("O 0", "CL 0"), ":8: unknown element 'CL'.*Did you mean 'Cl'"),
    "number out of range": (replace("O 0", "119 0"), ":8: unknown element '119'"),
    "NaN energy": (replace("-1.5", "nan"), ":6: 'energy' is nan"),
    "infinite energy": (replace("-1.5", "-inf"), ":6: 'energy' is -inf"),
    "NaN force": (replace("1 2 3\n", "1 NaN 3\n"), ":6: 'forces' of atom 0"),
    "NaN position": (replace("H 0 0 0", "H 0 nan 0"), ":7: position of atom 0"),
    "infinite position": (replace("H 0 0 0", "H 0 inf 0"), ":7: position of atom 0"),
    "word in a number": (replace("H 0 0 0", "H 0 zero 0"), ":7: 'pos' is 'zero', expected type R"),
    "underscore in a number": (replace("H 0 0 0", "H 0 1_0 0"), ":7: 'pos' is '1_0'"),
    "Fortran exponent": (replace("H 0 0 0", "H 0 1.0D0 0"), ":7: 'pos' is '1.0D0'"),
    "missing energy": (replace(" energy=-1.5", ""), ":6: no 'energy', other frames have it"),
    "missing forces": (
        GOOD + "1\nProperties=species:S:1:pos:R:3 energy=1\nH 0 0 0\n",
        ":6: no 'forces', other frames have them",
    ),
    "energy is a word": (replace("-1.5", "low"), ":6: 'energy' is 'low', expected one number"),
    "energy is a list": (replace("-1.5", '"1 2"'), ":6: 'energy' is .* expected one number"),
    "forces with two columns": (
        GOOD.replace("forces:R:3", "forces:R:2").replace(" 3\n", "\n").replace(" -3\n", "\n"),
        r":2: 'forces' has shape \(2, 2\)",
    ),
    "quote not closed": (replace("energy=-1.5", 'energy=-1.5 note="open'), ":6: cannot read the comment at"),
    "Properties not in threes": (replace("pos:R:3:", "pos:R:"), ":6: Properties=.* is not a list"),
    "Properties of unknown type": (replace("pos:R:3", "pos:Q:3"), ":6: Properties has pos:Q:3"),
    "Properties with a huge count": (
        replace("pos:R:3", "pos:R:999999999"),
        ":6: Properties has pos:R:999999999",
    ),
    "column named twice": (replace("forces:R:3", "pos:R:3"), ":6: Properties names the column 'pos' twice"),
    "no positions": (replace("pos:R:3", "poz:R:3"), ":6: Properties has no column pos"),
    "no species": (replace("species:S:1", "kind:S:1"), ":6: Properties has no column species"),
    "key twice": (replace("energy=-1.5", "energy=-1.5 energy=-1.6"), ":6: key 'energy' occurs twice"),
    "lattice of eight numbers": (replace(HEAD, HEAD + ' Lattice="1 0 0 0 1 0 0 0"'), ":6: Lattice is"),
    "lattice with a word": (replace(HEAD, HEAD + ' Lattice="a 0 0 0 1 0 0 0 1"'), ":6: Lattice is"),
    "flat lattice": (
        replace(HEAD, HEAD + ' Lattice="1 0 0 2 0 0 0 0 1"'),
        ":6: pbc is None but the lattice vectors",
    ),
    "periodic without a lattice": (replace(HEAD, HEAD + ' pbc="T T T"'), ":6: pbc is"),
    "pbc with two flags": (replace(HEAD, HEAD + ' pbc="T F"'), ":6: pbc is"),
    "stress of seven numbers": (
        GOOD.replace(HEAD, HEAD + ' stress="1 2 3 4 5 6 7"'),
        ":2: stress or virial of shape",
    ),
    "damaged JSON": (replace(HEAD, HEAD + ' eig="_JSON [[1, 2], [3"'), ":6: key 'eig' holds damaged JSON"),
    "charge is NaN": (replace(HEAD, HEAD + " charge=nan"), ":6: total charge"),
    "binary": (b"\x80\x04\x95\x10\xff\xfe\x00", "not a text file|:1: got"),
    "compressed": (b"\x1f\x8b\x08\x00" + bytes(range(256)), "not a text file|:1: got"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_extxyz(write, name):
    content, words = DAMAGED[name]
    path = write(content)
    with pytest.raises(
        InvalidInput, match=re.escape(str(path)) + ".*" + words if words[0] == ":" else words
    ) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_the_undamaged_file_is_read(write):
    assert len(load(write(GOOD + GOOD))) == 2


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_never_raises_anything_else(write, seed):
    """Flip, delete or repeat bytes: the answer is structures or InvalidInput, never another exception."""
    rng = np.random.default_rng(seed)
    source = (
        GOOD + f'2\nLattice="4 0 0 0 4 0 0 0 4" {HEAD} a="_JSON [1]" b="x y"\nH 0 0 0 1 2 3\nO 0 0 1 1 2 3\n'
    ).encode()
    for _ in range(300):
        blob = bytearray(source)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(blob)))
            kind = rng.integers(3)
            if kind == 0:
                blob[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del blob[at : at + int(rng.integers(1, 20))]
            else:
                blob[at:at] = blob[at : at + int(rng.integers(1, 20))]
            if not blob:
                break
        try:
            load(write(bytes(blob)), units="eV")
        except InvalidInput as error:
            assert "file.xyz" in str(error)  # every other exception fails the test
