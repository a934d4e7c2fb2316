"""Fused convolutions on a CUDA card as a fraction of its limit, beside cuEquivariance and OpenEquivariance where installed.

    pip install ".[cuda]"
    python benchmarks/products_cuda.py

160,000 edges, 3,000 nodes, float32. The limit is the longer of two times: every number read and written once at 4.3 TB/s, and
the counted arithmetic at 67 TFLOP/s (an H200); ``kernel`` times our kernels alone, ``operation`` the public call with its
change of layout and autograd, which is what the others are timed by. Written to benchmarks/results/products_cuda_CARD.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.bench.card import PASSES, by_autograd, copy_speed, file_name, milliseconds
from geomlib.bench.results import machine
from geomlib.errors import InvalidInput
from geomlib.files import write_atomic
from geomlib.kernels.cuda.launcher import missing_device
from geomlib.kernels.tensor_product import cuda, tensor_product_conv
from geomlib.kernels.tensor_product.cuda_rows import DeviceRows
from geomlib.kernels.tensor_product.layout import ir_mul
from geomlib.kernels.tensor_product.plan import plan_of

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = (
    "torch",
    "cuda-core",
    "cuda-bindings",
    "nvidia-cuda-nvrtc",
    "cuequivariance-torch",
    "openequivariance",
)
NODES, EDGES = 3000, 160_000
Runs = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Problem:
    """A convolution and its limits in milliseconds, forward, backward, double backward (counted, not timed)."""

    features: str
    filter: str
    out: str
    paths: int
    weights: int
    bytes: int
    limit: tuple[float, float, float]


def _parity(l_max: int, mul: int) -> str:
    return "+".join(f"{mul}x{degree}{p}" for degree in range(l_max + 1) for p in "eo")


def _both(l_max: int) -> str:
    return "+".join(f"{degree}{p}" for degree in range(l_max + 1) for p in "eo")


_L3, _EVEN = "0e+1o+2e+3o", "0e+1e+2e+3e"  # SevenNet-l3i5 has no parity: all even stands for SO(3)
PROBLEMS = {
    "MACE-medium, out 0..2": Problem("128x0e+128x1o", _L3, "0e+1o+2e", 8, 1024, 4456, (0.166, 0.322, 0.488)),
    "MACE-medium, out 0..3": Problem("128x0e+128x1o", _L3, _L3, 10, 1280, 5614, (0.209, 0.403, 0.624)),
    "MACE-large": Problem("128x0e+128x1o+128x2e", _L3, _L3, 17, 2176, 9544, (0.355, 0.685, 1.44)),
    "MACE first layer": Problem("128x0e", _L3, _L3, 4, 512, 2283, (0.085, 0.164, 0.249)),
    "NequIP l=2": Problem(_parity(2, 64), "0e+1o+2e", _both(2), 30, 1920, 8300, (0.309, 0.599, 0.99)),
    "NequIP l=3": Problem(_parity(3, 64), _L3, _both(3), 68, 4352, 19131, (0.712, 1.56, 3.98)),
    "SevenNet-l3i5": Problem("128x0e+64x1e+32x2e+32x3e", _EVEN, _EVEN, 34, 1760, 7748, (0.288, 0.555, 1.31)),
}


def spec_of(problem: Problem) -> ProductSpec:
    """Return every path into the irreps kept, one block of the output each."""
    one, two, kept = Irreps(problem.features), Irreps(problem.filter), Irreps(problem.out)
    found = [
        (a, b, r.mul, ir)
        for a, r in enumerate(one)
        for b, s in enumerate(two)
        for ir in r.ir * s.ir
        if ir in kept
    ]
    paths = [(a, b, c, "uvu", True) for c, (a, b, _, _) in enumerate(found)]
    return ProductSpec.from_instructions(one, two, Irreps([(mul, ir) for _, _, mul, ir in found]), paths)


def bytes_per_edge(spec: ProductSpec, nodes: int = NODES, edges: int = EDGES, size: int = 4) -> float:
    """Return the bytes of a forward pass: weights, filter and two indices of an edge, its share of the nodes' rows."""
    rows = (spec.irreps_in1.dim + spec.irreps_out.dim) * nodes / edges
    return size * (spec.weight_numel + spec.irreps_in2.dim + rows + 2)


def graph(kind: str, nodes: int, edges: int, seed: int = 0) -> Tensor:
    """Return edges (2, E): receivers of equal degree; senders anywhere, or nearby as in a sorted list of atoms."""
    g = torch.Generator().manual_seed(seed)
    receiver = torch.arange(edges) % nodes
    if kind == "random":
        sender = torch.randint(0, nodes, (edges,), generator=g)
    elif kind == "local":
        sender = (receiver + torch.randint(-100, 101, (edges,), generator=g)) % nodes
    else:
        raise InvalidInput(f"graph={kind!r}: expected 'random' or 'local'.")
    order = torch.randperm(edges, generator=g)
    return torch.stack([sender[order], receiver[order]])


def row(name: str, problem: Problem, times: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return one line of the table: milliseconds of everything, and what fraction of the limit the kernels reach.

    Args:
        name: of the problem.
        problem: with its limits.
        times: milliseconds by who and pass.
    """
    kernel = times["kernel"]
    limits = dict(zip(PASSES, problem.limit, strict=True))
    fractions = {p: round(limit / kernel[p], 3) for p, limit in limits.items()}
    found = {who: {p: round(t, 4) for p, t in by_pass.items()} for who, by_pass in times.items()}
    return {"problem": name, "limit ms": limits, "ms": found, "fraction of limit": fractions}


def kernel_runs(spec: ProductSpec, rows: DeviceRows, leaves: list[Tensor]) -> Runs:
    """Return the three passes as kernels, without autograd and changes of layout."""
    plan = plan_of(spec)
    if plan is None:
        raise InvalidInput(f"{spec}: not a channel-wise product.")
    x, y, w = (t.detach() for t in leaves)
    static, tensors = cuda.Static(plan, rows), (ir_mul(x, spec.irreps_in1).contiguous(), y, w)
    g = torch.randn(rows.num_out, spec.irreps_out.dim, device=x.device, dtype=x.dtype)
    tangents = tuple(torch.randn_like(t) for t in tensors)
    return {
        "forward": lambda: cuda.forward(static, tensors),
        "backward": lambda: cuda.backward(static, g, tensors, (True,) * 3),
        "double backward": lambda: cuda.double_backward(static, tangents, g, tensors, (True,) * 4),
    }


def cuequivariance_product(problem: Problem, edge_index: Tensor) -> Callable[..., Tensor]:
    """Return NVIDIA's channel-wise product with fused gather and scatter, in its own layout."""
    import cuequivariance as cue  # type: ignore[import-not-found]
    import cuequivariance_torch as cuet  # type: ignore[import-not-found]

    one, two, out = (cue.Irreps("O3", s) for s in (problem.features, problem.filter, problem.out))
    layer = cuet.ChannelWiseTensorProduct(
        one, two, [ir for _, ir in out], layout=cue.ir_mul, shared_weights=False, internal_weights=False,
        device="cuda", dtype=torch.float32,
    )  # fmt: skip
    sender, receiver = edge_index
    return lambda x, y, w: layer(x, y, w, indices_1=sender, indices_out=receiver, size_out=NODES)


def openequivariance_product(spec: ProductSpec, edge_index: Tensor) -> Callable[..., Tensor]:
    """Return OpenEquivariance's deterministic fused convolution; its edges come sorted."""
    import openequivariance as oeq  # type: ignore[import-not-found]

    irreps = (oeq.Irreps(str(r)) for r in (spec.irreps_in1, spec.irreps_in2, spec.irreps_out))
    paths = [(p.first, p.second, p.out, "uvu", True) for p in spec.paths]
    problem = oeq.TPProblem(*irreps, paths, shared_weights=False, internal_weights=False)
    layer = oeq.TensorProductConv(problem, torch_op=True, deterministic=True)
    sender, receiver = edge_index[:, edge_index[1].argsort(stable=True)]
    permutation = sender.argsort(stable=True)
    return lambda x, y, w: layer.forward(x, y, w, receiver, sender, permutation)


def measure(name: str, kind: str, repeats: int) -> dict[str, Any]:
    """Time one problem."""
    problem = PROBLEMS[name]
    spec, edge_index = spec_of(problem), graph(kind, NODES, EDGES).cuda()
    sizes = (NODES, spec.irreps_in1.dim), (EDGES, spec.irreps_in2.dim), (EDGES, spec.weight_numel)
    leaves = [torch.randn(*size, device="cuda").requires_grad_() for size in sizes]
    rows = DeviceRows.edges(edge_index[0], edge_index[1], NODES, NODES)

    def ours(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return tensor_product_conv(spec, x, y, w, edge_index, rows=rows, backend="cuda")

    prepare: dict[str, Callable[[], Runs]] = {
        "kernel": lambda: kernel_runs(spec, rows, leaves),
        "operation": lambda: by_autograd(ours, leaves),
    }
    if importlib.util.find_spec("cuequivariance_torch") is not None:
        prepare["cuequivariance"] = lambda: by_autograd(cuequivariance_product(problem, edge_index), leaves)
    if importlib.util.find_spec("openequivariance") is not None:
        prepare["openequivariance"] = lambda: by_autograd(openequivariance_product(spec, edge_index), leaves)
    times: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for who, make in prepare.items():
        try:
            times[who] = {p: milliseconds(run, repeats) for p, run in make().items()}
        except Exception as error:  # another library's failure is a result, ours ends the run
            if who in ("kernel", "operation"):
                raise
            failed[who] = f"{type(error).__name__}: {str(error)[:300]}"
        torch.cuda.empty_cache()
    found = row(name, problem, times)
    return found | {"failed": failed} if failed else found


def about(command: str) -> dict[str, Any]:
    """Return what ran where."""
    return {
        **machine(command, PACKAGES),
        "card": torch.cuda.get_device_name(),
        "copy TB/s": round(copy_speed(), 3),
        "problems": {name: asdict(p) for name, p in PROBLEMS.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Fused convolutions on a CUDA card as a fraction of its limit."
    )
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--graph", choices=["random", "local"], default="local")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    missing = missing_device()
    if missing is not None:
        print(f"nothing measured: {missing}")
        return 1
    torch.manual_seed(0)
    found = []
    for name in arguments.problems:
        found.append(measure(name, arguments.graph, arguments.repeats))
        print(json.dumps(found[-1]), flush=True)
    out = arguments.out or RESULTS / file_name("products_cuda", torch.cuda.get_device_name())
    result = {
        "about": about(f"python benchmarks/products_cuda.py --graph {arguments.graph}"),
        "graph": arguments.graph,
        "rows": found,
    }
    write_atomic(out, [(json.dumps(result, indent=1) + "\n").encode()])
    print(out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
