"""Failing and skipping without ``assert``, which ``python -O`` drops, and without importing pytest."""

from __future__ import annotations

import sys
import unittest
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from geomlib.algebra.symmetry import Outputs
    from geomlib.verify import Report

__all__ = ["assert_equivariant", "require", "skip"]


def assert_equivariant(
    target: Callable[..., Any],
    group: str | None = None,
    inputs: str | Mapping[str, Any] | None = None,
    outputs: Outputs | None = None,
    **options: Any,
) -> Report:
    r"""Fail unless :math:`f(\rho_{in}(g) x) = \rho_{out}(g) f(x)` holds to float64 round-off.

    Args:
        target: any callable, layer or model.
        group: for example ``"O(3)"``; by default what ``target.symmetry`` says.
        inputs: types by argument name, or one type.
        outputs: one type, a tuple, or a dict of types.
        options: further arguments of `geomlib.verify.check`.

    Returns:
        The report.

    Raises:
        EquivarianceError: an `AssertionError` whose message is the report.
        InvalidInput: the specification does not fit the target.

    >>> assert_equivariant(lambda v: 2 * v, "O(3)", "vector", "vector", trials=4).verdict
    'EXACT'
    """
    __tracebackhide__ = True
    from geomlib.verify import check

    return check(target, group, inputs, outputs, **options).raise_if_failed()


def require(condition: bool, message: str) -> None:
    """Fail the test with a message unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(message)


def skip(reason: str) -> NoReturn:
    """End the test as skipped, under pytest or unittest."""
    __tracebackhide__ = True
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        pytest.skip(reason)
    raise unittest.SkipTest(reason)
