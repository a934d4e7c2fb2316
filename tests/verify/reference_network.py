"""The network into which the faults of the mutation table are put, built from e3nn's layers.

Hidden irreps 4x0e+3x1o+2x2e, three layers, six atoms that all see each other. A fault follows the linear of the middle
layer, inside its residual branch. Constants are made in float64, as e3nn casts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from e3nn import nn as enn
from e3nn import o3
from torch import Tensor, nn

__all__ = [
    "EXAMPLE",
    "GROUP",
    "HIDDEN",
    "INPUTS",
    "OUTPUTS",
    "Fault",
    "ReferenceNetwork",
    "built_in_float64",
    "reference_network",
]

HIDDEN = o3.Irreps("4x0e+3x1o+2x2e")
HARMONICS = o3.Irreps("1x0e+1x1o+1x2e")
OUT = o3.Irreps("1x0e+1x1o")

GROUP = "E(3)"
INPUTS = {"x": "node:4x0e", "pos": "node:point"}
OUTPUTS = f"node:{OUT}"
EXAMPLE = {
    "x": torch.eye(4)[[0, 1, 2, 3, 0, 1]],
    "pos": 1.2 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0)),
}


@contextmanager
def built_in_float64() -> Iterator[None]:
    """Let e3nn make its tables in float64: made in float32 and cast, they keep an error of 1e-8."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Fault(nn.Module):
    """A named place for a fault: applies a function to the features."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Layer(nn.Module):
    """Messages by a fully connected tensor product, a gate, a linear map; added to the input."""

    def __init__(self) -> None:
        super().__init__()
        scalars, turning = HIDDEN[:1], HIDDEN[1:]
        gates = o3.Irreps([(turning.num_irreps, "0e")])
        self.gate = enn.Gate(scalars, [torch.tanh], gates, [torch.sigmoid], turning)
        self.product = o3.FullyConnectedTensorProduct(
            HIDDEN, HARMONICS, self.gate.irreps_in, internal_weights=False, shared_weights=False
        )
        self.radial = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, self.product.weight_numel))
        self.linear = o3.Linear(self.gate.irreps_out, HIDDEN)
        self.fault: nn.Module = nn.Identity()
        self.edges: nn.Module = nn.Identity()

    def forward(self, x: Tensor, edge_index: Tensor, vec: Tensor, basis: Tensor, harmonics: Tensor) -> Tensor:
        source, target = edge_index
        message = self.product(x[source], harmonics, self.radial(basis))
        if not isinstance(self.edges, nn.Identity):
            message = message * self.edges(vec)
        total = message.new_zeros(len(x), message.shape[-1]).index_add(0, target, message) / 4
        return x + self.fault(self.linear(self.gate(total)))


class ReferenceNetwork(nn.Module):
    """Three layers on a complete graph, one scalar and one vector per node."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = o3.Linear("4x0e", HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.readout = o3.Linear(HIDDEN, OUT)
        self.last: nn.Module = nn.Identity()
        self.register_buffer("mu", torch.linspace(0, 4, 8))

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:  # -> (N, 4)
        i, j = torch.meshgrid(torch.arange(len(x)), torch.arange(len(x)), indexing="ij")
        edge_index = torch.stack([i[i != j], j[i != j]])
        vec = pos[edge_index[0]] - pos[edge_index[1]]
        distance = torch.linalg.vector_norm(vec, dim=-1, keepdim=True)
        basis = torch.exp(-((distance - self.mu) ** 2))
        harmonics = o3.spherical_harmonics(HARMONICS, vec, normalize=True, normalization="component")
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x, edge_index, vec, basis, harmonics)
        return self.last(self.readout(x))


def reference_network(
    *,
    fault: Callable[[Tensor], Tensor] | None = None,
    edges: Callable[[Tensor], Tensor] | None = None,
    last: Callable[[Tensor], Tensor] | None = None,
    seed: int = 3,
) -> ReferenceNetwork:
    """Return the seeded network, with faults.

    Args:
        fault: acts on the features behind the linear of the middle layer.
        edges: gives a weight per edge of the middle layer from its vector.
        last: acts on the output.
        seed: of the weights.
    """
    with torch.random.fork_rng(), built_in_float64():
        torch.manual_seed(seed)
        network = ReferenceNetwork()
    for name, function in (("fault", fault), ("edges", edges)):
        if function is not None:
            setattr(network.layers[1], name, Fault(function))
    if last is not None:
        network.last = Fault(last)
    return network.eval()
