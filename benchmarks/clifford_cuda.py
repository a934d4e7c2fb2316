"""Products and layers of multivectors on a CUDA card as a fraction of its limits, beside plain torch on the same card.

    pip install ".[cuda]"
    python benchmarks/clifford_cuda.py            # without a card: prints the limits only
    python benchmarks/clifford_cuda.py --cases "Cl(3,0) n-body" --repeats 50

Before anything is timed, value and gradients in float32 are compared with plain torch in float64. A limit is the longer of two
times: every number read and written once at 4.3 TB/s, and the counted arithmetic at 67 TFLOP/s (an H200, float32). S is
one tensor of features. Written to benchmarks/results/clifford_cuda_CARD.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.bench.card import PASSES, by_autograd, copy_speed, file_name, milliseconds
from geomlib.bench.cases import Disagreement
from geomlib.bench.results import machine
from geomlib.files import write_atomic
from geomlib.kernels.cuda.launcher import missing_device
from geomlib.kernels.dispatch import use_backend
from geomlib.kernels.geometric_product import weighted_gp
from geomlib.kernels.geometric_product.gates import grade_gate
from geomlib.kernels.geometric_product.plan import weighted_form
from geomlib.kernels.geometric_product.steerable import steerable_product

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc")
BANDWIDTH, FLOPS = 4.3e12, 67e12
#: Relative to the largest entry, float32 beside float64: value, gradients.
TOLERANCE = {"product": (1e-5, 1e-4), "gate": (1e-5, 1e-4), "layer": (1e-3, 1e-2)}


class Case(NamedTuple):
    """Rows of channels of multivectors."""

    signature: tuple[int, int, int]
    rows: int
    channels: int


CASES = {
    "Cl(3,0) n-body": Case((3, 0, 0), 2000, 28),
    "Cl(3,0) edges": Case((3, 0, 0), 65536, 64),
    "Cl(3,0) wide": Case((3, 0, 0), 4096, 512),
    "Cl(1,3)": Case((1, 3, 0), 80000, 32),
    "Cl(3,0,1)": Case((3, 0, 1), 8192, 32),
    "Cl(5,0) CSMPN": Case((5, 0, 0), 13000, 28),
    "Cl(4,1)": Case((4, 1, 0), 20000, 32),
}


class Work(NamedTuple):
    """How many tensors of features a pass moves at least, and its arithmetic."""

    tensors: float
    flops: float


def tensor_bytes(case: Case, size: int = 4) -> int:
    """Return S."""
    return 2 ** sum(case.signature) * case.rows * case.channels * size


def works(case: Case) -> dict[str, dict[str, Work]]:
    """Return what our kernels read and write, by function and pass; weights are small beside features.

    The layer is one matrix product for both images and one kernel; its derivative is one kernel, which computes the normalised
    factor again, two matrix products, and the sum of the two gradients of x.
    """
    alg = CliffordAlgebra(*case.signature)
    items = case.rows * case.channels
    entries, pairs = len(weighted_form(alg).entry), _pairs(alg)
    product, matrix = 2.0 * (entries + pairs) * items, 2.0 * 2 * case.channels * alg.size * items
    back = 2.0 * (2 * entries + 3 * pairs) * items
    return {
        "product": {
            "forward": Work(3, product),
            "backward": Work(5, back),
            "double backward": Work(8, 2 * back + product),
        },
        "gate": {"forward": Work(2, 6.0 * alg.size * items), "backward": Work(3, 12.0 * alg.size * items)},
        "layer": {
            "forward": Work(3 + 4, matrix + product),
            "backward": Work(6 + 3 + 3 + 3, 2 * matrix + back),
        },
    }


def _pairs(alg: CliffordAlgebra) -> int:
    """Return in how many ways a left component meets a weight."""
    entry = weighted_form(alg).entry
    return len({(int(i), int(p)) for _, i, _, p in entry})


def microseconds(case: Case, work: Work) -> float:
    """Return the limit."""
    return 1e6 * max(work.tensors * tensor_bytes(case) / BANDWIDTH, work.flops / FLOPS)


def floors(case: Case) -> dict[str, float]:
    """Return the microseconds of moving 2, 4, 5 and 11 tensors: whole layers as one to three kernels."""
    s = 1e6 * tensor_bytes(case) / BANDWIDTH
    names = {
        "forward, 1 kernel": 2,
        "backward, recompute": 4,
        "forward, 2 kernels": 5,
        "backward, 3 kernels": 11,
    }
    return {name: round(k * s, 2) for name, k in names.items()}


def limits(case: Case) -> dict[str, dict[str, float]]:
    """Return the limits of our kernels in microseconds, by function and pass."""
    return {f: {p: round(microseconds(case, w), 2) for p, w in by.items()} for f, by in works(case).items()}


def leaves_of(case: Case, name: str, rows: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    """Return random arguments of a function."""
    alg, g, c = CliffordAlgebra(*case.signature), torch.Generator().manual_seed(0), case.channels
    shapes: dict[str, list[tuple[int, ...]]] = {
        "product": [(rows, c, alg.size)] * 2 + [(c, len(alg.paths))],
        "gate": [(rows, c, alg.size), (c, alg.n + 1), (c, alg.n + 1)],
        "layer": [(rows, c, alg.size), (c, len(alg.paths)), (c, c, alg.n + 1), (c, alg.n + 1), (c, c, alg.n + 1), (1, c, 1)],
    }  # fmt: skip
    scales = [1.0] + [c**-0.5 if len(s) == 3 and s[0] == c == s[1] else 1.0 for s in shapes[name][1:]]
    found = (k * torch.randn(s, generator=g) for k, s in zip(scales, shapes[name], strict=True))
    return [t.to(device, dtype).requires_grad_() for t in found]


def function_of(case: Case, name: str) -> Callable[..., Tensor]:
    """Return a function of :func:`leaves_of`."""
    alg = CliffordAlgebra(*case.signature)
    if name == "product":
        return lambda x, y, w: weighted_gp(x, y, w, alg)
    if name == "gate":
        return lambda x, a, b: grade_gate(x, a, b, alg)
    return lambda x, w, right, a, left, bias: steerable_product(x, w, right, alg, a=a, left=left, bias=bias)


def check(case: Case, name: str, device: str, rows: int = 500) -> dict[str, float]:
    """Return the largest deviations of value and gradients from plain torch in float64.

    Raises:
        Disagreement: they are too large.
    """
    function, leaves = function_of(case, name), leaves_of(case, name, rows, torch.float32, device)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    out = function(*leaves)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(device)
    found = [out.detach(), *torch.autograd.grad(out, leaves, g)]
    with use_backend("torch"):
        expected = function(*exact)
        wanted = [expected.detach(), *torch.autograd.grad(expected, exact, g.double())]
    errors = [float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)]
    value, gradient = errors[0], max(errors[1:])
    if not (value <= TOLERANCE[name][0] and gradient <= TOLERANCE[name][1]):
        raise Disagreement(f"{name}, {case}: value off by {value:.1e}, gradients by {gradient:.1e}.")
    return {"value": value, "gradients": gradient}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Check and time all functions of one case."""
    case = CASES[name]
    found: dict[str, Any] = {"case": name, "limit us": limits(case), "floors us": floors(case)}
    for function in works(case):
        errors = check(case, function, "cuda")
        leaves = leaves_of(case, function, case.rows, torch.float32, "cuda")
        times: dict[str, dict[str, float]] = {}
        for who, backend in (("kernel", None), ("torch", "torch")):
            with use_backend(backend or "auto"):
                try:
                    runs = by_autograd(function_of(case, function), leaves)
                    times[who] = {p: round(1e3 * milliseconds(runs[p], repeats), 2) for p in PASSES}
                except torch.cuda.OutOfMemoryError:
                    if who == "kernel":
                        raise
            torch.cuda.empty_cache()
        fractions = {p: round(t / times["kernel"][p], 3) for p, t in found["limit us"][function].items()}
        found[function] = {"deviation": errors, "us": times, "fraction of limit": fractions}
    return found


def about(command: str) -> dict[str, Any]:
    """Return what ran where."""
    card = {"card": torch.cuda.get_device_name(), "copy TB/s": round(copy_speed(), 3)}
    return {**machine(command, PACKAGES), **card}


def main() -> int:
    parser = argparse.ArgumentParser(description="Multivectors on a CUDA card as a fraction of its limits.")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    missing = missing_device()
    if missing is not None:
        for name in arguments.cases:
            print(
                json.dumps({"case": name, "limit us": limits(CASES[name]), "floors us": floors(CASES[name])})
            )
        print(f"nothing measured: {missing}")
        return 1
    found: list[dict[str, Any]] = []
    for name in arguments.cases:
        found.append(measure(name, arguments.repeats))
        print(json.dumps(found[-1]), flush=True)
    out = arguments.out or RESULTS / file_name("clifford_cuda", torch.cuda.get_device_name())
    result = {"about": about("python benchmarks/clifford_cuda.py"), "rows": found}
    write_atomic(out, [(json.dumps(result, indent=1) + "\n").encode()])
    print(out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
