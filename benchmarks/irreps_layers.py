"""SymmetricContraction beside the plain einsum of its tensors, SO2Convolution beside e3nn's product with all harmonics.

    OMP_NUM_THREADS=1 python benchmarks/irreps_layers.py --out benchmarks/results/irreps_layers_cpu.json

One thread, one process, in turn (A B A B), float32; CPU times, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from geomlib.algebra.irreps import Irreps, symmetric_tensors
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, ratios
from geomlib.layers import SO2Convolution, SymmetricContraction

Function = Callable[[], Any]


def channels_of(lmax: int, channels: int) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


def with_gradient(function: Callable[[Tensor], Tensor], x: Tensor, *others: Tensor) -> Function:
    def run() -> Any:
        t = x.detach().requires_grad_()
        return torch.autograd.grad(function(t).sum(), (t, *others))

    return run


def contraction(lmax: int, channels: int, rows: int) -> tuple[str, dict[str, Any]]:
    layer = SymmetricContraction(
        channels_of(lmax, channels), f"{channels}x0e+{channels}x1o", 3, num_elements=4
    )
    x, element = torch.randn(rows, layer.irreps_in.dim), torch.randint(0, 4, (rows,))
    each = "+".join(str(b.ir) for b in layer.irreps_in)
    tensors = {
        (k, d): symmetric_tensors(each, b.ir, d).float()
        for k, b in enumerate(layer.irreps_out)
        for d in (1, 2, 3)
    }

    def plain(t: Tensor) -> Tensor:
        parts = t.split([b.dim for b in layer.irreps_in], 1)
        c, start, out = torch.cat([p.unflatten(1, (channels, -1)) for p in parts], 2), 0, []
        weights = layer.weight[element]
        for k, block in enumerate(layer.irreps_out):
            z = t.new_zeros(rows, channels, block.ir.dim)
            for d in (1, 2, 3):
                u = tensors[k, d]
                w, start = weights[:, start : start + u.shape[-1]], start + u.shape[-1]
                factors = ",".join(f"bc{a}" for a in "ijk"[:d])
                z = z + torch.einsum(f"m{'ijk'[:d]}n,bnc,{factors}->bcm", u, w, *[c] * d)
            out.append(z.flatten(1))
        return torch.cat(out, 1)

    ours = lambda t: layer(t, element)  # noqa: E731
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-3, atol=1e-3)
    name = f"SymmetricContraction l={lmax}, {channels} channels, {rows} rows"
    return name, {"geomlib": ours, "einsum": plain, "x": x, "others": (layer.weight,)}


def convolution(lmax: int, channels: int, edges: int) -> tuple[str, dict[str, Any]]:
    irreps, nodes = channels_of(lmax, channels), max(2, edges // 20)
    layer = SO2Convolution(irreps, irreps)
    filters = Irreps.spherical_harmonics(2 * lmax)
    product = o3.FullyConnectedTensorProduct(irreps, str(filters), irreps)
    x, vec = torch.randn(nodes, layer.irreps_in.dim), torch.randn(edges, 3)
    edge_index = torch.randint(0, nodes, (2, edges))

    def theirs(t: Tensor) -> Tensor:
        y = o3.spherical_harmonics(list(range(2 * lmax + 1)), vec, True, "component")
        messages = product(t[edge_index[0]], y)
        return torch.zeros(nodes, messages.shape[1]).index_add(0, edge_index[1], messages)

    ours = lambda t: layer(t, edge_index, vec)  # noqa: E731
    name = f"SO2Convolution l={lmax}, {channels} channels, {edges} edges"
    return name, {"geomlib": ours, "e3nn": theirs, "x": x, "others": ()}


def main() -> None:
    parser = argparse.ArgumentParser(description="SymmetricContraction and SO2Convolution beside others.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = [contraction(2, 64, 64), contraction(3, 64, 64)]
    cases += [convolution(2, 16, 2000), convolution(4, 16, 1000), convolution(6, 16, 500)]
    rows: list[dict[str, Any]] = []
    for name, case in cases:
        x, others = case.pop("x"), case.pop("others")
        for task in ("forward", "forward+backward"):
            runs: dict[str, Function] = {
                key: (lambda f=f, x=x: f(x)) if task == "forward" else with_gradient(f, x, *others)
                for key, f in case.items()
            }
            times = interleaved(runs, arguments.rounds)
            row: dict[str, Any] = {"case": name, "task": task}
            row |= {f"{key} ms": round(1e3 * statistics.median(t), 2) for key, t in times.items()}
            row |= {
                f"over {key}": round(r, 2) for key, r in ratios(times, "geomlib").items() if key != "geomlib"
            }
            print("  ".join(f"{k}: {v}" for k, v in row.items()), flush=True)
            rows.append(row)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/irreps_layers.py")
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
