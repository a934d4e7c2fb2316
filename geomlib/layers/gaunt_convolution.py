r"""Message passing by products on the sphere with a filter in the direction of the edge."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps, spherical_harmonics
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.dispatch import choose
from geomlib.kernels.gaunt import SignalProduct, gaunt_product
from geomlib.kernels.gaunt.aligned import aligned_product
from geomlib.kernels.gaunt.spec import dimension
from geomlib.layers._features import checked, checked_edges
from geomlib.layers._signals import channels_of, join, part, signals_of
from geomlib.layers.gaunt import method_name

__all__ = ["GauntConvolution"]

#: Number of degrees from which the aligned product is faster, see benchmarks/gaunt.py --convolution.
_ALIGNED_FROM = {"torch": 8, "cpu": 12}


class GauntConvolution(nn.Module):
    r"""Sum over neighbours of the product of their signal with a filter that points along the edge.

    .. math:: z_n = \sum_{e:\, \mathrm{target}(e) = n} G\,\Big(x_{\mathrm{source}(e)} \otimes
              \sum_l w_{el}\, Y_l(\hat r_e)\Big)

    With ``method="aligned"`` every edge is turned to the pole, where the filter has only the order m = 0: the product is
    then diagonal in m, :math:`O(L^3)` with the rotations. The other methods multiply by the harmonics as they are; all give
    the same.

    **Group** O(3), permutations of nodes and edges. **Shapes** ``x`` (N, dim in), ``edge_index`` (2, E) with sources in row 0,
    ``edge_vec`` (E, 3), ``weight`` (E, (lmax + 1) C), degrees outside, to (num_nodes, dim out). A zero vector has the degree 0
    of the filter only.

    Args:
        irreps_in: of x, all multiplicities alike.
        lmax: largest degree of the filter.
        irreps_out: of the result; the irreps of x if absent.
        method: ``"aligned"``, ``"sparse"``, ``"grid"``, ``"fft"`` or ``"auto"``: as measured on a CPU, aligned from degree 7
            in plain torch and from degree 11 where the Numba loops serve, and the fastest of the others below.
        grid: form of the grid, as :class:`GauntTensorProduct`.
        backend: of :func:`~geomlib.kernels.gaunt.gaunt_product`.

    Raises:
        InvalidInput: irreps or options that do not fit; wrong shapes, types or indices at the call.

    Source: Luo, Chen, Krishnapriyan, arXiv 2401.10216; the turn to the pole after Passaro and Zitnick, *Reducing SO(3)
    Convolutions to SO(2)*, arXiv 2302.03655.

    >>> conv = GauntConvolution("4x0e+4x1o", lmax=2)
    >>> edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
    >>> conv(torch.randn(3, 16), edge_index, torch.randn(3, 3), torch.randn(3, 12)).shape
    torch.Size([3, 16])
    """

    def __init__(
        self,
        irreps_in: Any,
        lmax: int,
        irreps_out: Any = None,
        method: str = "auto",
        grid: str = "dense",
        backend: str | None = None,
    ) -> None:
        super().__init__()
        name = "GauntConvolution"
        if lmax < 0:
            raise InvalidInput(f"{name}: lmax={lmax} must not be negative.")
        self.method = method if method == "aligned" else method_name(name, method, grid)
        self.lmax, self.backend = lmax, backend
        self.irreps_in = Irreps(irreps_in)
        self.irreps_out = self.irreps_in if irreps_out is None else Irreps(irreps_out)
        self.channels = channels_of(name, irreps_in=self.irreps_in, irreps_out=self.irreps_out)
        out = {s.parity: s for s in signals_of(name, "irreps_out", self.irreps_out)}
        self.terms = [
            (s, out[s.parity], SignalProduct("gaunt", s.degrees, tuple(range(lmax + 1)), out[s.parity].degrees, self.channels))
            for s in signals_of(name, "irreps_in", self.irreps_in) if s.parity in out
        ]  # fmt: skip
        reached = {self.irreps_out[k].ir for s, t, _ in self.terms for k, c in zip(t.blocks, t.degrees, strict=True)
                   if any(_meets(a, c, lmax) for a in s.degrees)}  # fmt: skip
        missing = [str(b.ir) for b in self.irreps_out if b.ir not in reached]
        if missing:
            raise InvalidInput(
                f"{name}: {', '.join(missing)} of irreps_out cannot be reached from {self.irreps_in} by a filter of degree "
                f"{lmax}."
            )

    def forward(
        self,
        x: Tensor,  # (N, dim in)
        edge_index: Tensor,  # (2, E)
        edge_vec: Tensor,  # (E, 3)
        weight: Tensor | None = None,  # (E, (lmax + 1) C)
        num_nodes: int | None = None,
    ) -> Tensor:  # (num_nodes or N, dim out)
        """Return the sums; without ``weight``, the filter is the sum of the harmonics.

        Raises:
            InvalidInput: shapes, types or indices that do not fit.
        """
        count = x.shape[0] if num_nodes is None else num_nodes
        source, target = checked_edges(edge_index, x.shape[0], count)
        edges = edge_index.shape[1]
        self._check(x, edges, edge_vec, weight)
        w = x.new_ones(edges, (self.lmax + 1) * self.channels) if weight is None else weight
        w = w.reshape(edges, self.lmax + 1, self.channels)
        messages = [
            (t, self._product(product, part(x, self.irreps_in, s)[source], edge_vec, w))
            for s, t, product in self.terms
        ]
        whole = join(messages, self.irreps_out, x.new_zeros(edges, 0))
        return whole.new_zeros(count, self.irreps_out.dim).index_add(0, target, whole)

    def _product(self, product: SignalProduct, x: Tensor, vectors: Tensor, w: Tensor) -> Tensor:
        if self.method == "aligned" or (self.method == "auto" and self._is_high(product, x)):
            return aligned_product(product, x, vectors, w)
        harmonics = spherical_harmonics(list(range(self.lmax + 1)), vectors, normalization="integral")
        parts = harmonics.split([2 * l + 1 for l in range(self.lmax + 1)], dim=1)
        y = torch.cat([(w[:, l, :, None] * h[:, None, :]).flatten(1) for l, h in enumerate(parts)], dim=1)
        return gaunt_product(product, x, y, method=self.method, backend=self.backend)

    def _is_high(self, product: SignalProduct, x: Tensor) -> bool:
        """Return whether turning every edge pays."""
        # A compiled call meets the backend only when it runs.
        known = torch.compiler.is_compiling() or choose("gaunt_product", (x,), self.backend) == "cpu"
        limit = _ALIGNED_FROM["cpu" if known and x.device.type == "cpu" else "torch"]
        return max(dimension(space) for space in product.spaces) >= limit**2

    def _check(self, x: Tensor, edges: int, edge_vec: Tensor, weight: Tensor | None) -> None:
        name = "GauntConvolution"
        checked(name, "x", x, self.irreps_in)
        if x.dim() != 2:
            raise InvalidInput(f"{name}: `x` has shape {tuple(x.shape)}; expected (N, {self.irreps_in.dim}).")
        for label, t, shape in (
            ("edge_vec", edge_vec, (edges, 3)),
            ("weight", weight, (edges, (self.lmax + 1) * self.channels)),
        ):
            if t is not None and (tuple(t.shape) != shape or t.dtype != x.dtype):
                raise InvalidInput(
                    f"{name}: `{label}` is {t.dtype} of shape {tuple(t.shape)}; expected {x.dtype} of shape {shape}."
                )

    @property
    def symmetry(self) -> Symmetry:
        """O(3), permutations of nodes and edges."""
        inputs = {
            "x": f"node:{self.irreps_in}",
            "edge_index": "edge:index",
            "edge_vec": "edge:vector",
            "weight": "edge:inv",
        }
        return Symmetry("O(3)*S_n", inputs=inputs, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GauntConvolution, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("4x0e+4x1o+4x1e", 2, "4x0e+4x1o+4x2e+4x1e")
        return layer, {
            "x": torch.randn(5, layer.irreps_in.dim, generator=generator),
            "edge_index": torch.randint(0, 5, (2, 9), generator=generator),
            "edge_vec": torch.randn(9, 3, generator=generator),
            "weight": torch.randn(9, 12, generator=generator),
        }

    def extra_repr(self) -> str:
        """Return the irreps and the degree of the filter."""
        return f"{self.irreps_in} x Y to degree {self.lmax} -> {self.irreps_out}, method={self.method}"


def _meets(l1: int, l3: int, lmax: int) -> bool:
    """Return whether some degree of the filter couples two degrees."""
    return any((l1 + l2 + l3) % 2 == 0 and abs(l1 - l2) <= l3 <= l1 + l2 for l2 in range(lmax + 1))
