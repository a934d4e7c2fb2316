"""geomlib's layers inside your own PyTorch Geometric model: predict a dipole from a molecular graph.

The layers take plain tensors and `edge_index`, so a `Data` object is all they need:

    pip install torch-geometric
    python examples/pyg_model.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_add_pool

from geomlib.layers import CartesianReadout, TensorEmbedding, TensorInteraction, VectorHead, radius_graph


class DipoleNet(nn.Module):
    """Two tensor layers, a learned vector per atom, summed over the molecule."""

    def __init__(self, channels: int = 32, cutoff: float = 4.0) -> None:
        """Build the layers; cutoff in Å."""
        super().__init__()
        self.embedding = TensorEmbedding(channels, cutoff=cutoff)
        self.interactions = nn.ModuleList(TensorInteraction(channels, cutoff=cutoff) for _ in range(2))
        self.readout = CartesianReadout(channels)
        self.head = VectorHead(channels)

    def forward(self, data: Data) -> Tensor:  # -> (molecules, 3)
        """Return one polar vector per molecule."""
        source, target = data.edge_index
        vec = data.pos[target] - data.pos[source]
        x = self.embedding(data.z, data.edge_index, vec)
        for layer in self.interactions:
            x = layer(x, data.edge_index, vec)
        return global_add_pool(self.head(x, self.readout(x)), data.batch)


def water(angle: float) -> Data:
    """Return a water molecule with a graph."""
    half = torch.tensor(angle / 2)
    hydrogens = [[float(s * torch.sin(half)), 0.0, float(torch.cos(half))] for s in (1, -1)]
    pos = 0.96 * torch.tensor([[0.0, 0.0, 0.0], *hydrogens])
    edge_index, _ = radius_graph(pos, 4.0)
    return Data(z=torch.tensor([8, 1, 1]), pos=pos, edge_index=edge_index)


def main() -> Tensor:
    """Predict, rotate the molecules, predict again: the answer must rotate with them."""
    torch.manual_seed(0)
    model = DipoleNet().double()
    batch = Batch.from_data_list([water(1.7), water(1.9)])
    batch.pos = batch.pos.double()
    dipole = model(batch)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    batch.pos = batch.pos @ rotation.T
    error = (model(batch) - dipole @ rotation.T).abs().max() / dipole.abs().max()
    print(f"dipoles {tuple(dipole.shape)}, equivariance error {float(error.detach()):.1e}")
    return error.detach()


if __name__ == "__main__":
    main()
