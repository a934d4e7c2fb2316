"""The product of a feature with itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irrep, Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers.tensor_product import TensorProduct

__all__ = ["TensorSquare"]

Row = tuple[int, int, int, str, bool, float]


class TensorSquare(TensorProduct):
    r"""The tensor product of a feature with itself, each pair of channels once.

    .. math:: z^{(c)} = \sum_{a \le b} \sqrt{\alpha_{abc} / n_c}\; W^{(abc)}\, (x^{(a)} \otimes x^{(b)})^{(c)}

    With ``irreps_out`` every pair reaches every block with weights of its own; without, all outputs come out and there are no
    weights. A channel with itself has even degrees only, and :math:`\alpha` accounts for its factors being equal.
    Definitions are those of e3nn's ``o3.TensorSquare``.

    **Group** O(3). **Shapes** ``x`` (..., dim in), ``weight`` as :class:`TensorProduct`, to (..., dim out).

    Args:
        irreps_in: of x.
        irreps_out: of the result; all that can be made if absent.
        filter_ir_out: irreps to keep, where ``irreps_out`` is absent.
        irrep_normalization: ``"component"``, ``"norm"`` or ``"none"``.
        instructions: instead of those made from the irreps, with everything of the normalisation in their path weights.
        options: of :class:`TensorProduct`.

    Raises:
        InvalidInput: both ``irreps_out`` and ``filter_ir_out``; what :class:`TensorProduct` refuses.

    Source: Geiger and Smidt, *e3nn: Euclidean Neural Networks*, arXiv 2207.09453.

    >>> TensorSquare("2x1o").irreps_out
    1x0e+2x0e+1x1e+1x2e+2x2e
    >>> TensorSquare("4x0e+2x1o", "3x0e+1x2e").weight_numel
    42
    """

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any = None,
        filter_ir_out: Iterable[Any] | str | None = None,
        irrep_normalization: str = "component",
        instructions: Sequence[Sequence[Any]] | None = None,
        **options: Any,
    ) -> None:
        if irrep_normalization not in ("component", "norm", "none"):
            raise InvalidInput(
                f"irrep_normalization={irrep_normalization!r}: expected one of component, norm, none."
            )
        if irreps_out is not None and filter_ir_out is not None:
            raise InvalidInput("TensorSquare: irreps_out names what is kept; leave out filter_ir_out.")
        one = Irreps(irreps_in).simplify()
        if instructions is not None:
            out, rows = Irreps(irreps_out), list(instructions)
        elif irreps_out is None:
            out, rows = _full(one, filter_ir_out, irrep_normalization)
        else:
            out = Irreps(irreps_out).simplify()
            rows = _connected(one, out, irrep_normalization)
        super().__init__(one, one, out, rows, irrep_normalization="none", **options)

    @property
    def irreps_in(self) -> Irreps:
        """Irreps of x."""
        return self.irreps_in1

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - one factor instead of two
        self, x: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Return the square.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        return super().forward(x, x, weight)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": f"node:{self.irreps_in}"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorSquare, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("3x0e+1x0o+2x1o+1x2e", "2x0e+2x1o+1x1e+2x2e")
        return layer, {"x": torch.randn(5, layer.irreps_in.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps and the number of paths and weights."""
        return f"{self.irreps_in} -> {self.irreps_out}, {len(self.spec.paths)} paths, {self.weight_numel} weights"


def _pairs(irreps: Irreps) -> Iterable[tuple[int, int]]:
    return ((a, b) for a in range(len(irreps)) for b in range(a, len(irreps)))


def _alpha(one: Irrep, two: Irrep, out: Irrep, normalization: str) -> float:
    """Return the variance of independent factors that makes that of the output 1."""
    return {"component": float(out.dim), "norm": float(one.dim * two.dim), "none": 1.0}[normalization]


def _alpha_equal(ir: Irrep, out: Irrep, normalization: str) -> float:
    """Return the same for a factor with itself, whose fourth moments count."""
    n = ir.dim
    scalar = {"component": out.dim / (n + 2), "norm": float(out.dim * n), "none": 1.0}
    other = {"component": out.dim / 2, "norm": n * (n + 2) / 2, "none": 1.0}
    return (scalar if out.l == 0 else other)[normalization]


def _full(irreps: Irreps, kept: Iterable[Any] | str | None, normalization: str) -> tuple[Irreps, list[Row]]:
    allowed = None if kept is None else [b.ir for b in Irreps(kept)]
    found: list[tuple[int, Irrep, int, int, str, float]] = []
    for a, b in _pairs(irreps):
        (m1, ir1), (m2, ir2) = irreps[a], irreps[b]
        for ir in ir1 * ir2:
            if allowed is not None and ir not in allowed:
                continue
            alpha = _alpha(ir1, ir2, ir, normalization)
            if a < b:
                found.append((m1 * m2, ir, a, b, "uvuv", alpha))
                continue
            if m1 > 1:
                found.append((m1 * (m1 - 1) // 2, ir, a, a, "uvu<v", alpha))
            if ir.l % 2 == 0:
                found.append((m1, ir, a, a, "uuu", _alpha_equal(ir1, ir, normalization)))
    order = sorted(range(len(found)), key=lambda k: found[k][1])
    place = {k: n for n, k in enumerate(order)}
    rows = [(a, b, place[k], mode, False, alpha) for k, (_, _, a, b, mode, alpha) in enumerate(found)]
    return Irreps([(found[k][0], found[k][1]) for k in order]), rows


def _connected(irreps: Irreps, out: Irreps, normalization: str) -> list[Row]:
    rows: list[Row] = []
    for a, b in _pairs(irreps):
        (m1, ir1), (_, ir2) = irreps[a], irreps[b]
        for c, (_, ir) in enumerate(out):
            if ir not in ir1 * ir2:
                continue
            alpha = _alpha(ir1, ir2, ir, normalization)
            if a < b:
                rows.append((a, b, c, "uvw", True, alpha))
                continue
            if m1 > 1:
                rows.append((a, a, c, "u<vw", True, alpha))
            if ir.l % 2 == 0:
                rows.append((a, a, c, "uuw", True, _alpha_equal(ir1, ir, normalization)))
    return rows
