r"""Three regressions of the equivariant-MLP literature: an O(5) invariant, a moment of inertia, a matrix element."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.o5_regression import make_o5_regression
from geomlib.datasets.tasks import Task
from geomlib.errors import InvalidInput

__all__ = [
    "INERTIA",
    "O5_SYNTHETIC",
    "PARTICLE_INTERACTION",
    "inertia_tensor",
    "make_inertia",
    "make_o5_synthetic",
    "make_particle_interaction",
    "scattering_element",
]

_SOURCE = (
    "Finzi, Welling and Wilson, A practical method for constructing equivariant multilayer perceptrons for "
    "arbitrary matrix groups, arXiv 2104.09459"
)
#: Samples of train, val and test: the smaller setting that is compared, and the published size of the test set.
_SIZES = (1000, 1000, 5000)


def make_o5_synthetic(n: int, seed: int) -> dict[str, Tensor]:
    r"""Draw two standard normal vectors in five dimensions and an invariant function of them.

    .. math:: y = \sin |x_1| - \tfrac12 |x_2|^3 + \frac{x_1 \cdot x_2}{|x_1|\,|x_2|}

    The samples are those of :func:`~geomlib.datasets.o5_regression.make_o5_regression`.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.

    Returns:
        ``vectors`` (n, 2, 5) and ``y`` (n,).

    Raises:
        InvalidInput: n below 1.

    Source: Finzi, Welling and Wilson, *A practical method for constructing equivariant multilayer perceptrons for
    arbitrary matrix groups*, arXiv 2104.09459.

    >>> {k: tuple(v.shape) for k, v in make_o5_synthetic(2, 0).items()}
    {'vectors': (2, 2, 5), 'y': (2,)}
    """
    made = make_o5_regression(n, seed)
    return {"vectors": made["pos"], "y": made["y"]}


def inertia_tensor(mass: Tensor, pos: Tensor) -> Tensor:  # (..., N), (..., N, 3) -> (..., 3, 3)
    r"""Return the moment of inertia of points about the origin.

    .. math:: I = \sum_i m_i \left(|r_i|^2\, 1 - r_i r_i^\top\right)

    Args:
        mass: of the points.
        pos: their positions.

    Raises:
        InvalidInput: shapes that do not fit.

    >>> inertia_tensor(torch.tensor([2.0]), torch.tensor([[0.0, 0.0, 3.0]])).diagonal().tolist()
    [18.0, 18.0, 0.0]
    """
    if pos.dim() < 2 or pos.shape[-1] != 3 or mass.shape != pos.shape[:-1]:
        raise InvalidInput(
            f"inertia_tensor: mass {tuple(mass.shape)}, pos {tuple(pos.shape)}: expected (..., N) and (..., N, 3)."
        )
    weighted = mass[..., None] * pos
    outer = weighted.mT @ pos
    return (
        torch.eye(3, dtype=pos.dtype, device=pos.device)
        * outer.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        - outer
    )


def make_inertia(n: int, seed: int, points: int = 5) -> dict[str, Tensor]:
    r"""Draw masses and positions, and the moment of inertia.

    .. math:: m_i = \log(1 + e^{g_i}), \qquad y = \sum_i m_i \left(|r_i|^2\, 1 - r_i r_i^\top\right)

    with standard normal g and r.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.
        points: of a sample.

    Returns:
        ``scalars`` (n, points), the masses, ``vectors`` (n, points, 3), the positions, and ``y`` (n, 3, 3).

    Raises:
        InvalidInput: a size below 1.

    Source: Finzi, Welling and Wilson, *A practical method for constructing equivariant multilayer perceptrons for
    arbitrary matrix groups*, arXiv 2104.09459.

    >>> {k: tuple(v.shape) for k, v in make_inertia(2, 0).items()}
    {'scalars': (2, 5), 'vectors': (2, 5, 3), 'y': (2, 3, 3)}
    """
    at_least_one("inertia", n=n, points=points)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    mass = torch.from_numpy(np.logaddexp(0.0, rng.standard_normal((n, points))))
    pos = torch.from_numpy(rng.standard_normal((n, points, 3)))
    return {"scalars": mass, "vectors": pos, "y": inertia_tensor(mass, pos)}


def scattering_element(p: Tensor) -> Tensor:  # (..., 4, 4) -> (...)
    r"""Return the squared matrix element of the scattering of two particles, up to constants.

    .. math:: y = 4\left[(p_1 \cdot p_2)(p_3 \cdot p_4) - t\, p_1 \cdot p_3 - s\, p_2 \cdot p_4 + 4 s t\right], \qquad
              s = p_1 \cdot p_3 - p_1 \cdot p_1, \quad t = p_2 \cdot p_4 - p_2 \cdot p_2

    with :math:`a \cdot b = a_0 b_0 - a_1 b_1 - a_2 b_2 - a_3 b_3`.

    Args:
        p: four four-momenta, time first.

    Raises:
        InvalidInput: another shape.

    >>> scattering_element(torch.eye(4)).item()  # p1 = e_t has square 1, the others -1 and 0
    -16.0
    """
    if p.dim() < 2 or p.shape[-2:] != (4, 4):
        raise InvalidInput(f"scattering_element: p has shape {tuple(p.shape)}, expected (..., 4, 4).")
    sign = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=p.dtype, device=p.device)
    dot = (p * sign) @ p.mT
    s, t = dot[..., 0, 2] - dot[..., 0, 0], dot[..., 1, 3] - dot[..., 1, 1]
    return 4 * (dot[..., 0, 1] * dot[..., 2, 3] - t * dot[..., 0, 2] - s * dot[..., 1, 3] + 4 * s * t)


def make_particle_interaction(n: int, seed: int) -> dict[str, Tensor]:
    r"""Draw four four-momenta and the matrix element of their interaction, a Lorentz invariant.

    The momenta are a quarter of standard normal numbers; the target is :func:`scattering_element`.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.

    Returns:
        ``vectors`` (n, 4, 4), time first, and ``y`` (n,).

    Raises:
        InvalidInput: n below 1.

    Source: Finzi, Welling and Wilson, *A practical method for constructing equivariant multilayer perceptrons for
    arbitrary matrix groups*, arXiv 2104.09459.

    >>> {k: tuple(v.shape) for k, v in make_particle_interaction(2, 0).items()}
    {'vectors': (2, 4, 4), 'y': (2,)}
    """
    at_least_one("particle_interaction", n=n)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    p = torch.from_numpy(rng.standard_normal((n, 4, 4)) / 4)
    return {"vectors": p, "y": scattering_element(p)}


O5_SYNTHETIC = Task(
    name="o5_synthetic",
    title="an invariant function of two vectors in five dimensions, few samples",
    make=make_o5_synthetic,
    inputs=("vectors",),
    target="y",
    sizes=_SIZES,
    standardize=True,
    baselines=mean_baseline("y"),
    source=_SOURCE,
)

INERTIA = Task(
    name="inertia",
    title="the moment of inertia of five points",
    make=make_inertia,
    inputs=("scalars", "vectors"),
    target="y",
    sizes=_SIZES,
    baselines=mean_baseline("y"),
    source=_SOURCE,
)

PARTICLE_INTERACTION = Task(
    name="particle_interaction",
    title="the matrix element of four momenta, a Lorentz invariant",
    make=make_particle_interaction,
    inputs=("vectors",),
    target="y",
    sizes=_SIZES,
    standardize=True,
    baselines=mean_baseline("y"),
    source=_SOURCE,
)
