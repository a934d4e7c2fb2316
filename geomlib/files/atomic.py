"""Writing a file so that a crash at any moment leaves the old one or the new one, never a mixture."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from geomlib.errors import CheckpointError

__all__ = ["write_atomic"]

_STALE_SECONDS = 3600.0
# Some file systems cannot flush a folder; the rename is then as durable as they make it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR}


def write_atomic(path: str | Path, parts: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write bytes to a file that appears under its name only when complete, flushed and read back.

    A temporary file in the same folder is written, flushed to the disk, read back and compared (by SHA-256), then
    renamed over the old file, and the folder is flushed. What a killed process left is removed by a later save.

    Args:
        path: file to write or replace; its folder is made if needed. A link is followed.
        parts: the content, in pieces; a generator is read once and never held as a whole.

    Raises:
        CheckpointError: any step failed; the previous file is untouched and no temporary file is left.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.bin"
        >>> write_atomic(target, [b"one", b"two"])
        >>> target.read_bytes()
        b'onetwo'
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        with _removed_on_failure(temporary):
            with os.fdopen(descriptor, "wb") as stream:
                digest = hashlib.sha256()
                for part in parts:
                    stream.write(part)
                    digest.update(part)
                stream.flush()
                os.fsync(stream.fileno())
            _compare(temporary, digest.digest())
            temporary.replace(target)
    except OSError as error:
        raise CheckpointError(
            f"{path}: could not be written ({type(error).__name__}: {error}). The previous file, if any, is "
            "unchanged. Check free space and permissions of its folder."
        ) from error
    _sync_folder(target.parent, path)
    _remove_stale(target)


@contextlib.contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _compare(temporary: Path, expected: bytes) -> None:
    digest = hashlib.sha256()
    with temporary.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    if digest.digest() != expected:
        raise OSError(errno.EIO, "what was written does not read back")


def _sync_folder(folder: Path, path: str | Path) -> None:
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise CheckpointError(
                f"{path}: is written and complete, but its folder could not be flushed to the disk ({error})."
            ) from error


def _remove_stale(target: Path) -> None:
    """Remove temporary files of processes that were killed long ago."""
    for old in target.parent.glob(f".{target.name}.*.tmp"):
        # Another process may be removing or renaming the same file.
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                old.unlink()
