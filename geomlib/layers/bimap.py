"""Congruence by frames with orthonormal rows: the linear layer of SPD networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import values_known
from geomlib.algebra.manifolds.congruence import congruence_by
from geomlib.algebra.manifolds.spectral import polar, symfun, symmetrize
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._multivectors import rows_symmetry
from geomlib.layers._spd import ROWS, checked_matrices, example_spd, positive

__all__ = ["BiMap"]

#: Error of scalar products of rows above which the quick frame is not taken.
_ORTHONORMAL = 1e-12


class BiMap(nn.Module):
    r"""Congruence of SPD matrices by learned frames with orthonormal rows.

    .. math:: Y_o = \sum_i W_{oi}\, X_i\, W_{oi}^\top, \qquad W = (V V^\top)^{-1/2}\, V

    The weights V are free and W is their orthogonal polar factor, with its exact gradient (divided differences), so that every
    optimiser trains the layer. W does not depend on the length of V: weight decay cannot take the frame to zero, as it does
    with Householder vectors; it shrinks V, which lengthens the steps of the frame. V may be left out of it or not. Outputs
    are positive definite where the inputs are, and eigenvalues of a single channel interlace with those of X.

    Without channels the layer maps single matrices; with them it sums over the input channels.

    **Group** permutations of rows only: the frames are learned templates. **Shapes** ``x`` (..., n, n), or
    (..., in_channels, n, n), to (..., m, m), or (..., out_channels, m, m).

    Args:
        n: size of the input matrices.
        m: size of the output matrices, at most n.
        in_channels: of the input; None for an input without an axis of channels.
        out_channels: of the output; needs ``in_channels``.

    Raises:
        InvalidInput: m larger than n, sizes that are not positive; wrong shapes or types at the call; weights whose rows have
            become linearly dependent.

    Source: Z. Huang and L. Van Gool, *A Riemannian network for SPD matrix learning*, arXiv 1608.04233.

    >>> layer = BiMap(8, 3)
    >>> layer(torch.eye(8).expand(5, 8, 8)).shape
    torch.Size([5, 3, 3])
    >>> W = layer.frame()
    >>> torch.allclose(W @ W.mT, torch.eye(3), atol=1e-6)
    True
    """

    def __init__(
        self, n: int, m: int, in_channels: int | None = None, out_channels: int | None = None
    ) -> None:
        super().__init__()
        positive("BiMap", n=n, m=m)
        if m > n:
            raise InvalidInput(
                f"BiMap: m = {m} is larger than n = {n}; a congruence to more dimensions is singular. Choose m <= n."
            )
        if (in_channels is None) != (out_channels is None):
            raise InvalidInput(
                f"BiMap: in_channels = {in_channels} and out_channels = {out_channels}: give both, or neither."
            )
        if in_channels is not None and out_channels is not None:
            positive("BiMap", in_channels=in_channels, out_channels=out_channels)
        self.n, self.m, self.in_channels, self.out_channels = n, m, in_channels, out_channels
        lead = () if in_channels is None or out_channels is None else (out_channels, in_channels)
        self.weight = nn.Parameter(torch.empty(*lead, m, n))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw frames from the uniform distribution."""
        with torch.no_grad():
            self.weight.normal_()
            self.weight.copy_(self.frame())

    def frame(self) -> Tensor:  # (m, n) or (out, in, m, n)
        """Return W.

        The inverse root of products of rows is the quickest way to it, exact to the square of the condition number of V, which
        training keeps near 1. Where that is not enough and values can be read, singular values give it to round-off.
        """
        wide = self.weight.to(torch.promote_types(self.weight.dtype, torch.float64))
        try:
            w = symfun(wide @ wide.mT, "invsqrt") @ wide
        except InvalidInput:  # rows so close to dependent that products of them say nothing
            return polar(self.weight)
        if values_known(w):
            gap = (w @ w.mT).detach() - torch.eye(self.m, dtype=w.dtype)
            if not bool(gap.abs().amax() < _ORTHONORMAL):
                return polar(self.weight)
        return w.to(self.weight.dtype)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:  # (..., [in], n, n) -> (..., [out], m, m)
        """Return the images.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        before = () if self.in_channels is None else (self.in_channels,)
        checked_matrices("BiMap", x, self.n, self.weight, before=before)
        w = self.frame()
        if self.in_channels is None:
            return congruence_by(w, x)
        half = w @ x[..., None, :, :, :]  # (..., out, in, m, n)
        joined = half.transpose(-3, -2).flatten(-2)  # (..., out, m, in n)
        return symmetrize(joined @ w.mT.flatten(-3, -2))

    @property
    def symmetry(self) -> Symmetry:
        """Permutations of rows."""
        return rows_symmetry()

    def example_inputs(self, generator: torch.Generator) -> dict[str, Any]:
        """Return one set of inputs for this layer."""
        lead = () if self.in_channels is None else (ROWS, self.in_channels)
        return {"x": example_spd(generator, self.n, *lead)}

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[BiMap, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(4, 3, 2, 3)
        with torch.no_grad():
            layer.weight.add_(0.1 * torch.randn(layer.weight.shape, generator=generator))
        return layer, layer.example_inputs(generator)

    def extra_repr(self) -> str:
        """Return the sizes."""
        channels = "" if self.in_channels is None else f", {self.in_channels} -> {self.out_channels} channels"
        return f"{self.n} -> {self.m}{channels}"
