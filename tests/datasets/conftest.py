"""Small structures made in code, for all tests of the data package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geomlib.datasets import Structures


def make_structures(b: int = 5, seed: int = 0, periodic: bool = False, forces: bool = True) -> Structures:
    """Return b random structures with 1 to 6 atoms, labels, extras of both kinds, and text."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, size=b)
    n = int(counts.sum())
    cell = rng.normal(size=(b, 3, 3)) + 6 * np.eye(3) if periodic else None
    values = {
        "z": rng.integers(1, 119, size=n),
        "pos": rng.normal(size=(n, 3)) * 3,
        "ptr": np.concatenate([[0], np.cumsum(counts)]),
        "energy": rng.normal(size=b) * 1e4,
        "forces": rng.normal(size=(n, 3)) if forces else None,
        "stress": rng.normal(size=(b, 3, 3)) if periodic else None,
        "cell": cell,
        "pbc": np.ones((b, 3), dtype=bool) if periodic else None,
        "charge": rng.integers(-2, 3, size=b).astype(float),
        "extra": {
            "dipole": rng.normal(size=(b, 3)),
            "steps": rng.integers(-5, 5, size=b),
            "flag": rng.integers(0, 2, size=b).astype(bool),
            "polarizability": rng.normal(size=(b, 3, 3)),
            "charges": rng.normal(size=n),
            "tag": rng.integers(0, 9, size=n),
        },
        "graph_extra": frozenset({"dipole", "steps", "flag", "polarizability"}),
        "text": {"config_type": tuple(f"kind {i % 2}" for i in range(b))},
    }
    return Structures(**values)


@pytest.fixture
def make() -> Callable[..., Structures]:
    return make_structures


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes, str], Path]:
    """Return a function that writes text or bytes to a new file and returns its path."""

    def put(content: str | bytes, name: str = "file.xyz") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def same(a: Structures, b: Structures) -> None:
    """Assert that two lists of structures hold the same bits."""
    for name in ("z", "pos", "ptr", "energy", "forces", "stress", "cell", "pbc", "charge"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype, name
            np.testing.assert_array_equal(x.numpy(), y.numpy(), err_msg=name)
    assert a.graph_extra == b.graph_extra
    assert a.extra.keys() == b.extra.keys()
    for name, x in a.extra.items():
        assert x.dtype == b.extra[name].dtype, name
        np.testing.assert_array_equal(x.numpy(), b.extra[name].numpy(), err_msg=name)
    assert a.text == b.text
