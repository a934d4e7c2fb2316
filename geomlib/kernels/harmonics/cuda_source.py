"""Print spherical harmonics and their derivatives as CUDA C++: straight-line code with the constants of a plan.

A thread is a point. Harmonics are made degree after degree, so that no more than three degrees are alive; rows of harmonics
pass through shared memory, a piece for each warp, so that neighbouring threads touch neighbouring numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from geomlib.kernels.cuda.source import preamble
from geomlib.kernels.harmonics.plan import Plan

__all__ = ["KINDS", "HarmonicsKernel", "print_harmonics"]

#: Arguments of every kernel: inputs, then outputs.
KINDS = {
    "values": (("x",), ("out",)),
    "slopes": (("x", "g"), ("out",)),
    "curvature": (("x", "g", "v"), ("gg", "gx")),
    "along": (("x", "g", "v"), ("gg",)),
    "bend": (("x", "g", "v"), ("gx",)),
}

_SHARED = 48 << 10

_POINTS = """
static __device__ __forceinline__ void direction(
    real_t& x, real_t& y, real_t& z, real_t& top, real_t& length, real_t& some)
{
    const real_t largest = fmax(fabs(x), fmax(fabs(y), fabs(z)));
    const real_t up = largest > 0 && largest < SMALL ? UP : ONE;
    const real_t divisor = largest > 0 ? largest * up : ONE;
    x = x * up / divisor, y = y * up / divisor, z = z * up / divisor;
    some = largest > 0 ? ONE : ONE - ONE;
    length = largest > 0 ? sqrt(x * x + y * y + z * z) : ONE;
    // A NaN is no larger than anything, and shall not be lost.
    if (!(x * x + y * y + z * z >= 0)) length = x + y + z;
    x /= length, y /= length, z /= length, top = divisor / up;
}
static __device__ __forceinline__ void project(
    real_t x, real_t y, real_t z, real_t top, real_t length, real_t some, real_t& a, real_t& b, real_t& c)
{
    const real_t s = some * (x * a + y * b + z * c);
    a = (a - s * x) / length / top, b = (b - s * y) / length / top, c = (c - s * z) / length / top;
}
""".strip()


class HarmonicsKernel(NamedTuple):
    """One of ``KINDS`` for a plan, and the bytes of a number of the arithmetic."""

    plan: Plan
    kind: str
    size: int

    @property
    def name(self) -> str:
        """Name of the function."""
        return f"harmonics_{self.kind}"

    @property
    def block(self) -> int:
        """Threads of a block: the rows of harmonics of its warps have to fit its shared memory."""
        return 32 * max(1, min(4, _SHARED // (32 * self.size * _pitch(self.plan))))


def _pitch(plan: Plan) -> int:
    """Return the distance of rows in shared memory, odd: then 32 threads reading a column meet no bank twice."""
    return len(plan.column) | 1


def print_harmonics(kernel: HarmonicsKernel, dtype: torch.dtype, resident: int | None = None) -> str:
    """Return the source of a kernel for arrays of one type.

    Args:
        kernel: what to print.
        dtype: of the arrays.
        resident: blocks that a multiprocessor shall hold at once; None leaves it to the assembler.

    >>> from geomlib.kernels.harmonics.plan import plan_of
    >>> kernel = HarmonicsKernel(plan_of((0, 1, 2), True, "component"), "slopes", 4)
    >>> "harmonics_slopes(" in print_harmonics(kernel, torch.float32)
    True
    """
    plan, kind, block = kernel.plan, kernel.kind, kernel.block
    inputs, outputs = KINDS[kind]
    info = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    printer = _Printer(plan, kind, "" if info.bits == 64 else "f")
    number = printer.number
    constants = {"SMALL": info.tiny * 2.0**30, "UP": 2.0**60, "ONE": 1.0}
    bounds = f"{block}" if resident is None else f"{block}, {resident}"
    arguments = [f"const io_t* __restrict__ {name}" for name in inputs]
    arguments += [f"io_t* __restrict__ {name}" for name in outputs]
    lines = [
        *preamble(dtype),
        *(f"#define {name} ((real_t){number(value)})" for name, value in constants.items()),
        *_POINTS.splitlines(),
        f'extern "C" __global__ void __launch_bounds__({bounds}) {kernel.name}(',
        "    " + ", ".join([*arguments, "const long long count"]) + ")",
        "{",
        f"    __shared__ real_t room[{block // 32}][{32 * _pitch(plan)}];",
        "    const int lane = threadIdx.x & 31;",
        "    const long long row = (long long)blockIdx.x * blockDim.x + threadIdx.x, first = row - lane;",
        "    const bool active = row < count;",
        "    const int rows = count - first < 32 ? (int)(count - first) : 32;",
        "    if (rows <= 0) return;",
        f"    real_t* const near = room[threadIdx.x >> 5] + lane * {_pitch(plan)};",
        *(f"    {line}" for line in printer.body()),
        "}",
    ]
    return "\n".join(lines) + "\n"


class _Printer:
    def __init__(self, plan: Plan, kind: str, suffix: str) -> None:
        self.plan, self.kind, self.suffix = plan, kind, suffix
        self.columns = {int(k): j for j, k in enumerate(plan.column)}
        self.scale = plan.scale.tolist()
        self.lower, self.slope = plan.lower.tolist(), plan.slope.tolist()

    def number(self, value: float) -> str:
        """Print a constant."""
        return f"{value!r}{self.suffix}"

    def body(self) -> Iterator[str]:
        """Print what a thread does."""
        kind, normalize = self.kind, self.plan.normalize
        reads, writes = kind != "values", kind in ("values", "curvature", "along")
        yield from self._vector("x", ("x_0", "x_1", "x_2"))
        yield "real_t px = x_0, py = x_1, pz = x_2;"
        if normalize:
            yield "real_t top, length, some;"
            yield "direction(px, py, pz, top, length, some);"
        yield "const real_t square = px * px + py * py + pz * pz;"
        if kind not in ("values", "slopes"):
            yield from self._vector("v", ("v_0", "v_1", "v_2"))
            yield "real_t wx = v_0, wy = v_1, wz = v_2;"
            if normalize:
                yield "project(px, py, pz, top, length, some, wx, wy, wz);"
        if reads and kind != "along":
            yield from self._shared("g", read=True)
            yield "real_t ax = 0, ay = 0, az = 0;"
            if kind != "slopes" and normalize:
                yield "real_t bx = 0, by = 0, bz = 0;"
        yield f"const real_t v0 = {self.number(self.plan.start)} + 0 * px + 0 * py + 0 * pz;"
        degrees: dict[str, Callable[[int], Iterable[str]]] = {"values": self._values, "slopes": self._slopes}
        write = degrees.get(kind, self._curvature)
        for l in range(max(self.plan.degrees) + 1):
            if kind == "values":
                yield from self._recursion(l)
                yield from write(l)
            else:
                # A derivative of degree l takes harmonics of degree l - 1.
                yield from write(l)
                yield from self._recursion(l) if l < max(self.plan.degrees) else ()
        if writes:
            yield from self._shared("out" if kind == "values" else "gg", read=False)
        if kind == "slopes" and normalize:
            yield "project(px, py, pz, top, length, some, ax, ay, az);"
        if kind in ("curvature", "bend") and normalize:
            yield from _BENT
        if kind == "slopes" or kind in ("curvature", "bend"):
            name = "out" if kind == "slopes" else "gx"
            yield "if (active) {"
            yield from (f"    store({name} + 3 * row + {k}, {a});" for k, a in enumerate(("ax", "ay", "az")))
            yield "}"

    def _vector(self, array: str, names: tuple[str, ...]) -> Iterator[str]:
        for k, name in enumerate(names):
            yield f"const real_t {name} = active ? load({array} + 3 * row + {k}) : ONE;"

    def _shared(self, array: str, *, read: bool) -> Iterator[str]:
        """Move the rows of a warp between memory and ``room``, neighbouring threads next to each other."""
        n, pitch = len(self.plan.column), _pitch(self.plan)
        far, here = f"{array} + first * {n} + k", f"room[threadIdx.x >> 5][k / {n} * {pitch} + k % {n}]"
        if not read:
            yield "__syncwarp();"
        yield f"for (int k = lane; k < rows * {n}; k += 32) {{"
        yield f"    {here} = load_once({far});" if read else f"    store({far}, {here});"
        yield "}"
        if read:
            yield "__syncwarp();"

    def _of_degree(self, l: int) -> list[tuple[int, int]]:
        """Return number and column of the harmonics of a degree that are asked for."""
        return [(k, self.columns[k]) for k in range(l * l, (l + 1) ** 2) if k in self.columns]

    def _recursion(self, l: int) -> Iterator[str]:
        for step, factor in zip(self.plan.step.tolist(), self.plan.factor.tolist(), strict=True):
            target, p, q, pair = step
            if not l * l <= target < (l + 1) ** 2:
                continue
            f = self.number(factor[0])
            if pair >= 0 and q < 0:
                yield f"const real_t v{target} = {f} * pz * v{p}, v{pair} = {f} * px * v{p};"
            elif pair >= 0:
                yield f"const real_t v{target} = {f} * (pz * v{p} - px * v{q});"
                yield f"const real_t v{pair} = {f} * (px * v{p} + pz * v{q});"
            elif q < 0:
                yield f"const real_t v{target} = {f} * py * v{p};"
            else:
                yield f"const real_t v{target} = {f} * py * v{p} - {self.number(factor[1])} * square * v{q};"

    def _values(self, l: int) -> Iterator[str]:
        for k, column in self._of_degree(l):
            yield f"near[{column}] = {self.number(self.scale[column])} * v{k};"

    def _gradient(self, k: int) -> tuple[str | None, ...]:
        """Return the gradient of a harmonic: what x, y and z get, None for nothing."""
        terms = [
            f"{self.number(s)} * v{j}" if s else None
            for s, j in zip(self.slope[k], self.lower[k], strict=True)
        ]
        parts = (terms[:2], terms[2:3], terms[3:])
        return tuple(" + ".join(t for t in part if t) or None for part in parts)

    def _pull(self, k: int, factor: str, to: str) -> Iterator[str]:
        """Add ``factor`` times the gradient of a harmonic."""
        for axis, part in zip("xyz", self._gradient(k), strict=True):
            if part is not None:
                yield f"{to}{axis} = fma({factor}, {part}, {to}{axis});"

    def _slopes(self, l: int) -> Iterator[str]:
        for k, column in self._of_degree(l) if l else ():
            yield f"const real_t g{k} = {self.number(self.scale[column])} * near[{column}];"
            yield from self._pull(k, f"g{k}", "a")

    def _curvature(self, l: int) -> Iterator[str]:
        lowered: set[int] = set()
        for k, column in self._of_degree(l):
            if self.kind != "along" and l:
                yield f"const real_t g{k} = {self.number(self.scale[column])} * near[{column}];"
                if self.plan.normalize:
                    yield from self._pull(k, f"g{k}", "b")
                yield from self._lowered(k, lowered)
            if self.kind != "bend":
                parts = [f"w{a} * ({p})" for a, p in zip("xyz", self._gradient(k), strict=True) if p and l]
                value = " + ".join(parts) or "0"
                yield f"near[{column}] = {self.number(self.scale[column])} * ({value});"
        for k in sorted(lowered) if l > 1 else ():
            yield from self._pull(k, f"h{k}", "a")

    def _lowered(self, k: int, lowered: set[int]) -> Iterator[str]:
        """Add ``g_k`` times the derivative along w to the coefficients one degree lower."""
        for s, j, axis in zip(self.slope[k], self.lower[k], "xxyzz", strict=True):
            if not s:
                continue
            term = f"{self.number(s)} * g{k}, w{axis}"
            yield (
                f"h{j} = fma({term}, h{j});" if j in lowered else f"real_t h{j} = {term.replace(',', ' *')};"
            )
            lowered.add(j)


#: What the derivative of the normalisation adds to that of its image, as ``cpu._bent`` has it.
_BENT = """
{
    const real_t dx = v_0 / length / top, dy = v_1 / length / top, dz = v_2 / length / top;
    const real_t ub = some * (px * bx + py * by + pz * bz), uv = some * (px * dx + py * dy + pz * dz);
    ax -= ub * dx + uv * bx, ay -= ub * dy + uv * by, az -= ub * dz + uv * bz;
    const real_t turn = some * (wx * bx + wy * by + wz * bz) / length / top;
    project(px, py, pz, top, length, some, ax, ay, az);
    ax -= turn * px, ay -= turn * py, az -= turn * pz;
}
""".strip().splitlines()
