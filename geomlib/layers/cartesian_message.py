r"""Messages between Cartesian tensors: every operation of a neighbour's tensor and the bond, weighted by distance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.cartesian import (
    Plan,
    TensorOp,
    TensorSpec,
    equivariant_operations,
    independent_operations,
    spherical_basis,
)
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._features import checked_edges
from geomlib.layers.radial import ExpNormalBasis, RadialBasis

__all__ = ["CartesianMessage"]

#: Rows of the parts of degree 0, 1, 2 of compact tensors.
_ROWS = (slice(0, 1), slice(1, 4), slice(4, 9))


class CartesianMessage(Float64Buffers):
    r"""Sum over neighbours every equivariant operation that is linear in their tensors.

    .. math:: m_i = \sum_{j \to i} \sum_o \phi_o(r_{ij})\; o\big(h_j, \hat r_{ij}^{\otimes p_o}\big)

    The operations o are tensor networks between the scalar, vector and symmetric traceless parts of h and up to
    ``max_power`` copies of the unit vector, found by :func:`geomlib.algebra.cartesian.equivariant_operations`: in O(3) 14 at
    the highest power 4, as many as Clebsch-Gordan couplings with spherical harmonics. Each is a small matrix per edge,
    scaled to the same size, and :math:`\phi` is one perceptron of the radial basis with a value per operation and channel. An
    edge of length zero has no direction: only operations without it act.

    **Group** O(3) or SO(3), permutations; tensors are :mod:`cartesian <geomlib.algebra.cartesian>` rows ``0e + 1o + 2e``.
    **Shapes** ``x`` (N, 9, C), ``edge_index`` (2, E), ``edge_vec`` (E, 3) to (N, 9, C).

    Args:
        channels: number of channels C.
        num_radial: number of radial functions, if no ``basis`` is given.
        cutoff: in Å, if no ``basis`` is given.
        max_power: most copies of the unit vector in one operation, 0 to 4.
        hidden: width of the perceptron.
        group: ``"O(3)"`` or ``"SO(3)"``; the latter has cross products, too, and sees handedness.
        basis: the radial basis; by default an :class:`ExpNormalBasis` with a smooth envelope.

    Raises:
        InvalidInput: sizes or names out of range; wrong shapes, types or nodes at the call.

    Source: *Symmetric tensor networks*, arXiv 2508.12596.

    >>> layer = CartesianMessage(channels=8)
    >>> edge_index = torch.tensor([[0, 1], [1, 0]])
    >>> edge_vec = torch.tensor([[0.0, 0, 1.2], [0, 0, -1.2]])
    >>> layer(torch.randn(2, 9, 8), edge_index, edge_vec).shape, [len(o) for o in layer.operations.values()]
    (torch.Size([2, 9, 8]), [1, 1, 1, 1, 2, 2, 1, 2, 3])
    """

    def __init__(
        self,
        channels: int,
        num_radial: int = 16,
        cutoff: float = 5.0,
        *,
        max_power: int = 4,
        hidden: int = 32,
        group: str = "O(3)",
        basis: RadialBasis | None = None,
    ) -> None:
        super().__init__()
        if min(channels, hidden) < 1 or not 0 <= max_power <= 4 or group not in ("O(3)", "SO(3)"):
            raise InvalidInput(
                f"CartesianMessage: channels={channels}, hidden={hidden}, max_power={max_power}, group={group!r}: expected "
                "positive sizes, a power 0..4, and 'O(3)' or 'SO(3)'."
            )
        self.channels, self.max_power, self.group = channels, max_power, group
        self.basis = ExpNormalBasis(num_radial, cutoff) if basis is None else basis
        #: The operations from degree a to degree b, by (a, b).
        self.operations: dict[tuple[int, int], list[TensorOp]] = {}
        for a in range(3):
            for b in range(3):
                found = _operations(a, b, max_power, group)
                if found:
                    self.operations[a, b] = found
        # the bases that read the results keep their symmetric traceless part only: nothing else projects them
        self._plans: dict[int, Plan] = {}
        for a in range(3):
            found = [(b, op) for b in range(3) for op in self.operations.get((a, b), [])]
            if found:
                plan = Plan.of([op for _, op in found])
                self._plans[a] = replace(plan, outputs=tuple(TensorSpec(b) for b, _ in found))
        self.count = sum(map(len, self.operations.values()))
        self.radial = nn.Sequential(
            nn.Linear(self.basis.num_radial, hidden), nn.SiLU(), nn.Linear(hidden, self.count * channels)
        )
        for degree in range(3):
            self.register_buffer(f"tensors{degree}", spherical_basis(degree), persistent=False)
        up = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        for a in self._plans:
            for b, matrices in self._matrices(a, up).items():
                sizes = matrices[0].square().sum((-2, -1)).sqrt()
                scale = math.sqrt(2 * b + 1) / sizes
                self.register_buffer(f"scale{a}{b}", scale[:, None, None], persistent=False)

    def _matrices(self, a: int, u: Tensor) -> dict[int, Tensor]:  # (E, 3) -> (E, ops, 2b+1, 2a+1) by b
        """Return the operations of unit vectors as matrices, from degree a to every degree b."""
        plan = self._plans[a]
        bases = [self.get_buffer(f"tensors{b}").to(u).reshape(2 * b + 1, -1) for b in range(3)]
        values = plan(bases[a].reshape(-1, *[3] * a), u[:, None])
        found: dict[int, list[Tensor]] = {}
        for spec, value in zip(plan.outputs, values, strict=True):
            flat = value.reshape(len(u), 2 * a + 1, 3**spec.rank)
            found.setdefault(spec.rank, []).append(bases[spec.rank] @ flat.mT)
        return {b: torch.stack(matrices, 1) for b, matrices in found.items()}

    @full_precision
    def forward(
        self,
        x: Tensor,  # (N, 9, C)
        edge_index: Tensor,  # (2, E)
        edge_vec: Tensor,  # (E, 3)
    ) -> Tensor:  # (N, 9, C)
        """Return the sums of messages that the nodes receive; ``edge_vec`` is target minus source.

        Raises:
            InvalidInput: shapes, types or nodes that do not fit.
        """
        weight = next(self.radial.parameters())
        if x.dim() != 3 or tuple(x.shape[1:]) != (9, self.channels) or x.dtype != weight.dtype:
            raise InvalidInput(
                f"CartesianMessage: `x` is {x.dtype} of shape {tuple(x.shape)}, expected {weight.dtype} of shape "
                f"(N, 9, {self.channels})."
            )
        if tuple(edge_vec.shape) != (edge_index.shape[-1], 3) or edge_vec.dtype != x.dtype:
            raise InvalidInput(
                f"CartesianMessage: `edge_vec` is {edge_vec.dtype} of shape {tuple(edge_vec.shape)}, expected {x.dtype} of "
                f"shape ({edge_index.shape[-1]}, 3), target minus source of every edge."
            )
        source, target = checked_edges(edge_index, x.shape[0], x.shape[0])
        length, u = _polar(edge_vec)
        # zero where the envelope is, biases of the perceptron included
        envelope = self.basis.envelope(length)[0][:, None]
        phi = (envelope * self.radial(self.basis(length))).unflatten(1, (self.count, self.channels))
        h = x.index_select(0, source)
        messages: list[Tensor | None] = [None, None, None]
        start = 0
        for a in self._plans:
            for b, matrices in self._matrices(a, u).items():
                count = matrices.shape[1]
                scaled = matrices * self.get_buffer(f"scale{a}{b}").to(u)
                moved = (scaled.flatten(1, 2) @ h[:, _ROWS[a]]).unflatten(1, (count, 2 * b + 1))
                part = (phi[:, start : start + count, None] * moved).sum(1)
                old = messages[b]
                messages[b] = part if old is None else old + part
                start += count
        rows = [
            h.new_zeros(len(h), 2 * b + 1, self.channels) if m is None else m for b, m in enumerate(messages)
        ]
        return torch.zeros_like(x).index_add(0, target, torch.cat(rows, 1))

    @property
    def symmetry(self) -> Symmetry:
        """The declared group, and permutations of atoms and edges; the SO(3) form must see reflections."""
        inputs = {"x": "node:cartesian", "edge_index": "index", "edge_vec": "edge:vector"}
        breaks = () if self.group == "O(3)" else ("reflections",)
        return Symmetry(f"{self.group}*S_n", inputs=inputs, outputs="node:cartesian", breaks=breaks)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CartesianMessage, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        from geomlib.layers._examples import example_features

        inputs = example_features(generator, 4)
        return cls(4, 8, 5.0, hidden=8), inputs

    def extra_repr(self) -> str:
        """Return the types and the number of operations."""
        kind = f"{self.channels}x(0e+1o+2e)"
        return f"{kind} -> {kind}, {self.count} operations up to power {self.max_power}, {self.group}"


def _operations(a: int, b: int, max_power: int, group: str) -> list[TensorOp]:
    """Return the operations from degree a to degree b that are linear in the tensor, by the power of the unit vector."""
    h = TensorSpec(a, symmetric=True, traceless=True, name="h")
    r = TensorSpec(1, name="r")
    output = TensorSpec(b, symmetric=True, traceless=True)
    found: list[TensorOp] = []
    for power in range(max_power + 1):
        listed = equivariant_operations([h, r], output, (1, power), group, independent=False)
        # r.r = 1: what has it as a factor is there with a lower power
        listed.sort(key=_new)
        found += [op for op in independent_operations(listed) if _new(op)]
    return found


def _new(op: TensorOp) -> bool:
    """Return whether every factor of the operation has the tensor, slot 0, or the output, -1."""
    return all(0 in part or -1 in part for part in op.graph.components)


def _polar(vec: Tensor) -> tuple[Tensor, Tensor]:  # (E, 3) -> (E,), (E, 3)
    """Return lengths and unit vectors, zero with derivatives of zero for a vector that is zero."""
    size = vec.detach().abs().amax(1, keepdim=True)
    zero = size == 0
    # in units of the largest component no square overflows
    unit = torch.where(zero, torch.ones_like(size), size)
    square = (vec / unit).square().sum(1, keepdim=True)
    length = torch.where(
        zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt()
    )
    u = vec / (unit * torch.where(zero, torch.ones_like(length), length))
    return (unit * length)[:, 0], torch.where(zero, torch.zeros_like(u), u)
