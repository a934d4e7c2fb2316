"""Print spectral functions of small symmetric matrices as CUDA C++: decomposition, function and gradient in one kernel each.

Up to 4 rows a thread has a matrix to itself, in registers. Up to 32 rows a warp has one in shared memory: in each round of a
sweep of Jacobi's method it rotates half as many disjoint pairs of rows and columns as there are rows, pair against pair, so
that no two lanes touch one entry. Nothing is compared between matrices, and there are no atomics: results repeat bitwise.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from geomlib.kernels.spectral.cuda_pieces import (
    ALONE_DERIVATIVE,
    ALONE_JACOBI,
    ALONE_VALUES,
    COMMON,
    FUNCTIONS,
    PAIRS,
    SCALAR,
    SWEEPS,
    WARP_DERIVATIVE,
    WARP_JACOBI,
    WARP_VALUES,
)

__all__ = ["ALONE", "KINDS", "LARGEST", "SpectralKernel", "print_spectral"]

#: Arguments of every kernel, inputs then outputs; "e" is read and "out" written in the type of the matrices.
KINDS = {
    "forward": (("e",), ("out", "w", "v")),
    "eigh": (("e",), ("w", "v")),
    "derivative": (("w", "v", "e"), ("out",)),
}
#: Rows up to which a thread serves a matrix, and a warp does.
ALONE, LARGEST = 4, 32

_SHARED = 48 << 10


class SpectralKernel(NamedTuple):
    """One of ``KINDS`` for a function, the rows of the matrices, and the type of the arithmetic."""

    kind: str
    function: str
    n: int
    real: torch.dtype

    @property
    def name(self) -> str:
        """Name of the function."""
        return f"spectral_{self.kind}_{self.function}_{self.n}"

    @property
    def matrices(self) -> int:
        """Matrices of a block: those of its warps have to fit its shared memory."""
        if self.n <= ALONE:
            return 128
        return max(1, min(4, _SHARED // _bytes(self)))

    @property
    def block(self) -> int:
        """Threads of a block."""
        return self.matrices if self.n <= ALONE else 32 * self.matrices


def _bytes(kernel: SpectralKernel) -> int:
    """Return the shared memory of a matrix: two or three arrays, numbers of rotations and places."""
    even = kernel.n + kernel.n % 2
    numbers = (3 if kernel.kind == "derivative" else 2) * even * (even + 1) + 3 * LARGEST
    return numbers * kernel.real.itemsize + 4 * LARGEST


def print_spectral(kernel: SpectralKernel, dtype: torch.dtype, resident: int | None = None) -> str:
    """Return the source of a kernel for matrices of one type.

    Args:
        kernel: what to print.
        dtype: of the matrices, float32 or float64.
        resident: blocks that a multiprocessor shall hold at once; None leaves it to the assembler.

    >>> kernel = SpectralKernel("derivative", "log", 3, torch.float64)
    >>> "spectral_derivative_log_3(" in print_spectral(kernel, torch.float32)
    True
    """
    n, even = kernel.n, kernel.n + kernel.n % 2
    types = {torch.float32: "float", torch.float64: "double"}
    expression, body = FUNCTIONS[kernel.function]
    defines = {
        "N": n, "M": even, "H": even // 2, "LD": even + 1, "SWEEPS": SWEEPS, "VALUE": expression, "DIFFERENCE": body,
        "HALF": "((real_t)0.5)", "EPS": f"((real_t){torch.finfo(kernel.real).eps!r})",
        "NONE": "((real_t)0 * (1 / (real_t)0))",
    }  # fmt: skip
    inputs, outputs = KINDS[kernel.kind]
    arguments = [_argument(name, written=False) for name in inputs] + [
        _argument(name, written=True) for name in outputs
    ]
    bounds = f"{kernel.block}" if resident is None else f"{kernel.block}, {resident}"
    lines = [
        f"typedef {types[dtype]} io_t;",
        f"typedef {types[kernel.real]} real_t;",
        *(f"#define {name} {text}" for name, text in defines.items()),
        *COMMON.splitlines(),
        *SCALAR.splitlines(),
        *(PAIRS.splitlines() if n > ALONE else ()),
        f'extern "C" __global__ void __launch_bounds__({bounds}) {kernel.name}(',
        "    " + ", ".join([*arguments, "const long long bits", "const long long count"]) + ")",
        "{",
        *(f"    {line}" for line in _body(kernel)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _argument(name: str, *, written: bool) -> str:
    kind = "io_t" if name in ("e", "out") else "real_t"
    return f"{'' if written else 'const '}{kind}* __restrict__ {name}_all"


def _body(kernel: SpectralKernel) -> list[str]:
    alone, derivative = kernel.n <= ALONE, kernel.kind == "derivative"
    lines = ["const real_t t = number(bits);"]
    if alone:
        lines += ["const long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;"]
    else:
        arrays = 3 if derivative else 2
        lines += [
            f"__shared__ real_t room[{kernel.matrices}][{arrays}][M * LD];",
            "const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;",
            f"const long long item = (long long)blockIdx.x * {kernel.matrices} + warp;",
        ]
        if not derivative:
            lines += [
                f"__shared__ real_t turn[{kernel.matrices}][3][32];",
                f"__shared__ int where[{kernel.matrices}][32];",
            ]
    lines.append("if (item >= count) return;")
    inputs, outputs = KINDS[kernel.kind]
    for name in (*inputs, *outputs):
        kind, const = "io_t" if name in ("e", "out") else "real_t", "const " if name in inputs else ""
        lines.append(f"{const}{kind}* const {name} = {name}_all + item * {'N' if name == 'w' else 'N * N'};")
    if derivative:
        parts = [ALONE_DERIVATIVE if alone else WARP_DERIVATIVE]
    else:
        parts = [ALONE_JACOBI if alone else WARP_JACOBI]
        if kernel.kind == "forward":
            parts.append(ALONE_VALUES if alone else WARP_VALUES)
    return [*lines, *(line for part in parts for line in part.splitlines())]
