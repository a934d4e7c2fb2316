r"""PPGN: graphs as matrices, mixed by channel networks and matrix products."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.algebra.types import closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.zoo.dense_graphs import SampledGraphs, check_graphs, graph_tensor, prepared
from geomlib.zoo.registry import register_model

__all__ = ["PPGN"]

NORMALIZATIONS = ("mean", "sum")


class _Channels(nn.Module):
    """Linear maps of the first axis and ReLU, one after the other."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:  # (C, M) -> (C', M)
        for layer in self.layers:
            x = torch.addmm(layer.bias[:, None], layer.weight, x).relu()  # pyright: ignore[reportIndexIssue, reportArgumentType]
        return x


class _Block(nn.Module):
    """One block on matrices with the channel as first axis, so that channels mix in one product."""

    def __init__(self, channels_in: int, channels: int, depth: int) -> None:
        super().__init__()
        sizes = [channels_in, *[channels] * depth]
        self.left, self.right = _Channels(sizes), _Channels(sizes)
        self.skip = nn.Linear(channels_in + channels, channels)
        nn.init.xavier_normal_(self.skip.weight)

    def forward(self, x: Tensor, inside: Tensor | None, scale: Tensor | None) -> Tensor:  # (C, B, n, n)
        shape = x.shape[1:]
        flat = x.flatten(1)
        left, right = (m(flat).unflatten(1, shape) for m in (self.left, self.right))
        if inside is not None:
            left = left * inside  # the sum over the inner index leaves out what is not there
        product = left @ right
        if scale is not None:
            product = product * scale
        of_x, of_product = self.skip.weight.split([len(x), len(product)], 1)
        found = torch.addmm(self.skip.bias[:, None], of_x, flat)
        return torch.addmm(found, of_product, product.flatten(1)).unflatten(1, shape)


@register_model("ppgn")
class PPGN(nn.Module):
    r"""Predict classes or a number of graphs from matrices that are multiplied channel by channel.

    .. math:: X \leftarrow W\,\big[X,\; \mathrm{MLP}_1(X)\, \mathrm{MLP}_2(X)\big], \qquad
              \hat y = s \sum_b V_b \Big[\tfrac1n \sum_i X_{ii},\; \tfrac{1}{n(n-1)} \sum_{i \neq j} X_{ij}\Big] + t

    The first X holds the adjacency matrix and, on its diagonal, the node features; MLPs mix channels at every pair of nodes,
    and the sum is over the blocks b and what each returns. Matrix products are divided by n; with ``normalization="sum"``
    neither they nor the sums of the read-out are divided, and the network can count. Values grow like products of 2^blocks
    entries.

    **Group** S_n. **Shapes** ``adjacency`` (B, n, n), ``x`` (B, features, n), ``mask`` (B, n), to (B,), or (B, classes).

    Args:
        features: of a node; 0 for none.
        classes: to tell apart; 0 for one number.
        channels: of the blocks.
        blocks: how many.
        depth: layers of each MLP.
        normalization: ``"mean"`` or ``"sum"``.
        shift: t, the mean of the target.
        scale: s, its deviation.

    Raises:
        InvalidInput: unknown options; shapes or types that do not fit at the call.

    Source: Maron, Ben-Hamu, Serviansky and Lipman, *Provably powerful graph networks*, arXiv 1905.11136; division by n and
    means in the read-out are ours.

    >>> model = PPGN(features=3, classes=2, channels=4)
    >>> model(torch.ones(5, 6, 6), torch.randn(5, 3, 6)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        features: int = 0,
        classes: int = 0,
        channels: int = 16,
        blocks: int = 2,
        depth: int = 2,
        normalization: str = "mean",
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if normalization not in NORMALIZATIONS:
            raise InvalidInput(
                f"PPGN: normalization={normalization!r}, expected one of {', '.join(NORMALIZATIONS)}."
                + closest(normalization, NORMALIZATIONS)
            )
        if min(channels, blocks, depth) < 1 or min(features, classes) < 0:
            raise InvalidInput(
                f"PPGN: features={features}, classes={classes}, channels={channels}, blocks={blocks}, depth={depth}: "
                "expected positive sizes; features and classes may be 0."
            )
        self._options: dict[str, Any] = {
            "features": features, "classes": classes, "channels": channels, "blocks": blocks, "depth": depth,
            "normalization": normalization, "shift": float(shift), "scale": float(scale),
        }  # fmt: skip
        self.features, self.classes, self.normalization = features, classes, normalization
        self.shift, self.scale = float(shift), float(scale)
        widths = [1 + features, *[channels] * (blocks - 1)]
        self.blocks = nn.ModuleList(_Block(width, channels, depth) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(2 * channels, classes or 1) for _ in range(blocks))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "ppgn", **self._options}

    def prepare(self, samples: SampledGraphs) -> SampledGraphs:
        """Return a set whose batches have adjacency matrices, made of lists of edges and cut to their largest graph."""
        return prepared(samples)

    @full_precision
    def forward(
        self,
        adjacency: Tensor,  # (B, n, n)
        x: Tensor | None = None,  # (B, features, n)
        mask: Tensor | None = None,  # (B, n)
    ) -> Tensor:  # (B,) or (B, classes)
        """Return predictions.

        Args:
            adjacency: matrices, of any real entries.
            x: features of the nodes, for a model with ``features``.
            mask: True for nodes; what else is in the tensors is not read.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_graphs("PPGN", adjacency, x, mask, self.features, self.heads[0].weight)  # pyright: ignore[reportArgumentType]
        h = graph_tensor(adjacency, x, mask).transpose(0, 1).contiguous()
        here = adjacency.new_ones(adjacency.shape[:2]) if mask is None else mask.to(adjacency.dtype)
        count = here.sum(1)
        mean = self.normalization == "mean"
        scale = (1 / count.clamp(min=1))[:, None, None] if mean else None
        inside = None if mask is None else here[:, None, :]
        total = adjacency.new_zeros(len(adjacency), self.classes or 1)
        for block, head in zip(self.blocks, self.heads, strict=True):
            h = block(h, inside, scale)
            total = total + head(_pooled(h, here, count, mean))
        total = self.shift + self.scale * total
        return total if self.classes else total[:, 0]

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of the nodes."""
        inputs = {"adjacency": "perm(2)", "mask": "perm(1)"}
        return Symmetry(
            "S_n", inputs={**inputs, "x": "perm(1)"} if self.features else inputs, outputs="graph:inv"
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[PPGN, dict[str, Any]]:
        """Return a small instance and three graphs, two of them padded."""
        inputs = {
            "adjacency": torch.randn(3, 5, 5, generator=generator),
            "x": torch.randn(3, 2, 5, generator=generator),
            "mask": torch.arange(5) < torch.tensor([5, 3, 4])[:, None],
        }
        return cls(features=2, classes=3, channels=4), inputs

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights"


def _pooled(h: Tensor, here: Tensor, count: Tensor, mean: bool) -> Tensor:  # (C, B, n, n) -> (B, 2 C)
    """Return sums or means over the diagonal and over the rest."""
    diagonal = (h.diagonal(dim1=-2, dim2=-1) * here).sum(-1)
    every = torch.einsum("cbij,bi,bj->cb", h, here, here)
    rest = every - diagonal
    if mean:
        diagonal, rest = diagonal / count.clamp(min=1), rest / (count * (count - 1)).clamp(min=1)
    return torch.cat([diagonal, rest]).T
