"""Four families of correct potentials, ``(z, pos, batch) -> energies``, small and untrained.

Two come from their packages (PyTorch Geometric's SchNet, geomlib's TensorNet), two are built from e3nn's layers: messages of
NequIP's kind, and products of atomic densities up to the third order, MACE's idea.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from e3nn import nn as enn
from e3nn import o3
from torch import Tensor, nn

from geomlib.zoo.tensornet import TensorNet
from tests.verify.reference_network import built_in_float64

__all__ = [
    "EXAMPLE",
    "FAMILIES",
    "GROUP",
    "INPUTS",
    "OUTPUTS",
    "Energy",
    "ManyBody",
    "NequIPStyle",
    "all_pairs",
    "cluster",
]

CUTOFF = 5.0
ELEMENTS = 10
HARMONICS = o3.Irreps("1x0e+1x1o+1x2e")

GROUP = "E(3)*S_n"
INPUTS = {"z": "node:inv", "pos": "node:point", "batch": "node:index"}
OUTPUTS = "graph:scalar"


def cluster(atoms: int = 12, seed: int = 0) -> dict[str, Tensor]:
    """Return random atoms, none closer than 0.9 Å."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[Tensor] = []
    while len(rows) < atoms:
        new = 1.5 * torch.randn(3, generator=generator)
        if all(float((new - old).norm()) > 0.9 for old in rows):
            rows.append(new)
    z = torch.tensor([1, 6, 7, 8])[torch.randint(4, (atoms,), generator=generator)]
    return {"z": z, "pos": torch.stack(rows), "batch": torch.zeros(atoms, dtype=torch.long)}


EXAMPLE = cluster(7)


def all_pairs(pos: Tensor, batch: Tensor, cutoff: float = CUTOFF) -> tuple[Tensor, Tensor]:
    """Return ``edge_index`` (2, E) and lengths (E,) of all pairs of one graph within the cutoff."""
    far = (pos.detach()[:, None] - pos.detach()[None]).square().sum(-1) >= cutoff**2
    edge_index = ((batch[:, None] == batch) & ~far).fill_diagonal_(False).nonzero().T
    return edge_index, torch.linalg.vector_norm(pos[edge_index[0]] - pos[edge_index[1]], dim=-1)


def bessel(distance: Tensor, count: int = 8) -> Tensor:  # (E,) -> (E, count)
    """Return sine waves that end smoothly at the cutoff."""
    u = (distance / CUTOFF)[:, None]
    k = torch.arange(1, count + 1, dtype=u.dtype)
    return torch.sin(k * torch.pi * u) / u * (1 - u.clamp(max=1) ** 2) ** 3


def pooled(x: Tensor, batch: Tensor) -> Tensor:
    """Return one sum per graph."""
    graphs = int(batch.max()) + 1 if batch.numel() else 1
    return x.new_zeros(graphs).index_add(0, batch, x)


class NequIPStyle(nn.Module):
    """Rounds of gated messages: tensor products of neighbours' features with spherical harmonics."""

    def __init__(self, hidden: str = "4x0e+4x1o+2x2e", rounds: int = 2):
        super().__init__()
        irreps = o3.Irreps(hidden)
        scalars, turning = irreps[:1], irreps[1:]
        self.embedding = nn.Embedding(ELEMENTS, scalars.dim)
        self.fill = o3.Linear(scalars, irreps)
        self.gates, self.products = nn.ModuleList(), nn.ModuleList()
        self.radials, self.linears = nn.ModuleList(), nn.ModuleList()
        for _ in range(rounds):
            gate = enn.Gate(
                scalars,
                [torch.tanh],
                o3.Irreps([(turning.num_irreps, "0e")]),
                [torch.sigmoid],
                turning,
            )
            product = o3.FullyConnectedTensorProduct(
                irreps, HARMONICS, gate.irreps_in, internal_weights=False, shared_weights=False
            )
            self.gates.append(gate)
            self.products.append(product)
            self.radials.append(
                nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, product.weight_numel, bias=False))
            )
            self.linears.append(o3.Linear(gate.irreps_out, irreps))
        self.readout = o3.Linear(irreps, "1x0e")
        self.fault: nn.Module = nn.Identity()

    def forward(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        edge_index, distance = all_pairs(pos, batch)
        source, target = edge_index
        harmonics = o3.spherical_harmonics(
            HARMONICS, pos[source] - pos[target], normalize=True, normalization="component"
        )
        basis = bessel(distance)
        x = self.fill(self.embedding(z))
        for gate, product, radial, linear in zip(
            self.gates, self.products, self.radials, self.linears, strict=True
        ):
            message = product(x[source], harmonics, radial(basis))
            total = message.new_zeros(len(z), message.shape[-1]).index_add(0, target, message) / 4
            x = self.fault(x + linear(gate(total)))
        return pooled(self.readout(x)[:, 0], batch)


class ManyBody(nn.Module):
    """One density per atom, multiplied with itself twice: energies of four bodies."""

    def __init__(self, hidden: str = "4x0e+4x1o+4x2e"):
        super().__init__()
        irreps = o3.Irreps(hidden)
        self.embedding = nn.Embedding(ELEMENTS, 4)
        self.density = o3.FullyConnectedTensorProduct(
            "4x0e", HARMONICS, irreps, internal_weights=False, shared_weights=False
        )
        self.radial = nn.Sequential(
            nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, self.density.weight_numel, bias=False)
        )
        self.second = o3.FullyConnectedTensorProduct(irreps, irreps, irreps)
        self.third = o3.FullyConnectedTensorProduct(irreps, irreps, irreps)
        self.readouts = nn.ModuleList(o3.Linear(irreps, "1x0e") for _ in range(3))
        self.fault: nn.Module = nn.Identity()

    def forward(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        edge_index, distance = all_pairs(pos, batch)
        source, target = edge_index
        harmonics = o3.spherical_harmonics(
            HARMONICS, pos[source] - pos[target], normalize=True, normalization="component"
        )
        message = self.density(self.embedding(z[source]), harmonics, self.radial(bessel(distance)))
        a = message.new_zeros(len(z), message.shape[-1]).index_add(0, target, message)
        two = self.fault(self.second(a, a))
        orders = (a, two, self.third(two, a))
        energies = sum(readout(x)[:, 0] for readout, x in zip(self.readouts, orders, strict=True))
        return pooled(energies + self.embedding(z).sum(-1), batch)


class Energy(nn.Module):
    """Energies of a foreign model as one tensor (graphs,), multiplied by a number."""

    def __init__(self, model: nn.Module, scale: float = 1.0):
        super().__init__()
        self.model, self.scale = model, scale
        self.options = {"forces": False} if isinstance(model, TensorNet) else {}

    def forward(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        out = self.model(z=z, pos=pos, batch=batch, **self.options)
        if isinstance(out, dict):
            out = out["energy"]
        elif isinstance(out, tuple):
            out = out[0]
        return self.scale * out.reshape(-1)


def _schnet() -> nn.Module:
    from torch_geometric.nn.models import SchNet

    return SchNet(32, 32, 3, 20, CUTOFF, interaction_graph=all_pairs)


def tensornet(group: str = "O(3)") -> nn.Module:
    return TensorNet(16, 2, num_radial=8, cutoff=CUTOFF, max_z=ELEMENTS, group=group)


def _in_float64(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def built() -> nn.Module:
        with built_in_float64():
            return build()

    return built


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "SchNet": _schnet,
    "TensorNet": tensornet,
    "e3nn messages": _in_float64(NequIPStyle),
    "e3nn many-body": _in_float64(ManyBody),
}
