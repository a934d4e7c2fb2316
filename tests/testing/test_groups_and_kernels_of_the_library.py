"""Groups and kernels of the library pass the exported suites."""

from __future__ import annotations

import pytest
import torch

from geomlib.kernels import cartesian
from geomlib.kernels.dispatch import available_backends
from geomlib.testing import GroupSuite, KernelSuite

_EXAMPLES = {
    "O(3)": ("vector", (4, 3)),
    "SO(3)": ("8x0e+4x1o+2x2e", (4, 30)),
    "E(3)": ("point", (4, 3)),
    "SE(3)": ("point", (4, 3)),
    "S_n": ("node:scalar", (5, 2)),
    "O(1,3)": ("vector", (4, 4)),
    "Sp(4)": ("vector", (4, 4)),
    "GL(3)": ("vector", (4, 3)),
    "O_h": ("tensor(2)", (4, 3, 3)),
}

for _name, (_type, _shape) in _EXAMPLES.items():
    _options = {
        "group": _name,
        "type": _type,
        "example": staticmethod(lambda generator, shape=_shape: torch.randn(shape, generator=generator)),
    }
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (GroupSuite,), _options)


class OnCPU(KernelSuite):
    @pytest.fixture(autouse=True)
    def _numba(self) -> None:
        if available_backends()["cpu"] != "available":
            pytest.skip(available_backends()["cpu"])


def _features(rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(rows, 9, 4, generator=generator)}


class TestNormalize(OnCPU):
    kernel = staticmethod(lambda x: cartesian.normalize(x, backend="cpu"))
    reference = staticmethod(lambda x: cartesian.normalize(x, backend="torch"))
    inputs = staticmethod(_features)


class TestPartNorms(OnCPU):
    kernel = staticmethod(lambda x: cartesian.part_norms(x, backend="cpu"))
    reference = staticmethod(lambda x: cartesian.part_norms(x, backend="torch"))
    inputs = staticmethod(_features)
