"""Normalisations of multivectors, by grade and over channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.geometric_product.norms import channel_norm
from geomlib.kernels.geometric_product.steerable import normalised
from geomlib.layers._multivectors import (
    checked,
    checked_sizes,
    example_of,
    label,
    symmetry_of,
)

__all__ = ["MVLayerNorm", "MVNormalization", "MVRMSNorm"]


class MVNormalization(nn.Module):
    r"""Divide every grade by a learned interpolation between its length and one.

    .. math:: y_{cg} = \frac{x_{cg}}{\sigma(a_{cg})\,(|x_{cg}| - 1) + 1 + 10^{-6}}, \qquad
              |x| = (q(x)^2 + 10^{-16})^{1/4}

    In an indefinite metric the length has a cusp where q changes its sign: gradients stay finite, curvature is large there.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., channels, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        init: initial value of a.

    Raises:
        InvalidInput: wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVNormalization(CliffordAlgebra(3), 4)
    >>> layer(torch.randn(5, 4, 8)).shape
    torch.Size([5, 4, 8])
    """

    def __init__(self, algebra: CliffordAlgebra, channels: int, init: float = 0.0) -> None:
        super().__init__()
        checked_sizes("MVNormalization", algebra, channels=channels)
        self.algebra, self.channels = algebra, channels
        self.a = nn.Parameter(torch.full((channels, algebra.n + 1), float(init)))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, 2^n)
        """Return the divided multivectors.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("MVNormalization", x, self.algebra, self.channels, self.a)
        return normalised(x, self.a, self.algebra)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVNormalization, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(3)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group and the channels."""
        return f"{label(self.algebra)}, {self.channels}"


class MVLayerNorm(nn.Module):
    r"""Divide multivectors by their mean length over channels.

    .. math:: y_c = \frac{a_c\, x_c}{\frac1C \sum_d \big(\sum_g (q(x_{dg})^2 + \epsilon^2)^{1/2}\big)^{1/2}}
              \quad\text{or, with safe=False,}\quad \frac{a_c\, x_c}{\frac1C \sum_d |x_d| + 10^{-6}}

    The second is the reference's, :math:`|x| = (q(x)^2 + 10^{-16})^{1/4}` of the total form: where directions cancel, as
    for light-like vectors, it divides by almost nothing. The first is at most :math:`a\,\epsilon^{-1/2}` times its input.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., channels, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        safe: the first form.
        eps: its constant.

    Raises:
        InvalidInput: an eps that is not positive; wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> layer = MVLayerNorm(CliffordAlgebra(3), 4)
    >>> layer(torch.randn(5, 4, 8)).shape
    torch.Size([5, 4, 8])
    """

    def __init__(
        self, algebra: CliffordAlgebra, channels: int, *, safe: bool = True, eps: float = 1e-2
    ) -> None:
        super().__init__()
        checked_sizes("MVLayerNorm", algebra, channels=channels)
        if not eps > 0:
            raise InvalidInput(f"MVLayerNorm: eps={eps}, expected a positive number.")
        self.algebra, self.channels, self.safe, self.eps = algebra, channels, safe, eps
        self.a = nn.Parameter(torch.ones(1, channels))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, 2^n)
        """Return the divided multivectors.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("MVLayerNorm", x, self.algebra, self.channels, self.a)
        return channel_norm(x, self.a[0], self.algebra, eps=self.eps if self.safe else None)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVLayerNorm, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(2, 0, 1)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group, the channels and the form."""
        return f"{label(self.algebra)}, {self.channels}, safe={self.safe}, eps={self.eps}"


class MVRMSNorm(nn.Module):
    r"""Divide multivectors by the root mean square of their lengths over channels.

    .. math:: y_c = \frac{a_c\, x_c}{\big(\frac1C \sum_d \sum_g (q(x_{dg})^2 + \epsilon^2)^{1/2}\big)^{1/2}}

    Every grade counts by its absolute form, so that light-like directions do not cancel: the factor is at most
    :math:`a\,((n + 1)\,\epsilon)^{-1/2}`, and as smooth as the square root.

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., channels, 2^n) to the same.

    Args:
        algebra: of the multivectors.
        channels: of the input.
        eps: the constant.

    Raises:
        InvalidInput: an eps that is not positive; wrong shapes or types at the call.

    Source: Zhang and Sennrich, *Root mean square layer normalization*, arXiv 1910.07467; the lengths are those of
    :class:`MVLayerNorm`.

    >>> layer = MVRMSNorm(CliffordAlgebra(3), 4)
    >>> y = layer(10 * torch.randn(5, 4, 8))
    >>> torch.allclose(y.square().sum(-1).mean(-1), torch.ones(5), atol=1e-3)
    True
    """

    def __init__(self, algebra: CliffordAlgebra, channels: int, *, eps: float = 1e-2) -> None:
        super().__init__()
        checked_sizes("MVRMSNorm", algebra, channels=channels)
        if not eps > 0:
            raise InvalidInput(f"MVRMSNorm: eps={eps}, expected a positive number.")
        self.algebra, self.channels, self.eps = algebra, channels, eps
        self.a = nn.Parameter(torch.ones(1, channels))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., channels, 2^n)
        """Return the divided multivectors.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("MVRMSNorm", x, self.algebra, self.channels, self.a)
        return channel_norm(x, self.a[0], self.algebra, mean="root mean square", eps=self.eps)

    @property
    def symmetry(self) -> Symmetry:
        """Pin(p,q,r): multivectors in and out; rows are independent."""
        return symmetry_of(self.algebra)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[MVRMSNorm, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        algebra = CliffordAlgebra(1, 3)
        return example_of(lambda: cls(algebra, 3), algebra, 3, generator)

    def extra_repr(self) -> str:
        """Return the group, the channels and the constant."""
        return f"{label(self.algebra)}, {self.channels}, eps={self.eps}"
