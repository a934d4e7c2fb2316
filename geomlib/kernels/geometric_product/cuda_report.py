"""Look at the generated kernels of an algebra: their text, and what the assembler says of them. No card is needed."""

from __future__ import annotations

from typing import NamedTuple

import torch

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.errors import InvalidInput
from geomlib.kernels.cuda.build import build
from geomlib.kernels.cuda.source import DTYPES
from geomlib.kernels.cuda.staged import StagedKernel
from geomlib.kernels.cuda.staged_source import print_staged
from geomlib.kernels.geometric_product import cuda
from geomlib.kernels.geometric_product.cuda_layer_programs import Product, gate_kernel, product_kernel
from geomlib.kernels.geometric_product.cuda_programs import Task
from geomlib.kernels.geometric_product.gates import Gate
from geomlib.kernels.geometric_product.plan import weighted_form

__all__ = ["PASSES", "StagedLine", "kernels_of", "report", "sources"]

#: What value, gradients and gradients of gradients of a weighted product multiply; see ``cuda_programs.Term``.
PASSES: dict[str, tuple[Task, ...]] = {
    "forward": (("g", (("", "x", "y", "w"),)),),
    "backward": (("x", (("g", "", "y", "w"),)), ("y", (("g", "x", "", "w"),)), ("w", (("g", "x", "y", ""),))),
    "double backward": (
        ("g", (("", "tx", "y", "w"), ("", "x", "ty", "w"), ("", "x", "y", "tw"))),
        ("x", (("g", "", "ty", "w"), ("g", "", "y", "tw"))),
        ("y", (("g", "tx", "", "w"), ("g", "x", "", "tw"))),
        ("w", (("g", "tx", "y", ""), ("g", "x", "ty", ""))),
    ),
}


class StagedLine(NamedTuple):
    """One kernel: which pass, items of a tile, bytes of shared memory, registers of a thread, bytes spilled and of stack."""

    kernel: str
    items: int
    shared: int
    registers: int
    spilled: int
    stack: int


def kernels_of(alg: CliffordAlgebra, dtype: torch.dtype = torch.float32) -> dict[str, StagedKernel]:
    """Return the kernels of weighted products, gates and steerable products of an algebra by pass.

    Args:
        alg: the algebra.
        dtype: of the features.

    Raises:
        InvalidInput: an algebra, or a type, without kernels.
    """
    if dtype not in DTYPES:
        raise InvalidInput(f"kernels_of: dtype {dtype}, expected one of {', '.join(map(str, DTYPES))}.")
    reason = cuda.too_many_blades(alg.size) or cuda.refusal(weighted_form(alg), dtype)
    if reason is not None:
        raise InvalidInput(f"kernels_of: {reason}. {alg} runs on a card by torch.")
    found: dict[str, StagedKernel] = {}
    for label, tasks in PASSES.items():
        for k, (_, kernel) in enumerate(
            cuda.kernels(weighted_form(alg), tasks, cuda.arithmetic(dtype).itemsize)
        ):
            found[f"{label} {k + 1}" if k else label] = kernel
    if dtype not in (torch.float32, torch.float64):
        return found
    gate, product = Gate(alg, "sigmoid", False), Product(alg, True, True)
    layers = {"gate": (gate_kernel, gate), "steerable product": (product_kernel, product)}
    for label, (make, kind) in layers.items():
        for backward in (False, True):
            kernel, served = make(kind, dtype, backward), make(kind, dtype, True)
            if kernel is not None and served is not None:
                found[f"{label}, backward" if backward else label] = kernel
    return found


def sources(alg: CliffordAlgebra, dtype: torch.dtype = torch.float32) -> dict[str, str]:
    """Return the CUDA C++ of every kernel of an algebra.

    >>> "__syncthreads();" in sources(CliffordAlgebra(2))["forward"]
    True
    """
    return {name: print_staged(kernel, dtype) for name, kernel in kernels_of(alg, dtype).items()}


def report(alg: CliffordAlgebra, dtype: torch.dtype = torch.float32, arch: str = "sm_90") -> list[StagedLine]:
    """Compile every kernel of an algebra for an architecture and return what the assembler says.

    Raises:
        InvalidInput: an algebra without kernels.
        MissingDependency: the packages of the ``[cuda]`` extra are not installed.
    """
    lines: list[StagedLine] = []
    for name, kernel in kernels_of(alg, dtype).items():
        used = build(kernel, dtype, arch, text=print_staged).usage[kernel.name]
        shared = kernel.numbers * cuda.arithmetic(dtype).itemsize
        spilled = used.spill_stores + used.spill_loads
        lines.append(StagedLine(name, kernel.lanes, shared, used.registers, spilled, used.stack))
    return lines
