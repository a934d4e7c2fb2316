"""Every mistake is caught, every correct twin passes: the pairs of `mutants`, and faults inside a small network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from geomlib.verify import Report, check
from tests.verify.mutants import PAIRS, Subject

N = 6
GROUP = "E(3)*S_n"


class Net(nn.Module):
    """Three rounds of messages on 4 scalars and 3 vectors; ``fault`` sits in the middle layer."""

    def __init__(
        self, fault: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None, scale: float = 1.0
    ):
        super().__init__()
        self.fault, self.scale = fault, scale
        self.radial = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 10)) for _ in range(3)
        )
        self.scalars = nn.ModuleList(nn.Linear(4 + 3, 4 + 3) for _ in range(3))
        self.vectors = nn.ModuleList(nn.Linear(3, 3, bias=False) for _ in range(3))
        self.embed = nn.Embedding(4, 4)
        self.register_buffer("mu", torch.linspace(0, 4, 8, dtype=torch.float64))

    def forward(self, z: Tensor, pos: Tensor) -> dict[str, Tensor]:
        s, v = self.embed(z), pos.new_zeros(len(z), 3, 3)
        d = pos[:, None] - pos[None]
        r = (d.square().sum(-1) + torch.eye(len(z)).to(d)).sqrt()
        basis = torch.exp(-((r[..., None] - self.mu.to(r)) ** 2))
        off = (1 - torch.eye(len(z))).to(d)
        u = d / r[..., None]
        for k in range(3):
            w = self.radial[k](basis) * off[..., None] / 4
            ds = torch.einsum("ijc,jc->ic", w[..., :4], s)
            dv = torch.einsum("ijc,jca->ica", w[..., 4:7], v) + torch.einsum("ijc,ija->ica", w[..., 7:10], u)
            gate = self.scalars[k](torch.cat([ds, dv.square().sum(-1)], -1))
            ds, dv = torch.tanh(gate[:, :4]), self.vectors[k](dv.mT).mT * torch.sigmoid(gate[:, 4:, None])
            if k == 1 and self.fault is not None:
                ds, dv = self.fault(ds, dv)
            s, v = s + ds, v + dv
        return {"energy": self.scale * s.sum(), "vector": self.scale * v.mean(1)}


INPUTS = {"z": "node:inv", "pos": "node:point"}
OUTPUTS = {"energy": "scalar", "vector": "node:vector"}
EXAMPLE = {
    "z": torch.tensor([0, 1, 2, 3, 0, 1]),
    "pos": 1.2 * torch.randn(N, 3, generator=torch.Generator().manual_seed(0)),
}


def axis_scale(size: float) -> Callable:
    def fault(s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return s, v * torch.tensor([1.0, 1.0, 1.0 + size]).to(v) if size > 1e-7 else v

    return fault


def layer_norm(s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return s, nn.functional.layer_norm(v, (3,))


FAULTS: dict[str, Callable] = {
    "relu on components": lambda s, v: (s, torch.relu(v)),
    "silu on components": lambda s, v: (s, nn.functional.silu(v)),
    "tanh on components": lambda s, v: (s, torch.tanh(v)),
    "bias on vectors": lambda s, v: (s, v + 0.1),
    "layer norm over components": layer_norm,
    "1 % of one axis": axis_scale(1e-2),
    "0.01 % of one axis": axis_scale(1e-4),
    "1e-6 of one axis": axis_scale(1e-6),
    "bfloat16": lambda s, v: (s, v.bfloat16().to(v)),
    "float32 inside float64": lambda s, v: (s, v.float().to(v)),
    "swapped axes": lambda s, v: (s, v[..., [1, 2, 0]]),
    "index order": lambda s, v: (s * torch.linspace(1, 1.001, len(s)).to(s)[:, None], v),
    "first node": lambda s, v: (s + s[:1], v),
    "parity: v x w as a vector": lambda s, v: (s, v + torch.linalg.cross(v, v.roll(1, 1))),
    "parity: triple product as a scalar": lambda s, v: (s + torch.linalg.det(v)[:, None], v),
    "abs on components": lambda s, v: (s, v.abs()),
    "max component": lambda s, v: (s + v.amax((1, 2))[:, None], v),
    "sum of components": lambda s, v: (s + 1e-3 * v.sum((1, 2))[:, None], v),
    "detached gradient": lambda s, v: (s, v.detach()),
}
TWINS: dict[str, Callable] = {
    "relu on scalars": lambda s, v: (torch.relu(s), v),
    "tanh of the norm": lambda s, v: (
        s,
        v * torch.tanh(v.norm(dim=-1, keepdim=True)) / (v.norm(dim=-1, keepdim=True) + 1),
    ),
    "bias on scalars": lambda s, v: (s + 0.1, v),
    "norm over channels": lambda s, v: (s, v / (v.square().sum((1, 2), keepdim=True) + 1).sqrt()),
    "all axes scaled": lambda s, v: (s, v * 1.01),
    "double cross product": lambda s, v: (
        s,
        v + torch.linalg.cross(v, torch.linalg.cross(v.roll(1, 1), v.roll(2, 1))),
    ),
    "squared triple product": lambda s, v: (s + torch.linalg.det(v)[:, None] ** 2, v),
    "mean node": lambda s, v: (s + s.mean(0), v),
    "largest norm": lambda s, v: (s + v.norm(dim=-1).amax(1)[:, None], v),
    "channels permuted": lambda s, v: (s, v[:, [1, 2, 0]]),
}


def judged(subject: Subject) -> Report:
    return check(
        subject.target,
        subject.group,
        subject.inputs,
        subject.outputs,
        example=subject.example,
        **subject.options,
    )


def test_there_are_enough_pairs() -> None:
    assert len(PAIRS) >= 24


@pytest.mark.parametrize("name", PAIRS)
def test_mutants_are_caught(name: str) -> None:
    report = judged(PAIRS[name].build(True))
    assert report.verdict == PAIRS[name].verdict and not report.ok, str(report)


@pytest.mark.parametrize("name", PAIRS)
def test_twins_raise_no_alarm(name: str) -> None:
    report = judged(PAIRS[name].build(False))
    assert report.verdict == "EXACT" and not report.failures, str(report)


def run(net: nn.Module, **kwargs):
    torch.manual_seed(0)
    return check(net, GROUP, INPUTS, OUTPUTS, example=EXAMPLE, trials=8, **kwargs)


def network(fault: Callable | None = None, scale: float = 1.0) -> Net:
    torch.manual_seed(1)
    return Net(fault, scale)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_the_correct_network_passes_at_any_scale(scale: float) -> None:
    report = run(network(scale=scale))
    assert report.verdict == "EXACT", str(report)
    assert report.ratio < 8


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_caught(name: str) -> None:
    """Faults that generic inputs show; those of `PAIRS` are looked for on all inputs."""
    report = run(network(FAULTS[name]), stress=False)
    expected = "PRECISION LEAK" if name == "float32 inside float64" else "BROKEN"
    assert report.verdict == expected, f"{name}\n{report}"


@pytest.mark.parametrize("name", TWINS)
def test_correct_twins_pass(name: str) -> None:
    report = run(network(TWINS[name]))
    assert report.verdict == "EXACT", f"{name}\n{report}"


def test_tiny_outputs_hide_nothing() -> None:
    """An absolute tolerance passes a ReLU whose output is scaled by 1e-5."""
    assert run(network(FAULTS["relu on components"], scale=1e-5)).verdict == "BROKEN"


def test_nan_zero_and_constant_outputs() -> None:
    def check_vector(f: Callable[[Tensor], Tensor]) -> str:
        return check(f, "O(3)", "vector", "vector", trials=8).verdict

    assert check_vector(lambda x: x * float("nan")) == "NONFINITE"
    assert check_vector(lambda x: x * 0) == "VACUOUS"
    assert check_vector(lambda x: torch.ones_like(x)) == "VACUOUS"
    assert (
        check(lambda x: torch.ones_like(x[..., 0]), "O(3)", "vector", "scalar", trials=8).verdict == "VACUOUS"
    )
    assert check_vector(lambda x: x * x.norm(dim=-1, keepdim=True)) == "EXACT"


def test_a_type_that_nothing_moves_is_vacuous() -> None:
    """Without a rotation among its inputs nothing can be learned about rotations."""
    assert check(lambda x: x, "O(3)", "8x0e", "8x0e", trials=4).verdict == "VACUOUS"


def test_small_anisotropic_map() -> None:
    """v -> 1e-4 diag(1, 2, 3) v passes an absolute tolerance of 1e-3."""
    report = check(lambda v: 1e-4 * v * torch.tensor([1.0, 2.0, 3.0]).to(v), "O(3)", "vector", "vector")
    assert report.verdict == "BROKEN" and report.e64 > 0.1


def test_clamp_is_seen_by_the_amplitude_sweep() -> None:
    def clamp(x: Tensor) -> Tensor:
        return x.clamp(-100, 100)

    assert check(clamp, "O(3)", "vector", "vector").verdict == "BROKEN"
    assert check(clamp, "O(3)", "vector", "vector", stress=False).verdict == "EXACT"


def test_translations_far_away() -> None:
    """Round-off grows with the coordinates; that is no fault. Coordinates that are not centred are one."""

    def spread(pos: Tensor) -> Tensor:
        return (pos - pos.mean(0)).square().sum(-1)

    def leak(pos: Tensor) -> Tensor:
        return (pos - pos[:1] * (1 - 1e-6)).square().sum(-1)

    assert check(spread, "E(3)*S_n", {"pos": "node:point"}, "node:scalar").verdict == "EXACT"
    assert check(leak, "E(3)", {"pos": "node:point"}, "node:scalar").verdict == "BROKEN"


def test_symmetric_input_whose_output_vanishes() -> None:
    """An atom in an octahedron feels no force: a purely relative error would divide zero by zero."""
    octahedron = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)])

    def force(pos: Tensor, skew: float) -> Tensor:
        d = pos[1:] - pos[:1]
        pull = (d * torch.exp(-d.square().sum(-1, keepdim=True))).sum(0, keepdim=True)
        return pull * torch.tensor([1.0, 1.0, 1.0 + skew]).to(pos)

    types = {"pos": "point"}
    good = check(lambda pos: force(pos, 0.0), "E(3)", types, "graph:vector", example={"pos": octahedron})
    bad = check(lambda pos: force(pos, 1e-4), "E(3)", types, "graph:vector", example={"pos": octahedron})
    assert good.verdict == "EXACT" and bad.verdict == "BROKEN", f"{good}\n{bad}"


def test_pure_round_off_is_vacuous() -> None:
    """A sum of antisymmetric terms is zero; its round-off must not pass as an exact output."""

    def nothing(pos: Tensor) -> Tensor:
        d = pos[:, None] - pos[None]
        return (d * torch.exp(-d.square().sum(-1, keepdim=True))).sum((0, 1))[None]

    assert check(nothing, "O(3)", {"pos": "point"}, "graph:vector", gradients=False).verdict == "VACUOUS"


def test_narrow_types_are_reported() -> None:

    def tensor_cores(x: Tensor) -> Tensor:
        y = x.bfloat16().float() if x.dtype == torch.float32 else x
        return y * y.norm(dim=-1, keepdim=True)

    report = check(tensor_cores, "O(3)", "vector", "vector", gradients=False)
    assert report.verdict == "EXACT" and any("bfloat16" in text for text in report.warnings)


def test_stochastic_layers() -> None:
    dropout = lambda x: nn.functional.dropout(x.norm(dim=-1), 0.5, training=True)  # noqa: E731
    assert check(dropout, "O(3)", "vector", "scalar").verdict == "NONDETERMINISTIC"
    assert (
        check(nn.Sequential(nn.Dropout(0.5)), "O(3)", "vector", "vector").verdict == "EXACT"
    )  # off in evaluation


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square().sum(-1)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2.2 * g[..., None] * x  # equivariant, and wrong


def test_equivariant_but_wrong_backward() -> None:
    report = check(WrongBackward.apply, "O(3)", "vector", "scalar")
    assert report.verdict == "BROKEN" and "not the derivative" in report.failures[0]
    assert all(f.verdict == "EXACT" for f in report.fields)
    assert check(WrongBackward.apply, "O(3)", "vector", "scalar", gradients=False).verdict == "EXACT"


def test_missing_cell() -> None:
    """A periodic function whose cell is not declared does not rotate with it."""

    def wrapped(pos: Tensor, cell: Tensor) -> Tensor:
        frac = (pos[:, None] - pos[None]) @ torch.linalg.inv(cell[0])
        d = (frac - frac.round().detach()) @ cell[0]
        return torch.exp(-d.square().sum(-1)).sum(1)

    cell = torch.tensor([[[4.0, 0, 0], [0.5, 5, 0], [0, 1, 4.5]]])
    example = {"pos": 1.5 * torch.randn(6, 3), "cell": cell}
    types = {"pos": "point", "cell": "graph:cell"}
    ok = check(wrapped, "O(3)*S_n", types, "node:scalar", example=example)
    assert ok.verdict == "EXACT", str(ok)
    types["cell"] = "graph:inv"
    assert check(wrapped, "O(3)*S_n", types, "node:scalar", example=example).verdict == "BROKEN"


def test_batch_leakage_and_silent_truncation() -> None:
    def pooled(x: Tensor, batch: Tensor, leak: float) -> Tensor:
        size = int(batch.max()) + 1
        return x.new_zeros(size).index_add(0, batch, x.square().sum(-1)) + (
            leak * x.square().sum() if leak else 0.0
        )

    example = {"x": torch.randn(7, 3), "batch": torch.tensor([0, 0, 0, 0, 1, 1, 1])}
    types, out = {"x": "node:vector", "batch": "index"}, "graph:scalar"
    good = check(lambda x, batch: pooled(x, batch, 0.0), "O(3)*S_n", types, out, example=example)
    assert good.verdict == "EXACT", str(good)
    bad = check(lambda x, batch: pooled(x, batch, 1e-3), "O(3)*S_n", types, out, example=example)
    assert bad.verdict == "BROKEN" and "graphs one by one" in str(bad)

    def nearest(pos: Tensor, k: int) -> Tensor:
        # Beyond 25 rows cdist multiplies matrices and keeps half of the digits, which is a fault of its own.
        d = torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist")
        kept = d[:, :k] if k < len(pos) else d  # the first k, not the nearest
        return torch.exp(-kept).sum(1)

    points = {"pos": torch.randn(9, 3)}
    assert check(lambda pos: nearest(pos, 99), "E(3)*S_n", {"pos": "point"}, "node:scalar", example=points).ok
    assert (
        check(
            lambda pos: nearest(pos, 5), "E(3)*S_n", {"pos": "point"}, "node:scalar", example=points
        ).verdict
        == "BROKEN"
    )


@pytest.mark.parametrize(("declared", "verdict"), [("1o", "EXACT"), ("1e", "BROKEN")])
def test_parity_label(declared: str, verdict: str) -> None:
    assert check(lambda v: v * v.norm(dim=-1, keepdim=True), "O(3)", "1o", declared).verdict == verdict


def test_approximate_is_declared() -> None:
    def nearly(x: Tensor) -> Tensor:
        return x * torch.tensor([1.0, 1.0, 1.001]).to(x)

    assert check(nearly, "O(3)", "vector", "vector", exact=False, rtol=1e-2).verdict == "APPROXIMATE"
    assert check(nearly, "O(3)", "vector", "vector", exact=False, rtol=1e-5).verdict == "BROKEN"
