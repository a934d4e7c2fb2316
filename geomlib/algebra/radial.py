r"""Functions of a distance: envelopes that vanish at the cutoff, and their slopes.

Each function returns the value and the derivative, because training on forces needs both and the pair is cheaper than
two passes of automatic differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ENVELOPES", "cosine_envelope", "smooth_envelope"]


def cosine_envelope(r: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    r"""Return :math:`c = \tfrac12(\cos(\pi r/r_c) + 1)` for :math:`r < r_c`, else 0, and :math:`dc/dr`.

    It is once differentiable at the cutoff. Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007).

    Shapes: ``r`` (...) to (...), (...); Å and 1/Å.
    """
    inside = (r < cutoff).to(r.dtype)
    phase = r * (math.pi / cutoff)
    return 0.5 * (torch.cos(phase) + 1.0) * inside, torch.sin(phase) * (-0.5 * math.pi / cutoff) * inside


def smooth_envelope(r: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    r"""Return :math:`c = 1 - 10x^3 + 15x^4 - 6x^5`, :math:`x = r/r_c`, for :math:`x < 1`, else 0, and :math:`dc/dr`.

    The polynomial of lowest degree that is twice differentiable at 0 and at the cutoff, so that forces have a
    continuous slope there. Source: Gasteiger et al., *Directional Message Passing*, arXiv 2003.03123, is the
    same construction with a free degree.

    Shapes: ``r`` (...) to (...), (...); Å and 1/Å.
    """
    x = (r / cutoff).clamp(max=1.0)
    rest = 1.0 - x
    # Factored around x = 1: the expanded form loses all digits where it is nearly zero.
    return rest * rest * rest * (1.0 + x * (3.0 + 6.0 * x)), x * x * rest * rest * (-30.0 / cutoff)


#: Envelopes by name: ``(distance, cutoff) -> (value, slope)``.
ENVELOPES: dict[str, Callable[[Tensor, float], tuple[Tensor, Tensor]]] = {
    "cosine": cosine_envelope,
    "smooth": smooth_envelope,
}
