r"""A sparse vector hidden in a subspace, and the spectral method that looks for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomlib.algebra.symmetry import closest
from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = ["SPARSE_VECTOR", "make_sparse_vector", "recovery_score", "spectral_matrix"]

Array = NDArray[np.float64]

PRIORS = ("accept_reject", "bernoulli_gaussian", "bernoulli_rademacher")
NOISES = ("random", "diagonal", "identity")
#: Samples whose covariances are drawn at a time.
_BLOCK = 256


def _sparse(n: int, rows: int, prior: str, sparsity: float, rng: np.random.Generator) -> Array:  # (n, rows)
    """Draw sparse vectors of length one."""
    found = np.empty((0, rows))
    while len(found) < n:
        drawn = rng.standard_normal((max(64, 4 * n if prior == "accept_reject" else n), rows))
        if prior != "accept_reject":
            drawn = np.sign(drawn) if prior == "bernoulli_rademacher" else drawn
            drawn = drawn * (rng.random(drawn.shape) < sparsity)
        size = np.linalg.norm(drawn, axis=1)
        drawn = drawn[size > 0] / size[size > 0, None]
        if prior == "accept_reject":
            drawn = drawn[(drawn**4).sum(1) >= 1 / (sparsity * rows)]
        found = np.concatenate([found, drawn])
    return found[:n]


def _noise(n: int, rows: int, count: int, kind: str, rng: np.random.Generator) -> Array:  # (n, rows, count)
    """Draw normal vectors with one covariance for each sample."""
    white = rng.standard_normal((n, rows, count))
    if kind == "diagonal":
        return rng.standard_normal((n, rows, 1)) * white
    if kind == "random":
        parts = np.array_split(white, max(1, -(-n // _BLOCK)))
        return np.concatenate([rng.standard_normal((len(part), rows, rows)) @ part for part in parts])
    return white


def make_sparse_vector(
    n: int,
    seed: int,
    rows: int = 100,
    dim: int = 5,
    prior: str = "bernoulli_rademacher",
    noise: str = "identity",
    sparsity: float = 0.25,
) -> dict[str, Tensor]:
    r"""Hide a sparse unit vector among normal ones: an orthonormal basis of their span, and where the sparse one is in it.

    .. math:: A \in \mathbb R^{\mathrm{rows} \times d}, \quad A^\top A = 1, \quad v = A u, \qquad y = u u^\top

    The basis is turned at random, so that an estimate of v from the rows of A must be equivariant under O(d).

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        rows: of A, the length of v.
        dim: d, of the span.
        prior: of v: ``accept_reject``, normal vectors with :math:`|v|_4^4 \ge 1/(\mathrm{sparsity} \cdot \mathrm{rows})`;
            ``bernoulli_gaussian`` and ``bernoulli_rademacher``, entries that are zero but for this part of them.
        noise: covariance of the other vectors: ``identity``, ``diagonal`` or ``random``.
        sparsity: see ``prior``.

    Returns:
        ``vectors`` (n, rows, dim), the rows of A, ``u`` (n, dim), and ``y`` (n, dim, dim).

    Raises:
        InvalidInput: sizes that do not fit, an unknown prior or noise.

    Source: the task is that of Gregory, Tonelli-Cueto, Marshall, Lee and Villar, *Tensor learning with orthogonal,
    Lorentz, and symplectic symmetries*, arXiv 2406.01552, after Hopkins, Schramm, Shi and Steurer, arXiv 1512.02337.

    >>> {k: tuple(v.shape) for k, v in make_sparse_vector(2, 0).items()}
    {'vectors': (2, 100, 5), 'u': (2, 5), 'y': (2, 5, 5)}
    """
    at_least_one("sparse_vector", n=n, rows=rows, dim=dim)
    for name, value, known in (("prior", prior, PRIORS), ("noise", noise, NOISES)):
        if value not in known:
            raise InvalidInput(
                f"sparse_vector: {name}={value!r}: expected one of {', '.join(known)}.{closest(value, known)}"
            )
    if dim > rows or not 0 < sparsity <= 1 or (prior == "accept_reject" and sparsity < 0.15):
        raise InvalidInput(
            f"sparse_vector: rows={rows}, dim={dim}, sparsity={sparsity}: expected dim <= rows and a part of 1; normal "
            "vectors are hardly ever sparser than 0.15."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    v = _sparse(n, rows, prior, sparsity, rng)
    spanning = np.concatenate([v[..., None], _noise(n, rows, dim - 1, noise, rng)], -1)
    basis = np.linalg.qr(spanning)[0]
    turn = np.linalg.qr(rng.standard_normal((n, dim, dim)))[0] * rng.choice([-1.0, 1.0], (n, 1, dim))
    a = torch.from_numpy(basis @ turn)
    u = (a.mT @ torch.from_numpy(v)[..., None])[..., 0]
    return {"vectors": a, "u": u, "y": u[:, :, None] * u[:, None, :]}


def spectral_matrix(vectors: Tensor) -> Tensor:  # (..., rows, d) -> (..., d, d)
    r"""Return the matrix whose top eigenvector is the spectral estimate of the sparse direction.

    .. math:: \sum_i \left(|a_i|^2 - \tfrac{d}{\mathrm{rows}}\right) a_i a_i^\top

    Args:
        vectors: rows of an orthonormal basis.

    Source: Hopkins, Schramm, Shi and Steurer, *Fast spectral algorithms from sum-of-squares proofs: tensor
    decomposition and planted sparse vectors*, arXiv 1512.02337.

    >>> spectral_matrix(torch.tensor([[1.0, 0.0], [0.0, 0.6], [0.0, 0.8]])).argmax().item()
    0
    """
    rows, dim = vectors.shape[-2:]
    weight = vectors.square().sum(-1, keepdim=True) - dim / rows
    return (weight * vectors).mT @ vectors


def recovery_score(matrix: Tensor, u: Tensor) -> Tensor:  # (..., d, d), (..., d) -> (...)
    r"""Return :math:`\langle u, \hat u\rangle^2` for the eigenvector of the largest eigenvalue of the symmetric part.

    Args:
        matrix: estimates.
        u: directions of length one.

    >>> round(recovery_score(torch.diag(torch.tensor([1.0, 3.0])), torch.tensor([0.6, 0.8])).item(), 4)
    0.64
    """
    top = torch.linalg.eigh(matrix + matrix.mT).eigenvectors[..., -1]
    return (top * u).sum(-1).square()


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean square errors of 1/d and of the projector on the spectral estimate."""
    del train
    target = test["y"]
    dim = target.shape[-1]
    top = torch.linalg.eigh(spectral_matrix(test["vectors"])).eigenvectors[..., -1]
    return {
        "isotropic": float((target - torch.eye(dim, dtype=target.dtype) / dim).square().mean()),
        "spectral": float((target - top[:, :, None] * top[:, None, :]).square().mean()),
    }


SPARSE_VECTOR = Task(
    name="sparse_vector",
    title="the direction of a sparse vector in a span, as a projector",
    make=make_sparse_vector,
    inputs=("vectors",),
    target="y",
    sizes=(5000, 500, 500),
    baselines=_baselines,
    source="Gregory et al., arXiv 2406.01552; Hopkins et al., arXiv 1512.02337",
)
