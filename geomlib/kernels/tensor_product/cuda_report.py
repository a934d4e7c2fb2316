"""Look at the generated kernels of a product: their text, and what the assembler says of them. No card is needed."""

from __future__ import annotations

from typing import NamedTuple

import torch

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import InvalidInput
from geomlib.kernels.cuda.build import build
from geomlib.kernels.cuda.program import Kernel
from geomlib.kernels.cuda.source import DTYPES, print_kernel
from geomlib.kernels.tensor_product import cuda
from geomlib.kernels.tensor_product.cuda_programs import Term
from geomlib.kernels.tensor_product.plan import plan_of

__all__ = ["PASSES", "Line", "kernels_of", "report", "sources"]

#: What each pass multiplies when nothing is absent.
PASSES: dict[str, tuple[str, tuple[tuple[Term, ...], ...]]] = {
    "forward": ("value", ((("a", "y", "w"),),)),
    "gradient of x alone": ("features", ((("g", "y", "w"),),)),
    "backward": ("pulls", ((("a", "y", ""),), (("a", "", "w"),), (("", "y", "w"),))),
    "double backward": ("value", ((("ta", "y", "w"), ("a", "ty", "w"), ("a", "y", "tw")),)),
    "second gradient of x alone": ("features", ((("g", "ty", "w"), ("g", "y", "tw")),)),
    "second gradients": (
        "pulls",
        (
            (("ta", "y", ""), ("a", "ty", "")),
            (("ta", "", "w"), ("a", "", "tw")),
            (("", "ty", "w"), ("", "y", "tw")),
        ),
    ),
}


class Line(NamedTuple):
    """One kernel: which pass, how many programs, threads of a block, registers of a thread, bytes spilled and of stack."""

    kernel: str
    programs: int
    block: int
    registers: int
    spilled: int
    stack: int


def kernels_of(
    spec: ProductSpec, dtype: torch.dtype = torch.float32, shared: bool = False
) -> dict[str, Kernel]:
    """Return the kernels of a product by pass.

    Args:
        spec: the product.
        dtype: of the features.
        shared: all rows have the same weights.

    Raises:
        InvalidInput: a product, or a type, without kernels.
    """
    plan, reason = plan_of(spec), cuda.refusal(spec)
    if plan is None or reason is not None:
        raise InvalidInput(f"kernels_of: {reason}. It runs on a card by torch.")
    if dtype not in DTYPES:
        raise InvalidInput(f"kernels_of: dtype {dtype}, expected one of {', '.join(map(str, DTYPES))}.")
    size = 8 if dtype == torch.float64 else 4
    found: dict[str, Kernel] = {}
    for name, (kind, terms) in PASSES.items():
        kernel, add = cuda.kernels(plan, kind, terms, size, shared)
        found[name] = kernel
        if add is not None:
            found["messages added up"] = add
    return {name: kernel for name, kernel in found.items() if kernel.programs}


def sources(spec: ProductSpec, dtype: torch.dtype = torch.float32, shared: bool = False) -> dict[str, str]:
    """Return the CUDA C++ of every kernel of a product.

    >>> from geomlib.algebra.irreps.products import ProductSpec
    >>> spec = ProductSpec.from_instructions("8x1o", "1o", "8x0e", [(0, 0, 0, "uvu", True)])
    >>> "sum0 = fma(" in sources(spec)["forward"]
    True
    """
    return {name: print_kernel(k, dtype) for name, k in kernels_of(spec, dtype, shared).items()}


def report(
    spec: ProductSpec, dtype: torch.dtype = torch.float32, arch: str = "sm_90", shared: bool = False
) -> list[Line]:
    """Compile every kernel of a product for an architecture and return what the assembler says.

    Raises:
        InvalidInput: a product without kernels.
        MissingDependency: the packages of the ``[cuda]`` extra are not installed.
    """
    lines = []
    for name, kernel in kernels_of(spec, dtype, shared).items():
        used = build(kernel, dtype, arch).usage[kernel.name]
        spilled = used.spill_stores + used.spill_loads
        lines.append(Line(name, len(kernel.programs), kernel.block, used.registers, spilled, used.stack))
    return lines
