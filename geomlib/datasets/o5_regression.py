r"""An invariant function of two vectors in five dimensions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomlib.datasets._numbers import at_least_one, mean_baseline
from geomlib.datasets.tasks import Task

__all__ = ["O5_REGRESSION", "make_o5_regression"]


def make_o5_regression(n: int, seed: int) -> dict[str, Tensor]:
    r"""Draw two standard normal vectors and an invariant function of them.

    .. math:: y = \sin |x_1| - \tfrac12 |x_2|^3 + \frac{x_1 \cdot x_2}{|x_1|\,|x_2|}

    The recipe divides each of the two vectors by its root mean square over the data: their components are drawn with
    root mean square one, so nothing is left to divide by, and the sets do not depend on their sizes.

    Args:
        n: number of samples.
        seed: of the generator; the same seed gives the same samples.

    Returns:
        ``pos`` (n, 2, 5) and ``y`` (n,).

    Raises:
        InvalidInput: n below 1.

    Source: Finzi, Welling and Wilson, *A practical method for constructing equivariant multilayer perceptrons for
    arbitrary matrix groups*, arXiv 2104.09459.

    >>> {k: tuple(v.shape) for k, v in make_o5_regression(2, 0).items()}
    {'pos': (2, 2, 5), 'y': (2,)}
    """
    at_least_one("o5_regression", n=n)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    pos = rng.standard_normal((n, 2, 5))
    first, second = np.linalg.norm(pos, axis=-1).T
    y = np.sin(first) - 0.5 * second**3 + (pos[:, 0] * pos[:, 1]).sum(-1) / (first * second)
    return {"pos": torch.from_numpy(pos), "y": torch.from_numpy(y)}


O5_REGRESSION = Task(
    name="o5_regression",
    title="an invariant function of two vectors in five dimensions",
    make=make_o5_regression,
    inputs=("pos",),
    target="y",
    sizes=(50000, 16384, 16384),
    standardize=True,
    baselines=mean_baseline("y"),
    source="Finzi, Welling and Wilson, arXiv 2104.09459; sizes of Ruhe, Brandstetter and Forré, arXiv 2305.11141",
)
