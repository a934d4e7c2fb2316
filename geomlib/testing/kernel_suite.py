"""The certificate of a kernel as tests, to inherit from."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from geomlib.errors import InvalidInput
from geomlib.testing.asserting import require
from geomlib.testing.measures import plain

__all__ = ["KernelSuite"]


class KernelSuite:
    """Tests of a fast implementation beside the reference that specifies it.

    Attributes:
        kernel: the fast callable, as a static method.
        reference: the same function in plain torch, as a static method.
        inputs: arguments by name, or a static method of a generator that returns them.
        seed: of the inputs.

    >>> class TestSquare(KernelSuite):
    ...     kernel = staticmethod(lambda x: x * x)
    ...     reference = staticmethod(lambda x: x.square())
    ...     inputs = staticmethod(lambda generator: {"x": torch.randn(5, 3, generator=generator)})
    >>> TestSquare().test_certificate()
    """

    kernel: ClassVar[Any] = None
    reference: ClassVar[Any] = None
    inputs: ClassVar[Any] = None
    seed: ClassVar[int] = 0

    def certificate(self) -> Any:
        """Return the certificate of `geomlib.verify.compare`."""
        from geomlib import verify

        kernel, reference, inputs = (plain(self, name) for name in ("kernel", "reference", "inputs"))
        if kernel is None or reference is None or inputs is None:
            raise InvalidInput("the suite needs `kernel`, `reference` and `inputs`.")
        if callable(inputs):
            inputs = inputs(torch.Generator().manual_seed(self.seed))
        return verify.compare(kernel, reference, inputs)

    def test_certificate(self) -> None:
        """Values, gradients and second gradients agree within round-off, on all sizes and layouts."""
        found = self.certificate()
        require(bool(found.ok), f"kernel and reference differ\n{found}")
