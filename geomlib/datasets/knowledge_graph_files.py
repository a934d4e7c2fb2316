"""Files of knowledge graphs: lines `head TAB relation TAB tail`, three of them in an archive or a folder, read in memory."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from geomlib.errors import InvalidInput

__all__ = ["PARTS", "Fact", "read_facts", "read_parts"]

#: Files of a graph, in the order of training, validation and test.
PARTS = ("train", "valid", "test")
#: An archive that says it holds more than this is not unpacked.
_LARGEST = 1 << 30

Fact = tuple[str, str, str]


def read_facts(text: bytes, name: str) -> list[Fact]:
    r"""Return the facts of a file.

    Line ends may be ``\n`` or ``\r\n``; a byte-order mark and empty lines at the end are left out.

    Args:
        text: content of the file.
        name: of the file, for errors.

    Raises:
        InvalidInput: not UTF-8, or a line without exactly three names; the message names the line.

    >>> read_facts(b"a\tlikes\tb\r\n", "train.txt")
    [('a', 'likes', 'b')]
    """
    try:
        whole = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{name}, line {line}: not UTF-8 text ({error.reason}).") from None
    facts: list[Fact] = []
    lines = whole.replace("\r\n", "\n").rstrip("\n").split("\n") if whole.strip() else []
    for number, line in enumerate(lines, 1):
        words = line.split("\t")
        if len(words) != 3 or not all(word.strip() for word in words):
            raise InvalidInput(
                f"{name}, line {number}: {line[:60]!r} has {len(words)} fields, expected three names: head, relation and "
                "tail with tabs between."
            )
        facts.append((words[0], words[1], words[2]))
    if not facts:
        raise InvalidInput(f"{name}: no facts, expected lines of head, relation and tail with tabs between.")
    return facts


def read_parts(path: Path) -> dict[str, list[Fact]]:
    """Return the facts of ``train.txt``, ``valid.txt`` and ``test.txt`` in a tar archive or a folder.

    Nothing is written: members of an archive are read in memory, and only those three.

    Raises:
        InvalidInput: no such file, a damaged archive, a member that leaves the archive or is no plain file, two members of
            one name, or a wrong line.
    """
    texts = _from_folder(path) if path.is_dir() else _from_archive(path)
    missing = [f"{part}.txt" for part in PARTS if part not in texts]
    if missing:
        raise InvalidInput(
            f"{path}: {', '.join(missing)} not found, expected {', '.join(p + '.txt' for p in PARTS)}."
        )
    return {part: read_facts(texts[part], f"{path.name}, {part}.txt") for part in PARTS}


def _from_folder(path: Path) -> dict[str, bytes]:
    return {p: (path / f"{p}.txt").read_bytes() for p in PARTS if (path / f"{p}.txt").is_file()}


def _from_archive(path: Path) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts:
                    raise InvalidInput(f"{path}: member {member.name!r} leaves the archive; it is not read.")
                total += member.size
                if total > _LARGEST:
                    raise InvalidInput(f"{path}: more than {_LARGEST >> 20} MiB unpacked; it is not read.")
                if place.suffix != ".txt" or place.stem not in PARTS:
                    continue
                if place.stem in texts or not member.isfile():
                    what = "there twice" if place.stem in texts else "no plain file"
                    raise InvalidInput(f"{path}: {place.name} is {what}.")
                content = archive.extractfile(member)
                texts[place.stem] = b"" if content is None else content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InvalidInput(f"{path}: cannot be read as a tar archive ({error}).") from None
    return texts
