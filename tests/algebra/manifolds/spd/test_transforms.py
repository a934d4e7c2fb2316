"""Vmap, compilation, types, layouts and empty batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geomlib.algebra.manifolds.spd import SPD

from .common import COMPLETE, MAIN, SPACES, space, spd, symmetric


def every(s: SPD, P: Tensor, Q: Tensor, V: Tensor) -> list[Tensor]:
    found = [
        s.exp(P, V), s.log(P, Q), s.sqdist(P, Q), s.dist(P, Q), s.inner(P, V, V), s.geodesic(P, Q, 0.3), s.exp0(V),
        s.log0(P), s.mean(torch.stack([P, Q], -3)), s.logits(P, Q, V),
    ]  # fmt: skip
    if s.complete:
        found += [
            s.transport(P, Q, V), s.add(P, Q), s.neg(P), s.scale(P, 0.3), s.gyration(P, Q), s.gyrate(P, Q, P),
            s.coadd(P, Q), s.ginner(P, Q), s.gnorm(P), s.gdist(P, Q), s.gangle(P, Q, P), s.hyperplane(P, Q, P),
        ]  # fmt: skip
    if s.flat:
        found += [
            s.chart(P),
            s.unchart(V),
            s.push(P, V),
            s.pull(P, V),
            s.chart_sqdist(V, P),
            s.chart_logits(V, P, V),
        ]
    return found


def points(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    return spd(4, 3, 10.0, 1, dtype), spd(4, 3, 10.0, 2, dtype), 0.1 * symmetric(4, 3, 3, dtype)


@pytest.mark.parametrize("name", ["ai", *(pytest.param(n, marks=pytest.mark.slow) for n in SPACES[1:])])
def test_vmap(name: str) -> None:
    s = space(name)
    found = torch.func.vmap(lambda *args: every(s, *args))(*points())
    for a, b in zip(found, every(s, *points()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", SPACES)
def test_float32(name: str) -> None:
    """Results are those of float64 on the same numbers, rounded; a narrower eig_dtype is really narrower."""
    s, narrow = space(name), points(torch.float32)
    for a, b in zip(every(s, *narrow), every(s, *(x.double() for x in narrow)), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=2e-7, atol=1e-7)
    if name == "ai":
        rough = SPD("ai", eig_dtype=torch.float32).log(*narrow[:2])
        gap = float((rough.double() - s.log(*(x.double() for x in narrow[:2]))).abs().max())
        assert 1e-8 < gap < 1e-4


@pytest.mark.parametrize("name", MAIN)
def test_strided_expanded_single_and_empty(name: str) -> None:
    s = space(name)
    want = every(s, *points())
    strided = [torch.stack([x, x], -1)[..., 0] for x in points()]
    for a, b in zip(every(s, *strided), want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
    for a, b in zip(every(s, *(x[1] for x in points())), want, strict=True):
        torch.testing.assert_close(a, b[1], rtol=1e-11, atol=1e-12)
    for a, b in zip(every(s, *(x[:0] for x in points())), want, strict=True):
        assert a.shape == b[:0].shape


@pytest.mark.parametrize("name", MAIN)
def test_leading_dimensions_broadcast(name: str) -> None:
    s, (P, Q, V) = space(name), points()
    for function, args in ((s.log, (P[:, None], Q)), (s.sqdist, (P[:, None], Q)), (s.exp, (P[:, None], V))):
        found = function(*args)
        assert found.shape[:2] == (4, 4)
        torch.testing.assert_close(found[1, 2], function(P[1], args[1][2]), rtol=1e-11, atol=1e-12)
    t = torch.tensor([0.0, 0.5, 1.0, 0.3], dtype=torch.float64)
    torch.testing.assert_close(s.geodesic(P, Q, t)[3], s.geodesic(P[3], Q[3], 0.3), rtol=1e-11, atol=1e-12)
    if s.complete:
        torch.testing.assert_close(s.scale(P, t)[1], s.scale(P[1], 0.5), rtol=1e-11, atol=1e-12)


def test_autocast_changes_nothing() -> None:
    s, (P, Q, _) = space("ai"), points(torch.float32)
    want = s.log(P, Q)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(s.log(P, Q), want)


def test_steps_after_convergence_change_nothing() -> None:
    """Where values cannot be read all steps are taken: the result is that of stopping."""
    X = torch.stack([spd(5, 3, 10.0, 1), spd(5, 3, 1e4, 2)])
    s = space("ai")
    found = torch.func.vmap(lambda x: s.mean(x, iters=10, order=0))(X)
    torch.testing.assert_close(found, s.mean(X, order=0), rtol=1e-12, atol=1e-12)


def run_compiled(s: SPD, which: tuple[str, ...]) -> None:
    """Compare values and gradients of compiled methods."""
    args = {"exp": "PV", "neg": "P", "scale": "P", "chart": "P", "log0": "P", "mean": "X", "gyrate": "PQP"}
    P, Q, V = (x.requires_grad_() for x in points())
    given = {"P": P, "Q": Q, "V": V, "X": torch.stack([P, Q], -3)}

    def several(P: Tensor, Q: Tensor, V: Tensor) -> list[Tensor]:
        given.update(P=P, Q=Q, V=V, X=torch.stack([P, Q], -3))
        extra = {"scale": (0.3,)}
        return [
            getattr(s, name)(*(given[k] for k in args.get(name, "PQ")), *extra.get(name, ()))
            for name in which
        ]

    torch._dynamo.reset()
    found = torch.compile(several, fullgraph=True, backend="aot_eager")(P, Q, V)
    want = several(P, Q, V)
    for y in (found, want):
        y += torch.autograd.grad(sum(x.sum() for x in y), (P, Q))
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_compiled() -> None:
    run_compiled(space("ai"), ("sqdist",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ai", "bw"])
def test_means_compiled(name: str) -> None:
    run_compiled(space(name), ("mean",))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_everything_compiled(name: str) -> None:
    s = space(name)
    run_compiled(s, ("exp", "log", "sqdist", "dist", "log0"))
    if name in COMPLETE:
        run_compiled(s, ("add", "neg", "scale", "gyrate"))
