r"""Nonlinear functions of scalars, of unit second moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irrep, Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._features import checked

__all__ = ["Activation", "ScalarFunction", "parity_of", "unit_moment_factor"]

ScalarFunction: TypeAlias = Callable[[Tensor], Tensor]


def unit_moment_factor(function: ScalarFunction) -> float:
    r"""Return the factor that gives a function the second moment 1 on normal numbers.

    .. math:: c = \Big(\int f(z)^2\, \tfrac{e^{-z^2/2}}{\sqrt{2\pi}}\, dz\Big)^{-1/2}

    by Gauss-Legendre quadrature in float64, in panels that meet at zero, where activations have their kink. (e3nn draws a
    million numbers instead, so its factors differ by about 1e-3; :func:`geomlib.interop.from_e3nn` takes theirs.)

    Raises:
        InvalidInput: the function vanishes or is not finite.

    >>> round(unit_moment_factor(torch.relu), 12) == round(2**0.5, 12)
    True
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(-14.0, 14.0, 57)
    half = (edges[1:] - edges[:-1])[:, None] / 2
    z = (edges[:-1, None] + half * (1 + nodes)).ravel()
    w = (half * weights).ravel() * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    with torch.no_grad():
        values = function(torch.from_numpy(z)).double().numpy()
    moment = float(np.sum(w * values**2))
    if not 1e-300 < moment < 1e300:
        raise InvalidInput(
            f"activation {_name(function)}: its second moment on normal numbers is {moment}; it cannot be made 1. "
            "Choose a function that is finite and not zero."
        )
    return moment**-0.5


def parity_of(function: ScalarFunction) -> int:
    """Return 1 for an even function, -1 for an odd one, 0 for another.

    >>> parity_of(torch.abs), parity_of(torch.tanh), parity_of(torch.relu)
    (1, -1, 0)
    """
    z = torch.linspace(0.0, 10.0, 257, dtype=torch.float64)
    with torch.no_grad():
        plus, minus = function(z), function(-z)
    if bool((plus - minus).abs().max() < 1e-9):
        return 1
    return -1 if bool((plus + minus).abs().max() < 1e-9) else 0


def _name(function: ScalarFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)


class Activation(nn.Module):
    r"""Functions of scalars, one per block, scaled to unit second moment on normal numbers.

    .. math:: z^{(a)}_u = c_a\, f_a(x^{(a)}_u), \qquad \langle (c_a f_a)^2 \rangle = 1

    A block 0e takes any function; a block 0o an odd one, which keeps 0o, or an even one, which makes 0e. Definitions are
    those of e3nn's ``nn.Activation``. The factors are computed once in float64; no cast of the module changes them.

    **Group** O(3). **Shapes** ``x`` (..., dim) to (..., dim).

    Args:
        irreps_in: of x.
        acts: a function per block, or None to let it pass.
        factors: of the blocks; computed by :func:`unit_moment_factor` if absent.

    Raises:
        InvalidInput: a function for a block that is no scalar, or of no parity for a block 0o; wrong shapes at the call.

    Source: Geiger and Smidt, *e3nn: Euclidean Neural Networks*, arXiv 2207.09453.

    >>> layer = Activation("4x0e+2x0o+1x1o", [torch.relu, torch.abs, None])
    >>> layer.irreps_out, layer(torch.randn(5, 9)).shape
    (4x0e+2x0e+1x1o, torch.Size([5, 9]))
    """

    def __init__(
        self,
        irreps_in: Any,
        acts: Sequence[ScalarFunction | None],
        factors: Sequence[float | None] | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        given = [None] * len(acts) if factors is None else list(factors)
        if len(acts) != len(self.irreps_in) or len(given) != len(acts):
            raise InvalidInput(
                f"Activation: {len(acts)} functions and {len(given)} factors for the {len(self.irreps_in)} blocks of "
                f"{self.irreps_in}; give one per block, None to let a block pass."
            )
        self.acts = list(acts)
        self.functions = nn.ModuleList([f for f in acts if isinstance(f, nn.Module)])
        out: list[tuple[int, Irrep]] = []
        self.factors: list[float] = []
        for block, f, factor in zip(self.irreps_in, acts, given, strict=True):
            if f is None:
                out.append((block.mul, block.ir))
                self.factors.append(1.0)
                continue
            if block.ir.l:
                raise InvalidInput(
                    f"Activation: block {block} is no scalar; give None for it and use Gate or NormActivation."
                )
            p = block.ir.p if block.ir.p == 1 else parity_of(f)
            if not p:
                raise InvalidInput(
                    f"Activation: block {block} is odd and {_name(f)} is neither even nor odd; use torch.tanh (odd) or "
                    "torch.abs (even)."
                )
            out.append((block.mul, Irrep(0, p)))
            self.factors.append(unit_moment_factor(f) if factor is None else float(factor))
        self.irreps_out = Irreps(out)

    def forward(self, x: Tensor) -> Tensor:  # (..., dim) -> (..., dim)
        """Return the values.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("Activation", "x", x, self.irreps_in)
        if not self.acts:
            return x
        parts = x.split([b.dim for b in self.irreps_in], dim=-1)
        done = [p if f is None else c * f(p) for p, f, c in zip(parts, self.acts, self.factors, strict=True)]
        return torch.cat(done, dim=-1) if len(done) > 1 else done[0]

    @property
    def symmetry(self) -> Symmetry:
        """O(3): scalars in, scalars out; rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": f"node:{self.irreps_in}"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Activation, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("4x0e+3x0o+2x0o+2x1o", [torch.nn.functional.silu, torch.tanh, torch.abs, None])
        return layer, {"x": torch.randn(6, layer.irreps_in.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps and the functions."""
        names = ", ".join("None" if f is None else _name(f) for f in self.acts)
        return f"{self.irreps_in} -> {self.irreps_out}, [{names}]"
