"""Classical mistakes put into our own model: each must be seen by the fixtures, on every backend.

tests/interop/test_torchmdnet.py asks for 1e-12 there; `plain_tensornet.py` makes the same mistakes in an independent
implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from torch import Tensor
from torch.nn.functional import silu

from geomlib.algebra.cartesian import compose, decompose
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.kernels.edges import EdgeList
from geomlib.layers import bonds, readout, tensor_embedding, tensor_interaction
from geomlib.zoo import potential
from tests.interop.test_torchmdnet import CASES, errors, intermediates, relative

BACKENDS = [name for name, state in available_backends().items() if state == "available" or not state]


def swapped_direction(model, patch) -> None:
    real = bonds.bond_geometry
    patch.setattr(bonds, "bond_geometry", lambda vec, **options: real(-vec, **options))


def no_self_loop(model, patch) -> None:
    class Edges(EdgeList):
        def __init__(self, i, j, num_nodes, both=True, loops=True):
            super().__init__(i, j, num_nodes, both, False)

    patch.setattr(potential, "EdgeList", Edges)


def no_silu(call: int) -> Callable[[Tensor], Tensor]:
    """A silu that is forgotten at every second call, the first (0) or the other (1)."""
    calls = iter(range(10**6))
    return lambda x: x if next(calls) % 2 == call else silu(x)


def no_silu_after_gates(model, patch) -> None:
    patch.setattr(tensor_embedding, "nn", SimpleNamespace(functional=SimpleNamespace(silu=no_silu(1))))


def no_silu_in_the_readout(model, patch) -> None:
    patch.setattr(readout, "nn", SimpleNamespace(functional=SimpleNamespace(silu=no_silu(0))))


def no_silu_after_radial_weights(model, patch) -> None:
    for layer in model.interactions:
        patch.setattr(layer.radial, "activate_last", False)


def elementwise_square(model, patch) -> None:
    def update(x, d, scale):
        return x + d + scale[:, None, None] * decompose(compose(d).square())

    patch.setattr(tensor_interaction, "square_update", update)


def transposed(w: Tensor) -> Tensor:
    """Read [3, F] as [F, 3]."""
    return w.flatten(1).unflatten(1, (-1, 3)).transpose(1, 2).contiguous()


def channels_first_in_gates(model, patch) -> None:
    real = tensor_embedding.gate_parts
    patch.setattr(tensor_embedding, "gate_parts", lambda x, gates: real(x, transposed(gates)))


def channels_first_in_messages(model, patch) -> None:
    real = tensor_interaction.edge_message
    patch.setattr(tensor_interaction, "edge_message", lambda w, *others: real(transposed(w), *others))


MISTAKES = [
    swapped_direction, no_self_loop, no_silu_after_gates, no_silu_in_the_readout, no_silu_after_radial_weights,
    elementwise_square, channels_first_in_gates, channels_first_in_messages,
]  # fmt: skip


def seen(model, io) -> tuple[float, float]:
    """The larger error of energies and forces, and the largest of the tensors inside."""
    inside = max(relative(found, expected) for found, expected in intermediates(model, io))
    return max(errors(model, io).values()), inside


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_every_mistake_is_seen(case, monkeypatch, mistake, backend, name):
    model, io = case(name)
    with use_backend(backend), monkeypatch.context() as patch:
        if mistake is None:
            assert max(seen(model, io)) < 1e-12
            return
        mistake(model, patch)
        outside, inside = seen(model, io)
    if mistake is swapped_direction:
        # Energies of O(3) models do not see it, the tensors inside do.
        assert inside > 1e-3 and (outside > 1e-7 if name.startswith("so3") else outside < 1e-12)
    else:
        assert outside > 1e-9
