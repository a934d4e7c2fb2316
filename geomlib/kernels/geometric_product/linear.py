r"""Mixing channels grade by grade: matrix products over rows that are stored blade by blade."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels import dispatch
from geomlib.kernels.differentiable import FusedOperation
from geomlib.kernels.geometric_product.tiles import flat, tiles_of

__all__ = ["by_blade", "from_blades", "grade_linear", "loops_serve", "of_grades", "to_blades"]

Maybe = Tensor | None


def loops_serve(op: str, tensors: tuple[Tensor, ...]) -> bool:
    """Return whether Numba loops run; not while torch compiles or casts by itself, where operators are what it sees."""
    return (
        not torch.compiler.is_compiling()
        and dispatch.choose(op, tensors, cuda=lambda: None) == "cpu"  # a card multiplies matrices itself
        and not torch.is_autocast_enabled("cpu")
    )


def to_blades(x: Tensor) -> Tensor:  # (B, C, 2^n) -> (2^n, B, C)
    """Return features stored blade by blade."""
    from geomlib.kernels.geometric_product import cpu_layers

    rows, channels, size = x.shape
    out = torch.empty(size, rows, channels, dtype=x.dtype)
    if x.numel():
        tiles = tiles_of(rows * channels, 1, size, unit=True)
        cpu_layers.to_blades(tiles.start, tiles.stop, flat(x), flat(out), size, rows * channels)
    return out


def from_blades(x: Tensor) -> Tensor:  # (2^n, B, C) -> (B, C, 2^n)
    """Return features stored row by row."""
    from geomlib.kernels.geometric_product import cpu_layers

    size, rows, channels = x.shape
    out = torch.empty(rows, channels, size, dtype=x.dtype)
    if x.numel():
        tiles = tiles_of(rows * channels, 1, size, unit=True)
        cpu_layers.from_blades(tiles.start, tiles.stop, flat(x), flat(out), size, rows * channels)
    return out


@lru_cache(maxsize=64)
def _grades(alg: CliffordAlgebra, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(alg.grades, device=device)


def by_blade(weight: Tensor, alg: CliffordAlgebra) -> Tensor:  # (D, C, n + 1) or (D, C) -> (2^n, D, C)
    """Return the matrix that acts on each blade."""
    if weight.dim() == 2:
        return weight.expand(alg.size, -1, -1)
    return weight.permute(2, 0, 1).index_select(0, _grades(alg, weight.device))


def of_grades(
    g: Tensor, x: Tensor, alg: CliffordAlgebra
) -> Tensor:  # (2^n, B, D), (2^n, B, C) -> (D, C, n + 1)
    """Return the gradient of one matrix per grade."""
    pairs = zip(g.split(alg.grade_sizes), x.split(alg.grade_sizes), strict=True)
    return torch.stack([(b.flatten(0, 1).mT @ a.flatten(0, 1)).mT for a, b in pairs], -1)


def _reference(alg: CliffordAlgebra, tensors: tuple[Tensor, ...]) -> Tensor:
    x, weight = tensors[:2]
    if weight.dim() == 2:
        out = weight @ x
    else:
        # Plain integers and views: a compiler traces through this.
        blades = [weight[..., g, None].expand(-1, -1, k) for g, k in enumerate(alg.grade_sizes)]
        out = torch.einsum("...ij,oij->...oj", x, torch.cat(blades, -1))
    return out if len(tensors) < 3 else out + torch.nn.functional.pad(tensors[2][0], (0, alg.size - 1))


def _forward(alg: CliffordAlgebra, tensors: tuple[Tensor, ...]) -> Tensor:
    x, weight = tensors[:2]
    out = torch.bmm(to_blades(x), by_blade(weight, alg).mT)
    if len(tensors) > 2:
        out[0] += tensors[2][0, :, 0]
    return from_blades(out)


def _backward(
    alg: CliffordAlgebra, grad: Tensor, tensors: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Maybe, ...]:
    x, weight = tensors[:2]
    g = to_blades(grad)
    gx = from_blades(torch.bmm(g, by_blade(weight, alg))) if needs[0] else None
    gw = None
    if needs[1]:
        rows = to_blades(x)
        gw = g.flatten(0, 1).mT @ rows.flatten(0, 1) if weight.dim() == 2 else of_grades(g, rows, alg)
    gb = g[0].sum(0).view(1, -1, 1) if len(needs) > 2 and needs[2] else None
    return (gx, gw, gb)[: len(needs)]


_LINEAR = FusedOperation(_reference, _forward, _backward, None)


def grade_linear(
    x: Tensor,  # (..., C, 2^n)
    weight: Tensor,  # (D, C, n + 1) or (D, C)
    bias: Tensor | None,  # (1, D, 1)
    alg: CliffordAlgebra,
) -> Tensor:  # (..., D, 2^n)
    r"""Mix channels with one matrix per grade, or one for all, and shift the scalar.

    .. math:: y_{oj} = \sum_i W_{o,i,g(j)}\, x_{ij} + \beta_o\, [j = 0]

    **Group** Pin(p,q,r). **Shapes** ``x`` (..., C, 2^n) to (..., D, 2^n).

    Args:
        x: features.
        weight: one matrix per grade, (D, C, n + 1), or one, (D, C).
        bias: of the scalars, (1, D, 1), or None.
        alg: the algebra.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(2)
    >>> grade_linear(torch.ones(1, 1, 4), torch.tensor([[[1.0, 2.0, 3.0]]]), None, alg)
    tensor([[[1., 2., 2., 3.]]])
    """
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if not loops_serve("grade_linear", tensors):
        return _reference(alg, tensors)
    flattened = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    return _LINEAR(alg, flattened, *tensors[1:]).view(*x.shape[:-2], weight.shape[0], alg.size)
