r"""Tensor products of irreps features as layers, with the definitions, constants and weights of e3nn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.tensor_product import tensor_product
from geomlib.kernels.tensor_product.certificate import ProductCheck, check_product
from geomlib.kernels.tensor_product.cost import Cost, explain_product, product_cost

__all__ = [
    "ChannelwiseTensorProduct",
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "TensorProduct",
]

Instruction = Sequence[Any]


class TensorProduct(nn.Module):
    r"""A tensor product of two features, path by path.

    .. math:: z_k \mathrel{+}= \sqrt{\alpha\, v_{out}\, w_p / n}\; W \sum_{ij} C_{ijk}\, x_i\, y_j

    for every path (block of x, block of y, block of z) of ``instructions``. Irreps, order of weights, constants and names
    of stored tensors are e3nn's: its state dicts load, and :func:`geomlib.interop.from_e3nn` converts a
    module.

    **Group** O(3). **Shapes** ``x`` (..., dim 1), ``y`` (..., dim 2) with equal leading sizes, ``weight`` (..., n) or (n,), to
    (..., dim out).

    Args:
        irreps_in1: of x.
        irreps_in2: of y.
        irreps_out: of the result.
        instructions: ``(block 1, block 2, block out, mode, weighted[, path_weight])``, modes as
            :data:`~geomlib.algebra.irreps.products.MODES`.
        in1_var, in2_var, out_var: variance of each block, for the normalisation.
        irrep_normalization: ``"component"``, ``"norm"`` or ``"none"``.
        path_normalization: ``"element"``, ``"path"`` or ``"none"``.
        internal_weights: the layer holds the weights; otherwise they are an argument.
        shared_weights: all rows use the same weights.
        backend: of :func:`~geomlib.kernels.tensor_product.tensor_product`.

    Raises:
        InvalidInput: instructions that do not fit the irreps; wrong shapes or types at the call.

    Source: Geiger and Smidt, *e3nn: Euclidean Neural Networks*, arXiv 2207.09453.

    >>> cross = TensorProduct("1o", "1o", "1e", [(0, 0, 0, "uuu", False)], irrep_normalization="norm")
    >>> z = cross(torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 0]]))
    >>> bool((z[0, :2].abs() < 1e-6).all()), bool(z[0, 2] > 0)
    (True, True)
    """

    weight: Tensor
    output_mask: Tensor

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        instructions: Sequence[Instruction],
        in1_var: Sequence[float] | None = None,
        in2_var: Sequence[float] | None = None,
        out_var: Sequence[float] | None = None,
        irrep_normalization: str = "component",
        path_normalization: str = "element",
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.spec = ProductSpec.from_instructions(
            irreps_in1, irreps_in2, irreps_out, instructions, in1_var=in1_var, in2_var=in2_var, out_var=out_var,
            irrep_normalization=irrep_normalization, path_normalization=path_normalization,
        )  # fmt: skip
        if shared_weights is None:
            shared_weights = True
        if internal_weights is None:
            internal_weights = shared_weights and self.weight_numel > 0
        if internal_weights and not shared_weights:
            raise InvalidInput(
                "internal_weights=True needs shared_weights=True: a layer holds one set of weights."
            )
        self.internal_weights, self.shared_weights, self.backend = internal_weights, shared_weights, backend
        if internal_weights:
            self.weight = nn.Parameter(torch.randn(self.weight_numel))
        else:
            self.register_buffer("weight", torch.zeros(0))
        reached = {p.out for p in self.spec.paths}
        mask = [torch.full((b.dim,), float(k in reached)) for k, b in enumerate(self.irreps_out)]
        self.register_buffer("output_mask", torch.cat([torch.zeros(0), *mask]))

    @property
    def irreps_in1(self) -> Irreps:
        """Irreps of x."""
        return self.spec.irreps_in1

    @property
    def irreps_in2(self) -> Irreps:
        """Irreps of y."""
        return self.spec.irreps_in2

    @property
    def irreps_out(self) -> Irreps:
        """Irreps of the result."""
        return self.spec.irreps_out

    @property
    def weight_numel(self) -> int:
        """Number of weights of one row."""
        return self.spec.weight_numel

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Leave out the coupling tensors that e3nn stores with its generated code."""
        for name in [n for n in state_dict if n.startswith(f"{prefix}_compiled_main")]:
            del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def row_weights(self, weight: Tensor | None, rows: tuple[int, ...]) -> Tensor | None:
        """Return the weights a call uses, (n,) or (rows, n).

        Raises:
            InvalidInput: weights are missing, given twice, or have a wrong shape.
        """
        if weight is None:
            if self.weight_numel and not self.internal_weights:
                raise InvalidInput(
                    f"weight: this product has {self.weight_numel} weights per row and holds none; pass them."
                )
            return self.weight if self.internal_weights else None
        if self.internal_weights:
            raise InvalidInput(
                "weight: this product has its own weights; build it with internal_weights=False."
            )
        if weight.shape not in ((self.weight_numel,), (*rows, self.weight_numel)) or (
            self.shared_weights and weight.dim() != 1
        ):
            expected = (self.weight_numel,) if self.shared_weights else (*rows, self.weight_numel)
            raise InvalidInput(f"weight: expected shape {expected}, got {tuple(weight.shape)}.")
        return weight if weight.dim() == 1 else weight.reshape(-1, self.weight_numel)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the product.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        rows = tuple(x.shape[:-1])
        if tuple(y.shape[:-1]) != rows:
            raise InvalidInput(
                f"x and y: leading sizes {rows} and {tuple(y.shape[:-1])} differ; expand one of them first."
            )
        w = self.row_weights(weight, rows)
        count = math.prod(rows)
        out = tensor_product(
            self.spec, x.reshape(count, x.shape[-1]), y.reshape(count, y.shape[-1]), w, backend=self.backend
        )
        return out.reshape(*rows, out.shape[-1])

    def cost(self, edges: int, nodes: int | None = None, *, order: str = "forward") -> Cost:
        """Return operations, bytes and, by ``.seconds()``, the time at the limit of a card.

        Args:
            edges: number of edges, or of rows.
            nodes: number of nodes of a convolution; None for a product of rows.
            order: ``"forward"``, ``"backward"`` or ``"double_backward"``.

        >>> product = ChannelwiseTensorProduct("128x0e+128x1o", "0e+1o+2e+3o", "0e+1o+2e", shared_weights=False)
        >>> cost = product.cost(edges=160_000, nodes=3_000)
        >>> round(cost.bytes / 160_000), f"{1e3 * cost.seconds():.3f} ms"
        (4456, '0.166 ms')
        """
        return product_cost(
            self.spec,
            edges,
            nodes,
            dtype=self.output_mask.dtype,
            order=order,
            shared_weights=self.shared_weights,
        )

    def check(self, dtype: torch.dtype | None = None) -> ProductCheck:
        """Compare this product, as it runs on this machine, with its specification.

        Args:
            dtype: type of the features; that of the layer if absent.

        >>> FullTensorProduct("1o", "1o").check().passed
        True
        """
        some = self.output_mask.dtype if dtype is None else dtype
        shared = self.shared_weights
        return check_product(self.spec, dtype=some, shared_weights=shared, backend=self.backend)

    def explain(self) -> str:
        """Say what the product is made of and what serves it.

        >>> print(ChannelwiseTensorProduct("8x1o", "1o", "0e+2e", backend="torch").explain())
        8x1o x 1x1o -> 8x0e+8x2e: 2 paths (uvu), 16 weights, 14 couplings
        an edge: 348 operations, 364 bytes in single precision
        float32 and float64 on a CPU: torch
        """
        return explain_product(self.spec, self.backend)

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        inputs = {"x": f"node:{self.irreps_in1}", "y": f"node:{self.irreps_in2}"}
        return Symmetry("O(3)*S_n", inputs=inputs, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        paths = [
            (0, 0, 0, "uvw", True),
            (1, 1, 0, "uvw", True),
            (1, 0, 1, "uvu", True),
            (1, 1, 2, "uvv", True),
        ]
        return _example(cls("2x0e+3x1o", "2x0e+1x1o", "4x0e+3x1o+1x1e", paths), generator)

    def extra_repr(self) -> str:
        """Return the irreps and the number of paths and weights."""
        return (
            f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, {len(self.spec.paths)} paths, "
            f"{self.weight_numel} weights"
        )


class FullyConnectedTensorProduct(TensorProduct):
    r"""The tensor product in which every multiplicity meets every other, with one weight each (mode ``uvw``).

    .. math:: z_{wk} = \sum_p c_p \sum_{uv} W^p_{uvw} \sum_{ij} C^p_{ijk}\, x_{ui}\, y_{vj}

    over all paths p that the irreps of the output allow; constants, weights and their order are e3nn's.

    Args:
        irreps_in1: of x.
        irreps_in2: of y.
        irreps_out: of the product.
        options: of :class:`TensorProduct`.

    **Group** O(3). **Shapes** as :class:`TensorProduct`.

    >>> FullyConnectedTensorProduct("4x0e+2x1o", "1x0e+1x1o", "3x0e+5x1o").weight_numel
    48
    """

    def __init__(self, irreps_in1: Any, irreps_in2: Any, irreps_out: Any, **options: Any) -> None:
        one, two, out = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        paths = [
            (a, b, c, "uvw", True)
            for a, r in enumerate(one)
            for b, s in enumerate(two)
            for c, t in enumerate(out)
            if t.ir in r.ir * s.ir
        ]
        super().__init__(one, two, out, paths, **options)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return _example(cls("4x0e+2x1o", "1x0e+1x1o+1x2e", "3x0e+2x1o+2x1e+1x2e"), generator)


class FullTensorProduct(TensorProduct):
    r"""All outputs of the tensor product, no weights (mode ``uvuv``), sorted by degree.

    .. math:: z_{(uv)k} = c \sum_{ij} C_{ijk}\, x_{ui}\, y_{vj}

    for every pair of blocks and every irrep of their product; constants and order are e3nn's.

    Args:
        irreps_in1: of x.
        irreps_in2: of y.
        filter_ir_out: irreps to keep; all if absent.

    **Group** O(3). **Shapes** as :class:`TensorProduct`.

    >>> FullTensorProduct("1o", "1o").irreps_out
    1x0e+1x1e+1x2e
    """

    def __init__(self, irreps_in1: Any, irreps_in2: Any, filter_ir_out: Any = None, **options: Any) -> None:
        one, two = Irreps(irreps_in1), Irreps(irreps_in2)
        found = [
            (ir, k, a, b, r.mul * s.mul)
            for k, (a, r, b, s, ir) in enumerate(
                (a, r, b, s, ir) for a, r in enumerate(one) for b, s in enumerate(two) for ir in r.ir * s.ir
            )
            if filter_ir_out is None or ir in Irreps(filter_ir_out)
        ]
        found.sort()
        out = Irreps([(mul, ir) for ir, _, _, _, mul in found])
        paths = sorted((k, (a, b, c, "uvuv", False)) for c, (_, k, a, b, _) in enumerate(found))
        super().__init__(one, two, out, [p for _, p in paths], **options)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return _example(cls("2x0e+1x1o", "1x1o+1x2e"), generator)


class ElementwiseTensorProduct(TensorProduct):
    r"""Products of the k-th irrep of one feature with the k-th of the other, no weights (mode ``uuu``).

    .. math:: z_{uk} = c \sum_{ij} C_{ijk}\, x_{ui}\, y_{uj}

    for every irrep of the product of each pair; constants and order are e3nn's.

    Args:
        irreps_in1: of x.
        irreps_in2: of y, as many irreps as x has.
        filter_ir_out: irreps to keep; all if absent.

    **Group** O(3). **Shapes** as :class:`TensorProduct`.

    >>> ElementwiseTensorProduct("2x1o", "1x0e+1x1o").irreps_out
    1x1o+1x0e+1x1e+1x2e
    """

    def __init__(self, irreps_in1: Any, irreps_in2: Any, filter_ir_out: Any = None, **options: Any) -> None:
        one, two = _matched(Irreps(irreps_in1).simplify(), Irreps(irreps_in2).simplify())
        out: list[tuple[int, Any]] = []
        paths: list[Instruction] = []
        for k, (r, s) in enumerate(zip(one, two, strict=True)):
            for ir in r.ir * s.ir:
                if filter_ir_out is None or ir in Irreps(filter_ir_out):
                    paths.append((k, k, len(out), "uuu", False))
                    out.append((r.mul, ir))
        super().__init__(one, two, Irreps(out), paths, **options)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return _example(cls("2x0e+2x1o", "1x0o+3x1e"), generator)


class ChannelwiseTensorProduct(TensorProduct):
    r"""Every channel of x times every irrep of y, with one weight per channel and path (mode ``uvu``).

    .. math:: z_{pk u} = c_p\, \sum_v W^p_{uv} \sum_{ij} C^p_{ijk}\, x_{ui}\, y_{vj}

    The product of message passing: x are features of a neighbour, y spherical harmonics of the edge, the weights come from
    a radial network. On a CPU it runs as one Numba loop over the sparse table of couplings.

    Args:
        irreps_in1: of x.
        irreps_in2: of y.
        filter_ir_out: irreps to keep; all if absent.

    **Group** O(3). **Shapes** as :class:`TensorProduct`; the output has one block per path, in the order of the paths.

    >>> ChannelwiseTensorProduct("8x0e+8x1o", "0e+1o", "0e+1o").irreps_out
    8x0e+8x1o+8x1o+8x0e
    """

    def __init__(self, irreps_in1: Any, irreps_in2: Any, filter_ir_out: Any = None, **options: Any) -> None:
        one, two = Irreps(irreps_in1), Irreps(irreps_in2)
        kept = None if filter_ir_out is None else Irreps(filter_ir_out)
        found = [
            (a, b, r.mul, ir)
            for a, r in enumerate(one)
            for b, s in enumerate(two)
            for ir in r.ir * s.ir
            if kept is None or ir in kept
        ]
        paths = [(a, b, c, "uvu", True) for c, (a, b, _, _) in enumerate(found)]
        super().__init__(one, two, Irreps([(mul, ir) for _, _, mul, ir in found]), paths, **options)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorProduct, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        return _example(cls("4x0e+4x1o+4x2e", "1x0e+1x1o+1x2e", "0e+1o+1e+2e"), generator)


def _matched(one: Irreps, two: Irreps) -> tuple[Irreps, Irreps]:
    """Split blocks so that both sides have the same multiplicities."""
    if one.num_irreps != two.num_irreps:
        raise InvalidInput(
            f"ElementwiseTensorProduct: {one} has {one.num_irreps} irreps, {two} has {two.num_irreps}."
        )
    left, right = list(one), list(two)
    out1: list[tuple[int, Any]] = []
    out2: list[tuple[int, Any]] = []
    while left and right:
        (m1, ir1), (m2, ir2) = left.pop(0), right.pop(0)
        mul = min(m1, m2)
        out1.append((mul, ir1))
        out2.append((mul, ir2))
        if m1 > mul:
            left.insert(0, cast(Any, Irreps([(m1 - mul, ir1)])[0]))
        if m2 > mul:
            right.insert(0, cast(Any, Irreps([(m2 - mul, ir2)])[0]))
    return Irreps(out1), Irreps(out2)


def _example(layer: TensorProduct, generator: torch.Generator) -> tuple[TensorProduct, dict[str, Any]]:
    inputs = {
        "x": torch.randn(5, layer.irreps_in1.dim, generator=generator),
        "y": torch.randn(5, layer.irreps_in2.dim, generator=generator),
    }
    return layer, inputs
