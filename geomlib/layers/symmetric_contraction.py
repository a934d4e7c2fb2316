r"""Symmetric products of a feature with itself, up to three factors, weighted by species."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irrep, Irreps
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.algebra.irreps.symmetric import CoupledPath, symmetric_basis
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.kernels.tensor_product import tensor_product
from geomlib.layers._constants import Float64Buffers
from geomlib.layers._features import checked, read_values

__all__ = ["SymmetricContraction"]


class SymmetricContraction(Float64Buffers):
    r"""Products of up to three factors of a feature, channel by channel, in a basis of all symmetric equivariant maps.

    .. math:: z_{c,LM} = \sum_{\nu=1}^{3} \sum_\eta W^{(\nu)}_{e\eta c} \sum_{i_1 \ldots i_\nu}
              U^{(\nu)}_{LM,\,\eta,\, i_1 \ldots i_\nu}\; x_{c i_1} \cdots x_{c i_\nu}

    with the species e of the row. The tensors U are those of :func:`geomlib.algebra.irreps.symmetric_tensors`, orthonormal
    and symmetric; they are never multiplied out: two sparse tensor products evaluate all of them. They span the space of
    MACE's U matrices, which count some polynomials more than once, so weights do not convert one to one.

    **Group** O(3), permutations of rows. **Shapes** ``x`` (N, dim in), ``element`` (N,) or (N, elements), to (N, dim out).

    Args:
        irreps_in: of x, the same multiplicity in every block.
        irreps_out: of the result, with that multiplicity too.
        correlation: highest number of factors, 1 to 3.
        num_elements: number of species; None for one set of weights and no argument ``element``.
        backend: of :func:`~geomlib.kernels.tensor_product.tensor_product`.

    Raises:
        InvalidInput: multiplicities that differ, another correlation; wrong shapes, types or species at the call.

    Source: Batatia et al., *MACE*, arXiv 2206.07697; Drautz, *Atomic cluster expansion*, Phys. Rev. B 99, 014104 (2019).

    >>> layer = SymmetricContraction("8x0e+8x1o+8x2e", "8x0e+8x1o", correlation=3, num_elements=4)
    >>> layer(torch.randn(5, 72), torch.tensor([0, 1, 1, 3, 2])).shape
    torch.Size([5, 32])
    """

    mixing: Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        correlation: int = 3,
        num_elements: int | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        if correlation not in (1, 2, 3):
            raise InvalidInput(f"SymmetricContraction: correlation={correlation!r}, expected 1, 2 or 3.")
        if num_elements is not None and num_elements < 1:
            raise InvalidInput(f"SymmetricContraction: num_elements={num_elements}, expected at least 1.")
        multiplicities = {b.mul for b in (*self.irreps_in, *self.irreps_out)}
        if len(multiplicities) != 1 or not len(self.irreps_in) or not len(self.irreps_out):
            raise InvalidInput(
                f"SymmetricContraction: {self.irreps_in} to {self.irreps_out}; all blocks need one multiplicity, the "
                "number of channels. Put a Linear in front."
            )
        self.channels = multiplicities.pop()
        self.correlation, self.num_elements, self.backend = correlation, num_elements, backend
        self.inner, self.outer, mixings = _products(self.irreps_in, self.irreps_out, correlation)
        self.register_buffer(
            "mixing", torch.block_diag(*mixings) if mixings else torch.zeros(0, 0).double(), persistent=False
        )
        sets = 1 if num_elements is None else num_elements
        weight = torch.randn(sets, len(self.mixing), self.channels)
        start = 0
        for m in mixings:  # one sum per output block and number of factors, of variance about 1
            weight[:, start : start + len(m)] /= max(len(m), 1)
            start += len(m)
        self.weight = nn.Parameter(weight)

    def _rows(self, element: Tensor | None, x: Tensor) -> Tensor:
        """Return the weights of the paths, (n,) or (rows, n)."""
        paths = torch.einsum("kp,zkc->zpc", self.mixing.to(self.weight.dtype), self.weight).flatten(1)
        if self.num_elements is None:
            if element is not None:
                raise InvalidInput("SymmetricContraction: built without num_elements; leave out `element`.")
            return paths[0]
        if element is None:
            raise InvalidInput(
                f"SymmetricContraction: pass `element`, integers 0..{self.num_elements - 1} of shape ({x.shape[0]},)."
            )
        if element.is_floating_point():
            if tuple(element.shape) != (x.shape[0], self.num_elements):
                raise InvalidInput(
                    f"SymmetricContraction: `element` has shape {tuple(element.shape)}; floating species are "
                    f"({x.shape[0]}, {self.num_elements})."
                )
            return element.to(paths.dtype) @ paths
        if tuple(element.shape) != (x.shape[0],) or element.dtype == torch.bool:
            raise InvalidInput(
                f"SymmetricContraction: `element` is {element.dtype} of shape {tuple(element.shape)}; expected integers "
                f"of shape ({x.shape[0]},)."
            )
        read_values(self._in_range, element)
        return paths[element]

    def _in_range(self, element: Tensor) -> None:
        if element.numel() and not 0 <= int(element.min()) <= int(element.max()) < (self.num_elements or 0):
            bad = int(((element < 0) | (element >= (self.num_elements or 0))).nonzero()[0])
            raise InvalidInput(
                f"SymmetricContraction: row {bad} has element {int(element[bad])}; this layer knows 0.."
                f"{(self.num_elements or 0) - 1}."
            )

    @full_precision
    def forward(self, x: Tensor, element: Tensor | None = None) -> Tensor:
        """Return the contraction.

        Raises:
            InvalidInput: shapes, types or species that do not fit.
        """
        checked("SymmetricContraction", "x", x, self.irreps_in, like=self.weight)
        if x.dim() != 2:
            raise InvalidInput(f"SymmetricContraction: `x` has shape {tuple(x.shape)}; pass (rows, dim).")
        left = [x.new_ones(x.shape[0], self.channels), x]
        if self.inner is not None:
            left.append(tensor_product(self.inner, x, x, None, backend=self.backend))
        return tensor_product(
            self.outer, torch.cat(left, dim=1), x, self._rows(element, x), backend=self.backend
        )

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        inputs = {"x": f"node:{self.irreps_in}"}
        if self.num_elements is not None:
            inputs["element"] = "node:inv"
        return Symmetry("O(3)*S_n", inputs=inputs, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[SymmetricContraction, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("3x0e+3x1o+3x2e", "3x0e+3x1o+3x1e", 3, num_elements=3)
        x = torch.randn(6, layer.irreps_in.dim, generator=generator)
        return layer, {"x": x, "element": torch.randint(0, 3, (6,), generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps and the number of weights."""
        return (
            f"{self.irreps_in} -> {self.irreps_out}, correlation={self.correlation}, elements={self.num_elements}, "
            f"{self.weight.numel()} weights"
        )


def _products(
    irreps_in: Irreps, irreps_out: Irreps, correlation: int
) -> tuple[ProductSpec | None, ProductSpec, list[Tensor]]:
    """Return the product x * x that three factors need, the product of (1, x, x * x) with x, and the mixing of its paths."""
    channels = irreps_in[0].mul
    found: list[tuple[int, CoupledPath]] = []
    mixings: list[Tensor] = []
    for k, block in enumerate(irreps_out):
        for degree in range(1, correlation + 1):
            basis = symmetric_basis([b.ir for b in irreps_in], block.ir, degree)
            found += [(k, p) for p in basis.paths]
            mixings.append(basis.mixing)
    pairs = sorted({(p.blocks[:2], p.inner[0]) for _, p in found if len(p.blocks) == 3})
    first = 1 + len(irreps_in)
    where = {pair: first + n for n, pair in enumerate(pairs)}
    rows = [(_left(p, where), p.blocks[-1], k, "uuu", True) for k, p in found]
    middle = Irreps([(channels, ir) for _, ir in pairs])
    left = Irreps([(channels, Irrep(0, 1))]) + irreps_in + middle
    outer = _spec(left, irreps_in, irreps_out, rows)
    if not pairs:
        return None, outer, mixings
    steps = [(a, b, n, "uuu", False) for n, ((a, b), _) in enumerate(pairs)]
    inner = _spec(irreps_in, irreps_in, middle, steps)
    return inner, outer, mixings


def _left(path: CoupledPath, where: dict[tuple[tuple[int, ...], Irrep], int]) -> int:
    """Return the block of (1, x, x * x) that all factors but the last make."""
    if len(path.blocks) == 1:
        return 0
    return 1 + path.blocks[0] if len(path.blocks) == 2 else where[path.blocks[:2], path.inner[0]]


def _spec(one: Irreps, two: Irreps, out: Irreps, rows: Sequence[tuple[Any, ...]]) -> ProductSpec:
    return ProductSpec.from_instructions(one, two, out, rows, path_normalization="none")
