r"""What a tensor product can and cannot express.

*Interactability*: which triples of degrees it couples at all. *Expressivity*: the dimension of the set of bilinear maps
that it reaches when linear maps stand before and behind it,

.. math:: T_w = B_3 \circ T \circ (B_1 \times B_2), \qquad (w, B) \mapsto \text{coefficients of its paths},

as the rank of the Jacobian of that map at a random point.

Source: the notions are those of Xie, Daigavane, Kotak, Smidt, *The Price of Freedom*, arXiv 2506.13523; the Jacobian rank is
our computable form of them.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from geomlib.algebra.irreps.irreps import Irrep
from geomlib.algebra.irreps.products import Path, ProductSpec
from geomlib.errors import InvalidInput

__all__ = ["Coupling", "expressivity", "interactability"]

Triple = tuple[Irrep, Irrep, Irrep]


@dataclass(frozen=True)
class Coupling:
    """One path of a channel-wise product whose weights are separate in its three spaces.

    Args:
        irreps: of the first input, the second input, the output.
        keys: names of the three weights, one number per channel each; equal names are equal weights.
        coefficient: constant in front.
        channels: number of channels.
    """

    irreps: Triple
    keys: tuple[Hashable, Hashable, Hashable]
    coefficient: float
    channels: int


def interactability(op: Any) -> frozenset[tuple[int, int, int]]:
    r"""Return the triples of degrees that a product couples, :math:`\{(l_1, l_2, l_3) : T_{l_1 l_2 l_3} \ne 0\}`.

    Args:
        op: a ``TensorProduct``, a ``GauntTensorProduct``, or anything with ``couplings()`` or a ``spec``.

    Raises:
        InvalidInput: anything else.

    >>> cross = ProductSpec.from_instructions("1o", "1o", "1e", [(0, 0, 0, "uuu", False)])
    >>> interactability(cross)
    frozenset({(1, 1, 1)})
    """
    return frozenset((a.l, b.l, c.l) for a, b, c in _triples(op))


def expressivity(op: Any, seed: int = 0) -> int:
    r"""Return the dimension of the set of equivariant bilinear maps of one copy of each irrep that a product reaches.

    .. math:: \operatorname{rank} \frac{\partial\, \text{path coefficients}}{\partial (w, B_1, B_2, B_3)}

    Its own weights vary, and so do linear maps from one copy of each irrep to the blocks of its inputs and from those of
    its output.

    Args:
        op: as for :func:`interactability`.
        seed: of the random point; torch's own random state is not touched.

    Raises:
        InvalidInput: an object that does not say what it couples.

    >>> both = ProductSpec.from_instructions(
    ...     "1o", "1o", "1e+2e", [(0, 0, 0, "uuu", False), (0, 0, 1, "uuu", False)])
    >>> expressivity(both)
    2
    """
    generator = torch.Generator().manual_seed(seed)
    parameters: dict[Hashable, Tensor] = {}

    def take(key: Hashable, *shape: int) -> Tensor:
        if key not in parameters:
            parameters[key] = torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        return parameters[key]

    rows: dict[Triple, Tensor] = {}
    for triple, value in _coefficients(op, take):
        rows[triple] = rows[triple] + value if triple in rows else value
    if not rows:
        return 0
    leaves = list(parameters.values())
    jacobian = [
        torch.cat([
            g.reshape(-1)
            for g in torch.autograd.grad(row, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        ])
        for row in rows.values()
    ]  # fmt: skip
    matrix = torch.stack(jacobian)
    scale = matrix.norm(dim=1, keepdim=True)
    return int(torch.linalg.matrix_rank(matrix / torch.where(scale > 0, scale, 1.0), rtol=1e-9))


def _spec(op: Any) -> ProductSpec:
    spec = op if isinstance(op, ProductSpec) else getattr(op, "spec", None)
    if not isinstance(spec, ProductSpec):
        raise InvalidInput(
            f"{type(op).__name__} does not say what it couples: expected a tensor product with `spec` or `couplings()`."
        )
    return spec


def _couplings(op: Any) -> tuple[Coupling, ...] | None:
    found = getattr(op, "couplings", None)
    return cast("Callable[[], tuple[Coupling, ...]]", found)() if callable(found) else None


def _triples(op: Any) -> list[Triple]:
    couplings = _couplings(op)
    if couplings is not None:
        return [c.irreps for c in couplings]
    spec = _spec(op)
    return [_irreps(spec, p) for p in spec.paths if p.coefficient != 0.0 and not _empty(spec, p)]


def _irreps(spec: ProductSpec, path: Path) -> Triple:
    return spec.irreps_in1[path.first].ir, spec.irreps_in2[path.second].ir, spec.irreps_out[path.out].ir


def _empty(spec: ProductSpec, path: Path) -> bool:
    muls = spec.irreps_in1[path.first].mul, spec.irreps_in2[path.second].mul, spec.irreps_out[path.out].mul
    return 0 in muls


def _coefficients(op: Any, take: Callable[..., Tensor]) -> list[tuple[Triple, Tensor]]:
    couplings = _couplings(op)
    if couplings is not None:
        weights = [[take(key, c.channels) for key in c.keys] for c in couplings]
        return [
            (c.irreps, c.coefficient * (w[0] * w[1] * w[2]).sum())
            for c, w in zip(couplings, weights, strict=True)
        ]
    spec = _spec(op)
    found: list[tuple[Triple, Tensor]] = []
    for number, path in enumerate(spec.paths):
        if _empty(spec, path):
            continue
        a = take(("first", path.first), spec.irreps_in1[path.first].mul)
        b = take(("second", path.second), spec.irreps_in2[path.second].mul)
        d = take(("out", path.out), spec.irreps_out[path.out].mul)
        w = take(("weight", number), *path.weight_shape) if path.weighted else None
        found.append((_irreps(spec, path), path.coefficient * _connected(path.mode, a, b, d, w)))
    return found


def _connected(mode: str, a: Tensor, b: Tensor, d: Tensor, w: Tensor | None) -> Tensor:
    """Return the sum over multiplicities of one path between the linear maps a, b and d."""
    outer = a[:, None] * b[None, :]  # (u, v)
    if mode in ("uvu<v", "u<vw"):
        u, v = torch.triu_indices(len(a), len(a), 1)
        pairs = outer[u, v]
        if mode == "uvu<v":
            return (pairs * d * (1.0 if w is None else w)).sum()
        return torch.einsum("p,pw,w->", pairs, cast("Tensor", w), d)
    if mode == "uvuv":
        return (outer.reshape(-1) * d * (1.0 if w is None else w.reshape(-1))).sum()
    if mode == "uuu":
        return (a * b * d * (1.0 if w is None else w)).sum()
    if mode == "uuw":
        return (a * b).sum() * d.sum() if w is None else torch.einsum("u,uw,w->", a * b, w, d)
    if mode == "uvw":
        return torch.einsum("uv,uvw,w->", outer, cast("Tensor", w), d)
    weighted = outer if w is None else outer * w
    return (weighted.sum(1) * d).sum() if mode == "uvu" else (weighted.sum(0) * d).sum()
