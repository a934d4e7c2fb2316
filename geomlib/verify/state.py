"""The verifier leaves no trace: random state and global settings are as before, whatever the target did."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import random
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["default_dtype", "preserved_state", "reseed"]


@contextmanager
def preserved_state() -> Generator[None, None, None]:
    """Restore dtype, random state, threads, matmul precision, determinism and warning filters on exit."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    precision, deterministic = (
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )
    legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global state is what we protect
    filters = list(warnings.filters)
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(precision)
            torch.use_deterministic_algorithms(deterministic)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            np.random.set_state(legacy)  # noqa: NPY002
            random.setstate(python)
            warnings.filters[:] = filters  # pyright: ignore[reportIndexIssue]
            getattr(warnings, "_filters_mutated", _nothing)()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None, None, None]:
    """Set the default dtype inside the block: nothing that is tested should depend on it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def reseed(seed: int) -> None:
    """Seed every source of randomness that a target may use; only inside `preserved_state`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def _nothing(*_: Any) -> None:
    """Stand in for the private hook of ``warnings`` where an interpreter lacks it."""
