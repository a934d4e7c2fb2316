"""Sets of point clouds with the simplicial complexes on them, lifted once."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from geomlib.algebra.simplicial import (
    SimplicialComplex,
    clique_complex,
    hull_complex,
    to_message_graph,
    vietoris_rips,
)
from geomlib.errors import InvalidInput

__all__ = ["LIFTS", "LiftedSamples", "SampledClouds", "lift_of", "lifted_inputs"]

LIFTS = ("hull", "rips", "bones")
"""Complexes of a cloud: of its convex hull, of near points, or the cliques of given bones."""


class SampledClouds(Protocol):
    """What is asked of a set of clouds, such as :class:`geomlib.datasets.tasks.Samples`."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the tensors of the samples with these numbers, among them ``pos``."""
        ...


def lift_of(
    lift: str, pos: Tensor, bones: Tensor | None = None, distance: float | None = None
) -> SimplicialComplex:
    """Return the complex of clouds of points.

    Args:
        lift: one of :data:`LIFTS`.
        pos: (B, n, d).
        bones: pairs of points of every cloud (B, K, 2), for ``"bones"``.
        distance: longest edge, for ``"rips"``.

    Raises:
        InvalidInput: something that the lift needs is missing, or does not fit.

    >>> lift_of("rips", torch.zeros(2, 3, 3), distance=1.0).triangles.tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    if lift not in LIFTS:
        raise InvalidInput(f"lift={lift!r}, expected one of {', '.join(LIFTS)}.")
    if lift == "hull":
        return hull_complex(pos)
    if lift == "rips":
        if distance is None:
            raise InvalidInput("lift='rips' needs `distance`, the length of the longest edge.")
        return vietoris_rips(pos, distance)
    clouds, points = pos.shape[:2]
    if bones is None or bones.dim() != 3 or bones.shape[::2] != (clouds, 2) or bones.is_floating_point():
        found = "none" if bones is None else f"{bones.dtype} {tuple(bones.shape)}"
        raise InvalidInput(
            f"lift='bones' needs `bones`: integers ({clouds}, bones, 2), pairs of points of each cloud; got {found}."
        )
    if bool(((bones < 0) | (bones >= points)).any()):
        raise InvalidInput(f"`bones` has points outside 0..{points - 1}.")
    first = points * torch.arange(clouds + 1, device=pos.device)
    return clique_complex((bones.long() + first[:-1, None, None]).reshape(-1, 2).T, first)


def lifted_inputs(complex: SimplicialComplex, legacy_duplicates: bool = False) -> dict[str, Tensor]:
    """Return what a simplicial model takes: ``edges``, ``triangles``, and ``edge_index`` of the graph of all simplices."""
    graph = to_message_graph(complex, legacy_duplicates=legacy_duplicates)
    return {"edges": complex.edges, "triangles": complex.triangles, "edge_index": graph}


class LiftedSamples:
    """Samples with their complexes; a batch has those of its samples, its points numbered through.

    Complexes of different sizes lie one after another, so a set of thousands takes a few bytes per simplex.

    Args:
        samples: with ``pos`` (n, points, d) in their batches.
        complex: of the clouds of all samples.
        legacy_duplicates: see :func:`~geomlib.algebra.simplicial.to_message_graph`.

    >>> import geomlib.datasets.tasks as tasks
    >>> samples = tasks.Samples({"pos": torch.zeros(4, 3, 3)})
    >>> lifted = LiftedSamples(samples, lift_of("rips", samples.tensors["pos"], distance=1.0))
    >>> lifted.batch(torch.tensor([3, 1]))["edges"].tolist()
    [[0, 0, 1, 3, 3, 4], [1, 2, 2, 4, 5, 5]]
    """

    def __init__(
        self, samples: SampledClouds, complex: SimplicialComplex, *, legacy_duplicates: bool = False
    ) -> None:
        self.samples, self.complex, self.legacy_duplicates = samples, complex, legacy_duplicates

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the tensors of the samples with these numbers, and their complexes."""
        tensors = self.samples.batch(index)
        tensors.pop("bones", None)
        return tensors | lifted_inputs(self.complex.select(index), self.legacy_duplicates)
