"""Real spherical harmonics in plain torch: by coupling degree after degree, and by recursion."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from geomlib.algebra.irreps.irreps import Irreps
from geomlib.algebra.irreps.wigner import coupling
from geomlib.errors import InvalidInput

__all__ = [
    "NORMALIZATIONS",
    "check_harmonics",
    "degrees_of",
    "direction",
    "recursion_factors",
    "scale_of",
    "solid_harmonics",
    "spherical_harmonics",
    "start_factor",
]

NORMALIZATIONS = ("component", "norm", "integral")


def spherical_harmonics(
    l: int | Sequence[int] | str | Irreps,
    x: Tensor,  # (..., 3)
    normalize: bool = True,
    normalization: str = "component",
) -> Tensor:  # (..., sum of 2l + 1)
    r"""Return real spherical harmonics of vectors.

    .. math:: Y_{lm}(x) = N_{l|m|}\, Q_l^{|m|}(x)\, \{\sqrt2\, s_{|m|},\; 1,\; \sqrt2\, c_m\}, \qquad c_m + i s_m = (z + ix)^m

    with the polar axis y, components m = -l..l (degree 1 is proportional to (x, y, z)) and no Condon-Shortley phase: the
    convention of e3nn. Derivatives of any order come from autograd.

    **Group** O(3): degree l transforms as the irrep l with parity (-1)^l. **Shapes** ``x`` (..., 3) to (..., sum 2l+1).

    Args:
        l: a degree, several, or irreps whose parity is that of spherical harmonics.
        x: vectors.
        normalize: evaluate at the unit vector along x; the zero vector gives 0 for l > 0, with finite gradients.
        normalization: of :math:`\|Y_l\|` on unit vectors: ``"component"`` :math:`\sqrt{2l+1}`, ``"norm"`` 1,
            ``"integral"`` orthonormal on the sphere.

    Raises:
        InvalidInput: shape, type, degree or normalisation.

    >>> spherical_harmonics(1, torch.tensor([3.0, 0.0, 4.0]), normalization="norm")
    tensor([0.6000, 0.0000, 0.8000])
    """
    check_harmonics(x, normalization)
    degrees = degrees_of(l)
    if not degrees:
        return x.new_zeros(*x.shape[:-1], 0)
    if torch.compiler.is_compiling() or type(x) not in (Tensor, torch.nn.Parameter):
        # A compiler joins what is done to every component; and a table made while torch traces is no tensor to keep.
        values = solid_harmonics(max(degrees), direction(x) if normalize else x)
        scale = {d: scale_of(d, normalization) for d in set(degrees)}
        return torch.cat([scale[d] * values[..., d * d : (d + 1) ** 2] for d in degrees], dim=-1)
    rows = _coupled(max(degrees), x.reshape(-1, 3).T.contiguous(), normalize, normalization)
    chosen = rows[degrees[0]] if len(degrees) == 1 else torch.cat([rows[d] for d in degrees])
    return chosen.T.contiguous().reshape(*x.shape[:-1], len(chosen))


def _coupled(lmax: int, x: Tensor, normalize: bool, normalization: str) -> list[Tensor]:  # x (3, B)
    r"""Return the harmonics of every degree, (2l + 1, B), each the stretched coupling of the one before with the vector.

    .. math:: Y_{l+1} = \sqrt{\tfrac{2l+3}{l+1}}\, C_l\, (Y_l \otimes x)

    Two operations per degree, where :func:`solid_harmonics` makes several per component.
    """
    if normalize:
        x = _directions(x, 0)
    # Degree 0 depends on x too: its derivative is zero, and a NaN stays one.
    found = [start_factor(0) * scale_of(0, normalization) + (0.0 * x).sum(0, keepdim=True)]
    if lmax:
        found.append(_step(0, normalization) * x)
    for l in range(1, lmax):
        outer = (found[-1][:, None] * x).flatten(0, 1)
        found.append(_stretching(l, normalization, x.dtype, x.device) @ outer)
    return found


def _step(l: int, normalization: str) -> float:
    """Return what the coupling of degrees l and 1 is multiplied by; for l = 0, of the vector."""
    before = start_factor(0) * scale_of(0, normalization) if l == 0 else 1.0
    ratio = scale_of(l + 1, normalization) / scale_of(l, normalization)
    return before * ratio * math.sqrt((2 * l + 3) / (l + 1))


@functools.lru_cache(maxsize=512)
def _stretching(l: int, normalization: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix from products of degree l and 1 to degree l + 1, (2l + 3, 3 (2l + 1))."""
    return (_step(l, normalization) * coupling(l).flatten(1)).to(dtype=dtype, device=device)


def check_harmonics(x: Tensor, normalization: str) -> None:
    """Check what harmonics are taken of.

    Raises:
        InvalidInput: no floating vectors, or an unknown normalisation.
    """
    if x.dim() < 1 or x.shape[-1] != 3 or not x.is_floating_point():
        raise InvalidInput(
            f"spherical_harmonics: expected floating vectors (..., 3), got {x.dtype} of shape {tuple(x.shape)}."
        )
    if normalization not in NORMALIZATIONS:
        raise InvalidInput(f"normalization={normalization!r}: expected one of {', '.join(NORMALIZATIONS)}.")


def degrees_of(l: int | Sequence[int] | str | Irreps) -> list[int]:
    """Return the degrees named by an integer, a sequence or irreps.

    Raises:
        InvalidInput: a negative degree, or an irrep with a parity that spherical harmonics do not have.

    >>> degrees_of("2x0e+1o")
    [0, 0, 1]
    """
    if isinstance(l, int):
        found = [l]
    elif isinstance(l, (str, Irreps)):
        irreps = Irreps(l)
        for block in irreps:
            if block.ir.p != (-1) ** block.ir.l:
                raise InvalidInput(
                    f"spherical harmonics of degree {block.ir.l} have the other parity than {block.ir}."
                )
        found = [block.ir.l for block in irreps for _ in range(block.mul)]
    else:
        found = [int(d) for d in l]
    if any(d < 0 for d in found):
        raise InvalidInput(f"spherical harmonics: degrees {found} must not be negative.")
    return found


def direction(x: Tensor) -> Tensor:  # (..., 3) -> (..., 3)
    """Return x/|x|, for the smallest and largest numbers too, and x itself where it is zero."""
    return _directions(x, -1)


def _directions(x: Tensor, axis: int) -> Tensor:
    largest = x.detach().abs().amax(axis, keepdim=True)
    zero = (largest == 0).to(x.dtype)
    scaled = x / (largest + zero)
    # A root has no derivative at zero: it is taken at 1 there.
    length = ((scaled * scaled).sum(axis, keepdim=True) + zero).sqrt()
    return scaled / length


def solid_harmonics(lmax: int, x: Tensor) -> Tensor:  # (..., 3) -> (..., (lmax + 1)^2)
    r"""Return the solid harmonics :math:`r^l Y_{lm}`, orthonormal on the unit sphere, of all degrees up to ``lmax``.

    .. math:: Q_m^m = (2m-1)!!, \quad Q_{m+1}^m = (2m+1)\,y\,Q_m^m, \quad
              (l-m)\,Q_l^m = (2l-1)\,y\,Q_{l-1}^m - (l+m-1)\,r^2\,Q_{l-2}^m

    The factor :math:`N_{lm}` is part of the recursion, so that no intermediate grows with l.
    """
    a, y, b = x.unbind(-1)
    r2 = (x * x).sum(-1)
    # Degree 0 depends on x too: its derivative is zero, and a NaN stays one.
    one = 1.0 + (0.0 * x).sum(-1)
    cosine, sine = [one], [torch.zeros_like(y)]
    for _ in range(lmax):
        c, s = cosine[-1], sine[-1]
        cosine.append(c * b - s * a)
        sine.append(c * a + s * b)
    columns: list[Tensor | None] = [None] * (lmax + 1) ** 2
    for m in range(lmax + 1):
        previous, current = None, start_factor(m) * one
        for l in range(m, lmax + 1):
            if l > m:
                first, second = recursion_factors(l, m)
                following = first * y * current
                if previous is not None:
                    following = following - second * r2 * previous
                previous, current = current, following
            if m:
                columns[l * l + l + m] = current * cosine[m]
                columns[l * l + l - m] = current * sine[m]
            else:
                columns[l * l + l] = current
    return torch.stack([c for c in columns if c is not None], dim=-1)


def start_factor(m: int) -> float:
    """Return (sqrt 2 if m) N_mm (2m - 1)!!, with N_lm^2 = (2l+1)/4pi (l-m)!/(l+m)!."""
    square = (2 * m + 1) / (4 * math.pi) * (2 if m else 1)
    for k in range(1, m + 1):
        square *= (2 * k - 1) / (2 * k)
    return math.sqrt(square)


def recursion_factors(l: int, m: int) -> tuple[float, float]:
    """Return the factors of y N Q_{l-1} and r^2 N Q_{l-2} in N Q_l."""
    ratio = (2 * l + 1) / ((l - m) * (l + m))
    first = math.sqrt(ratio * (2 * l - 1))
    second = math.sqrt(ratio * (l - m - 1) * (l + m - 1) / (2 * l - 3)) if l > m + 1 else 0.0
    return first, second


def scale_of(l: int, normalization: str) -> float:
    """Return the factor that takes orthonormal harmonics of degree l to the normalisation."""
    if normalization == "integral":
        return 1.0
    return math.sqrt(4 * math.pi / (2 * l + 1 if normalization == "norm" else 1))
