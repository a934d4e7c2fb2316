"""The symmetry of models that others wrote, proved or refuted: one call and one line each.

    pip install torch-geometric e3nn torchmd-net
    python examples/verify_public_models.py

A model whose package is absent is left out. Every function below returns what `verify.check` is given, nothing of these
models is changed.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geomlib import verify

POTENTIAL = {"z": "node:inv", "pos": "node:point", "batch": "node:index"}


def molecule() -> dict[str, Tensor]:
    """Return ethanol: atomic numbers, positions in Å, one graph."""
    pos = [
        [-0.89, -0.22, 0.10], [0.36, 0.60, -0.07], [1.43, -0.31, 0.12], [-0.95, -1.02, -0.64], [-0.94, -0.68, 1.10],
        [-1.79, 0.40, -0.04], [0.39, 1.42, 0.67], [0.39, 1.05, -1.07], [2.29, 0.11, 0.04],
    ]  # fmt: skip
    z = torch.tensor([6, 6, 8, 1, 1, 1, 1, 1, 1])
    return {"z": z, "pos": torch.tensor(pos), "batch": torch.zeros(9, dtype=torch.long)}


def torchmdnet_tensornet(group: str) -> dict[str, Any]:
    """Return TensorNet of torchmd-net with forces; ``group`` is the mode it is built in."""
    from torchmdnet.models.model import create_model

    model = create_model({
        "model": "tensornet", "equivariance_invariance_group": group, "embedding_dimension": 32, "num_layers": 2,
        "num_rbf": 16, "rbf_type": "expnorm", "trainable_rbf": False, "activation": "silu", "cutoff_lower": 0.0,
        "cutoff_upper": 4.5, "max_z": 10, "max_num_neighbors": 64, "box_vecs": None, "static_shapes": False,
        "output_model": "Scalar", "reduce_op": "add", "derivative": True, "precision": 32, "prior_model": None,
        "prior_args": None, "atom_filter": -1, "vector_cutoff": False,
    })  # fmt: skip
    return {
        "target": model,
        "inputs": POTENTIAL,
        "outputs": ("graph:scalar", "node:vector"),
        "example": molecule(),
    }


def complete_graph(pos: Tensor, batch: Tensor, cutoff: float = 6.0) -> tuple[Tensor, Tensor]:
    """Return the edges of SchNet in plain torch: its own need a compiled package, and stop at 32 neighbours."""
    square = (pos[:, None] - pos[None]).square().sum(-1).detach()
    near = (square < cutoff**2) & (batch[:, None] == batch)
    edge_index = near.fill_diagonal_(False).nonzero().T
    return edge_index, (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=-1)


def pyg_schnet() -> dict[str, Any]:
    """Return SchNet of PyTorch Geometric."""
    from torch_geometric.nn.models import SchNet

    model = SchNet(64, 64, 3, 25, 6.0, interaction_graph=complete_graph)
    return {"target": model, "inputs": POTENTIAL, "outputs": "graph:scalar", "example": molecule()}


def e3nn_network() -> dict[str, Any]:
    """Return the network of e3nn's own package, for molecules with scalars and vectors on the atoms."""
    from e3nn.nn.models.v2106.gate_points_networks import SimpleNetwork

    model = SimpleNetwork("3x0e+2x1o", "4x0e+1x1o", 3.0, num_neighbors=4, num_nodes=9, mul=4, layers=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # untrained, its messages are switched off by weights that are zero
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    data = {**molecule(), "x": torch.randn(9, 9, generator=generator)}
    del data["z"]
    types = {"data.pos": "node:point", "data.x": "node:3x0e+2x1o", "data.batch": "node:index"}
    return {"target": model, "inputs": types, "outputs": "graph:4x0e+1x1o", "example": {"data": data}}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set the type that new modules are made in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def e3nn_network_in_float64() -> dict[str, Any]:
    """Return the same network, its Clebsch-Gordan tables made in float64 instead of cast."""
    with default_dtype(torch.float64):
        return e3nn_network()


class MACEEnergy(nn.Module):
    """Energies of MACE from atomic numbers and positions; its own loader makes these inputs from files."""

    elements: Tensor

    def __init__(self) -> None:
        """Build a small MACE of two layers, l up to 3, correlation order 3."""
        from e3nn import o3
        from mace import modules  # pyright: ignore[reportMissingImports]

        super().__init__()
        self.register_buffer("elements", torch.tensor([1, 6, 7, 8]))
        self.model = modules.MACE(
            r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, correlation=3, num_interactions=2,
            interaction_cls_first=modules.RealAgnosticInteractionBlock,
            interaction_cls=modules.RealAgnosticResidualInteractionBlock, gate=nn.functional.silu,
            hidden_irreps=o3.Irreps("8x0e+8x1o"), MLP_irreps=o3.Irreps("8x0e"), num_elements=4,
            atomic_numbers=[1, 6, 7, 8], atomic_energies=np.zeros(4), avg_num_neighbors=8.0,
        )  # fmt: skip

    def forward(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        """Return one energy per structure; atoms of a structure stand together, as MACE has it."""
        edge_index, _ = complete_graph(pos, batch, 5.0)
        count = torch.bincount(batch)
        zeros = pos.new_zeros(edge_index.shape[1], 3)
        data = {
            "positions": pos, "node_attrs": (z[:, None] == self.elements).to(pos), "edge_index": edge_index,
            "shifts": zeros, "unit_shifts": zeros, "cell": pos.new_zeros(3 * len(count), 3), "batch": batch,
            "ptr": torch.cat([count.new_zeros(1), count.cumsum(0)]),
        }  # fmt: skip
        return self.model(data, compute_force=False)["energy"]


def mace() -> dict[str, Any]:
    """Return MACE of mace-torch, which pins an old e3nn: ``pip install --no-deps mace-torch`` and what it then misses."""
    with default_dtype(torch.float64):
        model = MACEEnergy()
    return {"target": model, "inputs": POTENTIAL, "outputs": "graph:scalar", "example": molecule()}


class EGNNLayer(nn.Module):
    """Satorras et al., E(n) equivariant graph neural networks, arXiv 2102.09844, equations 3 to 6."""

    def __init__(self, channels: int = 16):
        """Build the three small networks."""
        super().__init__()
        self.edge = nn.Sequential(nn.Linear(2 * channels + 1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU())
        self.coordinate = nn.Sequential(nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))
        self.node = nn.Sequential(nn.Linear(channels + 32, 32), nn.SiLU(), nn.Linear(32, channels))

    def forward(self, h: Tensor, pos: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return new features and new positions."""
        j, i = edge_index
        vec = pos[i] - pos[j]
        message = self.edge(torch.cat([h[i], h[j], vec.square().sum(-1, keepdim=True)], -1))
        moved = torch.zeros_like(pos).index_add(0, i, vec * self.coordinate(message))
        total = message.new_zeros(len(h), message.shape[-1]).index_add(0, i, message)
        # At least 1: the paper's 1 / (M - 1) makes NaN of a single node, which the check reports as NONFINITE.
        return h + self.node(torch.cat([h, total], -1)), pos + moved / max(len(h) - 1, 1)


def egnn_layer() -> dict[str, Any]:
    """Return a layer of EGNN on a complete graph of nine nodes."""
    edge_index = (~torch.eye(9, dtype=torch.bool)).nonzero().T
    h = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    return {
        "target": EGNNLayer(),
        "inputs": {"h": "node:16x0e", "pos": "node:point", "edge_index": "index"},
        "outputs": ("node:16x0e", "node:point"),
        "example": {"h": h, "pos": molecule()["pos"], "edge_index": edge_index},
    }


def cayley_table() -> Tensor:  # (8, 8, 8)
    """Return the products of the blades 1, e1, e2, e3, e12, e13, e23, e123 of three dimensions."""
    blades = [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    table = torch.zeros(8, 8, 8)
    for a, left in enumerate(blades):
        for b, right in enumerate(blades):
            swaps = sum(x > y for x in left for y in right)
            table[a, blades.index(tuple(sorted(set(left) ^ set(right)))), b] = (-1) ** swaps
    return table


class GeometricProductLayer(nn.Module):
    """Ruhe et al., Clifford group equivariant neural networks, arXiv 2305.11141: weighted geometric products."""

    grade: Tensor  # (8,)
    table: Tensor  # (8, 8, 8)

    def __init__(self, channels: int = 4):
        """Build a linear map by grade and one weight per channel and triple of grades."""
        super().__init__()
        self.register_buffer("grade", torch.tensor([0, 1, 1, 1, 2, 2, 2, 3]))
        self.register_buffer("table", cayley_table())
        self.linear = nn.Parameter(torch.randn(channels, channels, 4) / channels**0.5)
        self.weight = nn.Parameter(torch.randn(channels, 4, 4, 4) / 8)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, 8)
        """Return x plus the weighted product of x with a linear map of x."""
        g = self.grade
        y = torch.einsum("nci,dci->ndi", x, self.linear[:, :, g])
        weight = self.weight[:, g[:, None, None], g[None, :, None], g] * self.table
        return x + torch.einsum("nci,cijk,nck->ncj", x, weight, y)


def cgenn_layer() -> dict[str, Any]:
    """Return a layer of CGENN on multivectors of three-dimensional space."""
    x = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(0))
    return {
        "target": GeometricProductLayer(),
        "inputs": {"x": "node:mv(3,0,0)"},
        "outputs": "node:mv(3,0,0)",
        "example": {"x": x},
    }


#: Name, package it comes from, group, what to check, and the verdict it deserves.
MODELS: list[tuple[str, str, str, Callable[[], dict[str, Any]], str]] = [
    (
        "torchmd-net TensorNet, O(3) mode",
        "torchmdnet",
        "E(3)*S_n",
        lambda: torchmdnet_tensornet("O(3)"),
        "EXACT",
    ),
    (
        "torchmd-net TensorNet, SO(3) mode",
        "torchmdnet",
        "SE(3)*S_n",
        lambda: torchmdnet_tensornet("SO(3)"),
        "EXACT",
    ),
    ("the same, with reflections", "torchmdnet", "E(3)*S_n", lambda: torchmdnet_tensornet("SO(3)"), "BROKEN"),
    ("PyG SchNet", "torch_geometric", "E(3)*S_n", pyg_schnet, "EXACT"),
    ("e3nn SimpleNetwork", "e3nn", "E(3)*S_n", e3nn_network, "PRECISION LEAK"),
    ("the same, built in float64", "e3nn", "E(3)*S_n", e3nn_network_in_float64, "EXACT"),
    ("MACE, built in float64", "mace", "E(3)*S_n", mace, "EXACT"),
    ("EGNN layer", "torch", "E(3)*S_n", egnn_layer, "EXACT"),
    ("CGENN layer", "torch", "O(3)*S_n", cgenn_layer, "EXACT"),
]


def main() -> dict[str, tuple[str, str]]:
    """Check every model whose package is here; print and return the verdict and the one that was expected."""
    found: dict[str, tuple[str, str]] = {}
    for name, package, group, build, expected in MODELS:
        if importlib.util.find_spec(package) is None:
            print(f"{name:35s} left out: {package} is not installed")
            continue
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages, while they build their models
            subject = build()
        start = time.perf_counter()
        report = verify.check(group=group, **subject)
        seconds = time.perf_counter() - start
        print(f"{name:35s} {group:10s} {report.verdict:14s} {report.ratio:8.2g} x round-off {seconds:6.1f} s")
        found[name] = (report.verdict, expected)
    return found


if __name__ == "__main__":
    main()
