"""Flat metrics stay in their chart: what a chart is, and how many spectral functions are called on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from geomlib.algebra.manifolds.spd import SPD
from geomlib.algebra.manifolds.spectral import primitives
from geomlib.errors import InvalidInput
from geomlib.kernels.dispatch import use_backend

from .common import FLAT, space, spd, symmetric


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note every eigendecomposition and Cholesky factorisation."""
    calls: list[str] = []

    with monkeypatch.context() as patch:

        def watch(home: object, name: str) -> None:
            before = getattr(home, name)

            def call(*args: object, **options: object) -> object:
                calls.append(name)
                return before(*args, **options)

            patch.setattr(home, name, call)

        watch(primitives, "forward")
        watch(primitives, "eigh")
        watch(torch.linalg, "eigh")
        watch(torch.linalg, "cholesky_ex")
        with use_backend("torch"):  # the others do not pass by
            yield calls


@pytest.mark.parametrize("name", FLAT)
def test_chart_level_functions_decompose_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s = space(name)
    P, Q, A = spd(5, 3, seed=1), spd(5, 3, seed=2), symmetric(2, 3)
    X, Y = s.chart(P), s.chart(Q)
    with counted(monkeypatch) as calls:
        found = s.chart_dist(X, Y), s.chart_sqdist(X, Y), s.chart_inner(X, Y)
        logits = s.chart_logits(X[:, None], Y[:2], A)
        mean, total, multiple = X.mean(0), X + Y, 0.3 * X
    assert calls == []
    torch.testing.assert_close(found[0], s.dist(P, Q), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found[1], s.sqdist(P, Q), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found[2], s.ginner(P, Q), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(logits, s.logits(P[:, None], Q[:2], A), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(s.unchart(mean), s.mean(P), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(s.unchart(total), s.add(P, Q), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(s.unchart(multiple), s.scale(P, 0.3), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "most"),
    [("chart", 1), ("neg", 2), ("sqdist", 2), ("add", 3), ("geodesic", 3), ("mean", 2), ("logits", 2)],
)
def test_log_euclidean_operations_enter_and_leave_once(
    method: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One logarithm for every point that comes in, one exponential for every one that goes out."""
    s = SPD("le", check=False)
    P, Q = spd(5, 3, seed=1), spd(5, 3, seed=2)
    args = {
        "chart": (P,),
        "neg": (P,),
        "mean": (P,),
        "geodesic": (P, Q, 0.3),
        "logits": (P, Q, symmetric(5, 3)),
    }
    with counted(monkeypatch) as calls:
        getattr(s, method)(*args.get(method, (P, Q)))
    assert [name for name in calls if name in ("forward", "cholesky_ex")] == ["forward"] * most


def test_log_cholesky_needs_no_spectral_function(monkeypatch: pytest.MonkeyPatch) -> None:
    s, P, Q = SPD("lc", check=False), spd(5, 3, seed=1), spd(5, 3, seed=2)
    with counted(monkeypatch) as calls:
        s.sqdist(P, Q), s.mean(P), s.add(P, Q), s.exp(P, symmetric(5, 3)), s.logits(P, Q, symmetric(5, 3))
    assert set(calls) == {"cholesky_ex"}


@pytest.mark.parametrize("name", FLAT)
def test_push_is_the_derivative_of_the_chart(name: str) -> None:
    s, P, V = space(name), spd(4, 3, seed=1), symmetric(4, 3)
    _, want = torch.func.jvp(s.chart, (P,), (V,))
    torch.testing.assert_close(s.push(P, V), want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(s.pull(P, s.push(P, V)), V, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(s.unchart(s.chart(P)), P, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["ai", "bw"])
def test_curved_metrics_have_no_chart(name: str) -> None:
    with pytest.raises(InvalidInput, match="no flat chart"):
        space(name).chart(spd(1, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_noise_around_the_identity_is_not_called_asymmetric(dtype: torch.dtype) -> None:
    """Coordinates of the identity, averaged, are noise; an asymmetry of another size is refused."""
    noise = torch.finfo(dtype).eps * torch.tensor([[0.3, 1.0], [-1.0, 0.2]], dtype=dtype)
    s = space("le")
    for found in (s.unchart(noise), s.exp0(noise), space("ai").exp0(noise)):
        torch.testing.assert_close(found, torch.eye(2, dtype=dtype))
    with pytest.raises(InvalidInput, match="not symmetric"):
        s.unchart(1e4 * noise)
