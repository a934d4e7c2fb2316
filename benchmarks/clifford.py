"""Products and layers of multivectors beside dense einsums over the Cayley tensor, one thread, one process, in turn (A B A B).

    OMP_NUM_THREADS=1 python benchmarks/clifford.py --out benchmarks/results/clifford_cpu.json

The dense layers are written here from the formulas, as the papers' code computes them; before anything is timed they are
checked against our layers, which the tests check against the outputs of the reference code. Times are process CPU times,
float32; a ratio is that of the minima over all rounds, the median that of the ratios of each round.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.products import dense_table
from geomlib.bench.results import machine
from geomlib.bench.timing import interleaved, ratios
from geomlib.kernels.geometric_product import geometric_product
from geomlib.layers import (
    CEMLP,
    MVGeometricProduct,
    MVGeometricProductFC,
    MVLinear,
    MVNormalization,
    MVSiLU,
)

BATCH = {2: 32768, 3: 32768, 4: 16384, 5: 8192, 6: 2048, 7: 512, 8: 128}


def path_tensor(alg: CliffordAlgebra, w: Tensor) -> Tensor:
    """Return the Cayley tensor weighted by path, (..., left, out, right)."""
    g = torch.tensor(alg.grades)
    table = torch.zeros(alg.n + 1, alg.n + 1, alg.n + 1, dtype=torch.long)
    for p, (i, j, k) in enumerate(alg.paths):
        table[i, j, k] = p
    return dense_table(alg.metric, "gp").to(w) * w[..., table[g[:, None, None], g[None, :, None], g]]


class Dense(nn.Module):
    """The layers as dense contractions; the parameters are those of ``layer``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer returns."""
        return self.run(self.layer, x)

    def run(self, m: Any, x: Tensor) -> Tensor:
        """Return what the layer ``m`` returns."""
        alg = m.algebra
        if isinstance(m, MVLinear):
            if m.weight.dim() == 2:
                y = torch.einsum("bij,oi->boj", x, m.weight)
            else:
                weight = torch.repeat_interleave(m.weight, torch.tensor(alg.grade_sizes), -1)
                y = torch.einsum("bij,oij->boj", x, weight)
            return y if m.bias is None else y + nn.functional.pad(m.bias, (0, alg.size - 1))
        if isinstance(m, MVSiLU):
            u = torch.cat([x[..., :1], torch.stack(self.squares(alg, x)[1:], -1)], -1)
            gate = torch.sigmoid(m.a * u + m.b)
            return torch.repeat_interleave(gate, torch.tensor(alg.grade_sizes), -1) * x
        if isinstance(m, MVNormalization):
            norms = torch.stack([(q.square() + 1e-16) ** 0.25 for q in self.squares(alg, x)], -1)
            norms = torch.sigmoid(m.a) * (norms - 1) + 1 + 1e-6
            return x / torch.repeat_interleave(norms, torch.tensor(alg.grade_sizes), -1)
        if isinstance(m, CEMLP):
            for block in m.layers:
                linear, gate, product, norm = cast(Any, block)
                x = self.run(product, self.run(gate, self.run(linear, x)))
                q = reduce(torch.add, self.squares(alg, x))
                x = norm.a[..., None] * x / (((q.square() + 1e-16) ** 0.25).mean(-1)[:, None, None] + 1e-6)
            return x
        y = self.run(m.normalization, self.run(m.linear_right, x))
        equation = "bci,ocijk,bck->boj" if isinstance(m, MVGeometricProductFC) else "bci,cijk,bck->bcj"
        z = torch.einsum(equation, x, path_tensor(alg, m.weight), y)
        return (self.run(m.linear_left, x) + z) / math.sqrt(2)

    @staticmethod
    def squares(alg: CliffordAlgebra, x: Tensor) -> list[Tensor]:
        """Return the quadratic form of every grade by a dense contraction over its blades."""
        found = []
        for part in alg.grade_slices:
            table = dense_table(alg.metric, "gp").to(x)[part, 0, part]
            signs = alg.reverse(torch.ones(alg.size, dtype=x.dtype))[part]
            found.append(torch.einsum("...i,ik,...k->...", signs * x[..., part], table, x[..., part]))
        return found


def tasks(
    f: Callable[..., Tensor], inputs: Sequence[Tensor], leaves: Sequence[Tensor]
) -> dict[str, Callable[[], Any]]:
    def forward() -> None:
        with torch.no_grad():
            f(*inputs)

    with torch.no_grad():
        cotangent = torch.ones_like(f(*inputs))

    def both() -> None:
        torch.autograd.grad(f(*inputs), leaves, cotangent)

    return {"forward": forward, "forward+backward": both}


def compare(name: str, ours: Any, others: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    found = []
    for task in ours:
        times = interleaved({"geomlib": ours[task], **{k: v[task] for k, v in others.items()}}, rounds)
        best = {k: min(column) for k, column in times.items()}
        row: dict[str, Any] = {"case": name, "task": task}
        row |= {f"{k} ms": round(1e3 * v, 3) for k, v in best.items()}
        row |= {f"over {k}": round(best[k] / best["geomlib"], 2) for k in others}
        row |= {
            f"median over {k}": round(v, 2) for k, v in ratios(times, "geomlib").items() if k != "geomlib"
        }
        print("  ".join(f"{k}: {v}" for k, v in row.items()), flush=True)
        found.append(row)
    return found


def products(generators: list[int], rounds: int) -> list[dict[str, Any]]:
    rows = []
    for n in generators:
        alg = CliffordAlgebra(n)
        x, y = (torch.randn(BATCH[n], alg.size, requires_grad=True) for _ in range(2))
        table = dense_table(alg.metric, "gp").float()

        def dense(a: Tensor, b: Tensor, table: Tensor = table) -> Tensor:
            return torch.einsum("...i,ijk,...k->...j", a, table, b)

        functions = {
            "geomlib": lambda a, b, alg=alg: geometric_product(a, b, alg, backend="cpu"),
            "dense": dense,
            "torch table": lambda a, b, alg=alg: alg.gp(a, b, method="table"),
            "torch matrix": lambda a, b, alg=alg: alg.gp(a, b, method="matrix"),
        }
        for f in functions.values():
            torch.testing.assert_close(f(x, y), dense(x, y), rtol=1e-4, atol=1e-4)
        timed = {k: tasks(f, [x, y], [x, y]) for k, f in functions.items()}
        rows += compare(f"product n={n} batch {BATCH[n]}", timed.pop("geomlib"), timed, rounds)
    return rows


def layers(rounds: int) -> list[dict[str, Any]]:
    three, five = CliffordAlgebra(3), CliffordAlgebra(5)
    cases = {
        "MVLinear n=3 2000x28": (MVLinear(three, 28, 28), (2000, 28, 8)),
        "MVSiLU n=3 2000x28": (MVSiLU(three, 28), (2000, 28, 8)),
        "MVSiLU n=5 256x32": (MVSiLU(five, 32), (256, 32, 32)),
        "MVGeometricProduct n=3 2000x28": (MVGeometricProduct(three, 28), (2000, 28, 8)),
        "MVGeometricProduct n=5 256x32": (MVGeometricProduct(five, 32), (256, 32, 32)),
        "MVGeometricProductFC n=3 500x28": (MVGeometricProductFC(three, 28, 28), (500, 28, 8)),
        "MVGeometricProductFC n=5 16x16": (MVGeometricProductFC(five, 16, 16), (16, 16, 32)),
        "CEMLP n=3 2000x28": (CEMLP(three, 28, 28, 28, safe=False), (2000, 28, 8)),
    }
    rows = []
    for name, (layer, shape) in cases.items():
        x = torch.randn(shape, requires_grad=True)
        dense = Dense(layer)
        torch.testing.assert_close(layer(x), dense(x), rtol=1e-3, atol=1e-3)
        leaves = [x, *layer.parameters()]
        rows += compare(name, tasks(layer, [x], leaves), {"dense": tasks(dense, [x], leaves)}, rounds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Products and layers of multivectors beside dense einsums.")
    parser.add_argument("--generators", nargs="+", type=int, default=list(BATCH), choices=list(BATCH))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = products(arguments.generators, arguments.rounds) + layers(arguments.rounds)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/clifford.py")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
