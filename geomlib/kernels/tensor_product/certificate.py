"""Does a tensor product do what it says, on this machine?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from geomlib.algebra.irreps.products import ProductSpec
from geomlib.errors import GeomlibError
from geomlib.kernels.tensor_product import reference
from geomlib.kernels.tensor_product.eager import product

__all__ = ["ProductCheck", "ProductError", "check_product"]


class ProductError(GeomlibError, RuntimeError):
    """A tensor product disagrees with its specification."""


@dataclass(frozen=True)
class ProductCheck:
    """Largest errors found, relative to the largest number of each tensor, and what is allowed.

    Args:
        value: of the product, against the reference in double precision.
        gradient: of the first derivatives.
        second: of the second derivatives.
        differences: of the second derivatives against differences of the first ones, in double precision.
        equivariance: of the product of turned and reflected inputs.
        allowed: bounds in the same order.
    """

    value: float
    gradient: float
    second: float
    differences: float
    equivariance: float
    allowed: tuple[float, ...]

    @property
    def errors(self) -> dict[str, float]:
        """The errors by name."""
        return {k: v for k, v in asdict(self).items() if k != "allowed"}

    @property
    def passed(self) -> bool:
        """Whether every error is within its bound; a NaN is not."""
        return all(e <= a for e, a in zip(self.errors.values(), self.allowed, strict=True))

    def raise_if_failed(self) -> ProductCheck:
        """Return this report.

        Raises:
            ProductError: naming the errors that are too large.
        """
        pairs = zip(self.errors.items(), self.allowed, strict=True)
        wrong = [f"{k} {e:.1e} (allowed {a:.0e})" for (k, e), a in pairs if not e <= a]
        if wrong:
            raise ProductError(f"the tensor product disagrees with its specification: {', '.join(wrong)}.")
        return self


def check_product(
    spec: ProductSpec,
    *,
    dtype: torch.dtype = torch.float32,
    rows: int = 3,
    shared_weights: bool = False,
    backend: str | None = None,
    seed: int = 0,
) -> ProductCheck:
    """Compare a product with its specification on random inputs.

    Args:
        spec: the product.
        dtype: type of the features; float32 or float64.
        rows: number of rows.
        shared_weights: one row of weights for all.
        backend: as for :func:`~geomlib.kernels.tensor_product.tensor_product`.
        seed: of the inputs.
    """
    g = torch.Generator().manual_seed(seed)
    shapes = [
        (rows, spec.irreps_in1.dim),
        (rows, spec.irreps_in2.dim),
        (1 if shared_weights else rows, spec.weight_numel),
    ]
    # Numbers that both types hold exactly, so that only the arithmetic differs.
    draws = [torch.randn(s, generator=g).to(dtype).double() for s in shapes]

    def served(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return product(spec, x, y, w, backend)

    def exact(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return reference.tensor_product(spec, (x, y, w))

    expected = _derivatives(exact, draws)
    found = _derivatives(served, [t.to(dtype) for t in draws])
    value, gradient, second = (
        max((_error(a, b) for a, b in zip(f, e, strict=True)), default=0.0)
        for f, e in zip(found, expected, strict=True)
    )
    eps = torch.finfo(dtype).eps
    allowed = (32 * eps, 64 * eps, 128 * eps, 1e-6, 128 * eps)
    turned = _equivariance(spec, served, [t.to(dtype) for t in draws], g)
    return ProductCheck(value, gradient, second, _differences(served, draws, g), turned, allowed)


def _derivatives(function: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[list[Tensor], ...]:
    leaves = [t.clone().requires_grad_() for t in inputs]
    out = function(*leaves)
    # Connected to every input, also where the product is not.
    nothing = 0 * torch.stack([(t * t).sum() for t in leaves]).sum()
    first = torch.autograd.grad((out * out).sum() / 2 + nothing, leaves, create_graph=True)
    second = torch.autograd.grad(torch.stack([(f * f).sum() for f in first]).sum() / 2 + nothing, leaves)
    return [out.detach()], [f.detach() for f in first], list(second)


def _error(found: Tensor, expected: Tensor) -> float:
    if not expected.numel():
        return 0.0
    scale = float(expected.abs().max())
    off = float((found.double() - expected).abs().max())
    return off / scale if scale else off


def _differences(function: Callable[..., Tensor], inputs: list[Tensor], g: torch.Generator) -> float:
    """Compare the product of the Hessian with a direction with a difference of gradients."""
    direction = [torch.randn(t.shape, generator=g, dtype=t.dtype) for t in inputs]

    def gradient(step: float, create: bool) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        leaves = [(t + step * d).requires_grad_() for t, d in zip(inputs, direction, strict=True)]
        out = function(*leaves)
        total = out.sin().sum() + 0 * torch.stack([(t * t).sum() for t in leaves]).sum()
        return leaves, torch.autograd.grad(total, leaves, create_graph=create)

    leaves, first = gradient(0.0, True)
    slope = torch.stack([(f * d).sum() for f, d in zip(first, direction, strict=True)]).sum()
    hessian = torch.autograd.grad(slope, leaves)
    step = 1e-5
    pairs = zip(gradient(step, False)[1], gradient(-step, False)[1], strict=True)
    numeric = torch.cat([((a - b) / (2 * step)).flatten() for a, b in pairs])
    return _error(numeric, torch.cat([h.flatten() for h in hessian]))


def _equivariance(
    spec: ProductSpec, function: Callable[..., Tensor], inputs: list[Tensor], g: torch.Generator
) -> float:
    """Turn and reflect."""
    worst = 0.0
    x, y, w = (t.double() for t in inputs)
    value = function(*inputs).double()
    for sign in (1.0, -1.0):
        q, r = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))
        q = q * r.diagonal().sign()
        q = q * (sign * torch.linalg.det(q).sign())
        one, two, out = (i.D(q) for i in (spec.irreps_in1, spec.irreps_in2, spec.irreps_out))
        turned = function(*(t.to(inputs[0].dtype) for t in (x @ one.T, y @ two.T, w)))
        worst = max(worst, _error(turned, value @ out.T))
    return worst
