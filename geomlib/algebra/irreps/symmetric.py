r"""Symmetric equivariant polynomials of irreps: which there are, and an orthonormal basis of them.

A path couples blocks one after the other, :math:`((a \otimes b)_{l_{12}} \otimes c)_L`. Paths of one tuple of blocks are an
orthonormal basis of the equivariant maps of that tuple; symmetrised over the places of equal blocks they span the symmetric
ones, of which Gram-Schmidt, in the order of the paths, keeps a basis.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.irreps.coefficients import wigner_3j
from geomlib.algebra.irreps.irreps import Irrep, Irreps
from geomlib.errors import InvalidInput

__all__ = ["CoupledPath", "SymmetricBasis", "symmetric_basis", "symmetric_tensors"]


@dataclass(frozen=True)
class CoupledPath:
    """Blocks coupled from the left.

    Args:
        blocks: numbers of the blocks, increasing.
        inner: irrep after each coupling but the last; empty for one or two blocks.
    """

    blocks: tuple[int, ...]
    inner: tuple[Irrep, ...]


@dataclass(frozen=True, eq=False)
class SymmetricBasis:
    r"""Polynomials :math:`b_\eta = \sum_p Q_{\eta p}\, a_p` from paths :math:`a_p`.

    Args:
        paths: as many as polynomials.
        mixing: Q, lower triangular within a tuple of blocks; (polynomials, paths) float64.
    """

    paths: tuple[CoupledPath, ...]
    mixing: Tensor


def symmetric_basis(irreps: Any, out: Any, degree: int) -> SymmetricBasis:
    r"""Return an orthonormal basis of the symmetric equivariant maps of some degree.

    .. math:: b^\eta \in \mathrm{Hom}_{O(3)}(\mathrm{Sym}^\nu V, L), \qquad
              \sum_{i_1 \ldots i_\nu} b^\eta_{m i_1 \ldots i_\nu} b^{\eta'}_{m' i_1 \ldots i_\nu}
              = \delta_{\eta\eta'} \delta_{mm'}

    **Group** O(3).

    Args:
        irreps: blocks of V, each taken once whatever its multiplicity.
        out: the irrep L.
        degree: the number of factors.

    Raises:
        InvalidInput: irreps that cannot be read, a degree below 1.

    >>> len(symmetric_basis("0e+1o+2e+3o", "0e", 3).paths)
    8
    """
    if degree < 1:
        raise InvalidInput(f"symmetric_basis: degree {degree} must be at least 1.")
    return _basis(tuple(b.ir for b in Irreps(irreps)), Irrep.parse(out), degree)


@functools.lru_cache(maxsize=512)
def _basis(irreps: tuple[Irrep, ...], out: Irrep, degree: int) -> SymmetricBasis:
    paths: list[CoupledPath] = []
    mixings: list[np.ndarray] = []
    for blocks in itertools.combinations_with_replacement(range(len(irreps)), degree):
        kept, mixing = _independent(irreps, blocks, out)
        if kept:
            paths += kept
            mixings.append(mixing)
    joined = [torch.from_numpy(m) for m in mixings]
    matrix = torch.block_diag(*joined) if joined else torch.zeros(0, 0, dtype=torch.float64)
    return SymmetricBasis(tuple(paths), matrix.double())


def _independent(
    irreps: Sequence[Irrep], blocks: tuple[int, ...], out: Irrep
) -> tuple[list[CoupledPath], np.ndarray]:
    """Return the paths of one tuple of blocks that are kept, and the coefficients of orthonormal polynomials."""
    places = [
        p
        for p in itertools.permutations(range(len(blocks)))
        if all(blocks[k] == blocks[n] for n, k in enumerate(p))
    ]
    arrangements = math.factorial(len(blocks)) / len(places)
    kept: list[CoupledPath] = []
    vectors: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for inner in _inner(irreps, blocks, out):
        tensor = _coupled(irreps, blocks, inner, out)
        symmetric = sum(tensor.transpose(*p, len(blocks)) for p in places) / len(places)
        vector = np.asarray(symmetric).ravel() / math.sqrt(out.dim * arrangements)
        row = np.zeros(len(kept) + 1)
        row[-1] = 1.0
        for _ in range(2):  # twice is enough for round-off
            for earlier, r in zip(vectors, rows, strict=True):
                overlap = float(earlier @ vector)
                vector = vector - overlap * earlier
                row[: len(r)] -= overlap * r
        norm = float(np.linalg.norm(vector))
        if norm > 1e-6:
            kept.append(CoupledPath(blocks, inner))
            vectors.append(vector / norm)
            rows.append(row / norm)
    mixing = np.zeros((len(kept), len(kept)))
    for k, r in enumerate(rows):
        mixing[k, : len(r)] = r
    return kept, mixing


def _inner(irreps: Sequence[Irrep], blocks: tuple[int, ...], out: Irrep) -> Iterator[tuple[Irrep, ...]]:
    """Return what can stand after each coupling but the last, the smallest degrees first."""

    def grown(reached: Irrep, done: int) -> Iterator[tuple[Irrep, ...]]:
        if done == len(blocks):
            if reached == out:
                yield ()
            return
        for ir in reached * irreps[blocks[done]]:
            for rest in grown(ir, done + 1):
                yield (ir, *rest)

    for found in grown(irreps[blocks[0]], 1):
        yield found[: len(blocks) - 2] if len(blocks) > 1 else ()


def _coupled(
    irreps: Sequence[Irrep], blocks: tuple[int, ...], inner: tuple[Irrep, ...], out: Irrep
) -> np.ndarray:
    """Return the tensor of a path (dim 1, ..., dim out), its components m orthonormal."""
    reached = irreps[blocks[0]]
    tensor = np.eye(reached.dim)
    for block, after in zip(blocks[1:], (*inner, out), strict=False):
        coupling = math.sqrt(after.dim) * wigner_3j(reached.l, irreps[block].l, after.l).numpy()
        tensor = np.tensordot(tensor, coupling, axes=1)
        reached = after
    return tensor


def symmetric_tensors(irreps: Any, out: Any, degree: int) -> Tensor:
    r"""Return the polynomials of :func:`symmetric_basis` as symmetric tensors.

    The paths of all ordered tuples of blocks (23 for ``0e+1o+2e+3o`` to ``0e``, where 8 are independent) span the same space:
    that is what MACE's *U matrices* are made of.

    **Group** O(3). **Shapes** to (2L + 1, dim, ..., dim, polynomials), ``degree`` times dim.

    Args:
        irreps: blocks of V, each taken once.
        out: the irrep L.
        degree: the number of factors.

    Raises:
        InvalidInput: as :func:`symmetric_basis`.

    >>> symmetric_tensors("0e+1o", "1o", 2).shape
    torch.Size([3, 4, 4, 1])
    """
    basis = symmetric_basis(irreps, out, degree)
    each, last = tuple(b.ir for b in Irreps(irreps)), Irrep.parse(out)
    where = Irreps([(1, ir) for ir in each]).slices()
    dim = sum(ir.dim for ir in each)
    flat = np.zeros((len(basis.paths), *[dim] * degree, last.dim))
    orders = list(itertools.permutations(range(degree)))
    for k, path in enumerate(basis.paths):
        tensor = _coupled(each, path.blocks, path.inner, last)
        for p in orders:
            at = (k, *(where[path.blocks[n]] for n in p))
            flat[at] += tensor.transpose(*p, degree) / len(orders)
    mixed = torch.tensordot(basis.mixing, torch.from_numpy(flat), dims=1)
    return mixed.movedim(-1, 0).movedim(1, -1)
