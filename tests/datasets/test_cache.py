"""Files of our own: every flipped bit and every cut is refused before a tensor exists (acceptance A17)."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch

from geomlib import CheckpointError, InvalidInput
from geomlib.datasets import cache, cache_dir, load, load_structures, save_structures
from tests.datasets.conftest import make_structures, same


@pytest.mark.parametrize("periodic", [False, True])
def test_round_trip(tmp_path, periodic):
    s = make_structures(8, periodic=periodic).replace(source="where it came from: ünïcode")
    digest = save_structures(tmp_path / "a.safetensors", s)
    again = load_structures(tmp_path / "a.safetensors", sha256=digest)
    same(again, s)
    assert again.source == s.source
    same(load(tmp_path / "a.safetensors"), s)
    assert digest == cache.sha256_of(tmp_path / "a.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_writing_is_deterministic(tmp_path):
    digests = {save_structures(tmp_path / f"{i}.safetensors", make_structures(4)) for i in range(3)}
    assert len(digests) == 1


def test_compact_form(tmp_path):
    s = make_structures(5)
    save_structures(tmp_path / "a.safetensors", s, compact=True)
    again = load_structures(tmp_path / "a.safetensors")
    assert torch.equal(again.energy, s.energy)
    assert torch.equal(again.pos, s.pos.float().double())
    assert again.pos.dtype == torch.float64


def test_every_flip_and_every_cut_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_structures(path, make_structures(6, periodic=True))
    blob = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(blob[:8], "little")
    # The header is where a flip could hide, so every byte of it is tried; the data is sampled.
    places = [*range(header), *rng.integers(header, len(blob), 200).tolist()]

    def no_tensors(*args, **kwargs):
        raise AssertionError("a tensor was built from a damaged file")

    monkeypatch.setattr("safetensors.torch.load", no_tensors)
    for at in places:
        bad = bytearray(blob)
        bad[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with pytest.raises(CheckpointError):
            load_structures(path)
    for size in [0, 1, 7, 8, *rng.integers(0, len(blob), 200).tolist(), len(blob) - 1]:
        path.write_bytes(blob[:size])
        with pytest.raises(CheckpointError):
            load_structures(path)
    path.write_bytes(blob + b"\0")
    with pytest.raises(CheckpointError):
        load_structures(path)


def test_another_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"z": torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="not a complete geomlib structures file"):
        load(tmp_path / "a.safetensors")


def test_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_FORMAT", 2)
    save_structures(tmp_path / "a.safetensors", make_structures(2))
    monkeypatch.setattr(cache, "_FORMAT", 1)
    with pytest.raises(
        CheckpointError, match=r"format 'geomlib-structures-2', this version reads geomlib-structures-1"
    ):
        load(tmp_path / "a.safetensors")


def test_failing_writes_raise_and_leave_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_structures(path, make_structures(2))
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for target in ("os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(target, full)
            with pytest.raises(CheckpointError, match="could not be written"):
                save_structures(path, make_structures(3))
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    (tmp_path / "taken").write_text("a file where a folder is needed")
    with pytest.raises(CheckpointError, match="could not be written"):
        save_structures(tmp_path / "taken" / "a.safetensors", make_structures(2))


def test_folder_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "deep" / "er"))
    assert cache_dir() == tmp_path / "deep" / "er"
    assert cache_dir().is_dir()
    monkeypatch.delenv("GEOMLIB_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "geomlib"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "file"))
    with pytest.raises(InvalidInput, match="set GEOMLIB_DATA"):
        cache_dir()


def test_cached_parsing(tmp_path, monkeypatch, write):
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "cache"))
    path = write("1\nProperties=species:S:1:pos:R:3 energy=1\nH 0 0 0\n")
    first = load(path, cache=True)
    stored = list((tmp_path / "cache").iterdir())
    assert len(stored) == 1
    with monkeypatch.context() as patch:
        patch.setattr("geomlib.datasets.extxyz.iterate_extxyz", lambda path: pytest.fail("parsed again"))
        same(load(path, cache=True), first)
    assert (
        load(path, cache=True, units="kcal/mol").energy[0] != first.energy[0]
    )  # options are part of the key
    path.write_text(path.read_text().replace("energy=1", "energy=2"))
    assert float(load(path, cache=True).energy[0]) == 2.0  # and so is the content
    path.write_text(path.read_text().replace("energy=2", "energy=1"))
    stored[0].write_bytes(os.urandom(500))
    with pytest.warns(UserWarning, match="the cached copy is rebuilt"):
        same(load(path, cache=True), first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(load(path, cache=True), first)
