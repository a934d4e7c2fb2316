"""Spectral functions that are compiled, traced, exported and transformed."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.manifolds.spd.affine_distance import ai_sqdist
from geomlib.algebra.manifolds.spectral import symfun
from geomlib.kernels.spectral import operators
from tests.kernels.spectral.common import directions, matrices, relative


def test_torch_finds_nothing_wrong_with_the_operators() -> None:
    A, E = matrices(3, 3), directions(3, 3, 3)
    w, v = operators.eigh(A, torch.float64, "")
    calls = (
        (operators.eigh, (A.float(), torch.float64, "")),
        (operators.forward, (A, "pow", 0.3, torch.float64, "torch")),
        (operators.derivative, (w, v, "log", 0.0, E, "cpu")),
    )
    for operator, arguments in calls:
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("f", ["log", "sqrt"])
def test_compiled_and_traced(f: str) -> None:
    A = matrices(9, 4).requires_grad_()
    E = directions(9, 4, 4)
    wanted = symfun(A, f)
    (slope,) = torch.autograd.grad(wanted, A, E)
    compiled = torch.compile(lambda a: symfun(a, f), fullgraph=True, backend="aot_eager")(A)
    assert relative(compiled, wanted) < 1e-14
    assert relative(torch.autograd.grad(compiled, A, E)[0], slope) < 1e-13
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda a: symfun(a, f))(A.detach())
    assert "geomlib.spectral_forward" in graph.code and relative(graph(A.detach()), wanted) < 1e-14


def test_compiled_distance() -> None:
    P, Q = matrices(9, 4).requires_grad_(), matrices(9, 4, seed=1)
    found = torch.compile(ai_sqdist, fullgraph=True, backend="aot_eager")(P, Q)
    wanted = ai_sqdist(P, Q)
    torch.testing.assert_close(found, wanted)
    for d in (found, wanted):
        assert relative(*(torch.autograd.grad(x.sum(), P, retain_graph=True)[0] for x in (d, wanted))) < 1e-12


def test_exported_for_any_batch() -> None:
    class Layer(torch.nn.Module):
        def forward(self, a: torch.Tensor) -> torch.Tensor:
            return symfun(a, "log")

    A = matrices(9, 4)
    program = torch.export.export(Layer(), (A,), dynamic_shapes={"a": {0: torch.export.Dim("batch")}})
    assert relative(program.module()(A[:5]), symfun(A[:5], "log")) < 1e-14


def test_transforms() -> None:
    A, E = matrices(5, 3), directions(5, 3, 3)
    assert relative(torch.func.vmap(lambda a: symfun(a, "log"))(A), symfun(A, "log")) < 1e-13
    vmapped = torch.func.vmap(lambda a: operators.forward(a, "log", 0.0, torch.float64, "")[0])
    assert relative(vmapped(A), symfun(A, "log")) < 1e-13
    E = E + E.mT
    _, moved = torch.func.jvp(lambda a: symfun(a, "log"), (A,), (E,))
    x = A.clone().requires_grad_()
    assert relative(moved, torch.autograd.grad(symfun(x, "log"), x, E)[0]) < 1e-12
    P, Q = matrices(4, 3), matrices(4, 3, seed=1)
    torch.testing.assert_close(torch.func.vmap(ai_sqdist, (0, None))(P, Q[0]), ai_sqdist(P, Q[:1]))
    hessian = torch.func.hessian(lambda p: ai_sqdist(p, Q[0]))(P[0])
    twice = torch.func.jacrev(torch.func.jacrev(lambda p: ai_sqdist(p, Q[0])))(P[0])
    torch.testing.assert_close(hessian, twice)
