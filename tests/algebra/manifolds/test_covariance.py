"""Covariances of series and their delays: numpy as oracle, gradients, relative jitter, transforms, misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.manifolds.covariance import covariance, delayed


def series(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("order", "lag"), [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize("center", [True, False])
def test_against_loops(order: int, lag: int, center: bool) -> None:
    x = 3 + series(4, 2, 30)
    found = covariance(x, 0.01, order=order, lag=lag, center=center)
    for k, trial in enumerate(x.numpy()):
        z = trial - trial.mean(1, keepdims=True) if center else trial
        rows = [
            [z[c, t - j * lag] for t in range((order - 1) * lag, 30)] for j in range(order) for c in range(2)
        ]
        s = np.array(rows) @ np.array(rows).T / len(rows[0])
        want = s + 0.01 * np.trace(s) / len(s) * np.eye(len(s))
        np.testing.assert_allclose(found[k].numpy(), want, rtol=1e-13, atol=1e-14)


def test_plain_is_that_of_numpy() -> None:
    x = series(3, 50) + 7
    np.testing.assert_allclose(
        covariance(x, 0.0).numpy(), np.cov(x.numpy(), bias=True), rtol=1e-12, atol=1e-14
    )


def test_delays_are_views_of_the_past() -> None:
    x = series(2, 12)
    z = delayed(x, 3, 2)
    assert z.shape == (6, 8) and delayed(x, 1, 5) is x
    for j in range(3):
        assert torch.equal(z[2 * j : 2 * j + 2], x[:, 4 - 2 * j : 12 - 2 * j])


def test_jitter_is_relative_and_bounds_the_condition() -> None:
    x = torch.cat([series(5, 2, 40)] * 2, 1)  # of rank two
    for scale in (1e-6, 1.0, 1e6):
        c = covariance(scale * x, 1e-3)
        torch.testing.assert_close(c / scale**2, covariance(x, 1e-3), rtol=1e-12, atol=0)
        w = torch.linalg.eigvalsh(c)
        assert bool((w[:, -1] / w[:, 0] <= 1 + 4 / 1e-3 + 1e-6).all())


def test_float32_sums_in_float64() -> None:
    x = (series(3, 4, 300) + 1e3).float()
    found, want = covariance(x), covariance(x.double())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, want.float(), rtol=1e-6, atol=0)


def test_gradients() -> None:
    x = series(2, 2, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: covariance(x, 0.1, order=2, lag=3), x)
    assert torch.autograd.gradgradcheck(lambda x: covariance(x, 0.1, order=2, lag=3), x)


def test_transforms_and_layouts() -> None:
    x = series(6, 3, 20)
    want = covariance(x, order=2, lag=2)
    torch.testing.assert_close(torch.func.vmap(lambda a: covariance(a, order=2, lag=2))(x), want)
    compiled = torch.compile(lambda a: covariance(a, order=2, lag=2), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), want)
    strided = x.mT.contiguous().mT
    torch.testing.assert_close(covariance(strided, order=2, lag=2), want)
    torch.testing.assert_close(covariance(x.view(2, 3, 3, 20), order=2, lag=2), want.view(2, 3, 6, 6))
    assert covariance(x[:0]).shape == (0, 3, 3)


def test_misuse() -> None:
    x = series(3, 2, 10)
    still = x.clone()
    still[1] = 4.0
    nan = x.clone()
    nan[2, 0, 3] = torch.nan
    for call, match in (
        (lambda: covariance(still), r"series 1 of `x` has mean variance 0.0"),
        (lambda: covariance(nan), r"series 2 of `x` has mean variance nan"),
        (lambda: covariance(x, order=3, lag=5), r"10 samples in time; order 3 with lag 5 needs more than 10"),
        (lambda: covariance(x, order=0), "order=0"),
        (lambda: covariance(x, -1.0), "shrink=-1.0"),
        (lambda: covariance(x.long()), "int64"),
        (lambda: covariance(x[0, 0]), r"shape \(10,\)"),
        (lambda: delayed(x[0, 0], 1, 1), r"\(..., channels, time\)"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()
    assert bool(torch.isnan(covariance(nan, check=False)[2]).all())


@pytest.mark.parametrize("value", [0.1, 0.3, 1000 / 7])
@pytest.mark.parametrize("length", [200, 333, 1000])
def test_constant_series_are_refused(value: float, length: int) -> None:
    """Their mean is rounded: the noise that is left is no variance."""
    with pytest.raises(InvalidInput, match="constant"):
        covariance(torch.full((3, length), value, dtype=torch.float64))
