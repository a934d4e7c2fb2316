"""Norms of irreps, and the nonlinearity that acts on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._features import blocks, checked
from geomlib.layers._lengths import lengths
from geomlib.layers.activation import ScalarFunction

__all__ = ["Norm", "NormActivation"]


class Norm(nn.Module):
    r"""The length of every irrep, or its square.

    .. math:: z_u = \Big(\sum_m x_{um}^2\Big)^{1/2}

    The derivative at zero is taken as zero. Definitions are those of e3nn's ``o3.Norm``.

    **Group** O(3). **Shapes** ``x`` (..., dim) to (..., number of irreps).

    Args:
        irreps_in: of x.
        squared: return squares.

    Raises:
        InvalidInput: wrong shapes or types at the call.

    Source: Geiger and Smidt, *e3nn: Euclidean Neural Networks*, arXiv 2207.09453.

    >>> Norm("1x0e+1x1o")(torch.tensor([-2.0, 3.0, 0.0, 4.0]))
    tensor([2., 5.])
    """

    def __init__(self, irreps_in: Any, squared: bool = False) -> None:
        super().__init__()
        self.irreps_in, self.squared = Irreps(irreps_in).simplify(), squared
        self.irreps_out = Irreps([(b.mul, "0e") for b in self.irreps_in]).simplify()

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., dim) -> (..., irreps)
        """Return the norms.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        parts = blocks(checked("Norm", "x", x, self.irreps_in), self.irreps_in)
        found = [p.square().sum(-1) if self.squared else lengths(p) for p in parts]
        return torch.cat([x[..., :0], *found], dim=-1)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): scalars out; rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": f"node:{self.irreps_in}"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Norm, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("2x0e+1x0o+3x1o+2x2e")
        return layer, {"x": torch.randn(6, layer.irreps_in.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps."""
        return f"{self.irreps_in} -> {self.irreps_out}, squared={self.squared}"


class NormActivation(nn.Module):
    r"""Every irrep times a function of its length.

    .. math:: z_u = \phi(|x_u| + \beta_u)\, \frac{x_u}{|x_u|} \quad\text{or}\quad \phi(|x_u| + \beta_u)\, x_u

    Lengths below ``epsilon`` count as ``epsilon``. Definitions are those of e3nn's ``nn.NormActivation``.

    **Group** O(3). **Shapes** ``x`` (..., dim) to (..., dim).

    Args:
        irreps_in: of x.
        scalar_nonlinearity: the function.
        normalize: divide by the length (the first form).
        epsilon: 1e-8 by default; none in the second form.
        bias: learn the shifts.

    Raises:
        InvalidInput: an ``epsilon`` that is not positive, or given with ``normalize=False``; wrong shapes at the call.

    Source: Thomas et al., *Tensor field networks*, arXiv 1802.08219.

    >>> layer = NormActivation("2x1e", torch.sigmoid)
    >>> layer(torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0, 0.0])).norm() < 1
    tensor(True)
    """

    def __init__(
        self,
        irreps_in: Any,
        scalar_nonlinearity: ScalarFunction,
        normalize: bool = True,
        epsilon: float | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if epsilon is not None and not (normalize and epsilon > 0):
            raise InvalidInput(
                f"NormActivation: epsilon={epsilon} with normalize={normalize}; it must be positive, and belongs to "
                "normalize=True."
            )
        self.irreps_in = Irreps(irreps_in)
        self.irreps_out = self.irreps_in
        self.scalar_nonlinearity, self.normalize = scalar_nonlinearity, normalize
        self.epsilon = 1e-8 if normalize and epsilon is None else epsilon
        self.bias = bias
        if bias:
            self.biases = nn.Parameter(torch.zeros(self.irreps_in.num_irreps))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., dim) -> (..., dim)
        """Return the features with new lengths.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        checked("NormActivation", "x", x, self.irreps_in, like=self.biases if self.bias else None)
        out, first = [x[..., :0]], 0
        for block, part in zip(self.irreps_in, blocks(x, self.irreps_in), strict=True):
            length = lengths(part)
            if self.epsilon is not None:
                length = length.clamp(min=self.epsilon)
            shifted = length + self.biases[first : first + block.mul] if self.bias else length
            factor = self.scalar_nonlinearity(shifted)
            if self.normalize:
                factor = factor / length
            out.append((factor[..., None] * part).flatten(-2))
            first += block.mul
        return torch.cat(out, dim=-1)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, the same out; rows are independent."""
        types = f"node:{self.irreps_in}"
        return Symmetry("O(3)*S_n", inputs={"x": types}, outputs=types)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[NormActivation, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("2x0e+1x0o+3x1o+2x2e", torch.sigmoid, bias=True)
        with torch.no_grad():
            layer.biases.normal_(generator=generator)
        return layer, {"x": torch.randn(6, layer.irreps_in.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps."""
        return f"{self.irreps_in}, normalize={self.normalize}, bias={self.bias}"
