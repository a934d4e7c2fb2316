"""Tensors of powers of one space at the door of a layer: (B, C, n, ..., n), checked and declared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from geomlib.algebra.diagrams import TensorGroup
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput

__all__ = [
    "checked_channels",
    "checked_features",
    "checked_mask",
    "checked_tensor",
    "declared",
    "invariant_form",
    "orders_of",
    "permutes",
    "random_tensors",
    "size_of",
]

#: Length of an axis in examples, where the group leaves it open.
_EXAMPLE_SIZE = 4


def checked_channels(layer: str, **channels: int) -> None:
    """Raise `InvalidInput` unless every number of channels is a positive integer."""
    for name, value in channels.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - user input
            raise InvalidInput(f"{layer}: {name} = {value!r}, expected a positive integer.")


def checked_tensor(
    layer: str,
    name: str,
    x: Tensor,
    group: TensorGroup,
    order: int,
    channels: int | None,
    like: Tensor | None = None,
) -> Tensor:
    """Return x.

    Raises:
        InvalidInput: x is not (B, C, n, ..., n) with n as the group has it, is not floating, or has another type than the
            weights.
    """
    axes = tuple(x.shape[2:])
    want = "n" if group.n is None else str(group.n)
    shape = f"(B, {'C' if channels is None else channels}{''.join(f', {want}' for _ in range(order))})"
    if x.dim() != order + 2 or (channels is not None and x.shape[1] != channels):
        raise InvalidInput(
            f"{layer}: `{name}` has shape {tuple(x.shape)}, expected {shape}: batch, channels, then {order} axes on which "
            f"{group.name} acts."
        )
    if len(set(axes)) > 1:
        raise InvalidInput(
            f"{layer}: `{name}` has axes of lengths {axes}; {group.name} acts on all axes alike, so they have one length: "
            f"{shape}. Pad to the largest and pass a mask."
        )
    if axes and group.n is not None and axes[0] != group.n:
        raise InvalidInput(
            f"{layer}: `{name}` has axes of length {axes[0]}, but this layer is for {group.name} on {group.n} dimensions. "
            f"Expected {shape}." + _any_size(group)
        )
    if not x.is_floating_point():
        raise InvalidInput(f"{layer}: `{name}` is {x.dtype}; pass floating features, such as {name}.float().")
    if like is not None and like.dtype != x.dtype:
        raise InvalidInput(
            f"{layer}: `{name}` is {x.dtype} and the weights are {like.dtype}. Cast one of them: layer.to({x.dtype}) "
            f"or {name}.to({like.dtype})."
        )
    return x


def _any_size(group: TensorGroup) -> str:
    return " Build it with 'S_n' for weights that serve every n." if group.kind == "S" else ""


def checked_features(
    layer: str,
    features: Mapping[int, Tensor],
    group: TensorGroup,
    channels: Mapping[int, int],
    like: Tensor | None = None,
) -> int | None:
    """Check tensors of several orders, and return the common length of their axes, None where no order has any.

    Raises:
        InvalidInput: other orders than those of ``channels``, tensors that do not fit, batches or lengths that differ.
    """
    if not isinstance(features, Mapping) or set(features) != set(channels):  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        found = sorted(features) if isinstance(features, Mapping) else type(features).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(
            f"{layer}: `features` holds {found}, expected a dict with one tensor for each of the orders {sorted(channels)}."
        )
    for order, count in channels.items():
        checked_tensor(layer, f"features[{order}]", features[order], group, order, count, like)
    rows = {order: x.shape[0] for order, x in features.items()}
    sizes = {order: x.shape[2] for order, x in features.items() if order}
    if len(set(rows.values())) > 1 or len(set(sizes.values())) > 1:
        raise InvalidInput(
            f"{layer}: the tensors differ in their batch {rows} or in the length of their axes {sizes}; both must agree."
        )
    return next(iter(sizes.values()), group.n)


def checked_mask(layer: str, mask: Tensor, group: TensorGroup, rows: int, size: int) -> None:
    """Raise `InvalidInput` unless the mask is boolean (B, n), of a group that permutes."""
    if group.kind not in ("S", "B"):
        raise InvalidInput(
            f"{layer}: a mask leaves out nodes, which {group.name} does not allow; S_n and B(n) do. Drop `mask`."
        )
    if mask.dtype != torch.bool or tuple(mask.shape) != (rows, size):
        raise InvalidInput(
            f"{layer}: `mask` is {mask.dtype} {tuple(mask.shape)}, expected bool ({rows}, {size}): True for the nodes that "
            "are there."
        )


def size_of(layer: str, group: TensorGroup, found: int | None) -> int:
    """Return the length of the axes.

    Raises:
        InvalidInput: neither the group nor the input says it.
    """
    size = group.n if found is None else found
    if size is None:
        raise InvalidInput(
            f"{layer}: {group.name} has no size and inputs of order 0 have no axes. Pass n=..., or a mask."
        )
    return size


def _declared(group: TensorGroup, order: int) -> str:
    return f"{'graph' if permutes(group) else 'node'}:{group.tensor_type(order)}"


def permutes(group: TensorGroup) -> bool:
    """Return whether the group permutes the values of an index."""
    return group.tensor_type(1).startswith("perm")


def declared(group: TensorGroup, inputs: Mapping[str, int], outputs: int | Mapping[str, int]) -> Symmetry:
    """Return the declaration of tensors of these orders; rows are independent, and checked so where S_n is free for them."""
    name = group.name if permutes(group) else f"{group.name}*S_n"
    given = {key: _declared(group, order) for key, order in inputs.items()}
    if isinstance(outputs, int):
        return Symmetry(name, inputs=given, outputs=_declared(group, outputs))
    return Symmetry(
        name, inputs=given, outputs={key: _declared(group, order) for key, order in outputs.items()}
    )


def random_tensors(
    group: TensorGroup, orders: Mapping[int, int], generator: Generator, rows: int = 3
) -> dict[int, Tensor]:
    """Return normal tensors (B, C, n, ..., n) by order, for channels by order."""
    n = _EXAMPLE_SIZE if group.n is None else group.n
    return {k: torch.randn(rows, c, *(n,) * k, generator=generator) for k, c in orders.items()}


def invariant_form(group: TensorGroup) -> Tensor | None:  # (n, n)
    """Return the bilinear form that the group keeps, on contravariant indices; None for the dot product."""
    if group.n is None:
        return None
    form = group.forms()[1]
    return None if torch.equal(form, torch.eye(group.n, dtype=form.dtype)) else form


def orders_of(layer: str, name: str, channels: Mapping[int, int]) -> dict[int, int]:
    """Return channels by order, orders increasing.

    Raises:
        InvalidInput: not a dict of channels by order, or numbers that are not positive.
    """
    if not isinstance(channels, Mapping) or not channels:  # pyright: ignore[reportUnnecessaryIsInstance] - user input
        raise InvalidInput(
            f"{layer}: {name} = {channels!r}, expected channels by order, such as {{0: 16, 1: 8}}."
        )
    for order, count in channels.items():
        if not isinstance(order, int) or isinstance(order, bool) or order < 0:  # pyright: ignore[reportUnnecessaryIsInstance] - user input
            raise InvalidInput(f"{layer}: {name} has the order {order!r}, expected 0, 1, 2, ...")
        checked_channels(layer, **{f"{name}[{order}]": count})
    return dict(sorted(channels.items()))
