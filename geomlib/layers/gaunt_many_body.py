r"""Products of a signal on the sphere with itself, to any order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.gaunt import sphere_grid
from geomlib.algebra.irreps import Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.gaunt.columns import from_columns, to_columns
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._features import checked
from geomlib.layers._signals import channels_of, join, part, signals_of

__all__ = ["GauntManyBody"]


class GauntManyBody(Float64Buffers):
    r"""Powers of a signal: many-body features of every order at the price of one grid.

    .. math:: z_{l} = \sum_{\nu=1}^{n} w_{\nu l}\, P_l[f^\nu], \qquad f = \sum_{lm} x_{lm} Y_{lm}

    where P projects on degree l. On an exact grid of degree n L_in + L_out a power is literally a power of the values.

    **Group** O(3). **Shapes** ``x`` (N, dim in), ``index`` (N,) to (N, dim out).

    Args:
        irreps_in: of x, one true signal (0e, 1o, 2e, ...) or one pseudo-signal (0o, 1e, ...), all multiplicities alike.
        irreps_out: of the result; the irreps of x if absent. Powers of even order of a pseudo-signal are true signals.
        correlation: largest order n.
        elements: number of sets of weights; with more than one, ``index`` says which one each row takes.
        weights: ``"degree"``: one weight per element, order, irrep of the output and channel; None: only the highest order, as
            it is.

    Raises:
        InvalidInput: irreps or options that do not fit; wrong shapes, types or indices at the call.

    Source: Luo, Chen, Krishnapriyan, arXiv 2401.10216.

    >>> layer = GauntManyBody("8x0e+8x1o+8x2e", correlation=3)
    >>> layer(torch.randn(5, 72)).shape
    torch.Size([5, 72])
    """

    evaluate: Tensor
    project: Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any = None,
        correlation: int = 3,
        elements: int = 1,
        weights: str | None = "degree",
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        self.irreps_out = self.irreps_in if irreps_out is None else Irreps(irreps_out)
        if correlation < 1 or elements < 1 or weights not in ("degree", None):
            raise InvalidInput(
                f"GauntManyBody: correlation={correlation}, elements={elements}, weights={weights!r}; expected positive "
                "numbers and 'degree' or None."
            )
        self.correlation, self.elements, self.weights = correlation, elements, weights
        self.channels = channels_of("GauntManyBody", irreps_in=self.irreps_in, irreps_out=self.irreps_out)
        signals = signals_of("GauntManyBody", "irreps_in", self.irreps_in)
        if len(signals) != 1:
            raise InvalidInput(
                f"GauntManyBody: irreps_in = {self.irreps_in} is a true signal and a pseudo-signal; powers are taken of one. "
                "Give each its own layer."
            )
        self.signal = signals[0]
        orders = range(1, correlation + 1) if weights else (correlation,)
        out = {s.parity: s for s in signals_of("GauntManyBody", "irreps_out", self.irreps_out)}
        self.orders = [(n, out[self.signal.parity**n]) for n in orders if self.signal.parity**n in out]
        missing = set(out) - {self.signal.parity**n for n in orders}
        if missing:
            raise InvalidInput(
                f"GauntManyBody: irreps_out = {self.irreps_out} has irreps that no power of {self.irreps_in} has; "
                "powers of true signals are true, even powers of pseudo-signals are true, odd ones are not."
            )
        grid = sphere_grid(correlation * max(self.signal.degrees) + self.irreps_out.lmax)
        self.degrees_out = tuple(sorted({b.ir.l for b in self.irreps_out}))
        project = (grid.harmonics(self.degrees_out) * grid.weight[:, None]).T
        self.register_buffer(
            "evaluate", torch.from_numpy(grid.harmonics(self.signal.degrees)), persistent=False
        )
        self.register_buffer("project", torch.from_numpy(project.copy()), persistent=False)
        if weights:
            shape = elements, correlation, len(self.irreps_out), self.channels
            self.weight = nn.Parameter(torch.ones(shape) / correlation)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Return the weighted sum of powers.

        Raises:
            InvalidInput: shapes, types or indices that do not fit.
        """
        checked("GauntManyBody", "x", x, self.irreps_in, self.weight if self.weights else None)
        if x.dim() != 2:
            raise InvalidInput(
                f"GauntManyBody: `x` has shape {tuple(x.shape)}; expected (N, {self.irreps_in.dim})."
            )
        weight = self._of_rows(x, index)
        c, rows = self.channels, x.shape[0]
        inputs = to_columns(part(x, self.irreps_in, self.signal), self.signal.degrees, c, "mul_ir")
        f = self.evaluate.to(x.dtype) @ inputs
        blocks = self.project.to(x.dtype).split([2 * l + 1 for l in self.degrees_out])
        project = dict(zip(self.degrees_out, blocks, strict=True))
        power, parts = f, {}
        for order in range(1, self.correlation + 1):
            if order > 1:
                power = power * f
            for signal in (s for n, s in self.orders if n == order):
                matrix = torch.cat([project[l] for l in signal.degrees])
                z = from_columns(matrix @ power, signal.degrees, c, "mul_ir")
                if weight is not None:
                    z = z * _by_column(weight[:, order - 1], signal, rows)
                parts[signal] = parts[signal] + z if signal in parts else z
        return join(list(parts.items()), self.irreps_out, x)

    def _of_rows(self, x: Tensor, index: Tensor | None) -> Tensor | None:
        """Return the weights (1 or N, order, block, channel)."""
        if index is None:
            if self.weights and self.elements > 1:
                raise InvalidInput(
                    f"index: this layer has weights for {self.elements} elements; say which one each row is."
                )
            return self.weight if self.weights else None
        if not self.weights:
            raise InvalidInput("index: this layer has no weights to choose from.")
        if index.shape != x.shape[:1] or index.dtype not in (torch.int64, torch.int32):
            raise InvalidInput(
                f"index: expected {x.shape[0]} integers, got {index.dtype} of shape {tuple(index.shape)}."
            )
        known = not torch.compiler.is_compiling()  # a compiled call does not know values
        if known and index.numel() and not 0 <= int(index.min()) <= int(index.max()) < self.elements:
            raise InvalidInput(
                f"index: {int(index.min())}..{int(index.max())} is outside 0..{self.elements - 1}."
            )
        return self.weight.index_select(0, index)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        inputs = {"x": f"node:{self.irreps_in}"}
        if self.elements > 1:
            inputs["index"] = "node:inv"
        return Symmetry("O(3)*S_n", inputs=inputs, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GauntManyBody, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e+4x3o", correlation=3, elements=2)
        return layer, {
            "x": torch.randn(5, layer.irreps_in.dim, generator=generator),
            "index": torch.randint(0, 2, (5,), generator=generator),
        }

    def extra_repr(self) -> str:
        """Return the irreps and the orders."""
        return (
            f"{self.irreps_in} -> {self.irreps_out}, correlation {self.correlation}, {self.elements} elements"
        )


def _by_column(weight: Tensor, signal: Any, rows: int) -> Tensor:  # (1 or N, block, C) -> (1 or N, dim)
    columns = [
        weight[:, k].repeat_interleave(2 * l + 1, dim=1)
        for k, l in zip(signal.blocks, signal.degrees, strict=True)
    ]
    return torch.cat(columns, dim=1)
