"""Compile CUDA C++ with NVRTC, no card needed; finished code is kept on disk."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import io
import json
import re
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from geomlib.errors import CheckpointError, InvalidInput, MissingDependency
from geomlib.files import cache_dir, write_atomic

__all__ = ["GENERATOR", "Binary", "Usage", "compile_source", "missing_compiler", "usage_of"]

#: Part of every cache key; raise it when the meaning of a source changes although its text does not.
GENERATOR = 1

_PACKAGES = {"cuda.core": "cuda-core", "cuda.bindings": "cuda-bindings"}
_INSTALL = "pip install 'geomlib-torch[cuda]'"


@dataclass(frozen=True)
class Usage:
    """What the assembler reports for one function: registers a thread, bytes spilled, bytes of stack."""

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int


@dataclass(frozen=True)
class Binary:
    """Machine code for one architecture and the report of its functions."""

    code: bytes
    arch: str
    usage: dict[str, Usage]
    cached: bool


@functools.cache
def missing_compiler() -> str | None:
    """Return why nothing can be compiled, or None."""
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec("cuda") is None or importlib.util.find_spec(module) is None:
            return f"{package} is not installed ({_INSTALL})"
    try:
        _nvrtc_version()
    except Exception as error:  # the library is looked for in many places, each with its own error
        return f"NVRTC cannot be loaded: {str(error).splitlines()[0]} ({_INSTALL})"
    return None


@functools.cache
def _nvrtc_version() -> tuple[int, int]:
    _, major, minor = importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    return int(major), int(minor)


def usage_of(log: str) -> dict[str, Usage]:
    """Read the assembler's report.

    >>> usage_of('''ptxas info    : Compiling entry function 'k' for 'sm_90'
    ... ptxas         .     8 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads
    ... ptxas info    : Used 10 registers, used 0 barriers''')
    {'k': Usage(registers=10, spill_stores=0, spill_loads=4, stack=8)}
    """
    found: dict[str, Usage] = {}
    for block in re.split(r"Compiling entry function", log)[1:]:
        name = re.search(r"'(\w+)'", block)
        frame = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block
        )
        used = re.search(r"Used (\d+) registers", block)
        if name is None or frame is None or used is None:
            raise CheckpointError(f"NVRTC's report is not understood: {block.strip()[:200]!r}")
        found[name[1]] = Usage(int(used[1]), int(frame[2]), int(frame[3]), int(frame[1]))
    return found


def compile_source(source: str, arch: str, *, about: str = "", keep: bool = True) -> Binary:
    """Return machine code for an architecture such as ``"sm_90"``, from the cache where it is there.

    Args:
        source: CUDA C++.
        arch: what to compile for; no such card is needed.
        about: more that the key of the cache shall hold, such as the hash of a table and a type.
        keep: read and write the cache.

    Raises:
        MissingDependency: the packages of the ``[cuda]`` extra are not installed.
    """
    missing = missing_compiler()
    if missing is not None:
        raise MissingDependency(f"CUDA kernels: {missing}.")
    parts = [
        f"generator {GENERATOR}",
        f"nvrtc {_nvrtc_version()}",
        arch,
        about,
        hashlib.sha256(source.encode()).hexdigest(),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    path = _place(key) if keep else None
    if path is not None and path.is_file():
        stored = _unpacked(path.read_bytes(), key, arch)
        if stored is not None:
            return stored
        warnings.warn(f"{path}: the compiled kernel is damaged; it is compiled again.", stacklevel=2)
    binary = _compiled(source, arch)
    if path is not None:
        try:
            write_atomic(path, [_packed(binary, key)])
        except CheckpointError as error:
            warnings.warn(f"compiled CUDA kernels are not kept: {error}", stacklevel=2)
    return binary


def _place(key: str) -> Path | None:
    """Return the file of the cache, or None, with a warning, where there can be none."""
    try:
        return cache_dir() / "kernels" / f"{key[:32]}.cubin"
    except InvalidInput as error:
        warnings.warn(f"compiled CUDA kernels are not kept: {error}", stacklevel=3)
        return None


def _compiled(source: str, arch: str) -> Binary:
    core, log = importlib.import_module("cuda.core"), io.StringIO()
    options = core.ProgramOptions(arch=arch, std="c++17", ptxas_options="-v")
    code = core.Program(source, "c++", options).compile("cubin", logs=log).code
    return Binary(bytes(code), arch, usage_of(log.getvalue()), cached=False)


def _packed(binary: Binary, key: str) -> bytes:
    """Put a line of JSON with the key, a hash and the report in front of the code."""
    digest = hashlib.sha256(binary.code).hexdigest()
    about = {"key": key, "sha256": digest, "usage": {k: asdict(u) for k, u in binary.usage.items()}}
    return json.dumps(about, sort_keys=True).encode() + b"\n" + binary.code


def _unpacked(blob: bytes, key: str, arch: str) -> Binary | None:
    head, _, code = blob.partition(b"\n")
    try:
        about = json.loads(head)
    except ValueError:
        return None
    if not isinstance(about, dict) or about.get("key") != key:
        return None
    if about.get("sha256") != hashlib.sha256(code).hexdigest():
        return None
    return Binary(code, arch, {k: Usage(**u) for k, u in about["usage"].items()}, cached=True)
