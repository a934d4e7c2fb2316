r"""Signatures of curves: what is left of a path when it may be run through at any speed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = ["PATH_SIGNATURE", "make_path_signature", "path_signature"]

#: Waves of a random curve.
_WAVES = 3
#: Curves whose signature is computed at a time: 1000 points take 25 kB each.
_BLOCK = 512


def path_signature(
    path: Tensor, level: int = 3
) -> tuple[Tensor, ...]:  # (..., T, d) -> (..., d), (..., d, d), ...
    r"""Return the signature of a path of straight pieces, levels 1 to at most 3.

    .. math:: S^{a} = \int \mathrm{d}x^a, \qquad S^{ab} = \int_{s<t} \mathrm{d}x^a_s\, \mathrm{d}x^b_t, \qquad
              S^{abc} = \int_{r<s<t} \mathrm{d}x^a_r\, \mathrm{d}x^b_s\, \mathrm{d}x^c_t

    Args:
        path: points in order.
        level: the highest.

    Raises:
        InvalidInput: no points, or a level other than 1, 2 and 3.

    Source: Chevyrev and Kormilitzin, *A primer on the signature method in machine learning*, arXiv 1603.03788.

    >>> [s.tolist() for s in path_signature(torch.tensor([[0.0, 0], [1, 0], [1, 1]]), 2)]
    [[1.0, 1.0], [[0.5, 1.0], [0.0, 0.5]]]
    """
    if path.dim() < 2 or path.shape[-2] < 1 or level not in (1, 2, 3):
        raise InvalidInput(
            f"path_signature: path {tuple(path.shape)}, level={level}: expected (..., T, d) with points, and 1, 2 or 3."
        )
    step = path.diff(dim=-2)  # (..., T - 1, d)
    one = path[..., :-1, :] - path[..., :1, :]  # level 1 up to every step
    found = (path[..., -1, :] - path[..., 0, :],)
    if level == 1:
        return found
    two = (one + step / 2)[..., :, None] * step[..., None, :]
    found = (*found, two.sum(-3))
    if level == 2:
        return found
    before = two.cumsum(-3) - two + ((one / 2 + step / 6)[..., :, None] * step[..., None, :])
    return (*found, torch.einsum("...tab,...tc->...abc", before, step))


def make_path_signature(
    n: int, seed: int, level: int = 2, points: int = 10, fine: int = 1000
) -> dict[str, Tensor]:
    r"""Draw smooth curves in space: some of their points, and a level of the signature of all.

    .. math:: x(t) = c\, t + \sum_{k=1}^3 \tfrac1k \left(a_k \sin 2\pi k t + b_k \cos 2\pi k t\right), \quad 0 \le t \le 1

    with standard normal a, b and c. The given points are spread evenly, the ends among them.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        level: of the signature, 1, 2 or 3.
        points: that are given.
        fine: points whose path has the signature.

    Returns:
        ``vectors`` (n, points, 3) and ``y`` (n, 3, ..., 3) with `level` axes.

    Raises:
        InvalidInput: a size below 1, fewer than two points, or an unknown level.

    Source: the task of a signature from 10 of 1000 points is that of Gregory, Tonelli-Cueto, Marshall, Lee and Villar,
    *Tensor learning with orthogonal, Lorentz, and symplectic symmetries*, arXiv 2406.01552; the curves are ours.

    >>> {k: tuple(v.shape) for k, v in make_path_signature(2, 0, level=3).items()}
    {'vectors': (2, 10, 3), 'y': (2, 3, 3, 3)}
    """
    at_least_one("path_signature", n=n)
    if not 2 <= points <= fine:
        raise InvalidInput(f"path_signature: points={points}, fine={fine}: expected 2 <= points <= fine.")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    t = torch.linspace(0, 1, fine, dtype=torch.float64)
    k = torch.arange(1, _WAVES + 1, dtype=torch.float64)
    angle = 2 * torch.pi * t[:, None] * k
    basis = torch.cat([t[:, None], angle.sin() / k, angle.cos() / k], 1)  # (fine, 1 + 2 waves)
    weights = torch.from_numpy(rng.standard_normal((n, 1 + 2 * _WAVES, 3)))
    chosen = torch.linspace(0, fine - 1, points, dtype=torch.float64).round().long()
    parts = [path_signature(basis @ w, level)[-1] for w in weights.split(_BLOCK)]
    return {"vectors": basis[chosen] @ weights, "y": torch.cat(parts)}


def _baselines(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean square errors of the mean, and of the signature of the given points joined by straight lines."""
    target = test["y"]
    joined = path_signature(test["vectors"], target.dim() - 1)[-1]
    return {
        "mean": float((target - train["y"].mean(0)).square().mean()),
        "joined points": float((target - joined).square().mean()),
    }


PATH_SIGNATURE = Task(
    name="path_signature",
    title="the second level of the signature of a curve in space, from ten of its points",
    make=make_path_signature,
    inputs=("vectors",),
    target="y",
    sizes=(1024, 1024, 5000),
    baselines=_baselines,
    source="Gregory et al., arXiv 2406.01552; the curves are ours",
)
