"""What geometric attention takes: shapes, types and indices at the door."""

from __future__ import annotations

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["checked_inputs", "hidden_where"]


def checked_inputs(
    r: Tensor,
    v: Tensor,
    child_values: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    neighbours: Tensor | None,
    *,
    dim: int,
    blades: int,
    labeled: bool,
    dtype: torch.dtype,
) -> None:
    """Check the inputs of a layer.

    Raises:
        InvalidInput: naming the first that does not fit.
    """
    kind = "multivectors of 8 blades" if blades == 8 else "vectors"
    if r.dim() < 2 or r.shape[-1] != blades:
        raise InvalidInput(
            f"GeometricAttention: `r` has shape {tuple(r.shape)}, expected (..., N, {blades}): {kind}. "
            "See multivector=; CliffordAlgebra(3).embed(r, 1) makes multivectors of vectors."
        )
    points = tuple(r.shape[:-1])
    if tuple(v.shape) != (*points, dim):
        raise InvalidInput(
            f"GeometricAttention: `v` has shape {tuple(v.shape)}, expected {(*points, dim)}: values of the points of `r`."
        )
    if labeled != (child_values is not None):
        raise InvalidInput(
            f"GeometricAttention: `child_values` is {'missing' if labeled else 'given'}, and labeled={labeled}."
        )
    if child_values is not None and (
        child_values.dim() != v.dim()
        or child_values.shape[:-2] != v.shape[:-2]
        or child_values.shape[-1] != dim
    ):
        raise InvalidInput(
            f"GeometricAttention: `child_values` has shape {tuple(child_values.shape)}, expected "
            f"{(*points[:-1], 'L', dim)}: values of labels."
        )
    floats = {"r": r, "v": v, "child_values": child_values, "weights": weights}
    for name, x in floats.items():
        if x is not None and x.dtype != dtype:
            raise InvalidInput(
                f"GeometricAttention: `{name}` is {x.dtype} and the weights are {dtype}. Cast one of them: "
                f"layer.to({x.dtype}) or {name}.to({dtype})."
            )
    for name, x in {"mask": mask, "weights": weights}.items():
        if x is not None and tuple(x.shape) != points:
            raise InvalidInput(f"GeometricAttention: `{name}` has shape {tuple(x.shape)}, expected {points}.")
    if mask is not None and mask.dtype != torch.bool:
        raise InvalidInput(
            f"GeometricAttention: `mask` is {mask.dtype}, expected booleans: True for points that count."
        )
    if neighbours is not None:
        _check_neighbours(neighbours, points)


def _check_neighbours(table: Tensor, points: tuple[int, ...]) -> None:
    lead = tuple(table.shape[:-1])
    if table.dtype not in (torch.int64, torch.int32) or lead not in (points, points[-1:]):
        raise InvalidInput(
            f"GeometricAttention: `neighbours` is {table.dtype} of shape {tuple(table.shape)}, expected integers "
            f"{(*points, 'k')} or {(points[-1], 'k')}. neighbour_table(edge_index, num_nodes) makes one."
        )
    # On a GPU the check would wait for the device; there the gather itself refuses.
    if table.device.type == "cpu" and not torch.compiler.is_compiling() and table.numel():
        low, high = (int(x) for x in torch.aminmax(table))
        if low < -1 or high >= points[-1]:
            raise InvalidInput(
                f"GeometricAttention: `neighbours` holds {low}..{high}; points are 0..{points[-1] - 1}, and -1 means none."
            )


def hidden_where(mask: Tensor, x: Tensor) -> Tensor:
    """Return zeros where points do not count, so that nothing of them gets through."""
    return torch.where(mask if x.dim() == mask.dim() else mask[..., None], x, x.new_zeros(()))
