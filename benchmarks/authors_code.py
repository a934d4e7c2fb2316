"""Layers and training steps beside the authors' own code, one thread, one process, in turn (A B A B).

    git clone https://github.com/DavidRuhe/clifford-group-equivariant-neural-networks /tmp/cgenn
    git clone https://github.com/congliuUvA/Clifford-Group-Equivariant-Simplicial-Message-Passing-Networks /tmp/csmpn
    OMP_NUM_THREADS=1 python benchmarks/authors_code.py cgenn /tmp/cgenn --out benchmarks/results/authors_cgenn_cpu.json
    OMP_NUM_THREADS=1 python benchmarks/authors_code.py csmpn /tmp/csmpn --out benchmarks/results/authors_csmpn_cpu.json

Their code is run where it was cloned, unchanged. Our modules hold the weights of theirs; losses and gradients are compared in
float64 before anything is timed. Times are process CPU times, float32; a ratio is that of the minima over all rounds. Memory
is the highest resident set during a step less that before it, each side in processes of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from resident import reset, resident
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.simplicial import SimplicialComplex, hull_complex
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved
from geomlib.datasets.charged_nbody import make_charged_nbody
from geomlib.datasets.hulls import hull_volumes
from geomlib.layers import MVGeometricProduct, MVGeometricProductFC, MVSiLU
from geomlib.zoo import CGENNNBody
from geomlib.zoo._samples import complete_graph
from geomlib.zoo.csmpn import CSMPN
from geomlib.zoo.lifted import lifted_inputs

SIDES = ("geomlib", "authors")
Step = Callable[[], tuple[Tensor, ...]]


class Pair:
    """The same function of ours and of theirs, a loss or the output of a layer, and its gradients by name of weight."""

    def __init__(
        self,
        case: str,
        ours: nn.Module,
        theirs: nn.Module,
        run: Callable[[str, nn.Module, torch.dtype], Tensor],
        inputs: dict[torch.dtype, Tensor] | None = None,
    ) -> None:
        self.case, self.modules, self.run, self.inputs = (
            case,
            {"geomlib": ours, "authors": theirs},
            run,
            inputs,
        )
        state = {k: v for k, v in theirs.state_dict().items() if k in ours.state_dict()}
        ours.load_state_dict({k: v.reshape(ours.state_dict()[k].shape) for k, v in state.items()})
        self.names = [n for n, _ in ours.named_parameters() if n in dict(theirs.named_parameters())]

    def step(self, side: str, dtype: torch.dtype) -> Step:
        """Return a step: the output and the gradients by the weights, of a layer by its input too."""
        module = self.modules[side].to(dtype)
        weights = [dict(module.named_parameters())[n] for n in self.names]
        weights += [] if self.inputs is None else [self.inputs[dtype]]

        with torch.no_grad():
            cotangent = torch.ones_like(self.run(side, module, dtype))

        def step() -> tuple[Tensor, ...]:
            out = self.run(side, module, dtype)
            return (out.detach(), *torch.autograd.grad(out, weights, cotangent, allow_unused=True))

        return step

    def forward(self, side: str) -> Callable[[], Tensor]:
        """Return the output alone."""

        def run() -> Tensor:
            with torch.no_grad():
                return self.run(side, self.modules[side], torch.float32)

        return run

    def agree(self) -> dict[str, float]:
        """Return the relative differences in float64.

        Raises:
            SystemExit: they are above 1e-6.
        """
        torch.set_default_dtype(torch.float64)  # theirs makes tensors of the default type
        one, two = (self.step(side, torch.float64)() for side in SIDES)
        torch.set_default_dtype(torch.float32)
        scale = max(float(b.abs().max()) for b in two[1:] if b is not None)
        slopes = [
            float((a - b.view_as(a)).abs().max())
            for a, b in zip(one[1:], two[1:], strict=True)
            if b is not None
        ]
        found = {
            "output": float((one[0] - two[0]).abs().max() / two[0].abs().max()),
            "gradient": max(slopes) / scale,
        }
        if not max(found.values()) < 1e-6:
            raise SystemExit(f"{self.case}: the two differ: {found}")
        return found


def _layers() -> list[Pair]:
    """Return the layers of CGENN, with the sizes of the specification."""
    algebra = importlib.import_module("algebra.cliffordalgebra").CliffordAlgebra
    gp, fcgp, silu = (importlib.import_module(f"models.modules.{m}") for m in ("gp", "fcgp", "mvsilu"))
    found = []
    sizes = {
        "MVSiLU": ((3, 2000, 28), (5, 256, 32)),
        "SGP": ((3, 2000, 28), (5, 256, 32)),
        "FCSGP": ((3, 500, 28), (5, 16, 16)),
    }
    for layer, cases in sizes.items():
        for n, batch, channels in cases:
            alg, theirs_alg = CliffordAlgebra(n), algebra((1.0,) * n)
            if layer == "MVSiLU":
                ours, theirs = MVSiLU(alg, channels), silu.MVSiLU(theirs_alg, channels)
            elif layer == "SGP":
                ours = MVGeometricProduct(alg, channels)
                theirs = gp.SteerableGeometricProductLayer(theirs_alg, channels)
            else:
                ours = MVGeometricProductFC(alg, channels, channels)
                theirs = fcgp.FullyConnectedSteerableGeometricProductLayer(theirs_alg, channels, channels)
            x = torch.randn(batch, channels, 2**n, dtype=torch.float64)
            inputs = {d: x.to(d).requires_grad_() for d in (torch.float32, torch.float64)}

            def run(
                side: str, module: nn.Module, dtype: torch.dtype, given: dict[torch.dtype, Tensor] = inputs
            ) -> Tensor:
                return module(given[dtype]).square().mean()

            found.append(Pair(f"{layer} n={n} {batch}x{channels}", ours, theirs, run, inputs))
    return found


def _nbody() -> Pair:
    theirs = importlib.import_module("models.nbody_cggnn").NBodyCGGNN()
    data = make_charged_nbody(100, 0, start=0, end=10)
    target, charge = data.pop("target"), data["charge"]
    ours = CGENNNBody(released=True)
    i, j = complete_graph(1, 5, torch.device("cpu"))
    edges = torch.stack([i, j]).expand(100, 2, -1)
    products = (charge[:, i] * charge[:, j])[..., None]

    def run(side: str, module: nn.Module, dtype: torch.dtype) -> Tensor:
        given = {k: v.to(dtype) for k, v in data.items()}
        if side == "geomlib":
            return (module(**given) - target.to(dtype)).square().mean()
        # Their forward casts its inputs to float32, so the parts around its network are written out for float64.
        if dtype == torch.float32:
            batch = (given["pos"], given["vel"], products, charge[..., None], target, edges)
            return module(batch, 0)[0]
        algebra: Any = module.algebra
        pos = given["pos"]
        x = torch.stack([(pos - pos.mean(1, keepdim=True)).flatten(0, 1), given["vel"].flatten(0, 1)], 1)
        scalars = algebra.embed(charge.reshape(-1, 1), (0,))[:, None]
        flat = (edges + 5 * torch.arange(100)[:, None, None]).transpose(0, 1).flatten(1)
        attributes = algebra.embed(products.reshape(-1, 1, 1), (0,))
        network: Any = module
        out = network._forward(torch.cat([scalars, algebra.embed(x, (1, 2, 3))], 1), tuple(flat), attributes)
        return (pos + out[:, 0, 1:4].view_as(pos) - target).square().mean()

    return Pair("CGENN n-body step, 100 graphs x 5", ours, theirs, run)


def _hull() -> Pair:
    from torch_geometric.data import Data

    # Ours of this name, by its path, since their package has the same.
    spec = importlib.util.spec_from_file_location("hull_step", Path(__file__).with_name("csmpn.py"))
    hull_step: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hull_step)
    pos, complex = hull_step.sample()
    sys.path[:] = [p for p in sys.path if Path(p) != Path(__file__).parent]
    ours = CSMPN(safe=False, legacy_duplicates=True)
    theirs = importlib.import_module("csmpn.models.hulls_cssmpnn").HullsCliffordSharedSimplicialMPNN()
    lifted = lifted_inputs(complex, legacy_duplicates=True)
    volume = torch.from_numpy(hull_volumes(pos.numpy()))

    def run(side: str, module: nn.Module, dtype: torch.dtype) -> Tensor:
        target = volume.to(dtype)
        if side == "geomlib":
            return (module(pos=pos.to(dtype), **lifted) - target).square().mean()
        return module(_as_theirs(Data, pos.to(dtype), complex, lifted["edge_index"], target), 0, "train")[0]

    return Pair("CSMPN hull step, 88 simplices, 820 messages", ours, theirs, run)


def _as_theirs(kind: Any, pos: Tensor, complex: SimplicialComplex, edge_index: Tensor, target: Tensor) -> Any:
    """Return the sample as their data module hands it over."""
    points = pos.shape[1]
    simplices = [torch.arange(points)[None], complex.edges, complex.triangles]
    count = sum(s.shape[1] for s in simplices)
    rows = torch.full((count, 3), -1)
    types = torch.cat([torch.full((s.shape[1],), d) for d, s in enumerate(simplices)])
    for d, s in enumerate(simplices):
        rows[types == d, : d + 1] = s.T
    values = torch.zeros(count, pos.shape[2], dtype=pos.dtype)
    values[:points] = pos[0]
    zeros = torch.zeros(count, dtype=torch.long)
    return kind(
        input=values, x_ind=rows, x_ind_batch=zeros, x_ind_ptr=torch.tensor([0, count]), node_types=types, batch=zeros,
        ptr=torch.tensor([0, count]), edge_index=edge_index, target=target,
    )  # fmt: skip


def memory(code: str, side: str) -> float:
    """Return by how much this process grows during a step, in MiB."""
    pair = pairs(code)[-1]
    if code == "csmpn":  # loads and compiles everything
        warm = torch.eye(6, 5)[None]
        lifted = lifted_inputs(hull_complex(warm))
        pair.modules["geomlib"].float()(pos=warm, **lifted).sum().backward()
    else:
        pair.modules["geomlib"].float()(
            *(torch.randn(1, 5, 3) for _ in range(2)), torch.ones(1, 5)
        ).sum().backward()
    step = pair.step(side, torch.float32)
    before = reset()
    step()
    return resident("VmHWM") - before


def pairs(code: str) -> list[Pair]:
    """Return what is compared; the last one is the training step."""
    torch.manual_seed(0)
    return [_hull()] if code == "csmpn" else [*_layers(), _nbody()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Beside the authors' own code.")
    parser.add_argument("code", choices=("cgenn", "csmpn"))
    parser.add_argument("path", type=Path, help="a clone of their repository")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", choices=SIDES, help="measure memory in this process, and nothing else")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sys.path.insert(0, str(given.path))
    torch.set_num_threads(1)
    if given.memory:
        print(memory(given.code, given.memory))
        return
    rows: list[dict[str, Any]] = []
    # Theirs keeps what it computed in float64, so other instances are timed.
    agreements = [pair.agree() for pair in pairs(given.code)]
    for pair, agreement in zip(pairs(given.code), agreements, strict=True):
        steps = {s: pair.step(s, torch.float32) for s in SIDES}
        for task, runs in (("forward", {s: pair.forward(s) for s in SIDES}), ("forward+backward", steps)):
            best = {name: min(column) for name, column in interleaved(runs, given.rounds).items()}
            row: dict[str, Any] = {"case": pair.case, "task": task}
            row |= {f"{k} ms": round(1e3 * v, 2) for k, v in best.items()}
            row["authors over geomlib"] = round(best["authors"] / best["geomlib"], 2)
            rows.append(row | ({"agreement": agreement} if task == "forward" else {}))
            print(row, flush=True)
    peaks: dict[str, list[float]] = {s: [] for s in SIDES}
    for _ in range(3):
        for side in SIDES:
            command = [sys.executable, __file__, given.code, str(given.path), "--memory", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[side].append(float(done.stdout.split()[-1]))
    peak = {f"{side} MiB": round(statistics.median(values), 1) for side, values in peaks.items()}
    peak["authors over geomlib"] = round(peak["authors MiB"] / peak["geomlib MiB"], 2)
    print(peak, flush=True)
    if given.out:
        about = machine(f"OMP_NUM_THREADS=1 python benchmarks/authors_code.py {given.code} CLONE")
        commit = subprocess.run(
            ["git", "-C", str(given.path), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        about["authors' commit"] = commit.stdout.strip()
        given.out.write_text(
            json.dumps({"about": about, "rows": rows, "peak of a step": peak}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
