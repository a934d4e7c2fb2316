r"""Gaussian states of light: covariance matrices, their symplectic eigenvalues and entropy; brackets of quadratic energies."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomlib.algebra.groups import symplectic_form
from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = [
    "GAUSSIAN_STATES",
    "POISSON_BRACKETS",
    "make_gaussian_states",
    "make_poisson_brackets",
    "random_symplectic",
    "state_entropy",
    "symplectic_eigenvalues",
]

Array = NDArray[np.float64]


def random_symplectic(n: int, modes: int, rng: np.random.Generator, squeezing: float = 0.5) -> Array:
    r"""Draw symplectic matrices of interleaved coordinates (q1, p1, q2, p2, ...).

    .. math:: S = K_1\, \mathrm{diag}(e^{r_1}, e^{-r_1}, e^{r_2}, \dots)\, K_2

    with K uniform in U(modes) and r uniform in (-squeezing, squeezing).

    Args:
        n: number of matrices.
        modes: pairs of coordinates.
        rng: source of random numbers.
        squeezing: largest r.

    Returns:
        (n, 2 modes, 2 modes).
    """
    r = rng.uniform(-squeezing, squeezing, (n, modes))
    stretch = np.stack([np.exp(r), np.exp(-r)], -1).reshape(n, -1, 1)
    return _passive(n, modes, rng) @ (stretch * _passive(n, modes, rng))


def _passive(n: int, modes: int, rng: np.random.Generator) -> Array:
    """Draw uniform unitary matrices as real ones, a + ib as [[a, -b], [b, a]]."""
    z = rng.standard_normal((n, modes, modes)) + 1j * rng.standard_normal((n, modes, modes))
    q, r = np.linalg.qr(z)
    phase = np.diagonal(r, axis1=-2, axis2=-1)
    u = q * (phase / np.abs(phase))[:, None, :]
    real = np.stack([np.stack([u.real, -u.imag], -1), np.stack([u.imag, u.real], -1)], -2)  # (n, i, j, 2, 2)
    return real.transpose(0, 1, 3, 2, 4).reshape(n, 2 * modes, 2 * modes)


def symplectic_eigenvalues(sigma: Tensor, form: str = "interleaved") -> Tensor:  # (..., 2m, 2m) -> (..., m)
    r"""Return the symplectic eigenvalues of positive definite matrices, ascending.

    .. math:: \sigma = S\, \mathrm{diag}(\nu_1, \nu_1, \nu_2, \nu_2, \dots)\, S^\top, \qquad
              \mathrm{tr}\,(\Omega\sigma)^2 = -2 \sum_a \nu_a^2

    They are the singular values of :math:`L^\top \Omega L` for :math:`\sigma = L L^\top`, each of which is there twice.

    Args:
        sigma: covariance matrices.
        form: order of the coordinates, see :func:`~geomlib.algebra.groups.symplectic_form`.

    Raises:
        InvalidInput: not square, of odd size, or not positive definite.

    >>> symplectic_eigenvalues(torch.diag(torch.tensor([8.0, 2.0, 1.0, 1.0]))).round(decimals=4).tolist()
    [1.0, 4.0]
    """
    size = sigma.shape[-1] if sigma.dim() >= 2 else 0
    if size == 0 or size % 2 or sigma.shape[-2] != size:
        raise InvalidInput(
            f"symplectic_eigenvalues: sigma has shape {tuple(sigma.shape)}, expected (..., 2m, 2m)."
        )
    lower, failed = torch.linalg.cholesky_ex(sigma)
    if bool(failed.any()):
        raise InvalidInput("symplectic_eigenvalues: a matrix of sigma is not positive definite.")
    omega = symplectic_form(size, form).to(sigma)
    return torch.linalg.svdvals(lower.mT @ omega @ lower).flip(-1)[..., ::2]


def state_entropy(nu: Tensor) -> Tensor:  # (..., m) -> (...)
    r"""Return the von Neumann entropy of a Gaussian state; the vacuum has eigenvalue 1.

    .. math:: \sum_a \frac{\nu_a + 1}{2} \log \frac{\nu_a + 1}{2} - \frac{\nu_a - 1}{2} \log \frac{\nu_a - 1}{2}

    Args:
        nu: symplectic eigenvalues; those below 1, which no state has, count as 1.

    >>> round(state_entropy(torch.tensor([[1.0, 3.0]])).item(), 4)  # 2 log 2
    1.3863
    """
    high, low = (nu.clamp(min=1) + 1) / 2, (nu.clamp(min=1) - 1) / 2
    return (torch.xlogy(high, high) - torch.xlogy(low, low)).sum(-1)


def make_gaussian_states(n: int, seed: int, modes: int = 2, squeezing: float = 0.5) -> dict[str, Tensor]:
    r"""Draw covariance matrices of Gaussian states, and their entropy, an invariant of Sp(2 modes).

    .. math:: \sigma = S\, \mathrm{diag}(\nu_1, \nu_1, \nu_2, \nu_2, \dots)\, S^\top, \qquad \nu_a = 1 + e_a

    with exponentially distributed e and S of :func:`random_symplectic`. Coordinates are (q1, p1, q2, p2, ...).

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        modes: pairs of coordinates.
        squeezing: largest logarithm of a stretch.

    Returns:
        ``matrices`` (n, 1, 2 modes, 2 modes), ``nu`` (n, modes), ascending, and ``entropy`` (n,).

    Raises:
        InvalidInput: a size below 1.

    Source: Weedbrook et al., *Gaussian quantum information*, arXiv 1110.3234; the task is ours.

    >>> {k: tuple(v.shape) for k, v in make_gaussian_states(2, 0).items()}
    {'matrices': (2, 1, 4, 4), 'nu': (2, 2), 'entropy': (2,)}
    """
    at_least_one("gaussian_states", n=n, modes=modes)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    nu = np.sort(1 + rng.standard_exponential((n, modes)), -1)
    s = random_symplectic(n, modes, rng, squeezing)
    sigma = (s * np.repeat(nu, 2, -1)[:, None]) @ s.swapaxes(-1, -2)
    sigma = (sigma + sigma.swapaxes(-1, -2)) / 2
    found = torch.from_numpy(nu)
    return {"matrices": torch.from_numpy(sigma)[:, None], "nu": found, "entropy": state_entropy(found)}


def make_poisson_brackets(n: int, seed: int, modes: int = 2) -> dict[str, Tensor]:
    r"""Draw two quadratic energies, and the matrix of their Poisson bracket, a covariant of Sp(2 modes).

    .. math:: f_A(x) = \tfrac12\, (\Omega x)^\top A\, \Omega x, \qquad
              \{f_A, f_B\} = (\nabla f_A)^\top \Omega\, \nabla f_B = f_C, \quad C = A \Omega B - B \Omega A

    With A and B as second moments, :math:`A \to S A S^\top` when :math:`x \to S x`.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        modes: pairs of coordinates (q1, p1, q2, p2, ...).

    Returns:
        ``matrices`` (n, 2, 2 modes, 2 modes), symmetric with entries of variance 1, 2 on the diagonal, and ``bracket``
        (n, 2 modes, 2 modes).

    Raises:
        InvalidInput: a size below 1.

    Source: Arnold, *Mathematical methods of classical mechanics*; the task is ours.

    >>> {k: tuple(v.shape) for k, v in make_poisson_brackets(2, 0).items()}
    {'matrices': (2, 2, 4, 4), 'bracket': (2, 4, 4)}
    """
    at_least_one("poisson_brackets", n=n, modes=modes)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    made = rng.standard_normal((n, 2, 2 * modes, 2 * modes))
    pair = torch.from_numpy((made + made.swapaxes(-1, -2)) / np.sqrt(2))
    a, b = pair.unbind(1)
    omega = symplectic_form(2 * modes)
    return {"matrices": pair, "bracket": a @ omega @ b - b @ omega @ a}


GAUSSIAN_STATES = Task(
    name="gaussian_states",
    title="entropy of two modes of light from their covariance, an invariant of Sp(4)",
    make=make_gaussian_states,
    inputs=("matrices",),
    target="entropy",
    sizes=(1000, 1000, 5000),
    standardize=True,
    baselines=mean_baseline("entropy"),
    source="the entropy of Gaussian states as in Weedbrook et al., arXiv 1110.3234; the task is ours",
)

POISSON_BRACKETS = Task(
    name="poisson_brackets",
    title="the Poisson bracket of two quadratic energies, a covariant of Sp(4)",
    make=make_poisson_brackets,
    inputs=("matrices",),
    target="bracket",
    sizes=(1000, 1000, 5000),
    baselines=mean_baseline("bracket"),
    source="ours",
)
