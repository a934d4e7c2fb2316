r"""Vector spherical harmonics: signals on the sphere whose values are vectors.

.. math:: V^{(j,l)}_{m,a} = \sqrt{2j+1} \sum_n C^{l\,1\,j}_{n a m}\, Y_{ln}, \qquad
          \int \sum_a V_{m,a} V_{m',a}\, d\Omega = \delta_{mm'}

Source: after arXiv 2602.21466; the constants were derived anew and are checked against stored integrals.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from geomlib.algebra.irreps.coefficients import gaunt_constant, wigner_3j

__all__ = ["Label", "vector_constant", "vector_harmonics", "vector_labels"]

Label = tuple[int, int]
"""Degree j under rotations, degree l of the harmonics it is made of: l = j - 1, j or j + 1."""


def vector_labels(j: int) -> tuple[Label, ...]:
    """Return the labels (j, l) of a degree: l = j - 1, j, j + 1, as far as they are degrees and couple to j.

    >>> vector_labels(0), vector_labels(2)
    (((0, 1),), ((2, 1), (2, 2), (2, 3)))
    """
    return tuple((j, l) for l in range(max(0, j - 1), j + 2) if j or l == 1)


@functools.cache
def vector_constant(s: tuple[int, int, int], l: tuple[int, int, int], j: tuple[int, int, int]) -> float:
    r"""Return K in the coupling of three signals valued in irreps s.

    .. math:: \int \sum_{abc} C^{s_1 s_2 s_3}_{abc} V^{(1)}_a V^{(2)}_b V^{(3)}_c\, d\Omega = K\, C^{j_1 j_2 j_3}

    Summing over the components with exact tensors gives the 9j symbol and its sign in the convention of ``wigner_3j``.

    >>> vector_constant((1, 1, 1), (0, 0, 0), (0, 0, 0))  # a degree 0 has no signal made of degree 0
    0.0
    """
    for triple in (s, l, j, *zip(s, l, j, strict=True)):
        if not abs(triple[0] - triple[1]) <= triple[2] <= triple[0] + triple[1]:
            return 0.0
    if gaunt_constant(*l) == 0.0:
        return 0.0
    couple = [wigner_3j(l[n], s[n], j[n]).numpy() for n in range(3)]
    value = np.einsum(
        "abc,xyz,xai,ybj,zck,ijk->",
        wigner_3j(*s).numpy(), wigner_3j(*l).numpy(), *couple, wigner_3j(*j).numpy(), optimize=True,
    )  # fmt: skip
    if abs(value) < 1e-13:
        return 0.0
    return float(gaunt_constant(*l) * math.prod(math.sqrt(2 * n + 1) for n in j) * value)


def vector_harmonics(
    labels: tuple[Label, ...], harmonics: NDArray[np.float64]
) -> NDArray[np.float64]:  # (3, P, sum 2j + 1)
    r"""Return the components of vector harmonics from scalar ones.

    .. math:: V^{(j,l)}_{m,a} = \sqrt{2j+1} \sum_n C^{l\,1\,j}_{n a m}\, Y_{ln}

    Args:
        labels: which.
        harmonics: of all degrees up to the largest l at P points, (P, (l + 1)^2).

    >>> vector_harmonics(((1, 0),), np.full((1, 1), 0.25))[:, 0, :].round(2).tolist()  # constant along each axis
    [[0.25, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 0.25]]
    """
    parts = [
        math.sqrt(2 * j + 1)
        * np.einsum("pn,nam->apm", harmonics[:, l * l : (l + 1) ** 2], wigner_3j(l, 1, j).numpy())
        for j, l in labels
    ]
    return np.concatenate(parts, axis=2) if parts else np.zeros((3, len(harmonics), 0))
