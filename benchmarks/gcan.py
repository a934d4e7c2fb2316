"""Group-action layers and networks beside dense contractions, one thread, one process, in turn (A B A B).

    OMP_NUM_THREADS=1 python benchmarks/gcan.py --out benchmarks/results/gcan_cpu.json

The dense side moves every channel of every sample by every motion, as the papers' code does: with the matrices of ``x -> k x``
and ``x -> x ~k`` from the Cayley tensor, then the weighted sum over channels. It shares the parameters of our layers and is
checked against them before anything is timed. Times are process CPU times, float32; a ratio is that of the minima over rounds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from clifford import compare, tasks
from torch import Tensor, nn

from geomlib.algebra.clifford import PGA
from geomlib.algebra.clifford.products import dense_table
from geomlib.bench.results import machine
from geomlib.layers import GroupActionLinear
from geomlib.zoo import GCAGNN, GCAMLP

EVEN = [0, 5, 6, 7, 8, 9, 10, 15]


class DenseLinear(nn.Module):
    """A group-action layer on all blades, sandwich by sandwich; the parameters are those of ``layer``."""

    def __init__(self, layer: GroupActionLinear) -> None:
        super().__init__()
        self.layer = layer
        self.table = dense_table(PGA.metric, "gp").float()
        self.signs = PGA.reverse(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:  # (B, in, 16) -> (B, out, 16)
        """Return what the layer returns."""
        m = self.layer
        k = m._action.new_zeros(*m.weight.shape, 16).index_copy(-1, torch.tensor(EVEN), m._action)
        if m.overwrite:
            x = torch.cat([x[..., :14], m.embed_e0.expand(len(x), -1, 1), x[..., 15:]], -1)
        else:
            x = x + nn.functional.pad(m.embed_e0, (14, 1))
        left = torch.einsum("oia,ajx->oixj", k, self.table)
        right = torch.einsum("oib,xjb->oixj", k * self.signs, self.table)
        moved = torch.einsum("bix,oixj->boij", x, left)
        moved = torch.einsum("boix,oixj->boij", moved, right)
        return torch.einsum("oi,boij->boj", m.weight, moved)


def dense_linears(module: nn.Module) -> nn.Module:
    """Return the module with every group-action layer replaced by the dense form with the same parameters."""
    for name, child in module.named_children():
        if isinstance(child, GroupActionLinear):
            setattr(module, name, DenseLinear(child))
        else:
            dense_linears(child)
    return module


class DenseGNN(nn.Module):
    """GCA-GNN with one message per edge, as it is defined; the parameters are those of ``model``."""

    def __init__(self, model: GCAGNN) -> None:
        super().__init__()
        self.model: Any = dense_linears(model)

    def forward(self, pos: Tensor) -> Tensor:
        """Return what the model returns."""
        from geomlib.zoo._motion import coordinates_of, framed, points_of
        from geomlib.zoo._samples import complete_graph

        samples, _, points, _ = pos.shape
        source, target = complete_graph(samples, points, pos.device)
        seen, base = framed(pos, self.model.frames_out, self.model.start, self.model.centred)
        h = points_of(seen.transpose(1, 2).flatten(0, 1), "all")
        for layer in self.model.layers:
            m = layer.message_mlp(torch.cat([h[target], h[source]], 1))
            total = h.new_zeros(len(h), *m.shape[1:]).index_add(0, target, m)
            h = layer.update_mlp(torch.cat([h, total], 1))
        found = coordinates_of(h, "all").view(samples, points, -1, 3).transpose(1, 2)
        return found if base is None else base + found


def pairs(
    channels: int, batch: int, graphs: int
) -> dict[str, tuple[nn.Module, dict[str, nn.Module], Tensor]]:
    """Return ours, the others and the input of every case; equal parameters."""
    import copy

    layer = GroupActionLinear(channels, channels)
    mlp, gnn = GCAMLP(blades="all"), GCAGNN(blades="all")
    few = GCAMLP(blades="points")
    few.load_state_dict(
        {k: v[..., 11:15] if k.endswith("conv.weight") else v for k, v in mlp.state_dict().items()}
    )
    few_gnn = GCAGNN(blades="points")
    few_gnn.load_state_dict(
        {k: v[..., 11:15] if k.endswith("conv.weight") else v for k, v in gnn.state_dict().items()}
    )
    dense_mlp, dense_gnn = dense_linears(copy.deepcopy(mlp)), DenseGNN(copy.deepcopy(gnn))
    pos = torch.randn(batch, 4, 4, 3)
    some = torch.randn(graphs, 4, 4, 3)
    return {
        f"GroupActionLinear {channels}->{channels} batch {batch}": (
            layer, {"dense": DenseLinear(layer)}, torch.randn(batch, channels, 16),
        ),
        f"GCA-MLP all blades batch {batch}": (mlp, {"dense": dense_mlp}, pos),
        f"GCA-MLP trivectors batch {batch}": (few, {"dense": dense_mlp}, pos),
        f"GCA-GNN all blades {graphs} graphs": (gnn, {"dense": dense_gnn}, some),
        f"GCA-GNN trivectors {graphs} graphs": (few_gnn, {"dense": dense_gnn}, some),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Group-action layers and networks beside dense contractions."
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--graphs", type=int, default=16)
    parser.add_argument("--skip-gnn", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    for name, (ours, others, x) in pairs(arguments.channels, arguments.batch, arguments.graphs).items():
        if arguments.skip_gnn and "GNN" in name:
            continue
        wanted = ours(x)
        for other in others.values():
            torch.testing.assert_close(
                other(x), wanted, rtol=1e-3, atol=1e-3 * float(wanted.detach().abs().max())
            )
        timed = {}
        for key, module in (("geomlib", ours), *others.items()):
            inputs = x.clone().requires_grad_()
            leaves = [inputs, *(p for n, p in module.named_parameters() if p.requires_grad)]
            timed[key] = tasks(module, [inputs], leaves)
        rows += compare(name, timed.pop("geomlib"), timed, arguments.rounds)
        if isinstance(ours, GroupActionLinear):
            folded = tasks(ours.fold(), [x], [])
            dense = tasks(next(iter(others.values())), [x], [])
            rows += compare(
                f"{name}, folded", {"forward": folded["forward"]}, {"dense": {"forward": dense["forward"]}},
                arguments.rounds,
            )  # fmt: skip
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/gcan.py")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
