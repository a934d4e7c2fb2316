"""Points to test manifolds with: SPD matrices of given condition number, and what failing samples are reported by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from geomlib.testing.asserting import require

__all__ = ["random_spd", "random_symmetric", "relative", "report"]


def random_spd(
    size: int,
    n: int,
    *,
    kappa: float = 100.0,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:  # (size, n, n)
    """Return SPD matrices with condition number kappa, their eigenvalues spread evenly in the logarithm around one.

    Those of size 1 lie between kappa^-1/2 and kappa^1/2.

    >>> torch.linalg.cond(random_spd(4, 3, kappa=100.0)).round()
    tensor([100., 100., 100., 100.], dtype=torch.float64)
    """
    frames = torch.linalg.qr(torch.randn(size, n, n, generator=generator, dtype=torch.float64))[0]
    ends = torch.tensor([0.0, 1.0] if n > 1 else [], dtype=torch.float64).expand(size, -1)
    inner = torch.rand(size, n - ends.shape[-1], generator=generator, dtype=torch.float64)
    w = kappa ** (torch.cat([ends, inner], -1) - 0.5)
    found = (frames * w.unsqueeze(-2)) @ frames.mT
    return ((found + found.mT) / 2).to(dtype)


def random_symmetric(
    size: int, n: int, *, generator: Generator | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:  # (size, n, n)
    """Return symmetric matrices with normal entries.

    >>> A = random_symmetric(2, 3)
    >>> torch.equal(A, A.mT)
    True
    """
    A = torch.randn(size, n, n, generator=generator, dtype=torch.float64)
    return ((A + A.mT) / 2).to(dtype)


def relative(found: Tensor, want: Tensor, axes: int) -> Tensor:
    """Return the distance of two tensors over the larger norm, where the last axes are one sample; NaN stays.

    >>> relative(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]), 0)
    tensor([0.0000, 0.5000])
    """
    if axes:
        gap, a, b = ((x).flatten(-axes).norm(dim=-1) for x in (found - want, found, want))
    else:
        gap, a, b = (found - want).abs(), found.abs(), want.abs()
    size = torch.maximum(a, b)
    return torch.where(size == 0, gap, gap / torch.where(size == 0, 1.0, size))


def report(what: str, errors: Mapping[str, Tensor], allowed: Mapping[str, float]) -> dict[str, float]:
    """Fail with the names of laws whose worst error is not within what is allowed, else return the worst errors.

    >>> report("a space", {"left identity": torch.zeros(3)}, {"left identity": 1e-15})
    {'left identity': 0.0}
    """
    __tracebackhide__ = True
    worst = {name: float(e.max()) if e.numel() else 0.0 for name, e in errors.items()}
    broken = [name for name in worst if not worst[name] <= allowed[name]]
    lines = [
        f"  {name}: error {worst[name]:.2e} at sample {int(errors[name].flatten().argmax())}, allowed {allowed[name]:.2e}"
        for name in broken
    ]
    require(not broken, f"{what} breaks {len(broken)} of {len(worst)} laws:\n" + "\n".join(lines))
    return worst
