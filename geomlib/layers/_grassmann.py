"""What layers on subspaces share: checks, declarations, random frames and blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geomlib.algebra.manifolds.checks import values_known
from geomlib.algebra.manifolds.grassmann.checks import require_frame
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput

__all__ = ["checked_frames", "example_frames", "frame_symmetry", "init_block", "subspace_sizes"]


def subspace_sizes(layer: str, n: int, p: int) -> None:
    """Raise `InvalidInput` unless 0 < p < n."""
    if not 0 < p < n:
        raise InvalidInput(f"{layer}: n={n}, p={p}, expected 0 < p < n.")


def checked_frames(
    layer: str, x: Tensor, channels: int | None, n: int, p: int, like: Tensor | None
) -> Tensor:
    """Return x.

    Raises:
        InvalidInput: x has another shape than (..., channels, n, p) or another type than the weights, or, where values are
            known, columns that are not orthonormal.
    """
    want = (n, p) if channels is None else (channels, n, p)
    lead = "channels, " if channels is None else ""
    short = x.dim() < len(want) + (channels is None)
    if short or tuple(x.shape[x.dim() - len(want) :]) != want:
        sizes = ", ".join(map(str, want))
        raise InvalidInput(
            f"{layer}: `x` has shape {tuple(x.shape)}, expected (..., {lead}{sizes}): frames of {p} orthonormal columns per "
            "channel."
        )
    if not x.is_floating_point():
        raise InvalidInput(f"{layer}: `x` is {x.dtype}; pass floating frames, such as x.float().")
    if like is not None and like.dtype != x.dtype:
        raise InvalidInput(
            f"{layer}: `x` is {x.dtype} and the weights are {like.dtype}. Cast one of them: layer.to({x.dtype}) or "
            f"x.to({like.dtype})."
        )
    if values_known(x):
        require_frame("x", x)
    return x


def init_block(block: Tensor) -> None:  # (..., n-p, p)
    """Fill blocks uniformly within the root of 6 over the sum of the sides."""
    bound = math.sqrt(6 / sum(block.shape[-2:]))
    nn.init.uniform_(block, -bound, bound)


def frame_symmetry(n: int, p: int, *, seen: bool = False) -> Symmetry:
    """Return the symmetry of learned templates: rows alike, and O(p), the choice of the frame of a subspace.

    ``seen``: frames of the output turn with those of the input; otherwise the output does not see the choice.
    """
    frames = f"node:grassmann({n},{p})"
    return Symmetry(f"O({p})*S_n", inputs={"x": frames}, outputs=frames if seen else "node:inv")


def example_frames(generator: torch.Generator, *shape: int, spread: float = 0.2) -> Tensor:  # (*shape)
    """Return frames around one subspace, away from the cut locus of the first coordinates."""
    x = torch.eye(*shape[-2:], dtype=torch.float64).expand(shape)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(x + spread * noise)[0].to(torch.get_default_dtype())
