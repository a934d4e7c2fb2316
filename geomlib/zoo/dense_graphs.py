"""Graphs as tensors of order two: checks at the door, node features on the diagonal, sets cut to the size of a batch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams.masks import kept
from geomlib.zoo._samples import check_samples

__all__ = [
    "DenseGraphs",
    "SampledGraphs",
    "check_graphs",
    "dense_adjacency",
    "graph_tensor",
    "prepared",
    "size_batches",
]


class SampledGraphs(Protocol):
    """What is asked of a set of graphs, such as :class:`geomlib.datasets.tasks.Samples`."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the tensors of the samples with these numbers."""
        ...


def dense_adjacency(edges: Tensor, nodes: int, dtype: torch.dtype) -> Tensor:  # (B, 2, E) -> (B, n, n)
    """Return adjacency matrices from lists of edges, in which -1 fills what is left.

    Raises:
        InvalidInput: not integers (B, 2, E), or a node outside 0..nodes - 1.

    >>> dense_adjacency(torch.tensor([[[0, 1, -1], [1, 0, -1]]]), 2, torch.float32)
    tensor([[[0., 1.],
             [1., 0.]]])
    """
    if edges.dim() != 3 or edges.shape[1] != 2 or edges.is_floating_point():
        raise InvalidInput(
            f"`edges` is {edges.dtype} {tuple(edges.shape)}, expected integers (graphs, 2, edges)."
        )
    graph, edge = (edges[:, 0] >= 0).nonzero(as_tuple=True)
    source, target = edges[graph, 0, edge], edges[graph, 1, edge]
    if (
        source.numel()
        and not 0
        <= int(torch.min(source.min(), target.min()))
        <= int(torch.max(source.max(), target.max()))
        < nodes
    ):
        raise InvalidInput(f"`edges` names nodes outside 0..{nodes - 1}.")
    found = torch.zeros(edges.shape[0], nodes, nodes, dtype=dtype, device=edges.device)
    found[graph, source, target] = 1.0
    return found


class DenseGraphs:
    """A set of graphs given by lists of edges; every batch is cut to its largest graph.

    Args:
        samples: tensors ``x`` (n, features, N), ``edges`` (n, 2, E) and ``nodes`` (n,), as
            :func:`geomlib.datasets.tu.graph_arrays` makes them; everything else is passed on.

    >>> from geomlib.datasets.tasks import Samples
    >>> tensors = {"x": torch.ones(2, 1, 9), "edges": torch.tensor([[[0], [1]], [[0], [3]]]), "nodes": torch.tensor([2, 4])}
    >>> batch = DenseGraphs(Samples(tensors)).batch(torch.tensor([0]))
    >>> {name: tuple(value.shape) for name, value in batch.items()}
    {'x': (1, 1, 2), 'adjacency': (1, 2, 2), 'mask': (1, 2)}
    """

    def __init__(self, samples: SampledGraphs) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return ``x``, ``adjacency`` and ``mask`` of the samples with these numbers, and what else they have."""
        found = self.samples.batch(index)
        edges, nodes, x = found.pop("edges"), found.pop("nodes"), found.pop("x")
        n = int(nodes.max()) if len(nodes) else 0
        return {
            "x": x[..., :n].contiguous(),
            "adjacency": dense_adjacency(edges, n, x.dtype),
            "mask": torch.arange(n, device=nodes.device) < nodes[:, None],
            **found,
        }


def size_batches(
    nodes: Tensor, batch_size: int, cells: int | None = None, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Return numbers of graphs, cut into batches of graphs of like size, so that little is padding; none is left out.

    Args:
        nodes: (n,) of every graph.
        batch_size: most graphs in a batch.
        cells: most entries, graphs times the square of the largest, of a batch; a graph that is larger is alone.
        generator: mixes sizes a little (a tenth), and the order of the batches; without one, sizes go up.

    Raises:
        InvalidInput: no room in a batch.

    >>> [b.tolist() for b in size_batches(torch.tensor([9, 2, 3, 2]), 2, cells=50)]
    [[1, 3], [2], [0]]
    """
    if batch_size < 1 or (cells is not None and cells < 1):
        raise InvalidInput(f"size_batches: batch_size={batch_size}, cells={cells}, expected 1 or more.")
    key = nodes.double()
    if generator is not None:
        key = key * (0.1 * torch.randn(len(nodes), generator=generator)).exp()
    batches: list[list[int]] = [[]]
    largest = 0
    for g in key.argsort(stable=True).tolist():
        size = max(largest, int(nodes[g]))
        full = len(batches[-1]) == batch_size
        if batches[-1] and (full or (cells is not None and (len(batches[-1]) + 1) * size**2 > cells)):
            batches.append([])
            size = int(nodes[g])
        batches[-1].append(g)
        largest = size
    found = [torch.tensor(b) for b in batches if b]
    if generator is None:
        return found
    return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]


def prepared(samples: SampledGraphs) -> SampledGraphs:
    """Return a set as models of dense graphs take it; one that has adjacency matrices is left as it is."""
    has = samples.batch(torch.zeros(0, dtype=torch.long))
    return DenseGraphs(samples) if "edges" in has else samples


def check_graphs(
    model: str, adjacency: Tensor, x: Tensor | None, mask: Tensor | None, features: int, like: Tensor
) -> None:
    """Check the inputs of a model of dense graphs.

    Raises:
        InvalidInput: shapes or types that do not fit, features that are missing or unexpected.
    """
    n = adjacency.shape[-1] if adjacency.dim() else None
    check_samples(model, "adjacency", adjacency, (None, n, n), like)
    if (x is not None) != (features > 0):
        raise InvalidInput(
            f"{model}: `x` is {'missing' if x is None else 'given'}, features={features}. "
            + (
                "Pass x (B, features, n)."
                if x is None
                else "Build the model with features=..., or leave x out."
            )
        )
    graphs = adjacency.shape[0]
    if x is not None:
        check_samples(model, "x", x, (graphs, features, n), like)
        if x.shape[0] != graphs:
            raise InvalidInput(f"{model}: `x` has {x.shape[0]} samples, `adjacency` {graphs}.")
    if mask is not None and (mask.dtype != torch.bool or tuple(mask.shape) != (graphs, n)):
        raise InvalidInput(
            f"{model}: `mask` is {mask.dtype} {tuple(mask.shape)}, expected torch.bool {(graphs, n)}, True for nodes."
        )


def graph_tensor(
    adjacency: Tensor, x: Tensor | None, mask: Tensor | None
) -> Tensor:  # (B, 1 + features, n, n)
    """Return tensors of order two: the adjacency matrix, then node features on the diagonal; zero outside of the mask.

    >>> graph_tensor(torch.ones(1, 2, 2), torch.tensor([[[3.0, 4.0]]]), None)[0, 1]
    tensor([[3., 0.],
            [0., 4.]])
    """
    parts = [adjacency[:, None]] if x is None else [adjacency[:, None], torch.diag_embed(x)]
    found = torch.cat(parts, 1)
    return found if mask is None else kept(found, mask)
