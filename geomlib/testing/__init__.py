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
    from geomlib.testing.batch_norm import assert_bn
    from geomlib.testing.drawing import random_spd, random_symmetric
    from geomlib.testing.group_suite import GroupSuite
    from geomlib.testing.gyrogroup import assert_gyrogroup
    from geomlib.testing.isometry import assert_isometry
    from geomlib.testing.kernel_suite import KernelSuite
    from geomlib.testing.layer_suite import LayerSuite
    from geomlib.testing.metric import assert_geometry, assert_metric
    from geomlib.testing.model_suite import ModelSuite

__all__ = [
    "GroupSuite",
    "KernelSuite",
    "LayerSuite",
    "ModelSuite",
    "assert_bn",
    "assert_equivariant",
    "assert_geometry",
    "assert_gyrogroup",
    "assert_isometry",
    "assert_metric",
    "random_spd",
    "random_symmetric",
]

_LAZY = {
    "GroupSuite": "group_suite",
    "KernelSuite": "kernel_suite",
    "LayerSuite": "layer_suite",
    "ModelSuite": "model_suite",
    "assert_bn": "batch_norm",
    "assert_equivariant": "asserting",
    "assert_geometry": "metric",
    "assert_gyrogroup": "gyrogroup",
    "assert_isometry": "isometry",
    "assert_metric": "metric",
    "random_spd": "drawing",
    "random_symmetric": "drawing",
}

__getattr__ = attribute_loader("geomlib.testing", _LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
