r"""Which blocks a tensor product couples, with which constant: the paths of e3nn's products."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from geomlib.algebra.irreps.irreps import Irreps
from geomlib.errors import InvalidInput

__all__ = ["MODES", "Path", "ProductSpec"]

MODES = ("uvw", "uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw")
"""How multiplicities are connected: u of the first input, v of the second, w of the output."""


@dataclass(frozen=True)
class Path:
    """One coupling of a block of each input to a block of the output.

    Args:
        first: block of the first input.
        second: block of the second input.
        out: block of the output.
        mode: one of :data:`MODES`.
        weighted: whether it has weights.
        coefficient: constant in front of the unit-norm coupling tensor.
        weight_shape: shape of its weights, row-major in the letters of the mode.
    """

    first: int
    second: int
    out: int
    mode: str
    weighted: bool
    coefficient: float
    weight_shape: tuple[int, ...]

    @property
    def weight_numel(self) -> int:
        """Number of weights, 0 for a path without."""
        return math.prod(self.weight_shape) if self.weighted else 0


@dataclass(frozen=True)
class ProductSpec:
    r"""A tensor product of irreps, as e3nn defines it.

    .. math:: z_k \mathrel{+}= \sqrt{\alpha\,v_{out}\,w_p / n}\; W \sum_{ij} C_{ijk}\, x_i\, y_j

    for every path p; alpha is 2l+1 of the output (``component``), the product of both inputs' dimensions (``norm``) or 1;
    n counts the terms that reach an output block (``element``), or balances paths (``path``).

    Args:
        irreps_in1: of the first input.
        irreps_in2: of the second input.
        irreps_out: of the output.
        paths: in the order of their weights.
    """

    irreps_in1: Irreps
    irreps_in2: Irreps
    irreps_out: Irreps
    paths: tuple[Path, ...]

    @staticmethod
    def from_instructions(
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        instructions: Sequence[Sequence[Any]],
        *,
        in1_var: Sequence[float] | None = None,
        in2_var: Sequence[float] | None = None,
        out_var: Sequence[float] | None = None,
        irrep_normalization: str = "component",
        path_normalization: str = "element",
    ) -> ProductSpec:
        """Read e3nn's instructions ``(block 1, block 2, block out, mode, weighted[, path_weight])``.

        Raises:
            InvalidInput: an instruction that couples irreps which do not fit, or multiplicities its mode forbids.
        """
        one, two, out = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        _choice("irrep_normalization", irrep_normalization, ("component", "norm", "none"))
        _choice("path_normalization", path_normalization, ("element", "path", "none"))
        variances = [
            _variances(n, v, r)
            for n, v, r in (("in1_var", in1_var, one), ("in2_var", in2_var, two), ("out_var", out_var, out))
        ]
        rows = [_instruction(k, row, one, two, out) for k, row in enumerate(instructions)]
        sizes = [
            variances[0][a] * variances[1][b] * _terms(mode, one[a].mul, two[b].mul)
            for a, b, _, mode, _, _ in rows
        ]
        paths: list[Path] = []
        for (a, b, c, mode, weighted, path_weight), size in zip(rows, sizes, strict=True):
            alpha = {
                "component": float(out[c].ir.dim),
                "norm": float(one[a].ir.dim * two[b].ir.dim),
                "none": 1.0,
            }[irrep_normalization]
            same = [s for s, row in zip(sizes, rows, strict=True) if row[2] == c]
            n = {"element": sum(same), "path": size * len(same), "none": 1.0}[path_normalization]
            square = alpha * variances[2][c] * path_weight / (n if n > 0 else 1.0)
            shape = _weight_shape(mode, one[a].mul, two[b].mul, out[c].mul)
            paths.append(Path(a, b, c, mode, weighted, math.sqrt(square), shape))
        spec = ProductSpec(one, two, out, tuple(paths))
        vars(spec)["text"] = spec.text  # at hand where code is being traced
        return spec

    @cached_property
    def text(self) -> str:
        """The product as JSON; :meth:`from_text` is the inverse."""
        paths = [
            [p.first, p.second, p.out, p.mode, p.weighted, p.coefficient, list(p.weight_shape)]
            for p in self.paths
        ]
        irreps = [str(r) for r in (self.irreps_in1, self.irreps_in2, self.irreps_out)]
        return json.dumps([*irreps, paths], separators=(",", ":"))

    @staticmethod
    def from_text(text: str) -> ProductSpec:
        """Read a product written by :attr:`text`.

        >>> spec = ProductSpec.from_instructions("2x1o", "1o", "2x0e", [(0, 0, 0, "uvu", True)])
        >>> ProductSpec.from_text(spec.text) == spec
        True
        """
        one, two, out, rows = json.loads(text)
        paths = tuple(
            Path(a, b, c, mode, weighted, k, tuple(shape)) for a, b, c, mode, weighted, k, shape in rows
        )
        return ProductSpec(Irreps(one), Irreps(two), Irreps(out), paths)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.irreps_in1, self.irreps_in2, self.irreps_out, self.paths))

    @cached_property
    def weight_numel(self) -> int:
        """Number of weights."""
        return sum(p.weight_numel for p in self.paths)

    @cached_property
    def weight_slices(self) -> tuple[slice, ...]:
        """Where the weights of each path lie."""
        slices: list[slice] = []
        start = 0
        for p in self.paths:
            slices.append(slice(start, start + p.weight_numel))
            start += p.weight_numel
        return tuple(slices)


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInput(f"{name}={value!r}: expected one of {', '.join(allowed)}.")


def _variances(name: str, values: Sequence[float] | None, irreps: Irreps) -> list[float]:
    if values is None:
        return [1.0] * len(irreps)
    if len(values) != len(irreps):
        raise InvalidInput(f"{name}: {len(values)} values for the {len(irreps)} blocks of {irreps}.")
    return [float(v) for v in values]


def _instruction(
    k: int, row: Sequence[Any], one: Irreps, two: Irreps, out: Irreps
) -> tuple[int, int, int, str, bool, float]:
    if len(row) not in (5, 6):
        raise InvalidInput(
            f"instruction {k}: expected (block 1, block 2, block out, mode, weighted[, path_weight]), got {row!r}."
        )
    a, b, c, mode, weighted = int(row[0]), int(row[1]), int(row[2]), str(row[3]), bool(row[4])
    path_weight = float(row[5]) if len(row) == 6 else 1.0
    for name, index, irreps in (("first", a, one), ("second", b, two), ("output", c, out)):
        if not 0 <= index < len(irreps):
            raise InvalidInput(
                f"instruction {k}: block {index} of the {name} irreps {irreps} does not exist."
            )
    if mode not in MODES:
        raise InvalidInput(f"instruction {k}: mode {mode!r}, expected one of {', '.join(MODES)}.")
    if out[c].ir not in one[a].ir * two[b].ir:
        raise InvalidInput(f"instruction {k}: {out[c].ir} is not in {one[a].ir} x {two[b].ir}.")
    if path_weight < 0:
        raise InvalidInput(
            f"instruction {k}: path_weight {path_weight} is negative; it stands under a square root."
        )
    _check_multiplicities(k, mode, weighted, one[a].mul, two[b].mul, out[c].mul)
    return a, b, c, mode, weighted, path_weight


def _check_multiplicities(k: int, mode: str, weighted: bool, u: int, v: int, w: int) -> None:
    expected = {
        "uvw": (u, v, w), "uvu": (u, v, u), "uvv": (u, v, v), "uuw": (u, u, w if weighted else 1), "uuu": (u, u, u),
        "uvuv": (u, v, u * v), "uvu<v": (u, u, u * (u - 1) // 2), "u<vw": (u, u, w),
    }[mode]  # fmt: skip
    if (u, v, w) != expected:
        raise InvalidInput(
            f"instruction {k}: mode {mode!r} with multiplicities {u}, {v}, {w}; expected {expected}."
        )
    if mode in ("uvw", "u<vw") and not weighted:
        raise InvalidInput(f"instruction {k}: mode {mode!r} needs weights.")


def _terms(mode: str, u: int, v: int) -> int:
    return {
        "uvw": u * v,
        "uvu": v,
        "uvv": u,
        "uuw": u,
        "uuu": 1,
        "uvuv": 1,
        "uvu<v": 1,
        "u<vw": u * (u - 1) // 2,
    }[mode]


def _weight_shape(mode: str, u: int, v: int, w: int) -> tuple[int, ...]:
    pairs = u * (u - 1) // 2
    return {
        "uvw": (u, v, w), "uvu": (u, v), "uvv": (u, v), "uuw": (u, w), "uuu": (u,), "uvuv": (u, v), "uvu<v": (pairs,),
        "u<vw": (pairs, w),
    }[mode]  # fmt: skip
