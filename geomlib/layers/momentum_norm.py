"""Standardisation of features by running statistics, in training too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput

__all__ = ["MomentumNorm"]


class MomentumNorm(nn.Module):
    r"""Subtract the running mean of every feature and divide by its running deviation.

    .. math:: y = \frac{x - \mu}{\max(\sigma, 10^{-7})}, \qquad \mu \leftarrow m \mu + (1 - m) \bar x, \quad
              \sigma \leftarrow m \sigma + (1 - m) s(x)

    Other than with a batch norm, the same averages are used in training and evaluation, and gradients do not pass through
    them; quantities of different units, such as the invariants of geometric products, come to one scale.

    **Group** permutations of rows; features are invariants. **Shapes** ``x`` (..., dim) to the same.

    Args:
        dim: number of features.
        momentum: m, the share of the past.

    Raises:
        InvalidInput: a momentum outside [0, 1], or features of another number.

    Source: the normalisation of Spellings, *Geometric Algebra Attention Networks for Small Point Clouds*, arXiv 2110.02393.

    >>> layer = MomentumNorm(3).eval()
    >>> x = torch.randn(5, 3)
    >>> torch.equal(layer(x), x)  # nothing has been seen yet
    True
    """

    mu: Tensor
    sigma: Tensor

    def __init__(self, dim: int, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= momentum <= 1 or dim < 1:
            raise InvalidInput(
                f"MomentumNorm: momentum={momentum}, dim={dim}: expected a share from 0 to 1, and dim >= 1."
            )
        self.dim, self.momentum = dim, momentum
        self.register_buffer("mu", torch.zeros(dim))
        self.register_buffer("sigma", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:  # (..., dim)
        """Return the features on one scale; in training, take them into account first.

        Raises:
            InvalidInput: another number of features, or another type than the layer.
        """
        if x.dim() < 1 or x.shape[-1] != self.dim or x.dtype != self.mu.dtype:
            raise InvalidInput(
                f"MomentumNorm: `x` is {x.dtype} of shape {tuple(x.shape)}, expected {self.mu.dtype} of shape "
                f"(..., {self.dim})."
            )
        if self.training and x.numel():
            with torch.no_grad():
                rows = x.detach().flatten(0, -2) if x.dim() > 1 else x.detach()[None]
                self.mu.lerp_(rows.mean(0), 1 - self.momentum)
                self.sigma.lerp_(rows.std(0, correction=0), 1 - self.momentum)
        # Copies: the averages change in place at the next call, perhaps before this one is differentiated.
        return (x - self.mu.clone()) / self.sigma.clamp(min=1e-7)

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows; O(3) moves nothing."""
        return Symmetry("O(3)*S_n", inputs={"x": "node:inv"}, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MomentumNorm, dict[str, Any]]:
        """Return an instance that has seen some rows, and one set of inputs."""
        layer = cls(3, momentum=0.5)
        layer(2 + torch.randn(20, 3, generator=generator))
        return layer.eval(), {"x": torch.randn(6, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the number of features and the momentum."""
        return f"{self.dim} invariants, momentum={self.momentum}"
