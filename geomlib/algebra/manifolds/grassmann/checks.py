"""Frames, projectors and tangents of the size asked for, or a typed error that names the matrix of the batch."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.algebra.manifolds.checks import first_bad, named, require_symmetric, values_known
from geomlib.errors import InvalidInput

__all__ = ["require_frame", "require_near", "require_projector", "require_shape", "require_tangent"]

#: What is taken for a mistake and not for rounding or the finite differences of gradcheck.
_SLIP = 1e-3


def require_shape(name: str, x: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Refuse another shape of the last axes, or numbers that are not floating.

    Raises:
        InvalidInput: naming the argument and its shape or type.

    >>> require_shape("U", torch.eye(3), (3, 3), "a square")
    """
    if tuple(x.shape[-len(shape) :]) != shape:
        sizes = ", ".join(map(str, shape))
        raise InvalidInput(f"`{name}` has shape {tuple(x.shape)}, expected (..., {sizes}): {meaning}.")
    if not x.dtype.is_floating_point:
        raise InvalidInput(
            f"`{name}` has dtype {x.dtype}, expected a real floating type such as torch.float64."
        )


def require_frame(name: str, U: Tensor) -> None:  # (..., n, p)
    """Refuse columns that are not orthonormal, where values are known.

    Raises:
        InvalidInput: naming the argument and the matrix.

    >>> require_frame("U", torch.eye(3)[:, :2])
    """
    if not values_known(U) or not U.numel():
        return
    x = U.detach()
    off = (x.mT @ x - torch.eye(x.shape[-1], dtype=x.dtype)).abs().amax((-2, -1))
    good = off <= _SLIP  # NaN is not
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"{named(name, where)} has columns that are not orthonormal: U^T U differs from the identity by {off[where]:.3g}. "
            f"Pass torch.linalg.qr({name})[0]."
        )


def require_projector(name: str, P: Tensor, p: int) -> None:  # (..., n, n)
    """Refuse matrices that are not symmetric projectors of rank p, where values are known.

    Raises:
        InvalidInput: naming the argument and the matrix.

    >>> require_projector("P", torch.diag(torch.tensor([1.0, 0.0])), 1)
    """
    require_symmetric(name, P)
    if not values_known(P) or not P.numel():
        return
    x = P.detach()
    off = torch.maximum((x @ x - x).abs().amax((-2, -1)), (x.diagonal(dim1=-2, dim2=-1).sum(-1) - p).abs())
    good = off <= _SLIP
    if not bool(good.all()):
        raise InvalidInput(
            f"{named(name, first_bad(good))} is not a projector of rank {p}: it differs from its square, or its trace from "
            f"{p}, by {off[first_bad(good)]:.3g}. Pass top_projector({name}, {p})."
        )


def require_tangent(name: str, D: Tensor, U: Tensor) -> None:  # (..., n, p)
    """Refuse directions that are not orthogonal to the subspace, where values are known.

    Raises:
        InvalidInput: naming the argument and the matrix.

    >>> require_tangent("D", torch.eye(3)[:, 2:], torch.eye(3)[:, :1])
    """
    if not values_known(D, U) or not D.numel() or not U.numel():
        return
    x = D.detach()
    along, size = (U.detach().mT @ x).abs().amax((-2, -1)), x.abs().amax((-2, -1))
    good = along <= _SLIP * size + 1e3 * torch.finfo(x.dtype).eps  # a tangent may be nothing but rounding
    if not bool(good.all()):
        where = first_bad(good)
        raise InvalidInput(
            f"{named(name, where)} is not tangent: U^T {name} is {along[where]:.3g}, the largest entry {size[where]:.3g}. "
            f"Pass horizontal(U, {name})."
        )


def require_near(name: str, M: Tensor) -> None:  # (..., p, p), products of frames
    """Refuse pairs of subspaces on each other's cut locus, an angle of 90 degrees, where values are known.

    Raises:
        InvalidInput: naming the argument and the matrix.

    >>> require_near("V", torch.eye(2))
    """
    if not values_known(M) or not M.numel():
        return
    least = torch.linalg.svdvals(M.detach().double())[..., -1]
    good = least > 8 * M.shape[-1] * torch.finfo(M.dtype).eps
    if not bool(good.all()):
        raise InvalidInput(
            f"{named(name, first_bad(good))} lies on the cut locus, an angle of 90 degrees, where the shortest geodesic "
            "is not unique. Use cut='any' to take one of them; the distance needs none."
        )
