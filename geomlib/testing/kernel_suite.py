"""The certificate of a kernel as tests, to inherit from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from geomlib.errors import InvalidInput
from geomlib.testing.asserting import require, skip
from geomlib.testing.measures import plain

if TYPE_CHECKING:
    from geomlib.verify import Certificate, CertificateRow

__all__ = ["KernelSuite"]


@lru_cache(maxsize=64)
def _certificate(suite: type[KernelSuite]) -> Certificate:
    from geomlib.verify import compare

    kernel, reference, inputs = (plain(suite(), name) for name in ("kernel", "reference", "inputs"))
    if kernel is None or reference is None or inputs is None:
        raise InvalidInput(f"{suite.__name__} needs `kernel`, `reference` and `inputs`.")
    return compare(kernel, reference, inputs, **suite.options)


class KernelSuite:
    """Tests of a fast implementation beside the reference that specifies it.

    Sizes 0 to 33, strided, transposed and expanded tensors, missing gradients, NaN, float32 and float64, all within the
    reference's own round-off (see `geomlib.verify.compare`).

    Attributes:
        kernel: the fast callable, as a static method.
        reference: the same function in plain torch, as a static method.
        inputs: a static method ``(rows, generator) -> arguments by name``, or fixed arguments.
        options: further arguments of ``compare``, for example ``{"derivatives": 1}``.

    >>> import torch
    >>> class TestSquare(KernelSuite):
    ...     kernel = staticmethod(lambda x: x * x)
    ...     reference = staticmethod(lambda x: x.square())
    ...     inputs = staticmethod(lambda rows, generator: {"x": torch.randn(rows, 3, generator=generator)})
    >>> TestSquare().test_second_gradients()
    """

    kernel: ClassVar[Any] = None
    reference: ClassVar[Any] = None
    inputs: ClassVar[Any] = None
    options: ClassVar[Mapping[str, Any]] = {}

    def certificate(self) -> Certificate:
        """Return the certificate, made once per class."""
        return _certificate(type(self))

    def test_values(self) -> None:
        """Values agree within round-off on every size and layout, in both types."""
        self._rows("values", lambda row: row.kind == "forward" and not _special(row))

    def test_gradients(self) -> None:
        """First derivatives agree, with each combination of inputs that ask for them."""
        self._rows("gradients", lambda row: row.kind == "backward", order=1)

    def test_second_gradients(self) -> None:
        """Second derivatives agree, as training on forces needs them."""
        self._rows("second gradients", lambda row: row.kind == "double backward", order=2)

    def test_nan_is_kept(self) -> None:
        """A NaN comes out where the reference has one, and nowhere else."""
        if not self.options.get("nan", True):
            skip("NaN is not promised")
        self._rows("NaN", lambda row: row.case.startswith("NaN"))

    def test_large_shapes(self) -> None:
        """Shapes beyond 2^31 elements are right, or refused with a typed error."""
        if not any(row.case.startswith("2^31") for row in self.certificate().rows):
            skip("the reference needs values: no shapes without them")
        self._rows("large shapes", lambda row: row.case.startswith("2^31"))

    def _rows(self, what: str, belongs: Callable[[CertificateRow], bool], order: int = 0) -> None:
        __tracebackhide__ = True
        if self.options.get("derivatives", 2) < order:
            skip(f"derivatives of order {order} are not promised")
        found = self.certificate()
        rows = [row for row in found.rows if belongs(row)]
        require(bool(rows), f"{what}: nothing was compared")
        bad = [row for row in rows if not row.ok]
        cases = ", ".join(dict.fromkeys(f"{row.case} ({row.dtype})" for row in bad))
        require(not bad, f"{what} differ: {cases}\n{found}")


def _special(row: CertificateRow) -> bool:
    return row.case.startswith(("NaN", "2^31"))
