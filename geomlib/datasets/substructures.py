r"""Counting triangles and stars in random graphs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.types import closest
from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = ["STARS", "TRIANGLES", "count_stars", "count_triangles", "make_substructures"]

TARGETS = ("triangles", "stars")


def count_triangles(adjacency: Tensor) -> Tensor:  # (..., n, n) -> (...,)
    r"""Return the number of triangles of undirected graphs without loops, :math:`\tfrac16 \operatorname{tr} A^3`.

    >>> count_triangles(1.0 - torch.eye(4))
    tensor(4.)
    """
    return ((adjacency @ adjacency) * adjacency.mT).sum((-2, -1)) / 6


def count_stars(adjacency: Tensor) -> Tensor:  # (..., n, n) -> (...,)
    r"""Return the number of stars of three rays, whatever joins their ends: :math:`\sum_i \binom{d_i}{3}`.

    >>> count_stars(1.0 - torch.eye(4))
    tensor(4.)
    """
    d = adjacency.sum(-1)
    return (d * (d - 1) * (d - 2)).sum(-1) / 6


def make_substructures(
    n: int, seed: int, target: str = "triangles", nodes: int = 10, p: float = 0.3
) -> dict[str, Tensor]:
    r"""Draw Erdős-Rényi graphs and count a substructure in each.

    .. math:: y = \tfrac16 \operatorname{tr} A^3 \quad\text{or}\quad \sum_i \binom{d_i}{3}

    Args:
        n: number of graphs.
        seed: of the generator; the same seed gives the same graphs.
        target: ``"triangles"``, or ``"stars"`` of three rays, not induced.
        nodes: of every graph.
        p: probability of an edge.

    Returns:
        ``adjacency`` (n, nodes, nodes) of zeros and ones, symmetric, no loops; ``y`` (n,).

    Raises:
        InvalidInput: no graphs or nodes, a probability outside 0..1, or an unknown target.

    Source: Chen, Chen, Villar and Bruna, *Can graph neural networks count substructures?*, arXiv 2002.04025, whose random
    graphs have ten nodes and p = 0.3.

    >>> {k: tuple(v.shape) for k, v in make_substructures(2, 0).items()}
    {'adjacency': (2, 10, 10), 'y': (2,)}
    """
    at_least_one("substructures", n=n, nodes=nodes)
    if target not in TARGETS or not 0 <= p <= 1:
        raise InvalidInput(
            f"substructures: target={target!r}, p={p}, expected one of {', '.join(TARGETS)} and 0 <= p <= 1."
            + closest(target, TARGETS)
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    upper = np.triu(rng.random((n, nodes, nodes)) < p, 1)
    adjacency = torch.from_numpy((upper | upper.transpose(0, 2, 1)).astype(np.float64))
    count = count_triangles if target == "triangles" else count_stars
    return {"adjacency": adjacency, "y": count(adjacency)}


def _make_stars(n: int, seed: int, nodes: int = 10, p: float = 0.3) -> dict[str, Tensor]:
    return make_substructures(n, seed, "stars", nodes, p)


def _make_triangles(n: int, seed: int, nodes: int = 10, p: float = 0.3) -> dict[str, Tensor]:
    return make_substructures(n, seed, "triangles", nodes, p)


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean square errors of the mean, and of the best cubic polynomial of the number of edges."""
    score = {"mean": float((test["y"] - train["y"].mean()).square().mean())}

    def powers(s: Mapping[str, Tensor]) -> Tensor:
        nodes = s["adjacency"].shape[-1]
        density = s["adjacency"].sum((-2, -1)) / max(nodes * (nodes - 1), 1)
        return torch.stack([density**k for k in range(4)], -1)

    fit = torch.linalg.lstsq(powers(train), train["y"][:, None], driver="gelsd").solution
    return score | {
        "cubic in the number of edges": float((powers(test) @ fit - test["y"][:, None]).square().mean())
    }


# Of 5000 graphs 30 parts in a hundred are to train on and 50 to test, as in the source.
TRIANGLES = Task(
    name="triangles",
    title="number of triangles of a random graph",
    make=_make_triangles,
    inputs=("adjacency",),
    target="y",
    sizes=(1500, 1000, 2500),
    standardize=True,
    baselines=_baselines,
    source="Chen, Chen, Villar and Bruna, arXiv 2002.04025",
)

STARS = Task(
    name="stars",
    title="number of three-rayed stars of a random graph",
    make=_make_stars,
    inputs=("adjacency",),
    target="y",
    sizes=(1500, 1000, 2500),
    standardize=True,
    baselines=_baselines,
    source="Chen, Chen, Villar and Bruna, arXiv 2002.04025",
)
