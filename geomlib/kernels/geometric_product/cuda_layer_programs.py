"""Programs of the layers between matrix products: gates by grade, and normalised weighted products with their residual."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.cuda.program import Operand
from geomlib.kernels.cuda.staged import Part, StagedKernel, StagedWriter
from geomlib.kernels.geometric_product.cuda_programs import (
    contracted,
    grouped,
    settled,
    sums_by_left,
)
from geomlib.kernels.geometric_product.gates import Gate
from geomlib.kernels.geometric_product.lengths import EPS, grades
from geomlib.kernels.geometric_product.plan import weighted_form

__all__ = ["Product", "gate_kernel", "product_kernel"]

_ROOT_HALF = math.sqrt(0.5)
#: Numbers that a thread may hold: roots and quotients in float64 need many registers themselves.
_REGISTERS = {4: 200, 8: 80}


@dataclass(frozen=True)
class Product:
    """A product: its algebra, whether the right factor is normalised, and whether an image is added."""

    alg: CliffordAlgebra
    normed: bool
    mixed: bool


class _Forms:
    """Writes the quadratic form of every grade, capped where it would overflow, and its gradient."""

    def __init__(self, writer: StagedWriter, alg: CliffordAlgebra, dtype: torch.dtype) -> None:
        table = grades(alg, dtype)
        self.writer, self.sign = writer, [int(s) for s in table.sign]
        self.slices = alg.grade_slices
        self.component = float(table.limits[0]) if alg.q_ else None
        self.form = float(table.limits[1])

    def bounded(self, value: Operand) -> Operand:
        """Return a component with its cap."""
        return value if self.component is None else self.writer.call("clamp", value, self.component)

    def raw(self, x: list[Operand], grade: int) -> Operand:
        """Return the form of a grade before its cap."""
        total: Operand | None = None
        for j in range(self.slices[grade].start, self.slices[grade].stop):
            if self.sign[j]:
                # Squares are rounded before they are added: those of a light-like vector cancel.
                square = self.writer.call("square", self.bounded(x[j]))
                total = self.writer.fma(square, float(self.sign[j]), total)
        return 0.0 if total is None else total

    def capped(self, raw: Operand) -> Operand:
        """Return a form with its cap."""
        return self.writer.call("clamp", raw, self.form)

    def pulled(self, x: list[Operand], grade: int, raw: Operand, slope: Operand) -> dict[int, str]:
        """Return the gradient of ``slope * form``."""
        found: dict[int, str] = {}
        twice = self.writer.call("kept", self.writer.mul(slope, 2.0), raw, self.form)
        for j in range(self.slices[grade].start, self.slices[grade].stop):
            if self.sign[j]:
                factor = self.writer.mul(twice, self.bounded(x[j]))
                if self.component is not None:
                    factor = self.writer.call("kept", factor, x[j], self.component)
                found[j] = factor if self.sign[j] > 0 else f"-{factor}"
        return found

    def root_slope(self, form: Operand, length: Operand) -> str:
        """Return the derivative of ``(q^2 + 1e-16)^(1/4)``."""
        square = self.writer.mul(length, length)
        return self.writer.call(
            "ratio", self.writer.call("ratio", form, square), self.writer.mul(length, 2.0)
        )


@lru_cache(maxsize=256)
def gate_kernel(kind: Gate, dtype: torch.dtype, backward: bool) -> StagedKernel | None:
    """Return ``out`` from x with constants a and b, or ``dx`` and the sums ``da``, ``db`` from x and g; None if too large."""
    alg = kind.alg
    writer, count = StagedWriter(constants_shared=False), alg.n + 1
    forms = _Forms(writer, alg, dtype)
    x: list[Operand] = [writer.load("x", j) for j in range(alg.size)]
    g: list[Operand] = [writer.load("g", j) for j in range(alg.size)] if backward else []
    out: dict[int, Operand] = {}
    for grade, part in enumerate(alg.grade_slices):
        raw = forms.raw(x, grade) if grade else forms.bounded(x[0])
        form = forms.capped(raw)
        rooted = kind.rooted and grade > 0
        u = writer.call("root", form) if rooted else form
        scale, shift = writer.constant("a", grade), writer.constant("b", grade)
        v = writer.fma(scale, u, shift)
        s = writer.call(kind.gate, v)
        if not backward:
            out |= {j: writer.mul(s, x[j]) for j in range(part.start, part.stop)}
            continue
        t: str | None = None
        for j in range(part.start, part.stop):
            t = writer.fma(g[j], x[j], t)
        slope = writer.fma(s, f"-{s}", s) if kind.gate == "sigmoid" else writer.call("bell", v)
        by_argument = writer.mul(t or 0.0, slope)
        writer.accumulate(grade, by_argument, u)
        writer.accumulate(count + grade, by_argument, 1.0)
        by_u = writer.mul(by_argument, scale)
        if rooted:
            by_u = writer.mul(by_u, forms.root_slope(form, u))
        if grade:
            pulled = forms.pulled(x, grade, raw, by_u)
        else:
            kept = writer.call("kept", by_u, raw, forms.form)
            if forms.component is not None:
                kept = writer.call("kept", kept, x[0], forms.component)
            pulled = {0: kept}
        for j in range(part.start, part.stop):
            out[j] = writer.fma(s, g[j], pulled.get(j))
    writer.write("dx" if backward else "out", out, 0, alg.size)
    inputs = (Part("x", alg.size), Part("g", alg.size))[: 1 + backward]
    name = "gate_slopes" if backward else "gate"
    constants, outputs = (Part("a", count), Part("b", count)), (Part("dx" if backward else "out", alg.size),)
    kernel = StagedKernel(
        name, inputs, constants, outputs, 2 * count * backward, tuple(writer.prologue), tuple(writer.body), False, False, 32
    )  # fmt: skip
    held = alg.size * (1 + backward) + 2 * count * (1 + backward)
    return settled(kernel, dtype.itemsize) if held <= _REGISTERS[dtype.itemsize] else None


class _Normalised:
    """Writes ``y = r / (s (|r| - 1) + 1 + eps)`` by grade, and its gradients."""

    def __init__(self, writer: StagedWriter, kind: Product, dtype: torch.dtype) -> None:
        self.writer, self.kind, self.forms = writer, kind, _Forms(writer, kind.alg, dtype)
        self.raw: list[Operand] = []
        self.form: list[Operand] = []
        self.length: list[Operand] = []
        self.inverse: list[str] = []

    def image(self) -> list[Operand]:
        """Return the right factor before its normalisation."""
        return [self.writer.load("r", j) for j in range(self.kind.alg.size)]

    def values(self) -> list[Operand]:
        """Return the right factor."""
        r, writer = self.image(), self.writer
        if not self.kind.normed:
            return r
        for grade, part in enumerate(self.kind.alg.grade_slices):
            self.raw.append(self.forms.raw(r, grade))
            self.form.append(self.forms.capped(self.raw[-1]))
            self.length.append(writer.call("root", self.form[-1]))
            rest = writer.fma(self.length[-1], 1.0, -1.0)
            below = writer.fma(writer.constant("s", grade), rest, 1.0 + EPS)
            self.inverse.append(writer.call("reciprocal", below))
            r[part] = [writer.mul(v, self.inverse[-1]) for v in r[part]]
        return r

    def pulled(self, by_right: dict[int, Operand], first: int) -> dict[int, Operand]:
        """Return the gradient of the image from that of the factor; add those of s to the sums from ``first`` on."""
        if not self.kind.normed:
            return by_right
        r, writer, found = self.image(), self.writer, dict[int, Operand]()
        for grade, part in enumerate(self.kind.alg.grade_slices):
            inverse, length, t = self.inverse[grade], self.length[grade], None
            for j in range(part.start, part.stop):
                t = writer.fma(by_right.get(j, 0.0), r[j], t)
            by_below = writer.mul(writer.mul(t or 0.0, f"-{inverse}"), inverse)
            writer.accumulate(first + grade, by_below, writer.fma(length, 1.0, -1.0))
            slope = writer.mul(by_below, writer.constant("s", grade))
            slope = writer.mul(slope, self.forms.root_slope(self.form[grade], length))
            again = self.forms.pulled(r, grade, self.raw[grade], slope)
            for j in range(part.start, part.stop):
                found[j] = writer.fma(by_right.get(j, 0.0), inverse, again.get(j))
        return found


@lru_cache(maxsize=256)
def product_kernel(kind: Product, dtype: torch.dtype, backward: bool) -> StagedKernel | None:
    """Return the product and its residual, or their gradients; None if too large.

    Inputs are x, the right image r and, where it is added, the left image l; then ``out``. The gradients are those of x, r
    and l, and the sums are those of w, s and the bias.
    """
    form, count = weighted_form(kind.alg), kind.alg.n + 1
    size, limit = kind.alg.size, _REGISTERS[dtype.itemsize]
    constants = form.weights + count * kind.normed + kind.mixed
    sums = constants if backward else 0
    for shared, sums_shared in ((False, False), (True, False), (True, True)):
        held = (4 if backward else 2) * size + (4 if backward else 3) * count * kind.normed
        if held + (0 if shared else constants) + (0 if sums_shared else sums) > limit:
            continue
        write = _product_slopes if backward else _product
        kernel = settled(write(kind, dtype, shared, sums_shared), dtype.itemsize)
        if kernel is not None and kernel.lanes == kernel.block:
            return kernel
    return None


def _constants(kind: Product, weights: int) -> tuple[Part, ...]:
    parts = [Part("w", weights)]
    parts += [Part("s", kind.alg.n + 1)] if kind.normed else []
    return (*parts, Part("bias", 1)) if kind.mixed else tuple(parts)


def _product(kind: Product, dtype: torch.dtype, shared: bool, sums_shared: bool) -> StagedKernel:
    form, size = weighted_form(kind.alg), kind.alg.size
    writer = StagedWriter(constants_shared=shared)
    y = _Normalised(writer, kind, dtype).values()
    found: dict[int, Operand] = {}
    contracted(
        writer, grouped(form, "x", "y", "g"), partial(_scaled, writer), y.__getitem__, found, range(size)
    )
    if kind.mixed:
        found[0] = writer.fma(writer.constant("bias", 0), 1.0, found.get(0))
        found = {
            j: writer.mul(writer.fma(writer.load("l", j), 1.0, found.get(j)), _ROOT_HALF) for j in range(size)
        }
    writer.write("out", found, 0, size)
    inputs = tuple(Part(name, size) for name in ("x", "r", "l")[: 2 + kind.mixed])
    return StagedKernel(
        "steerable", inputs, _constants(kind, form.weights), (Part("out", size),), 0, tuple(writer.prologue),
        tuple(writer.body), shared, False, 32,
    )  # fmt: skip


def _scaled(writer: StagedWriter, i: int, p: int) -> Operand:
    return writer.mul(writer.load("x", i), writer.constant("w", p))


def _product_slopes(kind: Product, dtype: torch.dtype, shared: bool, sums_shared: bool) -> StagedKernel:
    form, size = weighted_form(kind.alg), kind.alg.size
    writer = StagedWriter(constants_shared=shared)
    factor = _Normalised(writer, kind, dtype)
    y = factor.values()
    g: list[Operand] = [writer.load("g", j) for j in range(size)]
    if kind.mixed:
        g = [writer.mul(v, _ROOT_HALF) for v in g]
    by_left: dict[int, Operand] = {}

    def use(i: int, p: int, u: str) -> None:
        writer.accumulate(p, writer.load("x", i), u)
        by_left[i] = writer.fma(writer.constant("w", p), u, by_left.get(i))

    sums_by_left(writer, grouped(form, "x", "y", "g"), g.__getitem__, y.__getitem__, use)
    writer.write("dx", by_left, 0, size)
    if shared:  # too much to keep in registers
        writer.forget()
    by_right: dict[int, Operand] = {}
    contracted(
        writer, grouped(form, "x", "g", "y"), partial(_scaled, writer), g.__getitem__, by_right, range(size)
    )
    writer.write("dr", factor.pulled(by_right, form.weights), 0, size)
    outputs = [Part("dx", size), Part("dr", size)]
    constants = _constants(kind, form.weights)
    sums = sum(p.size for p in constants)
    if kind.mixed:
        writer.accumulate(sums - 1, g[0], 1.0)
        writer.write("dl", dict(enumerate(g)), 0, size)
        outputs.append(Part("dl", size))
    inputs = tuple(Part(name, size) for name in ("x", "r", "g"))
    return StagedKernel(
        "steerable_slopes", inputs, constants, tuple(outputs), sums, tuple(writer.prologue), tuple(writer.body), shared,
        sums_shared, 32,
    )  # fmt: skip
