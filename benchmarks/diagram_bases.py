"""Time to a basis of equivariant maps: diagrams beside EMLP, e3nn and a numeric null space, one thread.

    OMP_NUM_THREADS=1 python benchmarks/diagram_bases.py --emlp /path/to/venv/bin/python \
        --out benchmarks/results/diagram_bases_cpu.json

All give a basis as a dense array, (D, n^l, n^k); what a layer of geomlib needs is the list of diagrams alone, which is timed
apart. Times are process CPU times. Ours is the minimum over cold lists, nothing kept; the others are one cold call in a
process that has made a smaller basis before, so that imports and first compilations do not count.

EMLP is M. Finzi, M. Welling, A. G. Wilson, "A practical method for constructing equivariant multilayer perceptrons for
arbitrary matrix groups", arXiv 2104.09459. It runs in an environment of its own, ``--emlp``; without it the times of our
specification stand in, marked. The null space is that of the constraints of generators (a basis of the Lie algebra, and
discrete elements), by an SVD: EMLP's equations without its Krylov method. Our span is checked against
the null space, our number against e3nn's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomlib.algebra.diagrams import (
    SO,
    O,
    S,
    Sp,
    TensorGroup,
    bases,
    diagrams,
    dim_hom,
    matchings,
    partitions,
    tensor_group,
)
from geomlib.algebra.groups import parse_group
from geomlib.bench.results import machine

#: Group, k, l: those of the specification's table, and a few more.
CASES = [
    ("S_5", 2, 2), ("S_10", 2, 2), ("S_5", 3, 2), ("S_3", 3, 3), ("A_4", 2, 2), ("O(3)", 2, 2), ("O(5)", 2, 2),
    ("O(6)", 2, 2), ("O(8)", 2, 2), ("O(3)", 3, 3), ("SO(3)", 3, 2), ("Sp(4)", 2, 2),
]  # fmt: skip
#: Seconds of EMLP in our specification, measured on another machine; None: no result after 100 s.
PUBLISHED = {
    ("S_5", 2, 2): 0.59, ("S_10", 2, 2): 51.0, ("S_5", 3, 2): 33.0, ("O(5)", 2, 2): 10.0, ("O(6)", 2, 2): None,
    ("O(8)", 2, 2): 36.0, ("O(3)", 3, 3): 1.9, ("Sp(4)", 2, 2): 0.97,
}  # fmt: skip

ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "JAX_PLATFORM_NAME": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}  # fmt: skip
EMLP = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[5]), int(sys.argv[5]) + 5))
import emlp
from emlp.groups import O, S, SO, Sp
from emlp.reps import T
family, n, k, l = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
make = {"S": S, "O": O, "SO": SO, "Sp": lambda n: Sp(n // 2)}[family]
(T(1) >> T(1))(make(2)).equivariant_basis()
rep = (T(k) >> T(l))(make(n))
start = time.process_time()
basis = rep.equivariant_basis()
print(json.dumps([time.process_time() - start, list(basis.shape)]))
"""


def forget() -> None:
    """Empty everything that is kept between calls."""
    for kept in (bases._listed, bases._even_rows, partitions.marked_partitions, partitions.set_partitions):
        kept.cache_clear()
    matchings.paired_rows.cache_clear()
    matchings.perfect_matchings.cache_clear()


def shortest(call: Callable[[], Any], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        forget()
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def power(a: Tensor, k: int) -> Tensor:
    return reduce(torch.kron, [a] * k, torch.ones(1, 1, dtype=a.dtype))


def along(x: Tensor, k: int) -> Tensor:
    """Return the action of an element of the Lie algebra on tensors of order k."""
    n = len(x)
    made = torch.zeros(n**k, n**k, dtype=x.dtype)
    for i in range(k):
        left, right = torch.eye(n**i, dtype=x.dtype), torch.eye(n ** (k - 1 - i), dtype=x.dtype)
        made += torch.kron(torch.kron(left, x), right)
    return made


def null_space(group: TensorGroup, k: int, l: int) -> Tensor:  # (D, n^l n^k)
    """Return an orthonormal basis of the equivariant maps from the constraints of generators."""
    acting, n = parse_group(group.name), group.size
    if group.kind in ("S", "A"):
        acting = acting.sized(n)
    eye_l, eye_k = torch.eye(n**l, dtype=torch.float64), torch.eye(n**k, dtype=torch.float64)
    rows: list[Tensor] = []
    for flow in acting.generators():
        x = flow.linear
        rows.append(torch.kron(along(x, l), eye_k) - torch.kron(eye_l, along(x, k).T.contiguous()))
    for g in acting.discrete(torch.Generator()):
        a = torch.eye(n, dtype=torch.float64)[g.nodes] if g.nodes is not None else g.linear
        rows.append(torch.kron(power(a, l), eye_k) - torch.kron(eye_l, power(a, k).T.contiguous()))
    _, values, vectors = torch.linalg.svd(torch.cat(rows), full_matrices=False)
    return vectors[int((values > 1e-9 * values[0]).sum()) :]


def dense(group: TensorGroup, k: int, l: int) -> Tensor:  # (D, n^l, n^k)
    return torch.stack([d.matrix(group) for d in diagrams(group, k, l)])


def e3nn_seconds(m: int) -> tuple[float, int]:
    """Return the time that e3nn takes for the invariants of m vectors under rotations, and their number."""
    import e3nn.o3 as o3

    o3.ReducedTensorProducts("ij", i="1e", j="1e", filter_ir_out=["0e"])
    letters = "ijklmnop"[:m]
    start = time.process_time()
    found = o3.ReducedTensorProducts(letters, **dict.fromkeys(letters, "1e"), filter_ir_out=["0e"])
    return time.process_time() - start, found.irreps_out.dim


def emlp(python: str | None, name: str, k: int, l: int, limit: int) -> dict[str, Any]:
    group = tensor_group(name)
    known = (name, k, l) in PUBLISHED
    expected = PUBLISHED.get((name, k, l), 0.0)
    if python is None or expected is None or expected > limit or group.kind not in ("S", "O", "SO", "Sp"):
        return {"emlp_s": PUBLISHED.get((name, k, l)), "emlp": "specification" if known else "not run"}
    words = [python, "-c", EMLP, group.kind, str(group.size), str(k), str(l), str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | ONE_THREAD, check=False)
    if done.returncode == -signal.SIGXCPU:
        return {"emlp_s": None, "emlp": f"no result after {limit} s of CPU"}
    if done.returncode:
        return {"emlp_s": None, "emlp": (done.stderr.strip().splitlines() or ["failed"])[-1][:200]}
    seconds, shape = json.loads(done.stdout.strip().splitlines()[-1])
    return {"emlp_s": round(seconds, 4), "emlp": "measured", "emlp_dim": shape[-1]}


def row(name: str, k: int, l: int, rounds: int, python: str | None, limit: int) -> dict[str, Any]:
    group = tensor_group(name)
    n, dim = group.size, dim_hom(group, k, l)
    found: dict[str, Any] = {"group": name, "k": k, "l": l, "dim": dim}
    found["list_s"] = shortest(lambda: diagrams(group, k, l), rounds)
    found["dense_s"] = shortest(lambda: dense(group, k, l), rounds)
    if n ** (k + l) <= 800:
        start = time.process_time()
        null = null_space(group, k, l)
        found["null_space_s"] = round(time.process_time() - start, 4)
        q = dense(group, k, l).flatten(1)
        if len(null) != dim or float((q - q @ null.T @ null).abs().amax()) > 1e-8:
            raise SystemExit(
                f"{name}, {k} -> {l}: the null space of {len(null)} maps is not our span of {dim}."
            )
    found |= emlp(python, name, k, l, limit)
    for other in ("emlp_s", "null_space_s"):
        if found.get(other):
            found[f"{other.removesuffix('_s')}_over_list"] = round(found[other] / found["list_s"])
            found[f"{other.removesuffix('_s')}_over_dense"] = round(found[other] / found["dense_s"])
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to a basis of equivariant maps.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--emlp", help="the Python of an environment that has emlp")
    parser.add_argument(
        "--limit",
        type=int,
        default=100,
        help="CPU seconds for one basis of EMLP; known longer ones are quoted",
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(*case, arguments.rounds, arguments.emlp, arguments.limit) for case in CASES]
    theirs: list[dict[str, Any]] = []
    for m in range(2, 7):
        k, l = m // 2, m - m // 2
        seconds, dim = e3nn_seconds(m)
        if dim != dim_hom(SO(3), k, l):
            raise SystemExit(f"e3nn finds {dim} invariants of {m} vectors, not {dim_hom(SO(3), k, l)}.")
        ours = shortest(lambda k=k, l=l: dense(SO(3), k, l), arguments.rounds)
        made = {"group": "SO(3)", "m": m, "dim": dim, "e3nn_s": round(seconds, 4), "dense_s": ours}
        theirs.append(made | {"e3nn_over_dense": round(seconds / ours)})
        print(theirs[-1], flush=True)
    setup: list[dict[str, Any]] = []
    for group in (
        S(6),
        S(10**6),
        tensor_group("A_6"),
        O(10**3),
        tensor_group("SO(2)"),
        tensor_group("SO(3)"),
        Sp(10**3),
    ):
        for k, l in ((2, 2), (3, 2), (3, 3)):
            seconds = shortest(lambda g=group, k=k, l=l: diagrams(g, k, l), arguments.rounds)
            setup.append(
                {"group": str(group), "k": k, "l": l, "dim": dim_hom(group, k, l), "list_s": seconds}
            )
    print("slowest list up to six legs:", max(setup, key=lambda r: r["list_s"]), flush=True)
    if arguments.out:
        about = machine("OMP_NUM_THREADS=1 python benchmarks/diagram_bases.py --emlp PYTHON --out ...")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"about": about, "rows": rows, "e3nn": theirs, "setup": setup}, indent=1)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
