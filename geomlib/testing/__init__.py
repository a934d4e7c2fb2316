"""What others inherit to test their own layers, models, kernels and groups.

>>> from geomlib.testing import LayerSuite
>>> from geomlib.layers import VectorHead
>>> class TestMine(LayerSuite):
...     layer = VectorHead
>>> len([name for name in dir(TestMine) if name.startswith("test_")]) > 15
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader

if TYPE_CHECKING:
    from geomlib.testing.asserting import assert_equivariant
    from geomlib.testing.group_suite import GroupSuite
    from geomlib.testing.kernel_suite import KernelSuite
    from geomlib.testing.layer_suite import LayerSuite
    from geomlib.testing.model_suite import ModelSuite

__all__ = ["GroupSuite", "KernelSuite", "LayerSuite", "ModelSuite", "assert_equivariant"]

_LAZY = {
    "GroupSuite": "group_suite",
    "KernelSuite": "kernel_suite",
    "LayerSuite": "layer_suite",
    "ModelSuite": "model_suite",
    "assert_equivariant": "asserting",
}

__getattr__ = attribute_loader("geomlib.testing", _LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
