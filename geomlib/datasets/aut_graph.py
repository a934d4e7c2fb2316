r"""Oscillators on the atoms of a molecule, coupled by what automorphisms of its bonds tell apart. A problem of our own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.diagrams.orbit_groups import AutGraph
from geomlib.algebra.diagrams.orbits import orbits
from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.tasks import Task

__all__ = ["AUT_GRAPH", "SKELETON", "coupling", "make_aut_graph"]

#: Bonds between the heavy atoms of triisopropylborane, B(CH(CH3)2)3: boron 0, carbons 1..3, methyl groups 4..9.
SKELETON = ((0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (2, 6), (2, 7), (3, 8), (3, 9))
_ATOMS = 10
#: Seed of the couplings, which are the same in every set.
_COUPLINGS = 20230713


def coupling() -> tuple[Tensor, Tensor]:  # (n, n), (n,)
    """Return the couplings of all pairs and the frequencies of all atoms, equal where an automorphism relates them.

    >>> couplings, frequencies = coupling()
    >>> len(couplings.unique()), len(frequencies.unique())
    (14, 3)
    """
    group = AutGraph(SKELETON, _ATOMS)
    pairs, atoms = orbits(group, 1, 1), orbits(group, 0, 1)
    rng = np.random.default_rng(np.random.SeedSequence(_COUPLINGS))
    table = rng.standard_normal(len(pairs)) / np.sqrt(pairs.row_sizes)
    return torch.from_numpy(table[pairs.labels]), torch.from_numpy(
        rng.standard_normal(len(atoms))[atoms.labels]
    )


def make_aut_graph(n: int, seed: int) -> dict[str, Tensor]:
    r"""Draw phases of ten oscillators and the rates at which they turn.

    .. math:: \dot\theta_i = \omega_i + \sum_j K_{ij} \sin(\theta_j - \theta_i)

    as in the model of Kuramoto, on the ten heavy atoms of triisopropylborane. K and :math:`\omega` are random numbers, fixed
    once, one for every orbit of pairs and of atoms under the 48 automorphisms of the bonds: 14 and 3 numbers. Powers of the
    adjacency matrix and the matrix of ones span 6 of the 14 orbits.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.

    Returns:
        ``x`` (n, 2, 10), cosines and sines of the phases, and ``rate`` (n, 10).

    Raises:
        InvalidInput: n below 1.

    Source: our own.

    >>> {k: tuple(v.shape) for k, v in make_aut_graph(3, 0).items()}
    {'x': (3, 2, 10), 'rate': (3, 10)}
    """
    at_least_one("aut_graph", n=n)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    phase = torch.from_numpy(rng.uniform(0.0, 2.0 * np.pi, (n, _ATOMS)))
    couplings, frequencies = coupling()
    turn = torch.sin(phase[:, None, :] - phase[:, :, None])  # (n, i, j)
    rate = frequencies + (couplings * turn).sum(2)
    return {"x": torch.stack([phase.cos(), phase.sin()], 1), "rate": rate}


AUT_GRAPH = Task(
    name="aut_graph",
    title="rates of oscillators on the atoms of a molecule, coupled by orbits of pairs",
    make=make_aut_graph,
    inputs=("x",),
    target="rate",
    sizes=(500, 500, 2000),
    baselines=mean_baseline("rate"),
    source="our own",
)
