"""Writing in pieces; the crashes are in tests/interop/test_checkpoint_damage.py."""

from __future__ import annotations

import errno

import pytest

from geomlib import CheckpointError
from geomlib.files import write_atomic


def test_a_generator_is_written_once_and_whole(tmp_path):
    taken = []

    def pieces():
        for k in range(1000):
            taken.append(k)
            yield b"%d," % k

    write_atomic(tmp_path / "new" / "a", pieces())
    assert (tmp_path / "new" / "a").read_bytes() == b"".join(b"%d," % k for k in range(1000))
    assert taken == list(range(1000))


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), ValueError("no such label"), KeyboardInterrupt()]
)
def test_a_generator_that_fails_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    write_atomic(path, [b"old"])

    def pieces():
        yield b"new"
        raise error

    with pytest.raises(CheckpointError if isinstance(error, OSError) else type(error)):
        write_atomic(path, pieces())
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_an_empty_file(tmp_path):
    write_atomic(tmp_path / "a", [])
    assert (tmp_path / "a").read_bytes() == b""
