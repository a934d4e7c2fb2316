"""A linear map of features on any graph, with one set of weights for all graphs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.diagrams.bilabelled import BilabelledGraph, apply_homomorphisms
from geomlib.algebra.diagrams.bilabelled_span import bilabelled_graphs
from geomlib.algebra.diagrams.groups import S
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.diagrams.masks import kept
from geomlib.layers._tensors import checked_channels, checked_mask, checked_tensor

__all__ = ["BilabelledLinear"]


class BilabelledLinear(nn.Module):
    r"""Mix channels along counts of homomorphisms of small graphs H into the graph at hand.

    .. math:: y = \sum_H n^{-s_H}\, \big(W_H \otimes X_H(A)\big)\, x + \sum_{H'} n^{-s_{H'}}\, \beta_{H'}\, X_{H'}(A)

    over all bilabelled graphs H with at most so many vertices, :math:`s_H` of which are summed. The matrices X are never
    made: x is a factor of each sum. On a fixed graph the map commutes with its automorphisms; weights serve every graph, of
    any size. On one graph the maps may be dependent, or not be all (:func:`geomlib.algebra.diagrams.span_dimension` says);
    an `EquivariantLinear` with `AutGraph` has exactly all of them.

    **Group** S_n on x and A together. **Shapes** ``x`` (B, in, n, ..., n) with k axes, ``adjacency`` (n, n) or (B, n, n),
    ``mask`` (B, n), to (B, out, n, ..., n) with l axes.

    Args:
        k: order of the input.
        l: order of the output.
        in_channels: of the input.
        out_channels: of the output.
        vertices: most vertices of H.
        bias: add the shifts, which depend on the graph: of order 1 with two vertices a constant and the degrees.
        normalization: ``"mean"`` divides by n for every vertex that is summed, ``"sum"`` by nothing.

    Raises:
        InvalidInput: no graphs with so few vertices, or too many; shapes or types that do not fit at the call.

    Source: E. Pearce-Crump and W. J. Knottenbelt, *Graph automorphism group equivariant neural networks*, arXiv 2307.07810.

    >>> layer = BilabelledLinear(1, 1, 4, 8, vertices=3)
    >>> layer
    BilabelledLinear(1 -> 1, 4 -> 8 channels, 13 graphs of 3 vertices at most)
    >>> layer(torch.randn(2, 4, 6), torch.ones(6, 6) - torch.eye(6)).shape
    torch.Size([2, 8, 6])
    """

    bias: Tensor | None

    def __init__(
        self,
        k: int,
        l: int,
        in_channels: int,
        out_channels: int,
        vertices: int = 3,
        bias: bool = True,
        *,
        normalization: str = "mean",
    ) -> None:
        super().__init__()
        checked_channels("BilabelledLinear", in_channels=in_channels, out_channels=out_channels)
        if normalization not in ("mean", "sum"):
            raise InvalidInput(
                f"BilabelledLinear: normalization={normalization!r}, expected 'mean' or 'sum'."
            )
        self.k, self.l, self.in_channels, self.out_channels = k, l, in_channels, out_channels
        self.vertices, self.normalization = vertices, normalization
        #: H of every weight, in an order that does not change.
        self.graphs = tuple(bilabelled_graphs(k, l, vertices))
        self.shifts = tuple(bilabelled_graphs(0, l, vertices)) if bias else ()
        if not self.graphs:
            raise InvalidInput(
                f"BilabelledLinear: no graph with {vertices} vertices has labels for {k} -> {l}. Raise `vertices`."
            )
        self.weight = nn.Parameter(torch.empty(len(self.graphs), out_channels, in_channels))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(len(self.shifts), out_channels)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights of variance 2 / (in graphs); shifts are zero."""
        with torch.no_grad():
            self.weight.normal_(std=math.sqrt(2.0 / (self.in_channels * len(self.graphs))))
            if self.bias is not None:
                self.bias.zero_()

    @full_precision
    def forward(
        self,
        x: Tensor,  # (B, in, n, ..., n)
        adjacency: Tensor,  # (n, n) or (B, n, n)
        mask: Tensor | None = None,  # (B, n)
    ) -> Tensor:  # (B, out, n, ..., n)
        """Return the image.

        Args:
            x: tensors of order k.
            adjacency: one graph for all samples or one for each; weights of edges may be any numbers.
            mask: nodes that are there; everything else comes out as zero, and counts for nothing.

        Raises:
            InvalidInput: shapes, types or masks that do not fit.
        """
        n = self._checked(x, adjacency)
        if mask is not None:
            checked_mask("BilabelledLinear", mask, S(), x.shape[0], n)
            x = kept(x, mask)
            adjacency = kept(adjacency.expand(x.shape[0], n, n)[:, None], mask)[:, 0]
        count = None if mask is None else mask.sum(1).clamp(min=1).to(x.dtype)
        y = self._sum(self.graphs, self.weight, x, adjacency, count)
        if self.bias is not None:
            ones = x.new_ones(x.shape[0], 1)
            y = y + self._sum(self.shifts, self.bias[..., None], ones, adjacency, count)
        return y if mask is None else kept(y, mask)

    def _sum(
        self,
        graphs: tuple[BilabelledGraph, ...],
        weights: Tensor,  # (D, out, in)
        x: Tensor,
        adjacency: Tensor,
        count: Tensor | None,  # (B,)
    ) -> Tensor:
        total = x.new_zeros(())
        for graph, w in zip(graphs, weights.unbind(0), strict=True):
            # Counting costs a pass per channel: mix first where that leaves fewer.
            small = w.shape[0] < w.shape[1]
            z = torch.einsum("oi,bi...->bo...", w, x) if small else x
            z = apply_homomorphisms(graph, adjacency, z)
            z = z if small else torch.einsum("oi,bi...->bo...", w, z)
            if self.normalization == "mean" and graph.summed:
                n = (
                    float(max(adjacency.shape[-1], 1))
                    if count is None
                    else count.view(-1, *(1,) * (z.dim() - 1))
                )
                z = z / n**graph.summed
            total = total + z
        return total

    def _checked(self, x: Tensor, adjacency: Tensor) -> int:
        checked_tensor("BilabelledLinear", "x", x, S(), self.k, self.in_channels, self.weight)
        shape = tuple(adjacency.shape)
        n = x.shape[2] if self.k else shape[-1] if shape else 0
        if shape not in ((n, n), (x.shape[0], n, n)):
            raise InvalidInput(
                f"BilabelledLinear: `adjacency` has shape {shape}, expected ({n}, {n}) or ({x.shape[0]}, {n}, {n}) beside x "
                f"of shape {tuple(x.shape)}."
            )
        if adjacency.dtype != x.dtype:
            raise InvalidInput(
                f"BilabelledLinear: `adjacency` is {adjacency.dtype} and x is {x.dtype}. Pass adjacency.to(x)."
            )
        return n

    @property
    def symmetry(self) -> Symmetry:
        """S_n on every axis of nodes."""
        types = {"x": f"graph:{S().tensor_type(self.k)}", "adjacency": "graph:perm(2)"}
        return Symmetry("S_n", inputs=types, outputs=f"graph:{S().tensor_type(self.l)}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[BilabelledLinear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(1, 1, 2, 3)
        with torch.no_grad():
            if layer.bias is not None:
                layer.bias.normal_(generator=generator)
        edges = (torch.rand(3, 5, 5, generator=generator) < 0.5).float().triu(1)
        return layer, {"x": torch.randn(3, 2, 5, generator=generator), "adjacency": edges + edges.mT}

    def extra_repr(self) -> str:
        """Return orders, channels and the number of graphs."""
        return (
            f"{self.k} -> {self.l}, {self.in_channels} -> {self.out_channels} channels, {len(self.graphs)} graphs of "
            f"{self.vertices} vertices at most"
        )
