r"""Products of multivectors, with one weight per channel and path, or fully connected.

One sparse form serves the product and all its derivatives; Numba sums it in tiles, a card runs kernels generated from it, and
elsewhere plain torch does.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.blades import KINDS
from geomlib.algebra.clifford.frames import frame
from geomlib.algebra.clifford.products import bilinear, check_method, check_multivectors
from geomlib.errors import InvalidInput
from geomlib.kernels import dispatch
from geomlib.kernels.geometric_product import rows
from geomlib.kernels.geometric_product.connected import CONNECTED, mixed
from geomlib.kernels.geometric_product.operation import OPERATION, Served
from geomlib.kernels.geometric_product.squares import SQUARES
from geomlib.kernels.geometric_product.traced import form_of, traced_form

__all__ = ["fc_gp", "geometric_product", "grade_scale", "grade_squares", "weighted_gp"]

_HALF = (torch.float16, torch.bfloat16)
#: From this many generators on sums and differences of blades save more than they cost (measured: 1.5 times for n = 5, 3 times
#: for n = 6). Below, parts of products that vanish are zero and not round-off.
_MATRIX_FROM = 5
#: Above this many, tables of all pairs of blades do not fit the caches.
_LOOPS_UP_TO = 8


def _no_kernels(kind: str, alg: CliffordAlgebra, dtype: torch.dtype) -> str | None:
    """Say why a card is not served by generated kernels; None if it is."""
    from geomlib.kernels.geometric_product import cuda

    return cuda.too_many_blades(alg.size) or cuda.refusal(form_of(kind, alg), dtype)


def _chosen(
    op: str, kind: str, alg: CliffordAlgebra, tensors: tuple[Tensor, ...], backend: str | None
) -> str:
    """Return the backend; while torch compiles, the opaque operation, which chooses when it runs."""
    if torch.compiler.is_compiling():
        return "cpu"
    return dispatch.choose(op, tensors, backend, cuda=lambda: _no_kernels(kind, alg, tensors[0].dtype))


def _sum(
    kind: str, alg: CliffordAlgebra, op: str, backend: str | None, *tensors: Tensor, chosen: str | None = None
) -> Tensor:
    """Return the sum of a form, on a backend that was chosen before or here."""
    if torch.compiler.is_compiling():
        return traced_form(kind, alg.metric, backend, *tensors)
    form = form_of(kind, alg)
    chosen = chosen or _chosen(op, kind, alg, tensors, backend)
    if dispatch.inside_transform():
        return rows.reference(form.plain or form, tensors)
    if chosen == "cuda":
        from geomlib.kernels.geometric_product import cuda

        return cuda.OPERATION(form, *tensors)
    return OPERATION(Served(form, loops=chosen == "cpu"), *tensors)


def geometric_product(
    x: Tensor,  # (..., 2^n)
    y: Tensor,  # (..., 2^n)
    alg: CliffordAlgebra,
    *,
    kind: str = "gp",
    method: str = "auto",
    backend: str | None = None,
) -> Tensor:  # (..., 2^n)
    r"""Multiply multivectors.

    .. math:: z_j = \sum_{ik} S_{ijk}\, x_i\, y_k

    ``table`` sums the products of blades that are not zero, 4^n of them. ``matrix`` sums those of the basis of
    :mod:`geomlib.algebra.clifford.frames`, 2^k times fewer, after sums and differences of blades: round-off is relative to the
    largest component, also where a part of the product vanishes. ``dense`` contracts with the Cayley tensor. ``auto`` takes
    Numba loops where they can serve, over the table up to n = 4 and in that basis above, and otherwise torch: the dense
    contraction for few rows (1024) of few generators (4), matrices from n = 6, a loop over blades between. All have
    derivatives of any order.

    **Group** Pin(p,q,r). **Shapes** leading axes are broadcast.

    Args:
        x: left factor.
        y: right factor.
        alg: the algebra.
        kind: the geometric product or a part of it, such as ``"wedge"``.
        method: ``"auto"``, ``"dense"``, ``"table"`` or, for the geometric product, ``"matrix"``.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: shapes, types, names or a backend that do not fit.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(3)
    >>> x = torch.randn(5, 8)
    >>> torch.allclose(geometric_product(x, x, alg), alg.gp(x, x), atol=1e-5)
    True
    """
    if kind not in KINDS:
        raise InvalidInput(f"kind {kind!r}: expected one of {', '.join(KINDS)}.")
    check_method(method, kind)
    check_multivectors("geometric_product", alg.size, x, y)
    chosen = _chosen("geometric_product", kind, alg, (x, y), backend)
    matrix = method == "matrix" or (method == "auto" and kind == "gp" and _matrices_pay(alg))
    if method == "dense" or chosen == "torch" or (alg.n > _LOOPS_UP_TO and method == "auto" and not matrix):
        return bilinear(alg.metric, kind, x, y, method)
    if matrix and chosen == "cpu":
        kind = "matrix"
    x, y = _broadcast(x, y)
    shape, flat = x.shape, (x.numel() // alg.size, 1, alg.size)
    pair = x.reshape(flat), y.reshape(flat)
    return _sum(kind, alg, "geometric_product", backend, *pair, chosen=chosen).view(shape)


def _matrices_pay(alg: CliffordAlgebra) -> bool:
    # A compiler does not trace through the construction of the basis.
    return alg.n >= _MATRIX_FROM and (torch.compiler.is_compiling() or frame(alg.metric).count > 0)


def _broadcast(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    try:
        x, y = torch.broadcast_tensors(x, y)
    except RuntimeError as error:
        raise InvalidInput(
            f"shapes {tuple(x.shape)} and {tuple(y.shape)} do not broadcast: {error}."
        ) from None
    return x, y


def weighted_gp(
    x: Tensor,  # (..., C, 2^n)
    y: Tensor,  # (..., C, 2^n)
    w: Tensor,  # (C, paths)
    alg: CliffordAlgebra,
    *,
    backend: str | None = None,
) -> Tensor:  # (..., C, 2^n)
    r"""Multiply channel by channel, with a weight for every path of grades.

    .. math:: z_{cj} = \sum_{ik} w_{c,\,p(g_i, g_j, g_k)}\, S_{ijk}\, x_{ci}\, y_{ck}

    **Group** Pin(p,q,r). **Shapes** ``x`` and ``y`` (..., C, 2^n), ``w`` (C, paths) in the order of ``alg.paths``.

    Args:
        x: left factor.
        y: right factor.
        w: weights.
        alg: the algebra.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: shapes, types or a backend that do not fit.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(3)
    >>> weighted_gp(torch.randn(5, 4, 8), torch.randn(5, 4, 8), torch.randn(4, 20), alg).shape
    torch.Size([5, 4, 8])
    """
    _check_channels("weighted_gp", x, y, w, alg, (x.shape[-2] if x.dim() > 1 else 0, len(alg.paths)))
    if x.dtype in _HALF and _chosen("weighted_gp", "weighted", alg, (x, y, w), backend) != "cuda":
        return weighted_gp(x.float(), y.float(), w.float(), alg, backend=backend).to(x.dtype)
    x, y = _broadcast(x, y)
    flat = (math.prod(x.shape[:-2]), x.shape[-2], alg.size)
    return _sum("weighted", alg, "weighted_gp", backend, x.reshape(flat), y.reshape(flat), w).view(x.shape)


def fc_gp(
    x: Tensor,  # (..., C, 2^n)
    y: Tensor,  # (..., C, 2^n)
    w: Tensor,  # (D, C, paths)
    alg: CliffordAlgebra,
    *,
    backend: str | None = None,
) -> Tensor:  # (..., D, 2^n)
    r"""Multiply channel by channel and mix: products by path, then one matrix product for every grade of the output.

    .. math:: z_{oj} = \sum_c \sum_{ik} w_{oc,\,p(g_i, g_j, g_k)}\, S_{ijk}\, x_{ci}\, y_{ck}

    **Group** Pin(p,q,r). **Shapes** ``x`` and ``y`` (..., C, 2^n), ``w`` (D, C, paths), to (..., D, 2^n).

    Args:
        x: left factor.
        y: right factor.
        w: weights.
        alg: the algebra.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: shapes, types or a backend that do not fit.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> alg = CliffordAlgebra(3)
    >>> fc_gp(torch.randn(5, 4, 8), torch.randn(5, 4, 8), torch.randn(6, 4, 20), alg).shape
    torch.Size([5, 6, 8])
    """
    channels = x.shape[-2] if x.dim() > 1 else 0
    _check_channels("fc_gp", x, y, w, alg, (w.shape[0] if w.dim() else 0, channels, len(alg.paths)))
    if x.dtype in _HALF:
        return fc_gp(x.float(), y.float(), w.float(), alg, backend=backend).to(x.dtype)
    x, y = _broadcast(x, y)
    flat = (math.prod(x.shape[:-2]), channels, alg.size)
    pair = x.reshape(flat), y.reshape(flat)
    chosen = _chosen("fc_gp", "features", alg, (x, y, w), backend)
    loops = chosen == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    if loops and not dispatch.inside_transform():
        found = CONNECTED(alg, *pair, w)
    else:
        found = mixed(_sum("features", alg, "fc_gp", backend, *pair, chosen=chosen), w, alg)
    return found.reshape(*x.shape[:-2], w.shape[0], alg.size)


def grade_squares(
    x: Tensor, alg: CliffordAlgebra, *, scalar_as_is: bool = False, backend: str | None = None
) -> Tensor:  # (..., n + 1)
    r"""Return the quadratic form of every grade, ``alg.qs``.

    .. math:: q_g(x) = \langle \tilde x_g\, x_g \rangle_0 = \sum_{j \in g} s_j\, x_j^2

    **Group** Pin(p,q,r), which leaves it as it is. **Shapes** ``x`` (..., 2^n) to (..., n + 1).

    Args:
        x: multivectors (..., 2^n).
        alg: the algebra.
        scalar_as_is: grade 0 is the scalar, not its square.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: shapes, types or a backend that do not fit.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> grade_squares(torch.tensor([2.0, 3.0, 4.0, 5.0]), CliffordAlgebra(1, 1))
    tensor([  4.,  -7., -25.])
    """
    check_multivectors("grade_squares", alg.size, x)
    chosen = _chosen("grade_squares", "squares", alg, (x,), backend)
    if chosen == "torch":
        found = alg.qs(x)
        return torch.cat([x[..., :1], found[..., 1:]], -1) if scalar_as_is else found
    flat = x.reshape(x.numel() // alg.size, 1, alg.size)
    if chosen == "cuda" or torch.compiler.is_compiling():
        found = _sum("squares", alg, "grade_squares", backend, flat, flat).view(*x.shape[:-1], alg.n + 1)
        return torch.cat([x[..., :1], found[..., 1:]], -1) if scalar_as_is else found
    return SQUARES((alg, scalar_as_is), flat).view(*x.shape[:-1], alg.n + 1)


def grade_scale(x: Tensor, scale: Tensor, alg: CliffordAlgebra, *, backend: str | None = None) -> Tensor:
    r"""Return multivectors with every grade multiplied by its own number.

    .. math:: y_j = \lambda_{g(j)}\, x_j

    **Group** Pin(p,q,r), if the numbers are invariants. **Shapes** ``x`` (..., 2^n), ``scale`` (..., n + 1), to (..., 2^n).

    Args:
        x: multivectors (..., 2^n).
        scale: factors (..., n + 1), leading axes as those of ``x``.
        alg: the algebra.
        backend: "auto", "torch", "cpu" or "cuda".

    Raises:
        InvalidInput: shapes, types or a backend that do not fit.

    >>> grade_scale(torch.ones(4), torch.tensor([1.0, 2.0, 3.0]), CliffordAlgebra(2))
    tensor([1., 2., 2., 3.])
    """
    check_multivectors("grade_scale", alg.size, x)
    if scale.shape != (*x.shape[:-1], alg.n + 1) or scale.dtype != x.dtype:
        raise InvalidInput(
            f"grade_scale: expected {x.dtype} factors {(*x.shape[:-1], alg.n + 1)}, got {scale.dtype} {tuple(scale.shape)}."
        )
    chosen = _chosen("grade_scale", "scale", alg, (x, scale), backend)
    if chosen == "torch":
        return x * torch.repeat_interleave(scale, _sizes(alg, x.device), -1, output_size=alg.size)
    count = x.numel() // alg.size
    pair = x.reshape(count, 1, alg.size), scale.reshape(count, 1, alg.n + 1)
    return _sum("scale", alg, "grade_scale", backend, *pair, chosen=chosen).view(x.shape)


@lru_cache(maxsize=64)
def _sizes(alg: CliffordAlgebra, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(alg.grade_sizes, device=device)


def _check_channels(
    op: str, x: Tensor, y: Tensor, w: Tensor, alg: CliffordAlgebra, shape: tuple[int, ...]
) -> None:
    check_multivectors(op, alg.size, x, y)
    if x.dim() < 2 or y.dim() < 2 or x.shape[-2] != y.shape[-2]:
        raise InvalidInput(
            f"{op}: x and y are (..., C, {alg.size}) with equal C, got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    if tuple(w.shape) != shape:
        raise InvalidInput(f"{op}: expected weights of shape {shape} for {alg}, got {tuple(w.shape)}.")
    if w.dtype != x.dtype:
        raise InvalidInput(f"{op}: x is {x.dtype} and the weights are {w.dtype}; cast one of them.")
