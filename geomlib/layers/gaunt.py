r"""Products of signals on the sphere as layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.gaunt import degree_of, path_constant, vector_labels
from geomlib.algebra.gaunt.expressivity import Coupling
from geomlib.algebra.irreps import Irrep, Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.gaunt import SignalProduct, explain_product, gaunt_product
from geomlib.layers._features import checked
from geomlib.layers._signals import Signal, channels_of, join, part, signals_of

__all__ = ["ANTISYMMETRIC", "GauntTensorProduct", "method_name"]

ANTISYMMETRIC = ("none", "bracket", "vector")


def method_name(layer: str, method: str, grid: str) -> str:
    """Return the method as the kernel calls it: that of the grid's form for ``"grid"``.

    Raises:
        InvalidInput: unknown names.
    """
    for name, value, allowed in (
        ("method", method, ("auto", "sparse", "grid", "fft")),
        ("grid", grid, ("dense", "half", "separable")),
    ):
        if value not in allowed:
            raise InvalidInput(f"{layer}: {name}={value!r}, expected one of {', '.join(allowed)}.")
    return grid if method == "grid" else method


@dataclass(frozen=True)
class _Term:
    """The product of a signal of each input that goes to a signal of the output."""

    product: SignalProduct
    first: Signal
    second: Signal
    out: Signal
    weights: str  # prefix of the names of its weights


class GauntTensorProduct(nn.Module):
    r"""The product of signals on the sphere, channel by channel: a tensor product that is cheap at high degree.

    .. math:: z_{l_3} = w^{(3)}_{l_3} \sum_{l_1 l_2} w^{(1)}_{l_1} w^{(2)}_{l_2}\, G\,(x_{l_1} \otimes y_{l_2}), \qquad
              G_{ijk} = \int Y_i Y_j Y_k\, d\Omega

    in orthonormal harmonics, with one weight per channel and irrep of each of x, y and z. Without weights it is e3nn's
    ``TensorProduct`` in the mode ``uuu`` with ``path_weight`` :math:`c^2` for every path,
    :math:`c = \sqrt{(2l_1+1)(2l_2+1)(2l_3+1)/4\pi}\;|3j(l_1 l_2 l_3; 000)|`, both normalisations ``"none"``.

    The product is symmetric: it has no paths with an odd sum of degrees, such as the cross product. ``antisymmetric`` adds
    them, from pseudo-signals' places in ``irreps_out``: ``"bracket"`` as the Poisson bracket
    :math:`\hat r\cdot(\nabla f\times\nabla g)`, ``"vector"`` as the cross product of vector signals, in which a degree j
    is made of harmonics of degree j - 1, j and j + 1 with a weight each.

    **Group** O(3). **Shapes** ``x`` (..., dim 1), ``y`` (..., dim 2) with equal leading sizes, to (..., dim out).

    Args:
        irreps_in1: of x; all multiplicities alike, every irrep in one block.
        irreps_in2: of y.
        irreps_out: of the result; everything the product reaches if absent.
        weights: ``"degree"``, or None for none.
        method: ``"sparse"`` (table of couplings), ``"grid"``, ``"fft"`` (two-dimensional Fourier transform), or ``"auto"``,
            the fastest by a cost model that times once; see :meth:`explain`. All are exact and give the same.
        grid: ``"dense"``, ``"half"`` (antipodal symmetry) or ``"separable"``, for the method ``"grid"``.
        antisymmetric: ``"none"``, ``"bracket"`` or ``"vector"`` (methods ``"sparse"`` and dense ``"grid"``).
        backend: of :func:`~geomlib.kernels.gaunt.gaunt_product`.

    Raises:
        InvalidInput: irreps or options that do not fit; wrong shapes or types at the call.

    Source: Luo, Chen, Krishnapriyan, *Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor
    Products*, arXiv 2401.10216; grids and limits: Xie, Daigavane, Kotak, Smidt, *The Price of Freedom*, arXiv 2506.13523;
    vector signals: arXiv 2602.21466.

    >>> product = GauntTensorProduct("8x0e+8x1o", "8x0e+8x1o", antisymmetric="bracket")
    >>> product.irreps_out, product(torch.randn(5, 32), torch.randn(5, 32)).shape
    (8x0e+8x1o+8x1e+8x2e, torch.Size([5, 96]))
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any = None,
        weights: str | None = "degree",
        method: str = "auto",
        grid: str = "dense",
        antisymmetric: str = "none",
        backend: str | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if weights not in ("degree", None):
            raise InvalidInput(f"{name}: weights={weights!r}, expected 'degree' or None.")
        if antisymmetric not in ANTISYMMETRIC:
            raise InvalidInput(
                f"{name}: antisymmetric={antisymmetric!r}, expected one of {', '.join(ANTISYMMETRIC)}."
            )
        self.method, self.backend = method_name(name, method, grid), backend
        if antisymmetric == "vector" and self.method not in ("auto", "sparse", "dense"):
            raise InvalidInput(
                f"{name}: vector signals have the methods 'sparse' and 'grid' with grid='dense', not {self.method!r}."
            )
        self.weights, self.antisymmetric = weights, antisymmetric
        self.irreps_in1, self.irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
        self.channels = channels_of(name, irreps_in1=self.irreps_in1, irreps_in2=self.irreps_in2)
        self.irreps_out = self._reached() if irreps_out is None else Irreps(irreps_out)
        channels_of(name, irreps_in1=self.irreps_in1, irreps_out=self.irreps_out)
        self.terms = self._terms()
        if weights == "degree":
            for prefix in dict.fromkeys(term.weights for term in self.terms):
                for place, shape, value in self._initial(prefix):
                    self.register_parameter(f"{prefix}{place}", nn.Parameter(torch.full(shape, 1.0) * value))

    def _kinds(self) -> tuple[str, ...]:
        return ("gaunt",) if self.antisymmetric == "none" else ("gaunt", self.antisymmetric)

    def _reached(self) -> Irreps:
        found: set[Irrep] = set()
        for a in self.irreps_in1:
            for b in self.irreps_in2:
                for ir in a.ir * b.ir:
                    odd = (a.ir.l + b.ir.l + ir.l) % 2
                    if not odd or (self.antisymmetric != "none" and min(a.ir.l, b.ir.l, ir.l) > 0):
                        found.add(ir)
        return Irreps(
            [(self.channels, ir) for ir in sorted(found, key=lambda ir: (ir.l, ir.p * (-1) ** ir.l == -1))]
        )

    def _terms(self) -> list[_Term]:
        name = type(self).__name__
        one, two = (
            signals_of(name, "irreps_in1", self.irreps_in1),
            signals_of(name, "irreps_in2", self.irreps_in2),
        )
        out = {s.parity: s for s in signals_of(name, "irreps_out", self.irreps_out)}
        terms: list[_Term] = []
        for kind in self._kinds():
            for s in one:
                for t in two:
                    target = out.get(s.parity * t.parity * (1 if kind == "gaunt" else -1))
                    if target is None:
                        continue
                    first, second, last = (_space(kind, signal) for signal in (s, t, target))
                    product = SignalProduct(kind, first, second, last, self.channels)
                    if len(product.table.value):
                        terms.append(
                            _Term(product, s, t, target, "weight" if kind == "gaunt" else "odd_weight")
                        )
        reached = {self.irreps_out[t.out.blocks[t.out.degrees.index(degree_of(c))]].ir for t in terms
                   for a in t.product.first for b in t.product.second for c in t.product.out
                   if _couples(t.product.kind, a, b, c)}  # fmt: skip
        missing = [str(b.ir) for b in self.irreps_out if b.ir not in reached]
        if missing:
            raise InvalidInput(
                f"{name}: {', '.join(missing)} of irreps_out cannot be reached from {self.irreps_in1} and {self.irreps_in2} "
                f"with antisymmetric={self.antisymmetric!r}. Reached are {self._reached()}."
            )
        return terms

    def _initial(self, prefix: str) -> list[tuple[str, tuple[int, int], Tensor]]:
        """Return names, shapes and values: ones, and what gives outputs of unit variance for inputs of unit variance."""
        terms = [t for t in self.terms if t.weights == prefix]
        kind = terms[0].product.kind
        sizes = [len(_labels(kind, r)) for r in (self.irreps_in1, self.irreps_in2, self.irreps_out)]
        variance = torch.zeros(sizes[2], dtype=torch.float64)
        for term in terms:
            rows = _rows(kind, self.irreps_out, term.out)
            for r, c in zip(rows, term.product.out, strict=True):
                for a in term.product.first:
                    for b in term.product.second:
                        if _couples(kind, a, b, c):
                            variance[r] += path_constant(kind, a, b, c) ** 2 / (2 * degree_of(c) + 1)
        last = torch.where(variance > 0, variance.clamp(min=1e-30).rsqrt(), torch.zeros_like(variance))
        if kind == "vector":  # up to three labels add up to one degree
            last = last / math.sqrt(3)
        ones = [torch.ones(n, 1) for n in sizes[:2]]
        values = [*ones, last[:, None].to(torch.get_default_dtype())]
        return [
            (str(k + 1), (n, self.channels), v) for k, (n, v) in enumerate(zip(sizes, values, strict=True))
        ]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the product.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        name = type(self).__name__
        like = self._parameters["weight1"] if "weight1" in self._parameters else None
        checked(name, "x", x, self.irreps_in1, like)
        checked(name, "y", y, self.irreps_in2, like)
        rows = tuple(x.shape[:-1])
        if tuple(y.shape[:-1]) != rows:
            raise InvalidInput(
                f"x and y: leading sizes {rows} and {tuple(y.shape[:-1])} differ; expand one of them first."
            )
        flat = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        sums: dict[Signal, Tensor] = {}
        for term in self.terms:
            z = self._multiply(term, *flat)
            sums[term.out] = sums[term.out] + z if term.out in sums else z
        out = join(list(sums.items()), self.irreps_out, flat[0])
        return out.reshape(*rows, out.shape[-1])

    def _multiply(self, term: _Term, x: Tensor, y: Tensor) -> Tensor:
        kind = term.product.kind
        a = self._weighted(part(x, self.irreps_in1, term.first), term, 1, self.irreps_in1, term.first)
        b = self._weighted(part(y, self.irreps_in2, term.second), term, 2, self.irreps_in2, term.second)
        z = gaunt_product(term.product, a, b, method=self.method, backend=self.backend)
        z = self._times(z, term, 3, self.irreps_out, term.out)
        return _contract(z, term.out, self.channels) if kind == "vector" else z

    def _weighted(self, x: Tensor, term: _Term, place: int, irreps: Irreps, signal: Signal) -> Tensor:
        if term.product.kind == "vector":
            x = _expand(x, signal, self.channels)
        return self._times(x, term, place, irreps, signal)

    def _times(self, x: Tensor, term: _Term, place: int, irreps: Irreps, signal: Signal) -> Tensor:
        """Multiply by the weights of the blocks, constant over the components of an irrep."""
        weight = self._parameters.get(f"{term.weights}{place}")
        if weight is None:
            return x
        rows = _rows(term.product.kind, irreps, signal)
        space = term.product.spaces[place - 1]
        columns = [
            weight[r].repeat_interleave(2 * degree_of(s) + 1) for r, s in zip(rows, space, strict=True)
        ]
        return x * torch.cat(columns)

    def explain(self, x: Tensor | None = None) -> str:
        """Return, for every term, the cost of each method and which one ``method="auto"`` takes for inputs like ``x``."""
        like = torch.zeros(1) if x is None else x
        return "\n\n".join(explain_product(term.product, like, backend=self.backend) for term in self.terms)

    def couplings(self) -> tuple[Coupling, ...]:
        """Return the couplings of blocks, as :func:`geomlib.algebra.gaunt.expressivity` reads them."""
        found: list[Coupling] = []
        for term in self.terms:
            kind = term.product.kind
            one, two, out = (
                self._places(term, n, r, signal)
                for n, (r, signal) in enumerate(
                    (
                        (self.irreps_in1, term.first),
                        (self.irreps_in2, term.second),
                        (self.irreps_out, term.out),
                    )
                )
            )
            for ir1, key1, a in one:
                for ir2, key2, b in two:
                    for ir3, key3, c in out:
                        if _couples(kind, a, b, c):
                            constant = path_constant(kind, a, b, c)
                            keys = (key1, key2, key3)
                            found.append(Coupling((ir1, ir2, ir3), keys, constant, self.channels))
        return tuple(found)

    def _places(
        self, term: _Term, place: int, irreps: Irreps, signal: Signal
    ) -> list[tuple[Irrep, Any, Any]]:
        """Return (irrep, name of the weight, label); without weights, that of the linear map outside."""
        rows = _rows(term.product.kind, irreps, signal)
        blocks = [signal.blocks[signal.degrees.index(degree_of(s))] for s in term.product.spaces[place]]
        return [
            (irreps[k].ir, (term.weights, place, row) if self.weights else (place, k), s)
            for row, k, s in zip(rows, blocks, term.product.spaces[place], strict=True)
        ]

    @property
    def weight_numel(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.parameters())

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        inputs = {"x": f"node:{self.irreps_in1}", "y": f"node:{self.irreps_in2}"}
        return Symmetry("O(3)*S_n", inputs=inputs, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GauntTensorProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("4x0e+4x1o+4x2e", "4x0e+4x1o+4x1e", "4x0e+4x1o+4x1e+4x2e", antisymmetric="bracket")
        return layer, {
            "x": torch.randn(5, layer.irreps_in1.dim, generator=generator),
            "y": torch.randn(5, layer.irreps_in2.dim, generator=generator),
        }

    def extra_repr(self) -> str:
        """Return the irreps, the options and the number of weights."""
        return (
            f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, method={self.method}, "
            f"antisymmetric={self.antisymmetric}, {self.weight_numel} weights"
        )


# Labels of vector signals: a block of degree j becomes one per l.


def _space(kind: str, signal: Signal) -> Any:
    if kind != "vector":
        return signal.degrees
    return tuple(label for j in signal.degrees for label in vector_labels(j))


def _labels(kind: str, irreps: Irreps) -> list[tuple[int, Any]]:
    """Return (block, label) of every row of weights."""
    return [
        (k, label)
        for k, b in enumerate(irreps)
        for label in (vector_labels(b.ir.l) if kind == "vector" else (b.ir.l,))
    ]


def _rows(kind: str, irreps: Irreps, signal: Signal) -> list[int]:
    """Return the rows of weights of a signal, in the order of its space."""
    return [row for block in signal.blocks for row, (k, _) in enumerate(_labels(kind, irreps)) if k == block]


def _couples(kind: str, a: Any, b: Any, c: Any) -> bool:
    l1, l2, l3 = degree_of(a), degree_of(b), degree_of(c)
    return abs(l1 - l2) <= l3 <= l1 + l2 and path_constant(kind, a, b, c) != 0.0


def _sizes(signal: Signal, channels: int) -> list[int]:
    return [channels * (2 * l + 1) for l in signal.degrees]


def _expand(x: Tensor, signal: Signal, channels: int) -> Tensor:
    """Repeat every block once per label."""
    blocks = x.split(_sizes(signal, channels), dim=1)
    return torch.cat(
        [b for b, j in zip(blocks, signal.degrees, strict=True) for _ in vector_labels(j)], dim=1
    )


def _contract(z: Tensor, signal: Signal, channels: int) -> Tensor:
    """Add the labels of every block; the transpose of :func:`_expand`."""
    sizes = [len(vector_labels(j)) * channels * (2 * j + 1) for j in signal.degrees]
    parts = [
        p.unflatten(1, (len(vector_labels(j)), -1)).sum(1) if p.shape[0] else p[:, : channels * (2 * j + 1)]
        for p, j in zip(z.split(sizes, dim=1), signal.degrees, strict=True)
    ]
    return torch.cat(parts, dim=1)
