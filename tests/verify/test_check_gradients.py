"""Gradients: first and second order, of inputs and weights, and forces that conserve energy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.verify import Report, check

POINTS = {"pos": torch.randn(6, 3, generator=torch.Generator().manual_seed(0))}


def quick(f, out, types=None, **kwargs) -> Report:
    kwargs = {"trials": 4, "stress": False, "example": POINTS, **kwargs}
    return check(f, "E(3)*S_n", {"pos": "point"} if types is None else types, out, **kwargs)


def energy(pos: Tensor) -> Tensor:
    d = pos[:, None] - pos[None]
    return torch.exp(-d.square().sum(-1)).sum().reshape(1)


class WrongSecond(torch.autograd.Function):
    """x^3 with a right gradient whose own gradient is wrong, as in a kernel with a slip in its double backward."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x**3

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return WrongFirst.apply(g, x, ctx.factor), None


class WrongFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx, g: Tensor, x: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.factor = factor
        return 3 * g * x**2

    @staticmethod
    def backward(ctx, h: Tensor) -> tuple[Tensor, Tensor, None]:
        g, x = ctx.saved_tensors
        return 3 * h * x**2, ctx.factor * 6 * h * g * x, None


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "EXACT"), (1.1, "BROKEN")])
def test_second_order(factor: float, verdict: str) -> None:
    def f(pos: Tensor) -> Tensor:
        return WrongSecond.apply((pos - pos.mean(0)).square().sum(-1), factor)

    report = quick(f, "node:scalar")
    assert report.verdict == verdict, str(report)
    assert bool(report.failures) == (verdict == "BROKEN")
    assert all("second derivative with respect to `pos` is wrong" in text for text in report.failures)


class Once(torch.autograd.Function):
    """Marked as differentiable once; torch raises only if the incoming gradient carries a graph, else it is silent."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * g * x


class NoSecond(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return ForwardOnly.apply(g, x)


class ForwardOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, g: Tensor, x: Tensor) -> Tensor:
        return 2 * g * x


def test_a_backward_that_cannot_be_differentiated() -> None:
    report = quick(lambda pos: NoSecond.apply((pos - pos.mean(0)).norm(dim=-1)), "node:scalar")
    assert report.ok and any("second derivatives not tested" in w for w in report.warnings), str(report)
    silent = quick(lambda pos: Once.apply((pos - pos.mean(0)).norm(dim=-1)), "node:scalar")
    assert silent.verdict == "BROKEN" and "second derivative with respect to `pos`" in silent.failures[0]


class ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return g * w, 1.001 * (g * x).sum().reshape(w.shape)


class Weighted(nn.Module):
    def __init__(self, wrong: bool):
        super().__init__()
        self.weight, self.wrong = nn.Parameter(torch.tensor([0.7])), wrong

    def forward(self, pos: Tensor) -> Tensor:
        x = (pos - pos.mean(0)).norm(dim=-1)
        return ScaledGradient.apply(x, self.weight) if self.wrong else x * self.weight


def test_gradients_of_the_weights() -> None:
    assert quick(Weighted(False), "node:scalar").verdict == "EXACT"
    report = quick(Weighted(True), "node:scalar")
    assert (
        "the gradient with respect to the weights is not the derivative of the output" in report.failures[0]
    )
    assert all(f.verdict == "EXACT" for f in report.fields)


def forces(pos: Tensor, sign: float = -1.0, extra: float = 0.0, *, key: bool = True) -> dict[str, Tensor]:
    with torch.enable_grad():
        x = pos.detach().requires_grad_()
        e = energy(x)
        f = sign * torch.autograd.grad(e.sum(), x)[0]
    d = pos[:, None] - pos[None]
    swirl = extra * (
        d * torch.exp(-d.square().sum(-1, keepdim=True)) * d.square().sum((-1, 0))[:, None, None]
    ).sum(1)
    out = {"forces": f.detach() + swirl.detach()}
    return {"energy": energy(pos), **out} if key else out


BOTH = {"energy": "graph:scalar", "forces": "node:vector"}


def test_forces_are_minus_the_gradient_of_the_energy() -> None:
    assert quick(lambda pos: forces(pos), BOTH).verdict == "EXACT"
    wrong = quick(lambda pos: forces(pos, 1.0), BOTH)
    assert wrong.verdict == "BROKEN" and "are plus the gradient of `energy`: the sign" in wrong.failures[0]
    off = quick(lambda pos: forces(pos, -1.0001), BOTH)
    assert "`forces` are not minus the gradient of `energy`" in off.failures[0]
    assert all(f.verdict == "EXACT" for f in off.fields)


def test_forces_without_an_energy_have_a_symmetric_jacobian() -> None:
    only = {"forces": "node:vector"}
    assert quick(lambda pos: forces(pos, key=False), only).verdict == "EXACT"
    bent = quick(lambda pos: forces(pos, extra=1e-2, key=False), only)
    assert "not the gradient of any energy: their Jacobian is asymmetric" in bent.failures[0], str(bent)
    assert quick(lambda pos: forces(pos, extra=1e-2, key=False), only, conservative=False).ok


def test_other_vectors_are_forces_only_when_declared() -> None:
    def swirl(pos: Tensor) -> dict[str, Tensor]:
        return {"push": forces(pos, extra=1e-2, key=False)["forces"]}

    assert quick(swirl, {"push": "node:vector"}).ok
    report = quick(swirl, {"push": "node:vector"}, conservative=True)
    assert "`push` are not the gradient of any energy" in report.failures[0]


def test_the_declaration_says_whether_forces_are_conservative() -> None:
    def swirl(pos: Tensor) -> dict[str, Tensor]:
        return forces(pos, extra=1e-2, key=False)

    verdicts: dict[bool | None, bool] = {}
    for claim in (None, True, False):
        declared = Symmetry("E(3)*S_n", {"pos": "point"}, {"forces": "node:vector"}, conservative=claim)
        verdicts[claim] = check(swirl, symmetry=declared, example=POINTS, trials=4, stress=False).ok
    assert verdicts == {None: False, True: False, False: True}


def test_no_gradient_is_said() -> None:
    for context in (torch.no_grad, torch.inference_mode):

        def silent(pos: Tensor, context=context) -> Tensor:
            with context():
                return energy(pos)

        report = quick(silent, "graph:scalar")
        assert report.ok and any("no output carries a gradient" in w for w in report.warnings), str(report)


class LosesItsGradient(nn.Module):
    def forward(self, pos: Tensor) -> Tensor:
        x = (pos - pos.mean(0)).norm(dim=-1)
        return x.detach() if torch.compiler.is_compiling() else x


@pytest.mark.slow
def test_compilation_keeps_values_and_gradients() -> None:
    assert quick(Weighted(False), "node:scalar", compiled=True).verdict == "EXACT"
    report = quick(LosesItsGradient(), "node:scalar", compiled=True)
    assert report.failures == ("output `out` loses its gradient under torch.compile",)


def test_gradients_under_groups_that_are_not_orthogonal() -> None:
    """Gradients turn with the inverse transpose: a boost is where the difference shows."""
    metric = torch.tensor([1.0, -1.0, -1.0, -1.0])

    def mass(p: Tensor) -> Tensor:
        return (p * p * metric.to(p)).sum(-1)

    declared = Symmetry("SO+(1,3)", {"p": "vector"}, "scalar")
    example = {"p": torch.randn(5, 4)}
    report = check(mass, symmetry=declared, example=example, trials=4, stress=False)
    assert report.verdict == "EXACT" and [f.name for f in report.fields] == ["out", "d/d p"], str(report)
    euclidean = check(lambda p: p.norm(dim=-1), symmetry=declared, example=example, trials=4, stress=False)
    assert euclidean.verdict == "BROKEN"
