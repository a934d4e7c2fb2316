"""Gated nonlinearity."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irrep, Irreps, MulIrrep
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._features import checked
from geomlib.layers.activation import Activation, ScalarFunction

__all__ = ["Gate"]


class Gate(nn.Module):
    r"""Scalars through functions, and everything else times a scalar of its own through a function.

    .. math:: \Big(\bigoplus_i \phi_i(x_i)\Big) \oplus \Big(\bigoplus_j \phi_j(g_j)\, y_j\Big)

    The input holds the scalars x, the gates g and the gated irreps y, *sorted* by irrep and joined: ``irreps_in`` says how.
    Definitions are those of e3nn's ``nn.Gate``; functions have unit second moment as in :class:`Activation`.

    **Group** O(3). **Shapes** ``x`` (..., dim in) to (..., dim out).

    Args:
        irreps_scalars: scalars that come out.
        act_scalars: a function for each of their blocks.
        irreps_gates: scalars that multiply, one per gated irrep.
        act_gates: a function for each of their blocks.
        irreps_gated: what they multiply.
        factors: of the functions of scalars and of gates; computed if absent.

    Raises:
        InvalidInput: scalars that are none, a number of gates other than that of gated irreps; wrong shapes at the call.

    Source: Weiler et al., *3D Steerable CNNs*, arXiv 1807.02547; as in Geiger and Smidt, arXiv 2207.09453.

    >>> layer = Gate("8x0e", [torch.nn.functional.silu], "4x0e", [torch.sigmoid], "4x1o")
    >>> layer.irreps_in, layer.irreps_out, layer(torch.randn(5, 24)).shape
    (12x0e+4x1o, 8x0e+4x1o, torch.Size([5, 20]))
    """

    def __init__(
        self,
        irreps_scalars: Any,
        act_scalars: Sequence[ScalarFunction | None],
        irreps_gates: Any,
        act_gates: Sequence[ScalarFunction | None],
        irreps_gated: Any,
        factors: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
    ) -> None:
        super().__init__()
        scalars, gates, gated = Irreps(irreps_scalars), Irreps(irreps_gates), Irreps(irreps_gated)
        for name, irreps in (("irreps_scalars", scalars), ("irreps_gates", gates)):
            if irreps.lmax > 0:
                raise InvalidInput(f"Gate: {name} = {irreps} must hold scalars (0e, 0o) only.")
        if gates.num_irreps != gated.num_irreps:
            raise InvalidInput(
                f"Gate: {gated.num_irreps} irreps in irreps_gated = {gated}, but {gates.num_irreps} gates in "
                f"irreps_gates = {gates}; give one gate to each."
            )
        one, two = (None, None) if factors is None else factors
        self.act_scalars = Activation(scalars, act_scalars, one)
        self.act_gates = Activation(gates, act_gates, two)
        self.irreps_scalars, self.irreps_gates, self.irreps_gated = (
            scalars.simplify(),
            gates.simplify(),
            gated.simplify(),
        )
        joined = self.irreps_scalars + self.irreps_gates + self.irreps_gated
        order = sorted(range(len(joined)), key=lambda k: joined[k].ir)
        self.irreps_in = joined.sorted().simplify()
        starts = [s.start for s in Irreps([joined[k] for k in order]).slices()]
        where = {k: starts[n] for n, k in enumerate(order)}
        self._places = [(where[k], b.dim) for k, b in enumerate(joined)]
        self._counts = len(self.irreps_scalars), len(self.irreps_gates)
        self.irreps_out = self.act_scalars.irreps_out + self._products()

    def _products(self) -> Irreps:
        """Return the gated irreps after the gates, whose parity an even function can change, as e3nn splits them."""
        gates = [b.ir for b in self.act_gates.irreps_out for _ in range(b.mul)]
        ends = {0}
        for irreps in (self.irreps_gated, self.act_gates.irreps_out.simplify()):
            k = 0
            for b in irreps:
                k += b.mul
                ends.add(k)
        cuts, found = sorted(ends), list[MulIrrep]()
        each = [b.ir for b in self.irreps_gated for _ in range(b.mul)]
        for first, last in itertools.pairwise(cuts):
            ir = each[first]
            found.append(MulIrrep(last - first, Irrep(ir.l, ir.p * gates[first].p)))
        return Irreps(found)

    def forward(self, x: Tensor) -> Tensor:  # (..., dim in) -> (..., dim out)
        """Return the gated features.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("Gate", "x", x, self.irreps_in)
        parts = [x.narrow(-1, start, size) for start, size in self._places]
        s, g = self._counts
        scalars = torch.cat([x[..., :0], *parts[:s]], dim=-1)
        gates = self.act_gates(torch.cat([x[..., :0], *parts[s : s + g]], dim=-1))
        out, first = [self.act_scalars(scalars)], 0
        for block, y in zip(self.irreps_gated, parts[s + g :], strict=True):
            by = gates[..., first : first + block.mul, None]
            out.append((y.unflatten(-1, (block.mul, block.ir.dim)) * by).flatten(-2))
            first += block.mul
        return torch.cat(out, dim=-1)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": f"node:{self.irreps_in}"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Gate, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        silu, tanh = torch.nn.functional.silu, torch.tanh
        layer = cls("4x0e+2x0o", [silu, tanh], "3x0e+2x0o", [torch.sigmoid, tanh], "2x1o+1x1e+2x2e")
        return layer, {"x": torch.randn(6, layer.irreps_in.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps."""
        return f"{self.irreps_in} -> {self.irreps_out}"
