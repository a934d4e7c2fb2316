"""Acting on tensors: the representation on its axes, permutations on rows and node numbers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from math import comb

import torch
from torch import Tensor
from torch.autograd import forward_ad

from geomlib.algebra.groups import Element, Flow
from geomlib.algebra.representations import exterior
from geomlib.algebra.representations.base import Representation
from geomlib.algebra.representations.registry import representation
from geomlib.algebra.types import TensorType, parse_type
from geomlib.errors import InvalidInput

__all__ = ["act", "count_nodes", "infinitesimal", "permute"]


def act(type_: TensorType | str, g: Element, x: Tensor, *, name: str = "x") -> Tensor:
    """Return ``g`` acting on ``x``: the representation on its axis, permutations on rows and node numbers.

    Args:
        type_: how ``x`` transforms.
        g: the element.
        x: tensor of that type.
        name: name of the argument, for errors and for the scope it implies.

    Raises:
        InvalidInput: ``x`` has not the axis that the type needs, or a node number outside the permutation.
    """
    t = (parse_type(type_) if isinstance(type_, str) else type_).named(name)
    if t.kind in ("perm", "simplex"):
        return _on_nodes(t, g, x, name)
    if t.moves and g.dim:
        rho = representation(t)
        _check_shape(t, rho, g, x, name)
        x = rho.apply(g, x) if x.is_floating_point() else x
    if t.scope == "node" and g.nodes is not None:
        x = permute(x, g.nodes, 0, name)
    elif t.scope == "edge" and t.kind == "index":
        x = _relabel(x, g, name)
    elif t.scope == "edge" and g.edges is not None:
        x = permute(x, g.edges, 0, name)
    return x


def infinitesimal(type_: TensorType | str, flow: Flow, x: Tensor, *, name: str = "x") -> Tensor:
    r"""Return :math:`\mathrm{d}\rho(X)\,x = \frac{\mathrm{d}}{\mathrm{d}t} \rho(e^{tX})\,x` at t = 0.

    Exact: forward differentiation of the action, which is polynomial in the entries of the matrix.

    Args:
        type_: how ``x`` transforms.
        flow: the one-parameter subgroup, from `Group.generators`.
        x: tensor of that type; integers do not move.
        name: name of the argument, for errors.

    Raises:
        InvalidInput: ``x`` has not the axis that the type needs.

    >>> turn = Flow("Rz", torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    >>> infinitesimal("vector", turn, torch.tensor([1.0, 0.0, 0.0]))
    tensor([0., 1., 0.])
    """
    if not x.is_floating_point():
        return torch.zeros_like(x)
    n = flow.linear.shape[0]
    velocity = flow.shift if flow.shift.numel() else torch.zeros(n, dtype=torch.float64)
    with forward_ad.dual_level():
        linear = forward_ad.make_dual(torch.eye(n, dtype=torch.float64), flow.linear.to(torch.float64))
        shift = forward_ad.make_dual(torch.zeros(n, dtype=torch.float64), velocity)
        moved = act(type_, Element(linear, shift, label=flow.name), x, name=name)
        tangent = forward_ad.unpack_dual(moved).tangent
    return torch.zeros_like(x) if tangent is None else tangent


def count_nodes(t: TensorType, x: Tensor) -> int | None:
    """Return the number of nodes that a tensor of this type has an axis for, ``None`` where it says nothing.

    >>> count_nodes(parse_type("perm(2)"), torch.zeros(8, 5, 5)), count_nodes(parse_type("simplex(1)"), torch.zeros(10))
    (5, 5)
    """
    if x.dim() == 0 or (t.kind == "simplex" and not x.is_floating_point()):
        return None
    size = x.shape[0 if t.scope == "node" else -1]
    if t.kind == "simplex":
        return next((n for n in range(size + t.order + 1) if comb(n, t.order + 1) == size), None)
    return size if t.scope == "node" or t.kind == "perm" else None


def permute(x: Tensor, order: Tensor, axis: int, name: str = "x") -> Tensor:
    """Return ``x`` with row k moved to row ``order[k]`` of ``axis``.

    Raises:
        InvalidInput: another number of rows than the permutation has entries.
    """
    if x.dim() == 0 or x.shape[axis] != order.numel():
        raise InvalidInput(
            f"`{name}` of shape {tuple(x.shape)} is typed as one row per node or edge, but the permutation "
            f"has {order.numel()} entries. Check its scope."
        )
    return exterior.permute(x, order, axis)


def _on_nodes(t: TensorType, g: Element, x: Tensor, name: str) -> Tensor:
    if t.kind == "simplex" and not x.is_floating_point():
        if x.dim() != 2 or x.shape[0] != t.order + 1:
            raise InvalidInput(
                f"`{name}` has shape {tuple(x.shape)}, but type {str(t)!r} lists {t.order + 1} nodes per simplex: "
                f"expected ({t.order + 1}, number of simplices)."
            )
        return _relabel(x, Element(nodes=g.nodes), name, str(t))
    rho = representation(t)
    _check_shape(t, rho, g, x, name)
    return rho.apply(g, x)


def _relabel(x: Tensor, g: Element, name: str, kind: str = "index") -> Tensor:
    if g.nodes is not None and x.numel():
        low, high, count = int(x.min()), int(x.max()), g.nodes.numel()
        if low < 0 or high >= count:
            wanted = (
                f"not node numbers 0..{count - 1}" if count else "and nothing says how many nodes there are"
            )
            raise InvalidInput(
                f"`{name}` is typed `{kind}` but holds {low}..{high}, {wanted}. Type the features of the nodes "
                "'node:...', and number the nodes from 0."
            )
        x = g.nodes.to(x.device)[x]
    return x if g.edges is None else permute(x, g.edges, -1, name)


def _check_shape(t: TensorType, rho: Representation, g: Element, x: Tensor, name: str) -> None:
    want = rho.shape(g)
    first = t.kind in ("perm", "simplex") and t.scope == "node"
    found = (
        tuple(x.shape[: len(want)] if first else x.shape[x.dim() - len(want) :])
        if x.dim() >= len(want)
        else None
    )
    if found is not None and all(n is None or n == size for n, size in zip(want, found, strict=True)):
        if t.kind != "grassmann" or found[1] in t.args:
            return
        want = (t.args[0], t.args[1])
    axes = " x ".join("any" if n is None else str(n) for n in want)
    where = "first" if first else "last"
    raise InvalidInput(
        f"`{name}` has shape {tuple(x.shape)}, but type {str(t)!r} acts on axes of length {axes} ({where}), "
        f"found {'none' if found is None else ' x '.join(map(str, found))}. "
        "Did you drop a channel or name the wrong type?"
    )
