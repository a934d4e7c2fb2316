"""Print programs as CUDA C++.

A block is a node, a program with at most 128 of its channels, and a part of the node's edges; a thread is a channel. Every
argument is 64 bits wide, and so is every address; nothing is written by two threads, so there are no atomics and results
repeat bitwise.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from geomlib.kernels.cuda.program import (
    Array,
    ChannelSum,
    Fma,
    Kernel,
    Load,
    Mul,
    Operand,
    Program,
    Statement,
    Store,
)

__all__ = ["DTYPES", "SUM_BLOCK", "WIDE", "print_kernel", "print_ordered_sum"]

#: Stored type, type of the arithmetic, and how a number is read and written.
DTYPES = {
    torch.float32: ("float", "float", "*p", "*p = v"),
    torch.float64: ("double", "double", "*p", "*p = v"),
    torch.float16: (
        "unsigned short", "float",
        'float v; asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(*p)); return v',
        'unsigned short h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v)); *p = h',
    ),
    torch.bfloat16: (
        "unsigned short", "float",
        "__uint_as_float((unsigned int)*p << 16)",
        'unsigned short h; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(v)); *p = h',
    ),
}  # fmt: skip

SUM_BLOCK = 256
#: Bytes read at once where all threads read the same: such rows begin at multiples of it.
WIDE = 16

_ROWS = ("other", "edge")


def preamble(dtype: torch.dtype) -> list[str]:
    """Print types, and how numbers are read and written; ``once`` keeps what streams by from filling the cache."""
    stored, real, read, write = DTYPES[dtype]
    read = read if "return" in read else f"return {read}"
    inline = "static __device__ __forceinline__"
    kinds = [("io_t", read, write)]
    if stored != real:
        kinds.append(("real_t", "return *p", "*p = v"))
    lines = [f"typedef {stored} io_t;", f"typedef {real} real_t;"]
    if stored == real:
        lines.append(f"typedef {real}{WIDE * 8 // torch.finfo(dtype).bits} wide_t;")
    for kind, get, put in kinds:
        value = "h" if "= h" in put else "v"
        once = put.replace(f"*p = {value}", f"__stcs(p, {value})")
        lines += [
            f"{inline} real_t load(const {kind}* p) {{ {get}; }}",
            f"{inline} real_t load_once(const {kind}* p) {{ {get.replace('*p', '__ldcs(p)')}; }}",
            f"{inline} void store({kind}* p, real_t v) {{ {put}; }}",
            f"{inline} void store_once({kind}* p, real_t v) {{ {once}; }}",
        ]
    return lines


def print_kernel(kernel: Kernel, dtype: torch.dtype, resident: int | None = None) -> str:
    """Return the source of a kernel for arrays of one type.

    Args:
        kernel: what to print.
        dtype: of the arrays.
        resident: blocks that a multiprocessor shall hold at once, which bounds registers; None leaves it to the assembler.

    >>> p = Program(4, 0, ("s",), (), (Load("x", "a", 0), Fma("s", "x", 2.0, "s")), (Store("out", 0, "s"),))
    >>> k = Kernel("twice", (Array("a", "other", 4), Array("out", "node", 4)), (p,), 0)
    >>> "s = fma(x, 2.0f, s);" in print_kernel(k, torch.float32)
    True
    """
    written = {
        s.array for p in kernel.programs for s in (*p.body, *p.epilogue) if isinstance(s, Store | ChannelSum)
    }
    body = [
        "const long long node = blockIdx.x, item = (long long)blockIdx.z * gridDim.x + blockIdx.x;",
        "long long low = start[node], high = start[node + 1];",
        "if (gridDim.z > 1) {",
        "    const long long first = low, count = high - low;",
        "    low = first + count * blockIdx.z / gridDim.z;",
        "    high = first + count * (blockIdx.z + 1) / gridDim.z;",
        "}",
    ]
    unit = 0
    for k, program in enumerate(kernel.programs):
        blocks = -(-program.channels // kernel.block)
        test = f"if (blockIdx.y < {unit + blocks})" if k < len(kernel.programs) - 1 else ""
        body += [f"{'else ' if k else ''}{test} {{".replace(" {", " {").lstrip()]
        body += _indent(_program(kernel, program, unit, dtype))
        body += ["}"]
        unit += blocks
    arguments = [f"const long long* __restrict__ {name}" for name in ("start", *_ROWS)]
    arguments.append("const long long rows")
    for a in kernel.arrays:
        kind = "real_t" if a.partial else "io_t"
        arguments.append(
            f"{kind}* __restrict__ {a.name}" if a.name in written else f"const {kind}* __restrict__ {a.name}"
        )
    bounds = f"{kernel.block}" if resident is None else f"{kernel.block}, {resident}"
    head = f'extern "C" __global__ void __launch_bounds__({bounds}) {kernel.name}('
    lines = [
        *preamble(dtype),
        *_BUTTERFLY,
        head,
        *_indent([",\n    ".join(arguments) + ")"]),
        "{",
        *_indent(body),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _program(kernel: Kernel, program: Program, unit: int, dtype: torch.dtype) -> list[str]:
    arrays = {a.name: a for a in kernel.arrays}
    sums = any(isinstance(s, ChannelSum) for s in program.body)
    exact = program.channels % kernel.block == 0
    chunk = (
        f"(blockIdx.y - {unit}) * {kernel.block} + threadIdx.x"
        if unit or program.channels > kernel.block
        else "threadIdx.x"
    )
    lines = [f"const int channel = {chunk};"]
    guard = ""
    if not exact and sums:
        # All lanes of a warp take part in its sums: those without a channel add zeros.
        lines.append(f"const bool active = channel < {program.channels};")
        lines.append(f"if ((channel & ~31) >= {program.channels}) return;")
        guard = "active"
    elif not exact:
        lines.append(f"if (channel >= {program.channels}) return;")
    printer = _Printer(arrays, program, dtype, guard)
    lines += printer.pointers(program.prologue, "node")
    lines += [f"real_t {name} = 0;" for name in program.accumulators]
    lines += printer.statements(program.prologue)
    used = [row for row in _ROWS if any(arrays[name].row == row for name in _touched(program.body))]
    lines += [f"long long {row}_next = low < high ? {row}[low] : 0;" for row in used]
    lines += ["#pragma unroll 1", "for (long long q = low; q < high; ++q) {"]
    inner = [f"const long long {row}_row = {row}_next;" for row in used]
    inner.append("if (q + 1 < high) { " + " ".join(f"{row}_next = {row}[q + 1];" for row in used) + " }")
    inner += printer.pointers(program.body)
    inner += printer.statements(program.body)
    lines += [*_indent(inner), "}"]
    lines += printer.pointers(program.epilogue, "item")
    lines += printer.statements(program.epilogue)
    return lines


def _touched(statements: Iterable[Statement]) -> list[str]:
    found = (s.array for s in statements if isinstance(s, Load | Store | ChannelSum))
    return list(dict.fromkeys(found))


class _Printer:
    def __init__(self, arrays: dict[str, Array], program: Program, dtype: torch.dtype, guard: str) -> None:
        self.arrays, self.program, self.guard = arrays, program, guard
        self.suffix = "" if DTYPES[dtype][1] == "double" else "f"
        self.mutable = set(program.accumulators)
        stored, real, *_ = DTYPES[dtype]
        self.wide = WIDE * 8 // torch.finfo(dtype).bits if stored == real else 1

    def pointers(self, statements: Iterable[Statement], node: str = "") -> list[str]:
        """Print a pointer to the row, and to the channel, of every array that the statements use."""
        stored = {s.array for s in statements if isinstance(s, Store | ChannelSum)}
        lines = []
        for name in _touched(statements):
            a = self.arrays[name]
            kind = "real_t" if a.partial else "io_t"
            row = node or ("0" if a.row == "one" else f"{a.row}_row")
            if any(isinstance(s, ChannelSum) and s.array == name for s in statements):
                row = f"((long long)({self.program.slot} + (channel >> 5)) * rows + {row})"
            const = "" if name in stored else "const "
            column = " + channel" if a.channels else ""
            lines.append(f"{const}{kind}* __restrict__ {name}_at = {name} + {row} * {a.stride}{column};")
        return lines

    def statements(self, statements: Iterable[Statement]) -> list[str]:
        """Print statements."""
        lines: list[str] = []
        read: set[str] = set()
        for s in statements:
            if isinstance(s, ChannelSum):
                lines += self._sum(s)
            elif isinstance(s, Load) and self._is_wide(s):
                lines += self._wide(s, read)
            else:
                lines.append(self._one(s))
        return lines

    def _is_wide(self, s: Load) -> bool:
        array = self.arrays[s.array]
        return not array.channels and self.wide > 1 and array.stride % self.wide == 0

    def _wide(self, s: Load, read: set[str]) -> list[str]:
        """Read several neighbours at once, the first time that one of them is asked for."""
        block, place = divmod(s.offset, self.wide)
        name = f"{s.array}_{block}"
        line = f"const real_t {s.target} = {name}.{'xyzw'[place]};"
        if name in read:
            return [line]
        read.add(name)
        return [f"const wide_t {name} = *(const wide_t*)({s.array}_at + {block * self.wide});", line]

    def _once(self, name: str) -> str:
        """Rows of edges are read or written once in a pass, but for those that all threads read."""
        array = self.arrays[name]
        return "_once" if array.row == "edge" and array.channels else ""

    def _operand(self, operand: Operand) -> str:
        return operand if isinstance(operand, str) else f"{operand!r}{self.suffix}"

    def _one(self, s: Load | Mul | Fma | Store) -> str:
        if isinstance(s, Load):
            masked = bool(self.guard) and self.arrays[s.array].channels
            read = f"load{self._once(s.array)}({s.array}_at + {s.offset})"
            return f"const real_t {s.target} = {f'active ? {read} : 0' if masked else read};"
        if isinstance(s, Store):
            test = f"if ({self.guard}) " if self.guard else ""
            return f"{test}store{self._once(s.array)}({s.array}_at + {s.offset}, {self._operand(s.value)});"
        head = s.target if s.target in self.mutable else f"const real_t {s.target}"
        a, b = self._operand(s.a), self._operand(s.b)
        return (
            f"{head} = {a} * {b};" if isinstance(s, Mul) else f"{head} = fma({a}, {b}, {self._operand(s.c)});"
        )

    def _sum(self, s: ChannelSum) -> list[str]:
        """Halve the values with every exchange: P values cost P-1 exchanges and the rest of five, not five times P."""
        lines = ["{"]
        for first in range(0, len(s.values), 32):
            values, offsets = s.values[first : first + 32], s.offsets[first : first + 32]
            size = 1 << (len(values) - 1).bit_length()
            padded = [*values, *["(real_t)0"] * (size - len(values))]
            lines += ["    {", f"        real_t s[{size}] = {{{', '.join(padded)}}};"]
            lines.append(f"        const int j = reduce<{size}, 16>(s, threadIdx.x & 31);")
            # Lane ``lane`` ends with value j; lanes that differ in the other bits hold the same one.
            first_lane = f"(threadIdx.x & {32 // size - 1}) == 0"
            test = f"{first_lane} && j < {len(values)}" if size > len(values) else first_lane
            if list(offsets) == list(range(offsets[0], offsets[0] + len(offsets))):
                where = f"{offsets[0]} + j"
            else:
                lines.append(f"        static const int column[{size}] = {{{', '.join(map(str, offsets))}}};")
                where = "column[j]"
            lines.append(f"        if ({test}) store({s.array}_at + {where}, s[0]);")
            lines.append("    }")
        return [*lines, "}"]


#: ``reduce<N, 16>``: the sum over the warp of each of N values; returns which of them this lane now holds in s[0].
_BUTTERFLY = """
template <int N, int STEP, int SIZE> static __device__ __forceinline__ int reduce(real_t (&s)[SIZE], int lane) {
    if constexpr (STEP == 0) {
        return 0;
    } else if constexpr (N == 1) {
        s[0] += __shfl_xor_sync(0xffffffffu, s[0], STEP);
        return reduce<1, STEP / 2>(s, lane);
    } else {
        const bool upper = lane & STEP;
        #pragma unroll
        for (int k = 0; k < N / 2; ++k) {
            const real_t give = upper ? s[k] : s[k + N / 2];
            const real_t keep = upper ? s[k + N / 2] : s[k];
            s[k] = keep + __shfl_xor_sync(0xffffffffu, give, STEP);
        }
        return (upper ? N / 2 : 0) + reduce<N / 2, STEP / 2>(s, lane);
    }
}
""".strip().splitlines()


def print_ordered_sum(dtype: torch.dtype) -> str:
    """Return the source of the second stage: add up partial results in a fixed order."""
    body = f"""
extern "C" __global__ void __launch_bounds__({SUM_BLOCK}) ordered_sum(
    const real_t* __restrict__ partial, io_t* __restrict__ out, const long long parts, const long long count)
{{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {{
        real_t total = partial[i];
        for (long long p = 1; p < parts; ++p) total += partial[p * count + i];
        store(out + i, total);
    }}
}}
"""
    return "\n".join(preamble(dtype)) + body
