r"""The stress of a compressible neo-Hookean material, from its right Cauchy-Green tensor."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = ["NEO_HOOKE", "make_neo_hooke", "neo_hooke_stress"]


def neo_hooke_stress(C: Tensor, mu: float = 1.0, lam: float = 1.0) -> Tensor:  # (..., 3, 3) -> (..., 3, 3)
    r"""Return the second Piola-Kirchhoff stress :math:`S = \mu(\mathbb 1 - C^{-1}) + \tfrac\lambda2 \ln\det C\; C^{-1}`.

    It is twice the derivative of :math:`W = \tfrac\mu2 (\mathrm{tr}\,C - 3) - \mu \ln J + \tfrac\lambda2 \ln^2 J`,
    :math:`J^2 = \det C`.

    **Group** O(3). **Shapes** (..., 3, 3) to (..., 3, 3).

    Args:
        C: symmetric positive matrices.
        mu: shear modulus.
        lam: first Lamé constant.

    >>> bool(neo_hooke_stress(torch.eye(3)).abs().max() == 0)
    True
    """
    inverse = torch.linalg.inv(C)
    log_j = 0.5 * torch.logdet(C)
    eye = torch.eye(3, dtype=C.dtype, device=C.device)
    return mu * (eye - inverse) + lam * log_j[..., None, None] * inverse


def make_neo_hooke(
    n: int, seed: int, mu: float = 1.0, lam: float = 1.0, strain: float = 0.2
) -> dict[str, Tensor]:
    r"""Draw deformations :math:`F = \mathbb 1 + 0.2\, N(0, 1)` with positive determinant, and their stress.

    .. math:: C = F^\top F, \qquad S = \mu (\mathbb 1 - C^{-1}) + \lambda \ln(\det F)\, C^{-1}

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        mu: shear modulus.
        lam: first Lamé constant.
        strain: size of the random part of F.

    Returns:
        ``C`` (n, 3, 3) and ``S`` (n, 3, 3).

    Raises:
        InvalidInput: n below 1, or a strain that is not positive.

    Source of the form of the model that it tests: *Symmetric tensor networks*, arXiv 2508.12596; the task is ours.

    >>> {k: tuple(v.shape) for k, v in make_neo_hooke(2, 0).items()}
    {'C': (2, 3, 3), 'S': (2, 3, 3)}
    """
    at_least_one("neo_hooke", n=n)
    if not 0 < strain < np.inf:
        raise InvalidInput(f"neo_hooke: strain={strain}, expected a positive number.")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    found = np.zeros((0, 3, 3))
    while len(found) < n:
        F = np.eye(3) + strain * rng.standard_normal((n, 3, 3))
        found = np.concatenate([found, F[np.linalg.det(F) > 0]])
    F = torch.from_numpy(found[:n])
    C = F.mT @ F
    return {"C": C, "S": neo_hooke_stress(C, mu, lam)}


NEO_HOOKE = Task(
    name="neo_hooke",
    title="the stress of a neo-Hookean material from its deformation",
    make=make_neo_hooke,
    inputs=("C",),
    target="S",
    sizes=(20000, 4000, 4000),
    baselines=mean_baseline("S"),
    source="compressible neo-Hookean law, mu = lambda = 1; the task is ours",
)
