r"""Message passing in the frame of every edge: a tensor product becomes one linear map for each order m."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps, wigner_3j
from geomlib.algebra.irreps.harmonics import direction
from geomlib.algebra.irreps.wigner import aligning_rotation, coupling, wigner_matrices
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._examples import edges_of, example_atoms
from geomlib.layers._features import blocks, checked, checked_edges, read_values
from geomlib.layers.tensor_product import TensorProduct

__all__ = ["SO2Convolution"]


@dataclass(frozen=True)
class _Mixing:
    """A linear map of the components m and -m of some blocks to those of others.

    Args:
        m: the order.
        straight: blocks whose components (m, -m) enter as they are.
        turned: blocks that enter by a quarter turn, as (-(-m), m).
        out: blocks that receive.
        shape: of the matrix.
        start: of its weights.
    """

    m: int
    straight: tuple[int, ...]
    turned: tuple[int, ...]
    out: tuple[int, ...]
    shape: tuple[int, int]
    start: int

    @property
    def weights(self) -> slice:
        return slice(self.start, self.start + self.shape[0] * self.shape[1])


class SO2Convolution(Float64Buffers):
    r"""The convolution with spherical harmonics of the edges, in a frame in which the edge is the polar axis (eSCN).

    .. math:: z_n = \sum_{e:\, \mathrm{target}(e) = n} D(R_e)^\top\, L\big( s_e \odot D(R_e)\, x_{\mathrm{source}(e)} \big),
              \qquad R_e\, \hat r_e = \hat y

    Harmonics of the polar axis have order 0 only, so a tensor product with them conserves m: L maps the pairs (m, -m) of all
    input blocks to those of all output blocks by one matrix per m, which commutes with the turns about the axis that the frame
    leaves open. The frame needs no angles and no direction is special. For ``group="O(3)"`` blocks of equal natural parity
    :math:`p(-1)^l` are joined straight and others by a quarter turn, which is all that reflections allow; for ``"SO(3)"``
    all blocks are joined in both ways. :meth:`weight_of` gives the weights of an equal tensor product.

    **Group** O(3) or SO(3), permutations of nodes and edges. **Shapes** ``x`` (N, dim in), ``edge_index`` (2, E) with sources
    in row 0, ``edge_vec`` (E, 3), ``scale`` (E, scale_numel), to (N, dim out).

    Args:
        irreps_in: of x.
        irreps_out: of the result.
        m_max: leave out higher orders (filters then are not all harmonics, the symmetry stays exact); all if absent.
        group: ``"O(3)"`` or ``"SO(3)"``.

    Raises:
        InvalidInput: unknown group, negative ``m_max``; wrong shapes or types, indices that are no node, edges of no length
            at the call.

    Source: Passaro and Zitnick, *Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant GNNs*, arXiv 2302.03655.

    >>> layer = SO2Convolution("4x0e+4x1o+4x2e", "4x0e+4x1o")
    >>> edge_index = torch.tensor([[0, 1, 2], [1, 0, 0]])
    >>> layer(torch.randn(3, 36), edge_index, torch.randn(3, 3)).shape
    torch.Size([3, 16])
    """

    def __init__(
        self, irreps_in: Any, irreps_out: Any, m_max: int | None = None, group: str = "O(3)"
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        if group not in ("O(3)", "SO(3)"):
            raise InvalidInput(f"SO2Convolution: group={group!r}, expected 'O(3)' or 'SO(3)'.")
        if m_max is not None and m_max < 0:
            raise InvalidInput(f"SO2Convolution: m_max={m_max} must not be negative.")
        self.group, self.m_max = group, m_max
        self.lmax = max(self.irreps_in.lmax, self.irreps_out.lmax, 0)
        self.orders_in, self.orders_out = (
            [min(b.ir.l, self.lmax if m_max is None else m_max) for b in irreps]
            for irreps in (self.irreps_in, self.irreps_out)
        )
        self.mixings = self._plan()
        self.weight_numel = self.mixings[-1].weights.stop if self.mixings else 0
        self.scale_numel = sum(b.mul * (k + 1) for b, k in zip(self.irreps_in, self.orders_in, strict=True))
        self.weight = nn.Parameter(torch.randn(self.weight_numel))
        for l in range(1, self.lmax):
            self.register_buffer(f"coupling_{l}", coupling(l), persistent=False)

    def _plan(self) -> list[_Mixing]:
        ours, theirs = (
            [b.ir.p * (-1) ** b.ir.l for b in irreps] for irreps in (self.irreps_in, self.irreps_out)
        )
        found: list[_Mixing] = []
        start = 0
        for natural in (1, -1) if self.group == "O(3)" else (0,):
            for m in range(self.lmax + 1):
                here = [a for a, k in enumerate(self.orders_in) if k >= m]
                straight = tuple(a for a in here if ours[a] == natural or not natural)
                turned = tuple(a for a in here if m and (ours[a] != natural or not natural))
                out = tuple(c for c, k in enumerate(self.orders_out) if k >= m and natural in (0, theirs[c]))
                size = sum(self.irreps_in[a].mul for a in (*straight, *turned))
                shape = size, sum(self.irreps_out[c].mul for c in out)
                if min(shape):
                    found.append(_Mixing(m, straight, turned, out, shape, start))
                    start += shape[0] * shape[1]
        return found

    def forward(
        self,
        x: Tensor,  # (N, dim in)
        edge_index: Tensor,  # (2, E)
        edge_vec: Tensor,  # (E, 3)
        scale: Tensor | None = None,  # (E, scale_numel)
    ) -> Tensor:  # (N, dim out)
        """Return the sums of messages; ``scale`` has a factor for every input channel and order, 0 first.

        Raises:
            InvalidInput: what does not fit.
        """
        checked("SO2Convolution", "x", x, self.irreps_in, like=self.weight)
        if x.dim() != 2:
            raise InvalidInput(f"SO2Convolution: `x` has shape {tuple(x.shape)}; pass (nodes, dim).")
        source, target = checked_edges(edge_index, x.shape[0], x.shape[0])
        expected = {"edge_vec": (edge_vec, 3), "scale": (scale, self.scale_numel)}
        for name, (t, width) in expected.items():
            if t is not None and (tuple(t.shape) != (len(source), width) or t.dtype != x.dtype):
                raise InvalidInput(
                    f"SO2Convolution: `{name}` is {t.dtype} of shape {tuple(t.shape)}, expected {x.dtype} of shape "
                    f"({len(source)}, {width})."
                )
        read_values(_some_length, edge_vec)
        couplings = [self.get_buffer(f"coupling_{l}") for l in range(1, self.lmax)]
        matrices = wigner_matrices(self.lmax, aligning_rotation(direction(edge_vec)), couplings)
        aligned = self._aligned(x[source], matrices, scale)
        message = self._returned(self._mixed(aligned, x), matrices, x)
        return x.new_zeros(x.shape[0], self.irreps_out.dim).index_add(0, target, message)

    def _aligned(self, x: Tensor, matrices: list[Tensor], scale: Tensor | None) -> list[Tensor]:
        """Return the blocks (E, mul, 2k + 1) in the frames of the edges, orders up to k only."""
        out: list[Tensor] = []
        start = 0
        for block, k, part in zip(self.irreps_in, self.orders_in, blocks(x, self.irreps_in), strict=True):
            l = block.ir.l
            turned = part @ matrices[l][:, l - k : l + k + 1].mT
            if scale is not None:
                size = block.mul * (k + 1)
                factor = scale[:, start : start + size].unflatten(1, (block.mul, k + 1))
                start += size
                turned = turned * torch.cat([factor[..., 1:].flip(-1), factor], dim=-1)
            out.append(turned)
        return out

    def _mixed(self, aligned: list[Tensor], like: Tensor) -> list[list[Tensor | None]]:
        """Return the columns -k..k of every output block, (E, mul), None where nothing arrives."""
        out: list[list[Tensor | None]] = [[None] * (2 * k + 1) for k in self.orders_out]
        for mixing in self.mixings:
            m, w = mixing.m, self.weight[mixing.weights].unflatten(0, mixing.shape)
            w = w / math.sqrt(mixing.shape[0])
            pairs = [self._pair(aligned[a], m) for a in mixing.straight]
            for a in mixing.turned:
                plus, minus = self._pair(aligned[a], m).unbind(1)
                pairs.append(torch.stack([-minus, plus], dim=1))
            mixed = (torch.cat(pairs, dim=2) @ w).split([self.irreps_out[c].mul for c in mixing.out], dim=2)
            for c, z in zip(mixing.out, mixed, strict=True):
                k = self.orders_out[c]
                out[c][k + m] = z[:, 0]
                if m:
                    out[c][k - m] = z[:, 1]
        return out

    @staticmethod
    def _pair(block: Tensor, m: int) -> Tensor:  # (E, mul, 2k + 1) -> (E, 2 or 1, mul)
        k = block.shape[-1] // 2
        return block[:, None, :, k] if not m else torch.stack([block[..., k + m], block[..., k - m]], dim=1)

    def _returned(self, columns: list[list[Tensor | None]], matrices: list[Tensor], like: Tensor) -> Tensor:
        edges = matrices[0].shape[0]
        out = [like.new_zeros(edges, 0)]
        for block, k, found in zip(self.irreps_out, self.orders_out, columns, strict=True):
            zero = like.new_zeros(edges, block.mul)
            z = torch.stack([zero if c is None else c for c in found], dim=-1)
            l = block.ir.l
            out.append((z @ matrices[l][:, l - k : l + k + 1]).flatten(1))
        return torch.cat(out, dim=1)

    def weight_of(self, product: TensorProduct) -> Tensor:
        r"""Return the weights with which this layer is a tensor product with harmonics of the edges, summed over them.

        The harmonics are normalised and of normalisation ``"component"``. With an ``m_max`` below the degrees, orders above
        it are lost.

        Args:
            product: of ``irreps_in`` and harmonics, each once, to ``irreps_out``; paths ``uvw``, with weights it holds.

        Raises:
            InvalidInput: another product, or paths that ``group`` does not have.
        """
        spec = product.spec
        harmonics = all(b.mul == 1 and b.ir.p == (-1) ** b.ir.l for b in spec.irreps_in2)
        if (
            (spec.irreps_in1, spec.irreps_out) != (self.irreps_in, self.irreps_out)
            or not harmonics
            or any(p.mode != "uvw" for p in spec.paths)
            or not product.internal_weights
        ):
            raise InvalidInput(
                f"SO2Convolution.weight_of: expected paths uvw with weights from {self.irreps_in} and harmonics to "
                f"{self.irreps_out}, got {product}."
            )
        out = torch.zeros(self.weight_numel, dtype=torch.float64)
        views = [(x, out[x.weights].unflatten(0, x.shape)) for x in self.mixings]
        for path, part in zip(spec.paths, spec.weight_slices, strict=True):
            a, c, f = path.first, path.out, spec.irreps_in2[path.second].ir.l
            la, lc = spec.irreps_in1[a].ir.l, spec.irreps_out[c].ir.l
            w = product.weight.detach()[part].double().unflatten(0, path.weight_shape)[:, 0]
            tensor = path.coefficient * math.sqrt(2 * f + 1) * wigner_3j(la, f, lc)[:, f]
            for mixing, view in views:
                m = mixing.m
                odd = (la + f + lc) % 2
                group = mixing.turned if odd else mixing.straight
                if a not in group or c not in mixing.out:
                    continue
                before = (*mixing.straight, *mixing.turned)[
                    : group.index(a) + (len(mixing.straight) if odd else 0)
                ]
                row = sum(self.irreps_in[k].mul for k in before)
                column = sum(self.irreps_out[k].mul for k in mixing.out[: mixing.out.index(c)])
                entry = tensor[la + m, lc - m] if odd else tensor[la + m, lc + m]
                at = slice(row, row + w.shape[0]), slice(column, column + w.shape[1])
                view[at] += entry * w * math.sqrt(mixing.shape[0])
        return out.to(product.weight)

    @property
    def symmetry(self) -> Symmetry:
        """O(3) or SO(3), permutations of nodes and edges."""
        inputs = {
            "x": f"node:{self.irreps_in}",
            "edge_index": "index",
            "edge_vec": "edge:vector",
            "scale": "edge:inv",
        }
        return Symmetry(f"{self.group}*S_n", inputs=inputs, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SO2Convolution, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("3x0e+2x1o+2x1e+2x2e", "2x0e+1x0o+2x1o+1x1e+2x2e")
        _, pos = example_atoms(generator)
        edge_index = edges_of(pos)
        return layer, {
            "x": torch.randn(len(pos), layer.irreps_in.dim, generator=generator),
            "edge_index": edge_index,
            "edge_vec": pos[edge_index[1]] - pos[edge_index[0]],
            "scale": torch.randn(edge_index.shape[1], layer.scale_numel, generator=generator),
        }

    def extra_repr(self) -> str:
        """Return the irreps and the number of weights."""
        return f"{self.irreps_in} -> {self.irreps_out}, m_max={self.m_max}, {self.group}, {self.weight_numel} weights"


def _some_length(edge_vec: Tensor) -> None:
    none = (edge_vec == 0).all(-1)
    if bool(none.any()):
        raise InvalidInput(
            f"SO2Convolution: edge {int(none.nonzero()[0])} has no length, so it has no direction. Leave out self loops: "
            "edge_index[:, edge_vec.norm(dim=-1) > 0]; a Linear serves the node itself."
        )
