"""Neighbour lists: all pairs of atoms within a cutoff, for any cell, without a limit on their number.

`reference.py` is the specification in plain torch, `cell_list.py` the fast path for large or periodic
structures.
"""

from __future__ import annotations

from geomlib.kernels.neighbors.pairs import HalfPairs
from geomlib.kernels.neighbors.search import half_pairs
from geomlib.kernels.neighbors.verlet import VerletPairs

__all__ = ["HalfPairs", "VerletPairs", "half_pairs"]
