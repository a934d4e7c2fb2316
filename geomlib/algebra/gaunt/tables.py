r"""The sparse tables of pointwise products on the sphere, in float64.

A table holds :math:`T_{ijk}` with :math:`z_k = \sum_{ij} T_{ijk} x_i y_j`. It is totally symmetric (Gaunt) or totally
antisymmetric (bracket, vector) in its three spaces, so the same kind of table serves every derivative.

Source: Gaunt products are those of Luo, Chen, Krishnapriyan, *Enabling Efficient Equivariant Operations in the Fourier Basis
via Gaunt Tensor Products*, arXiv 2401.10216; the constants of brackets and vector signals were derived here.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomlib.algebra.gaunt.vectors import Label, vector_constant
from geomlib.algebra.irreps.coefficients import bracket_constant, gaunt_constant, wigner_3j
from geomlib.errors import InvalidInput

__all__ = ["KINDS", "SparseTable", "degree_of", "path_constant", "sparse_table"]

KINDS = ("gaunt", "bracket", "vector")
"""Pointwise product, Poisson bracket, cross product of vector signals restricted to odd sums of degrees."""

Space = tuple[int, ...] | tuple[Label, ...]


@dataclass(frozen=True, eq=False)
class SparseTable:
    r"""Entries of :math:`T_{ijk}`, sorted by (k, i, j).

    Args:
        shape: dimensions of the three spaces.
        i, j, k: components of the first input, the second input and the output, (n,).
        value: coefficients, (n,).
    """

    shape: tuple[int, int, int]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    k: NDArray[np.int64]
    value: NDArray[np.float64]

    def dense(self) -> NDArray[np.float64]:
        r"""Return the table with its zeros, :math:`T_{ijk}` of shape ``shape``."""
        out = np.zeros(self.shape)
        out[self.i, self.j, self.k] = self.value
        return out


def degree_of(label: int | Label) -> int:
    """Return the degree under rotations: l of a scalar signal, j of a vector signal's label (j, l).

    >>> degree_of(3), degree_of((2, 1))
    (3, 2)
    """
    return label if isinstance(label, int) else label[0]


def path_constant(kind: str, a: int | Label, b: int | Label, c: int | Label) -> float:
    r"""Return the factor in front of ``wigner_3j`` for one coupling, 0 where there is none.

    .. math:: \int Y_i Y_j Y_k\, d\Omega = c\, C_{ijk}, \qquad
              \int Y_k\, \hat r \cdot (\nabla Y_i \times \nabla Y_j)\, d\Omega = d\, C_{ijk}

    and K of :func:`~geomlib.algebra.gaunt.vectors.vector_constant` for vector signals.

    Args:
        kind: one of ``KINDS``.
        a: degree of the first input, or the label (j, l) of a vector signal.
        b: of the second.
        c: of the output.

    Raises:
        InvalidInput: an unknown kind, or degrees where labels are needed.

    >>> path_constant("gaunt", 1, 1, 1), path_constant("bracket", 1, 1, 1) > 0  # a cross product takes a bracket
    (0.0, True)
    """
    if kind == "gaunt":
        return gaunt_constant(degree_of(a), degree_of(b), degree_of(c))
    if kind == "bracket":
        return bracket_constant(degree_of(a), degree_of(b), degree_of(c))
    if kind != "vector":
        raise InvalidInput(f"kind={kind!r}: expected one of {', '.join(KINDS)}.")
    if isinstance(a, int) or isinstance(b, int) or isinstance(c, int):
        raise InvalidInput("vector signals have labels (j, l).")
    if (a[0] + b[0] + c[0]) % 2 == 0:
        return 0.0
    return vector_constant((1, 1, 1), (a[1], b[1], c[1]), (a[0], b[0], c[0]))


@functools.lru_cache(maxsize=512)
def sparse_table(kind: str, first: Space, second: Space, out: Space) -> SparseTable:
    r"""Return the table for three spaces, each a tuple of degrees (or of labels (j, l) for ``"vector"``).

    .. math:: T_{ijk} = c_{l_1 l_2 l_3}\, C^{l_1 l_2 l_3}_{ijk}

    with the constants of :func:`path_constant`, block by block.

    Args:
        kind: one of ``KINDS``.
        first: space of the first input.
        second: of the second.
        out: of the output.

    Raises:
        InvalidInput: an unknown kind.

    >>> len(sparse_table("gaunt", (0, 1), (0, 1), (0, 1)).value), len(sparse_table("bracket", (1,), (1,), (1,)).value)
    (10, 6)
    """
    starts = [np.cumsum([0, *(2 * degree_of(s) + 1 for s in space)]) for space in (first, second, out)]
    shape = (int(starts[0][-1]), int(starts[1][-1]), int(starts[2][-1]))
    parts: list[tuple[NDArray[np.int64], ...]] = []
    values: list[NDArray[np.float64]] = []
    for p, a in enumerate(first):
        for q, b in enumerate(second):
            for r, c in enumerate(out):
                l1, l2, l3 = degree_of(a), degree_of(b), degree_of(c)
                if not abs(l1 - l2) <= l3 <= l1 + l2:
                    continue
                constant = path_constant(kind, a, b, c)
                if constant == 0.0:
                    continue
                block = constant * wigner_3j(l1, l2, l3).numpy()
                index = np.nonzero(np.abs(block) > 1e-12 * np.abs(block).max())
                parts.append(tuple(n + int(s[t]) for n, s, t in zip(index, starts, (p, q, r), strict=True)))
                values.append(block[index])
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return SparseTable(shape, none, none, none, np.zeros(0))
    i, j, k = (np.concatenate([part[axis] for part in parts]) for axis in range(3))
    order = np.lexsort((j, i, k))
    return SparseTable(shape, i[order], j[order], k[order], np.concatenate(values)[order])
