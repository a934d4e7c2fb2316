"""Print kernels that work item by item as CUDA C++; see :mod:`.staged`.

Every argument is 64 bits wide. No number is written by two threads, there are no atomics, and results repeat bitwise.
"""

from __future__ import annotations

import torch

from geomlib.kernels.cuda.program import Fma, Load, Mul, Operand, Store
from geomlib.kernels.cuda.source import DTYPES, preamble
from geomlib.kernels.cuda.staged import (
    Accumulate,
    Call,
    Flush,
    Part,
    Places,
    StagedKernel,
    StagedStatement,
    pitch,
    places,
)

__all__ = ["FUNCTIONS", "PARTS", "SUM_COLUMNS", "SUM_NAME", "print_partial_sum", "print_staged"]

#: The text of every function that a program may call; ``real`` stands for a conversion to the type of the arithmetic.
FUNCTIONS = {
    "sigmoid": "real(1) / (real(1) + exp(-({0})))",
    "root": "sqrt(hypot({0}, real(1e-8)))",
    "reciprocal": "real(1) / ({0})",
    "ratio": "({0}) / ({1})",
    "clamp": "(({0}) < -({1}) ? -({1}) : ({0}) > ({1}) ? ({1}) : ({0}))",
    "normal": "real(0.5) * erfc(({0}) * real(-0.70710678118654752440))",
    "bell": "exp(real(-0.5) * ({0}) * ({0})) * real(0.39894228040143267794)",
    "kept": "(({1}) >= -({2}) && ({1}) <= ({2}) ? ({0}) : real(0))",
    "square": "square({0})",
}

#: Threads of a block of the second stage: columns side by side, and how many threads share a column's partial sums.
SUM_COLUMNS, PARTS = 32, 8
SUM_NAME = "partial_sum"


def print_staged(kernel: StagedKernel, dtype: torch.dtype, resident: int | None = None) -> str:
    """Return the source of a kernel for arrays of one type.

    Args:
        kernel: what to print.
        dtype: of the arrays.
        resident: blocks that a multiprocessor shall hold at once, which bounds registers; None leaves it to the assembler.

    >>> from geomlib.kernels.cuda.staged import StagedWriter
    >>> writer = StagedWriter(constants_shared=False)
    >>> writer.write("out", {0: writer.mul(writer.load("x", 0), 2.0)}, 0, 1)
    >>> body = tuple(writer.body)
    >>> k = StagedKernel("twice", (Part("x", 1),), (), (Part("out", 1),), 0, (), body, False, False, 32)
    >>> "const real_t v2 = v1 * 2.0f;" in print_staged(k, torch.float32)
    True
    """
    printer = _Printer(kernel, dtype)
    bounds = f"{kernel.block}" if resident is None else f"{kernel.block}, {resident}"
    head = f'extern "C" __global__ void __launch_bounds__({bounds}) {kernel.name}('
    arguments = []
    for part in kernel.inputs:
        arguments += [f"const io_t* __restrict__ {part.name}", *_strides(part)]
    arguments += [f"const io_t* __restrict__ {part.name}" for part in kernel.constants]
    for part in kernel.outputs:
        arguments += [f"io_t* __restrict__ {part.name}", *_strides(part)]
    if kernel.sums:
        arguments.append("real_t* __restrict__ partial")
    arguments += [f"const long long {name}" for name in ("rows", "channels", "width", "per", "tiles")]
    rounded = "__dmul_rn" if DTYPES[dtype][1] == "double" else "__fmul_rn"  # never part of a multiply-add
    lines = [
        *preamble(dtype),
        "#define real(v) ((real_t)(v))",
        f"static __device__ __forceinline__ real_t square(real_t v) {{ return {rounded}(v, v); }}",
        head,
        "    " + ",\n    ".join(arguments) + ")",
    ]
    return "\n".join([*lines, "{", *(f"    {line}" for line in printer.lines()), "}"]) + "\n"


def _strides(part: Part) -> list[str]:
    return [f"const long long {part.name}_{axis}" for axis in ("row", "channel", "component")]


class _Printer:
    def __init__(self, kernel: StagedKernel, dtype: torch.dtype) -> None:
        self.kernel, self.at = kernel, _placed(kernel)
        self.suffix = "" if DTYPES[dtype][1] == "double" else "f"
        self.inputs = {p.name: p for p in kernel.inputs}
        self.lane = "thread" if kernel.lanes == kernel.block else f"thread % {kernel.lanes}"
        self.first = 0  # component of the output that lies at the beginning of the outlet
        self.fresh = True  # the first store since a barrier

    def lines(self) -> list[str]:
        """Print the function's body."""
        kernel, lanes = self.kernel, self.kernel.lanes
        lines = [
            f"__shared__ real_t pool[{self.at.total}];",
            f"const int thread = threadIdx.x, lane = {self.lane}, first = (int)(blockIdx.y * width);",
            "const int wide = (int)(channels - first < width ? channels - first : width);",
            "const int own = lane % wide, own_row = lane / wide;",
        ]
        for part in kernel.constants:
            lines += self._constant(part)
        lines += [
            f"const real_t {s.target} = load({s.array} + (long long)(first + own) * {self._size(s.array)} + {s.offset});"
            for s in kernel.prologue
        ]
        if kernel.sums_shared:
            lines += [
                f"for (int q = 0; q < {kernel.sums}; ++q) pool[{self.at.sums} + q * {lanes} + lane] = 0;"
            ]
        else:
            lines += [f"real_t sum{q} = 0;" for q in range(kernel.sums)]
        lines += [
            "#pragma unroll 1",
            "for (long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {",
            "    const long long left = rows - tile * per;",
            "    const int count = (int)(left < per ? left : per) * wide;",
        ]
        for part in kernel.inputs:
            lines += [f"    {line}" for line in self._stage(part)]
        lines += ["    __syncthreads();"]
        for s in kernel.body:
            lines += [f"    {line}" for line in self._statement(s)]
        if not (kernel.body and isinstance(kernel.body[-1], Flush)):
            lines += ["    __syncthreads();"]
        return [*lines, "}", *(self._sums() if kernel.sums else [])]

    def _size(self, name: str) -> int:
        return next(p.size for p in self.kernel.constants if p.name == name)

    def _constant(self, part: Part) -> list[str]:
        if not self.kernel.constants_shared:
            return []
        to = f"pool[{self.at.constants[part.name]} + (q - c * {part.size}) * {self.kernel.lanes} + c]"
        return [
            f"for (int q = thread; q < wide * {part.size}; q += {self.kernel.block}) {{",
            f"    const int c = q / {part.size};",
            f"    {to} = load({part.name} + (long long)first * {part.size} + q);",
            "}",
        ]

    def _stage(self, part: Part) -> list[str]:
        """Bring the items of a tile to shared memory; those that are not there are zeros."""
        name, at = part.name, self.at.inputs[part.name]
        step = pitch(part.size)
        return [
            "{",
            f"    const io_t* from = {name} + tile * per * {name}_row + first * {name}_channel;",
            *self._either(
                part,
                0,
                part.size,
                f"pool[{at} + i * {step} + b] = i < count ? load_once(from + i * {name}_channel + b) : real(0);",
                f"pool[{at} + lane * {step} + b] = lane < count ? load_once(from + b * {name}_component) : real(0);",
                "from",
            ),
            "}",
        ]

    def _either(
        self, part: Part, first: int, size: int, together: str, alone: str, pointer: str
    ) -> list[str]:
        """Move components: all threads side by side where an item's are neighbours, else every thread those of its item."""
        name, unroll = part.name, f"#pragma unroll {min(size, 4)}"
        dense = f"{name}_component == 1 && (per == 1 || {name}_row == channels * {name}_channel)"
        return [
            f"    if ({dense}) {{",
            f"        {unroll}",
            f"        for (int q = thread; q < {size * self.kernel.lanes}; q += {self.kernel.block}) {{",
            f"            const int i = q / {size}, b = q - i * {size};",
            f"            {together}",
            "        }",
            "    } else {",
            f"        {pointer} += own_row * {name}_row + own * {name}_channel + {first} * ({name}_component - 1);",
            f"        {unroll}",
            f"        for (int b = 0; b < {size}; ++b) {{",
            f"            {alone}",
            "        }",
            "    }",
        ]

    def _operand(self, operand: Operand) -> str:
        return operand if isinstance(operand, str) else f"{operand!r}{self.suffix}"

    def _statement(self, s: StagedStatement) -> list[str]:
        if isinstance(s, Load):
            return [f"const real_t {s.target} = {self._read(s)};"]
        if isinstance(s, Mul):
            return [f"const real_t {s.target} = {self._operand(s.a)} * {self._operand(s.b)};"]
        if isinstance(s, Fma):
            a, b, c = (self._operand(o) for o in (s.a, s.b, s.c))
            return [f"const real_t {s.target} = fma({a}, {b}, {c});"]
        if isinstance(s, Call):
            text = FUNCTIONS[s.function].format(*(self._operand(o) for o in s.args))
            return [f"const real_t {s.target} = {text};"]
        if isinstance(s, Accumulate):
            to = (
                f"pool[{self.at.sums} + {s.place * self.kernel.lanes} + lane]"
                if self.kernel.sums_shared
                else f"sum{s.place}"
            )
            return [f"{to} = fma({self._operand(s.a)}, {self._operand(s.b)}, {to});"]
        if isinstance(s, Store):
            return self._store(s)
        return self._flush(s)

    def _read(self, s: Load) -> str:
        if s.array in self.inputs:
            part = self.inputs[s.array]
            return f"pool[{self.at.inputs[s.array]} + lane * {pitch(part.size)} + {s.offset}]"
        return f"pool[{self.at.constants[s.array]} + {s.offset * self.kernel.lanes} + own]"

    def _store(self, s: Store) -> list[str]:
        lines = []
        if self.fresh:
            self.first = s.offset
            # Items lie elsewhere than those that others may still be reading.
            lines = ["__syncthreads();"] if self.kernel.reused else []
            self.fresh = False
        to = f"pool[{self.at.outlet} + lane * {pitch(self.kernel.outlet)} + {s.offset - self.first}]"
        return [*lines, f"{to} = {self._operand(s.value)};"]

    def _flush(self, s: Flush) -> list[str]:
        self.fresh = True
        part = next(p for p in self.kernel.outputs if p.name == s.array)
        name, at, step = part.name, self.at.outlet, pitch(self.kernel.outlet)
        return [
            "__syncthreads();",
            "{",
            f"    io_t* to = {name} + tile * per * {name}_row + first * {name}_channel + {s.first};",
            *self._either(
                part,
                s.first,
                s.size,
                f"if (i < count) store_once(to + i * {name}_channel + b, pool[{at} + i * {step} + b]);",
                f"if (lane < count) store_once(to + b * {name}_component, pool[{at} + lane * {step} + b]);",
                "to",
            ),
            "}",
            "__syncthreads();",
        ]

    def _sums(self) -> list[str]:
        """Add up the rows of a tile for every channel, and leave the sums of the block."""
        kernel, lanes = self.kernel, self.kernel.lanes
        room = kernel.sums if kernel.sums_shared else self.at.total // lanes
        lines: list[str] = []
        for begin in range(0, kernel.sums, room):
            number = min(room, kernel.sums - begin)
            if not kernel.sums_shared:
                lines += ["__syncthreads();"]
                lines += [f"pool[{k * lanes} + lane] = sum{begin + k};" for k in range(number)]
            lines += [
                "__syncthreads();",
                f"for (int q = thread; q < {number} * wide; q += {kernel.block}) {{",
                "    const int k = q / wide, c = q - k * wide;",
                "    real_t total = 0;",
                f"    for (int r = 0; r < (int)per; ++r) total += pool[{self.at.sums} + k * {lanes} + r * wide + c];",
                f"    partial[((long long)blockIdx.x * channels + first + c) * {kernel.sums} + {begin} + k] = total;",
                "}",
            ]
        return lines


def _placed(kernel: StagedKernel) -> Places:
    return places(kernel, kernel.lanes)


def print_partial_sum(dtype: torch.dtype) -> str:
    """Return the source of the second stage: add up the sums of all blocks in a fixed order."""
    body = f"""
extern "C" __global__ void __launch_bounds__({SUM_COLUMNS * PARTS}) {SUM_NAME}(
    const real_t* __restrict__ partial, io_t* __restrict__ out, const long long parts, const long long count)
{{
    __shared__ real_t s[{SUM_COLUMNS * PARTS}];
    const int column = threadIdx.x % {SUM_COLUMNS}, part = threadIdx.x / {SUM_COLUMNS};
    const long long i = (long long)blockIdx.x * {SUM_COLUMNS} + column;
    real_t total = 0;
    if (i < count) {{
        #pragma unroll 4
        for (long long p = part; p < parts; p += {PARTS}) total += partial[p * count + i];
    }}
    s[threadIdx.x] = total;
    __syncthreads();
    if (part == 0 && i < count) {{
        for (int p = 1; p < {PARTS}; ++p) total += s[p * {SUM_COLUMNS} + column];
        store(out + i, total);
    }}
}}
"""
    return "\n".join(preamble(dtype)) + body
