"""Crashes, damage and malice: the previous file survives, damaged files are rejected, nothing is executed."""

from __future__ import annotations

import errno
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geomlib import CheckpointError, InvalidInput
from geomlib.interop import checkpoint
from geomlib.interop.checkpoint import load_model, load_tree, save_model, save_tree
from geomlib.interop.md_command import load_any_model
from tests.gadgets import gadgets
from tests.interop.test_checkpoint import small_model

LOADERS = [load_model, load_tree, checkpoint.checkpoint_info, load_any_model]


@pytest.fixture
def no_tensors(monkeypatch):
    """Fail if the tensors of a file are read before it is known to be whole."""
    import safetensors.torch

    def refuse(*_):
        raise AssertionError("a tensor was read from a damaged file")

    monkeypatch.setattr(safetensors.torch, "load", refuse)


@pytest.fixture
def blob(tmp_path) -> bytes:
    save_model(small_model(), tmp_path / "m.safetensors")
    return (tmp_path / "m.safetensors").read_bytes()


def test_200_flips_are_rejected(tmp_path, blob, no_tensors):
    draw = random.Random(0)
    # All of the first bytes (length and hash), then anywhere.
    places = [*range(0, 120, 4), *(draw.randrange(len(blob)) for _ in range(170))]
    for place in places:
        damaged = bytearray(blob)
        damaged[place] ^= 1 << draw.randrange(8)
        (tmp_path / "m.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_model(tmp_path / "m.safetensors")


def test_every_bit_of_the_stored_hash_matters(tmp_path, blob, no_tensors):
    start = blob.index(b'sha256\\":\\"') + len(b'sha256\\":\\"')
    for place in range(start, start + 64):
        for bit in (0, 5):  # bit 5 turns a letter into its capital
            damaged = bytearray(blob)
            damaged[place] ^= 1 << bit
            (tmp_path / "m.safetensors").write_bytes(damaged)
            with pytest.raises(CheckpointError):
                load_model(tmp_path / "m.safetensors")


def test_200_truncations_are_rejected(tmp_path, blob, no_tensors):
    draw = random.Random(1)
    for size in [0, 1, 7, 8, 9, len(blob) - 1, *(draw.randrange(len(blob)) for _ in range(194))]:
        (tmp_path / "m.safetensors").write_bytes(blob[:size])
        with pytest.raises(CheckpointError):
            load_model(tmp_path / "m.safetensors")
    (tmp_path / "m.safetensors").write_bytes(blob + b"\0")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "m.safetensors")


KILL_LOOP = """
import os, random, signal, sys, time
import torch
from geomlib.interop.checkpoint import load_tree, save_tree
torch.set_num_threads(1)
path, rounds = sys.argv[1], int(sys.argv[2])
draw = random.Random(0)
tree = lambda i: {"i": i, "w": [torch.full((256, 128), float(i)), torch.full((3,), i)]}
save_tree(tree(0), path)
last, moved = 0, 0
for _ in range(rounds):
    child = os.fork()
    if child == 0:
        i = last
        while True:
            i += 1
            save_tree(tree(i), path)
    time.sleep(draw.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = load_tree(path)
    assert found["i"] >= last and all(bool((w == found["i"]).all()) for w in found["w"]), found["i"]
    moved += found["i"] > last
    last = found["i"]
print(moved)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_200_kills_while_saving_lose_nothing(tmp_path):
    path = tmp_path / "loop.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", KILL_LOOP, str(path), "200"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "the loop hardly saved anything, the test proves nothing"
    # What the killed processes left is removed by a later save, once it is old.
    left = [p for p in tmp_path.iterdir() if p != path]
    for old in left:
        os.utime(old, (0, 0))
    save_tree({"i": -1}, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def denied(*_args, **_kwargs):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("fault", [full_disk, denied])
@pytest.mark.parametrize("target", ["os.open", "os.fsync", "os.replace", "os.rename", "os.fdopen"])
def test_every_failing_step_raises_and_keeps_the_old_file(tmp_path, monkeypatch, target, fault):
    path = tmp_path / "t.safetensors"
    save_tree({"a": torch.arange(3)}, path)
    if target == "os.rename":  # on some versions pathlib renames with it
        monkeypatch.setattr("pathlib.Path.replace", fault)
    else:
        monkeypatch.setattr(target, fault)
    with pytest.raises(CheckpointError, match=r"t\.safetensors: could not be written"):
        save_tree({"a": torch.zeros(3)}, path)
    monkeypatch.undo()
    assert load_tree(path)["a"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_disk_that_fills_half_way_keeps_the_old_file(tmp_path):
    """A real limit, not a mock: the kernel refuses to let files grow."""
    resource = pytest.importorskip("resource")
    import signal

    path = tmp_path / "t.safetensors"
    save_tree({"a": 1}, path)
    old_limit, old_handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old_limit[1]))
        with pytest.raises(CheckpointError):
            save_tree({"a": torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert load_tree(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_silent_loss_of_the_written_bytes_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "t.safetensors"
    save_tree({"a": 1}, path)
    real = os.fsync

    def lose(descriptor):
        os.ftruncate(descriptor, 40)
        real(descriptor)

    monkeypatch.setattr("os.fsync", lose)
    with pytest.raises(CheckpointError, match="does not read back"):
        save_tree({"a": 2}, path)
    monkeypatch.undo()
    assert load_tree(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(
    os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="the superuser may write anywhere"
)
def test_a_read_only_folder_raises(tmp_path):
    path = tmp_path / "sub" / "t.safetensors"
    save_tree({"a": 1}, path)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(CheckpointError):
            save_tree({"a": 2}, path)
        assert load_tree(path) == {"a": 1}
    finally:
        path.parent.chmod(0o700)


def test_a_folder_in_place_of_the_file_raises(tmp_path):
    (tmp_path / "t.safetensors" / "x").mkdir(parents=True)
    with pytest.raises(CheckpointError):
        save_tree({"a": 1}, tmp_path / "t.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_link_stays_a_link(tmp_path):
    save_tree({"a": 1}, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    save_tree({"a": 2}, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load_tree(tmp_path / "real") == {"a": 2}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt", "pt", "json"])
@pytest.mark.parametrize("wrap", ["pickle", "torch", "zip in safetensors"])
def test_gadgets_are_not_executed(tmp_path, loader, suffix, wrap):
    """tests/datasets/test_safety.py shows that an unpickler does run these."""
    mark = tmp_path / "executed"
    for gadget in gadgets(mark).values():
        path = tmp_path / f"evil.{suffix}"
        if wrap == "torch":
            torch.save({"config": {"name": "tensornet"}, "x": gadget}, path)
        elif wrap == "pickle":
            path.write_bytes(pickle.dumps(gadget))
        else:
            save_tree({"a": 1}, path)
            path.write_bytes(path.read_bytes() + pickle.dumps(gadget))
        with pytest.raises((CheckpointError, InvalidInput)):
            loader(path)
        assert not mark.exists()


def test_the_source_unpickles_nothing():
    import geomlib

    for file in Path(geomlib.__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for word in (
            "pickle.load",
            "weights_only=False",
            "import pickle",
            "allow_pickle=True",
            "torch.load(",
        ):
            allowed = word == "torch.load(" and "weights_only=True" in text
            assert word not in text or allowed, f"{file}: {word}"
