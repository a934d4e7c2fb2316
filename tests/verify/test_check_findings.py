"""What a failed check says: subgroups that hold, the mistake they imply, the first broken module, a replay."""

from __future__ import annotations

import json
import pickle
import random
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geomlib import InvalidInput
from geomlib.verify import Report, check
from geomlib.verify.stress import STRESSES

E3 = "E(3)*S_n"


def quick(f, group: str = E3, types=None, out="node:scalar", **kwargs) -> Report:
    g = torch.Generator().manual_seed(0)
    kwargs = {"trials": 8, "stress": False, "gradients": False, **kwargs}
    kwargs.setdefault("example", {"pos": torch.randn(6, 3, generator=g)})
    return check(f, group, {"pos": "point"} if types is None else types, out, **kwargs)


def centred(pos: Tensor) -> Tensor:
    return pos - pos.mean(0)


def pseudo(pos: Tensor) -> Tensor:
    """Return the triple products of each node with the next two by distance."""
    x = centred(pos)
    order = x.norm(dim=-1).argsort()
    y = x[order]
    return torch.linalg.det(torch.stack([x, y[:1].expand_as(x), y[1:2].expand_as(x)], 1))


CASES = {
    "reflections": (
        lambda pos: pseudo(pos), "node:scalar", ("SE(3)", "S_n"), ("reflections",), "parity label: `out` declared"
    ),
    "product": (
        lambda pos: pseudo(pos) + pseudo(pos) ** 2, "node:scalar", ("SE(3)", "S_n"), ("reflections",),
        "reflections only fail: a parity label, or an SO(3)-only product",
    ),
    "translations": (
        lambda pos: pos.norm(dim=-1), "node:scalar", ("SO(3)", "reflections", "S_n"), ("translations",),
        "change its type, or how it is used",
    ),
    "order": (
        lambda pos: (pos - pos[:1]).norm(dim=-1), "node:scalar", ("SE(3)", "reflections"), ("S_n",),
        "the result depends on the order of the nodes",
    ),
    "axis": (
        lambda pos: centred(pos)[:, 2], "node:scalar", ("translations", "S_n", "SO(2) about z"), ("SO(3)",),
        "only turns about z hold: the z axis is singled out",
    ),
    "cubic": (
        lambda pos: torch.tanh(centred(pos)), "node:vector", ("translations", "S_n", "O_h"), ("SO(3)", "reflections"),
        "equivariant for the cubic group, not for SO(3): a non-linearity acts on components",
    ),
    "scaled axis": (
        lambda pos: centred(pos) * torch.tensor([1.0, 2.0, 3.0]).to(pos), "node:vector",
        ("translations", "S_n", "axis signs"), ("SO(3)", "reflections"), "only signs of the axes hold",
    ),
    "axes in another order": (
        lambda pos: centred(pos)[:, [1, 2, 0]], "node:vector", ("axes in the order y, z, x",), ("SO(3)",),
        "the components come in the order y, z, x",
    ),
    "bias": (
        lambda pos: centred(pos) + torch.tensor([1.0, 2.0, 3.0]).to(pos), "node:vector", ("translations", "S_n"),
        ("SO(3)", "reflections"), "rotations fail: a bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_subgroups_and_the_sentence_they_imply(name: str) -> None:
    f, out, passes, fails, advice = CASES[name]
    report = quick(f, out=out)
    assert report.verdict == "BROKEN"
    assert set(passes) <= set(report.passes), str(report)
    assert set(fails) <= set(report.fails) and not set(report.fails) & set(report.passes), str(report)
    assert advice in report.advice, str(report)


def test_wrong_parities_and_transposes() -> None:
    e = {"v": torch.randn(6, 3, generator=torch.Generator().manual_seed(0))}

    def f(v: Tensor) -> Tensor:
        return v * v.norm(dim=-1, keepdim=True)

    def vectors(types: str, out: str) -> Report:
        return quick(f, "O(3)", {"v": types}, out, example=e)

    assert "`out` declared 1x1e, transforms as 1x1o" in vectors("1o", "1e").advice
    assert (
        "`v` declared pseudovector, but the function takes it as vector"
        in vectors("pseudovector", "vector").advice
    )

    def basis(v: Tensor) -> Tensor:
        """Return the coordinates of x in a frame that turns along: R where R^T is meant."""
        return torch.linalg.inv(v[:3])

    frames = {"v": torch.randn(3, 3, generator=torch.Generator().manual_seed(0))}
    wrong = quick(basis, "SO(3)", {"v": "graph:tensor(2)"}, "graph:tensor(2)", example=frames)
    assert wrong.ok  # the inverse of R X R^T turns like X
    rolled = quick(lambda v: v.mT.contiguous(), "SO(3)", {"v": "vector"}, "vector", example=frames)
    assert not rolled.ok


def test_the_first_broken_submodule() -> None:
    class Tanh(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x)

    net = nn.Sequential(nn.Identity(), Tanh(), nn.Identity())
    report = check(net, "O(3)", "vector", "vector", trials=4, stress=False, gradients=False)
    assert report.first_broken == "1"
    good = check(nn.Sequential(nn.Identity()), "O(3)", "vector", "vector", trials=4, stress=False)
    assert good.ok and not good.first_broken and not good.passes and not good.advice


def anisotropic(pos: Tensor) -> Tensor:
    x = centred(pos)
    return (x * torch.tensor([1.0, 1.0, 1.01]).to(pos)).norm(dim=-1)


@pytest.mark.parametrize("stress", [False, True])
def test_a_replay_gives_the_worst_number_again_bit_for_bit(stress: bool) -> None:
    report = quick(anisotropic, stress=stress, gradients=True, seed=11)
    worst = max(report.fields, key=lambda f: f.ratio)
    again = report.replay()
    same = next(f for f in again.fields if f.name == worst.name)
    assert same.e64 == worst.e64 and same.d32 == worst.d32 and same.verdict == worst.verdict
    assert same.where == worst.where and again.replay == report.replay
    number = report.replay.trial
    assert str(report.replay) == f"geomlib.verify.check(anisotropic, seed=11, trials=8, trial={number})"
    typed = quick(anisotropic, stress=stress, gradients=True, seed=11, trial=number)
    assert next(f for f in typed.fields if f.name == worst.name).e64 == worst.e64


def test_a_trial_of_a_stress_runs_alone() -> None:
    def capped(pos: Tensor) -> Tensor:
        d = (pos[:, None] - pos[None]).square().sum(-1)
        return torch.exp(-d[:, :64]).sum(1)

    report = quick(capped, stress=True)
    number = report.replay.trial
    assert number is not None and number // 1000 == 2 + list(STRESSES).index("more than 64 neighbours")
    again = report.replay()
    assert again.fields[0].e64 == report.fields[0].e64 and len(again.fields) == 1


def test_the_worst_case_is_kept() -> None:
    report = quick(anisotropic)
    element, inputs = report.case
    x = inputs["pos"]
    moved = x @ element.linear.T + element.shift
    there = anisotropic(moved)[element.nodes]
    assert not torch.allclose(there, anisotropic(x)) and "case" not in json.loads(report.to_json())


def test_a_replay_line_is_text() -> None:
    report = quick(anisotropic)
    assert json.loads(report.to_json())["replay"] == report.replay
    assert pickle.loads(pickle.dumps(report.replay)) == str(report.replay)
    line = report.replay.worded("geomlib verify x.py:f --seed 0 --trial 3")
    assert line == "geomlib verify x.py:f --seed 0 --trial 3" and line().fields == report.replay().fields
    with pytest.raises(InvalidInput, match="cannot be run again from here"):
        Report("x", "O(3)", 0, 1, ()).replay()


def test_a_seed_may_be_drawn() -> None:
    first, second = (quick(anisotropic, seed=None) for _ in range(2))
    assert first.seed != second.seed
    assert quick(anisotropic, seed=first.seed).to_json() == first.to_json()


def test_median_and_count_are_said() -> None:
    field = quick(anisotropic).fields[0]
    assert 0 < field.median < field.e64 and f"(median {field.median:.1e} of 8 trials)" in field.reason


def test_a_factor_that_moves_nothing_is_said() -> None:
    report = check(lambda x: 2 * x, "O(3)*S_n", "vector", "vector", trials=4, stress=False)
    assert report.ok and any("no element of S_n changes any input" in w for w in report.warnings)


def test_a_failed_check_leaves_no_trace_either() -> None:
    """Leaks, diagnosis, locate and replay run inside the same protection."""

    class Rude(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Identity(), nn.Tanh(), nn.Dropout(0.3))

        def forward(self, x: Tensor) -> Tensor:
            torch.set_default_dtype(torch.float64)
            torch.set_float32_matmul_precision("medium")
            torch.set_num_threads(1)
            warnings.simplefilter("ignore")
            torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
            return self.inner(x.float()).to(x)

    def state() -> tuple:
        return (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(),
            list(warnings.filters),
        )

    net = Rude().train()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before, hooks = state(), [len(m._forward_hooks) for m in net.modules()]
        report = check(net, "O(3)", "vector", "vector", trials=4)
        assert report.verdict == "BROKEN"
        report.replay()
        assert state() == before
        assert net.training and all(m.training for m in net.modules())
        assert [len(m._forward_hooks) for m in net.modules()] == hooks
    finally:
        torch.set_num_threads(threads)


def test_a_failed_check_says_how_the_output_transforms_instead() -> None:
    """An outer product of a vector with itself has no pseudovector part, whatever its nine numbers are called."""

    def outer(x: Tensor) -> Tensor:
        return (x[:, :, None] * x[:, None, :]).flatten(1)

    report = check(outer, "O(3)", "vector", "0e+1o+2e")
    assert report.advice == "`out` declared 1x0e+1x1o+1x2e, transforms as 1x0e+1x2e"
    shifted = check(lambda x: torch.linalg.vector_norm(x, dim=-1).expand(3, -1).mT, "E(3)", "point", "1o")
    assert "translations" in shifted.fails and "transforms as" not in shifted.advice


def test_a_tool_that_fails_is_named_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict stands without it, but nothing is swallowed."""
    from geomlib import verify

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(verify, "lie", broken)
    report = check(torch.tanh, "O(3)", "vector", "vector")
    assert report.verdict == "BROKEN" and not report.lie
    assert "verify.lie failed with RuntimeError (out of luck)" in report.warnings


def test_without_explanation_the_verdicts_and_numbers_are_the_same() -> None:
    """What is left out is the search: what still holds, where it starts, the derivative along the group."""
    model = nn.Sequential(nn.Identity(), nn.Tanh())
    whole, short = (check(model, "O(3)", "vector", "vector", stress=False, explain=e) for e in (True, False))
    assert short.verdict == whole.verdict == "BROKEN"
    assert [(f.name, f.e64, f.ratio) for f in short.fields] == [
        (f.name, f.e64, f.ratio) for f in whole.fields
    ]
    assert whole.first_broken and not short.first_broken and not short.advice and not short.lie
