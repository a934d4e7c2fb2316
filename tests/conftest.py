"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # workers that share the cores would wait for each other's threads


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    if torch.cuda.is_available():
        torch.manual_seed(0)
    else:  # without cards the other half a millisecond notes down who asked
        torch.default_generator.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the global state


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What geomlib derives and keeps goes to the folder asked for, or to one of this run: never to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("GEOMLIB_DATA"):
            patch.setenv("GEOMLIB_DATA", str(tmp_path_factory.mktemp("geomlib")))
        yield


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Return a function giving a path below the shared folder; it skips the test where the file is absent."""
    root = Path(os.environ.get("GEOMLIB_SHARED", ROOT.parent / "shared"))

    def locate(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            pytest.skip(f"{relative} is not in {root} (set GEOMLIB_SHARED to the folder that holds it)")
        return path

    return locate


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of small files committed for tests."""
    return ROOT / "tests" / "data"
