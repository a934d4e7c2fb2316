"""The parts of the grouped multiplication, inputs of every memory order, padding, transforms, errors."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib.errors import InvalidInput
from geomlib.kernels.diagrams import mixing, tensor_map, tensor_plan
from geomlib.kernels.diagrams.epsilon import Core, Epsilon
from geomlib.kernels.diagrams.grouped import contract, embed
from geomlib.kernels.differentiable import skip_parameter_gradients
from geomlib.kernels.dispatch import use_backend
from tests.kernels.diagrams.common import draw

SIDES = [("S_n", 3, 4), ("S_n", 4, 2), ("B(3)", 4, 3), ("O(3)", 4, 3), ("Sp(4)", 4, 4), ("Sp(4,block)", 3, 4),
         ("O(1,2)", 4, 3), ("SO(3)", 4, 3), ("A_3", 3, 3)]  # fmt: skip


@pytest.mark.parametrize(("name", "order", "n"), SIDES)
def test_contract_and_embed_are_adjoint(name: str, order: int, n: int) -> None:
    """<contract x, z> = <x, embed z>, for each type alone and for all together."""
    plan = tensor_plan(name, order, order)
    _, side, _ = plan.grouped
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *[n] * order, 3, dtype=torch.float64, generator=generator)
    found = contract(side, x, plan.forms.bottom)
    zs = [[torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in group] for group in found]
    total = 0.0
    for i, group in enumerate(found):
        for j, t in enumerate(group):
            total += float((t * zs[i][j]).sum())
            alone = [[torch.zeros_like(z) for z in row] for row in zs]
            alone[i][j] = zs[i][j].clone()
            back = embed(side, alone, plan.forms.bottom, (2, n, 3))
            assert back is not None
            assert torch.isclose((x * back).sum(), (t * zs[i][j]).sum(), rtol=1e-11, atol=1e-11)
    back = embed(side, [[z.clone() for z in row] for row in zs], plan.forms.bottom, (2, n, 3))
    assert back is not None
    assert float((x * back).sum()) == pytest.approx(total, rel=1e-11, abs=1e-10)


@pytest.mark.parametrize(
    "core", [Core(3, 0, 1, 2), Core(4, 2, 1, 1), Core(4, 1, 1, 1), Core(3, 1, 0, 1), Core(7, 0, 3, 4)]
)
def test_epsilon_is_the_permutation_symbol(core: Core) -> None:
    """Against the determinant of the matrix of unit vectors; the transposed has its own tables."""
    n, shared, above, below = core.n, core.shared, core.above, core.below
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(*[n] * (shared + below), 1, dtype=torch.float64, generator=generator)
    u = Epsilon(core)(z, 0)[..., 0]
    unit = torch.eye(n, dtype=torch.float64)
    for _ in range(20):
        at = torch.randint(n, (shared + above,), generator=generator).tolist()
        b, t = at[:shared], at[shared:]
        expected = 0.0
        for s in torch.cartesian_prod(*[torch.arange(n)] * below).view(-1, below).tolist():
            used = [*t, *b, *s]
            left = [v for v in range(n) if v not in used]
            if len(set(used)) == len(used):
                expected += round(float(torch.linalg.det(unit[[*used, *left]]))) * float(z[(*b, *s, 0)])
        assert float(u[tuple(at)]) == pytest.approx(expected, abs=1e-12)
    g = torch.randn(u.shape, dtype=torch.float64, generator=generator)
    turned, sign = core.turned
    assert torch.isclose((u * g).sum(), (z[..., 0] * Epsilon(turned, sign)(g.unsqueeze(-1), 0)[..., 0]).sum())


@pytest.mark.parametrize(
    ("name", "k", "l", "n"), [("S_n", 2, 2, 3), ("A_3", 1, 2, 3), ("SO(3)", 2, 2, 3), ("Sp(2)", 2, 2, 2)]
)
def test_derivatives(name: str, k: int, l: int, n: int) -> None:
    plan = tensor_plan(name, k, l)
    x, w = (t.requires_grad_() for t in draw(plan, n, c_in=1, c_out=2))

    def f(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return tensor_map(x, w, plan, backend="grouped")

    assert gradcheck(f, (x, w)) and gradgradcheck(f, (x, w))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("k", "l"), [(3, 3), (2, 3), (3, 2), (1, 2), (2, 0)])
def test_large_tensors_in_pieces(k: int, l: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of some samples, or of some lines of a sample, give what one piece gives, with torch's operators."""
    plan = tensor_plan("S_n", k, l)
    x, w = (t.requires_grad_() for t in draw(plan, 5, batch=3, c_in=channels, c_out=channels))

    def run() -> list[torch.Tensor]:
        with use_backend("torch"):
            y = tensor_map(x, w, plan, backend="grouped")
            return [y, *torch.autograd.grad(y.square().sum(), (x, w))]

    whole = run()
    dense = tensor_map(x, w, plan, backend="dense")
    torch.testing.assert_close(whole[0], dense, rtol=1e-12, atol=1e-11)
    for found, expected in zip(whole[1:], torch.autograd.grad(dense.square().sum(), (x, w)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)
    for piece, wide in ((1, 32), (40, 1), (2000, 32), (2000, 1)):
        monkeypatch.setattr(mixing, "_WIDE", wide)
        monkeypatch.setattr(mixing, "_PIECE", piece)
        monkeypatch.setattr(mixing, "_LARGE", 1)
        for found, expected in zip(run(), whole, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_memory_orders_and_sizes(dtype: torch.dtype) -> None:
    """Strided, transposed, expanded and channel-last inputs; no samples, one sample, one node, order 0."""
    plan = tensor_plan("S_n", 2, 2)
    x, w = (t.to(dtype) for t in draw(plan, 4))
    big = torch.zeros(4, 2, 8, 4, dtype=dtype)
    big[::2, :, ::2] = x
    views = [big[::2, :, ::2], x.mT.contiguous().mT, x.movedim(1, -1).contiguous().movedim(-1, 1)]
    expected = tensor_map(x, w, plan, backend="dense")
    for v in views:
        torch.testing.assert_close(tensor_map(v, w, plan, backend="grouped"), expected)
    wide = x[:1, :, :1, :1].expand(3, 2, 4, 4).requires_grad_()
    w = w.requires_grad_()
    found, wanted = (tensor_map(wide, w, plan, backend=b) for b in ("grouped", "dense"))
    torch.testing.assert_close(found, wanted)
    # A gradient of a sum is expanded as well.
    for a, b in zip(torch.autograd.grad(found.sum(), w), torch.autograd.grad(wanted.sum(), w), strict=True):
        torch.testing.assert_close(a, b)
    for batch, n, k, l in (
        (0, 3, 2, 2),
        (1, 1, 2, 2),
        (2, 1, 3, 3),
        (0, 1, 1, 0),
        (2, 3, 0, 0),
        (2, 3, 0, 2),
        (2, 3, 2, 0),
    ):
        plan = tensor_plan("S_n", k, l)
        x, w = (t.to(dtype).requires_grad_() for t in draw(plan, n, batch=batch))
        for backend, solver in product(("grouped", "dense", "per_diagram", "auto"), ("torch", "auto")):
            with use_backend(solver):
                y = tensor_map(x, w, plan, n=n, backend=backend)
            assert y.shape == (batch, 3, *[n] * l) and y.dtype == dtype
            expected = tensor_map(x, w, plan, n=n, backend="dense")
            torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
            torch.autograd.grad(y.sum(), (x, w))


def test_zero_and_huge_numbers_stay_finite() -> None:
    plan = tensor_plan("S_n", 2, 2)
    x, w = draw(plan, 4)
    for scale in (0.0, 1e150):
        y = tensor_map(x * scale, w, plan, backend="grouped")
        assert y.isfinite().all()
        torch.testing.assert_close(y, scale * tensor_map(x, w, plan, backend="grouped"))
    odd = tensor_plan("O(3)", 2, 1)
    assert len(odd) == 0
    x, w = draw(odd, 3)
    for backend in ("grouped", "dense", "per_diagram", "auto"):
        assert torch.equal(tensor_map(x, w, odd, backend=backend), torch.zeros(2, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["grouped", "dense", "per_diagram"])
@pytest.mark.parametrize(
    ("name", "k", "l"), [("S_n", 2, 2), ("S_n", 3, 1), ("S_n", 0, 2), ("S_n", 2, 0), ("B(5)", 2, 2)]
)
def test_padding(name: str, k: int, l: int, backend: str) -> None:
    """A padded sample gives what it gives alone, zeros elsewhere, whatever is written at the places of padding."""
    plan = tensor_plan(name, k, l)
    x, w = draw(plan, 5, batch=3)
    sizes = (5, 3, 1)
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    for i, m in enumerate(sizes):
        for axis in range(k):
            x[i].narrow(1 + axis, m, 5 - m).fill_(float("nan"))
    y = tensor_map(x, w, plan, mask=mask, backend=backend)
    for i, m in enumerate(sizes):
        inside = (slice(i, i + 1), slice(None), *[slice(m)] * l)
        small = tensor_plan("S_n" if name == "S_n" else f"B({m})", k, l, "spanning")
        here = tensor_map(x[(slice(i, i + 1), slice(None), *[slice(m)] * k)], w, small, n=m, backend=backend)
        torch.testing.assert_close(y[inside], here)
        outside = y[i].clone()
        outside[(slice(None), *[slice(m)] * l)] = 0.0
        assert l == 0 or not outside.any()


def test_transforms_and_compilation() -> None:
    """torch.func and a compiler see plain operations, tables included."""
    for name, k, l in (("SO(3)", 2, 2), ("Sp(2)", 2, 2)):
        plan = tensor_plan(name, k, l)
        x, w = draw(plan, plan.n or 0)

        def f(x: torch.Tensor, w: torch.Tensor, plan=plan) -> torch.Tensor:
            return tensor_map(x, w, plan)

        y = f(x, w)
        torch.testing.assert_close(torch.func.vmap(f)(torch.stack([x, 2 * x]), torch.stack([w, w]))[1], 2 * y)
        torch.testing.assert_close(torch.func.vmap(f, (None, 0))(x, torch.stack([w, 3 * w]))[1], 3 * y)
        torch.testing.assert_close(torch.func.jvp(f, (x, w), (x, w))[1], 2 * y)
        expected = torch.autograd.functional.jacobian(lambda w: f(x, w), w)  # noqa: B023
        torch.testing.assert_close(torch.func.jacrev(f, 1)(x, w), expected)
    a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a, b), y)
    found = torch.autograd.grad(compiled(a, b).square().sum(), (a, b))
    wanted = torch.autograd.grad(f(a, b).square().sum(), (a, b))
    for v, u in zip(found, wanted, strict=True):
        torch.testing.assert_close(v, u)


def test_autocast_and_half_precision() -> None:
    """Sums and products stay in the type of the weights; half precision is summed in float32."""
    plan = tensor_plan("S_n", 2, 2)
    x, w = (t.float().requires_grad_() for t in draw(plan, 6))
    y = tensor_map(x, w, plan, backend="grouped")
    plain = torch.autograd.grad(y.square().sum(), (x, w))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = tensor_map(x, w, plan, backend="grouped")
        assert torch.equal(inside, y)
        for a, b in zip(torch.autograd.grad(inside.square().sum(), (x, w)), plain, strict=True):
            assert torch.equal(a, b)
    half = tensor_map(x.bfloat16(), w.bfloat16(), plan, backend="grouped")
    exact = tensor_map(x.bfloat16().double(), w.bfloat16().double(), plan, backend="dense")
    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).abs().max() < 0.005 * exact.abs().max()


def test_promised_to_skip_weights() -> None:
    plan = tensor_plan("S_n", 2, 2)
    x, w = (t.requires_grad_() for t in draw(plan, 4))
    y = tensor_map(x, w, plan, backend="grouped")
    with skip_parameter_gradients():
        gx, gw = torch.autograd.grad(y.sum(), (x, w), allow_unused=True)
    assert gw is None and gx is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(2, 2, 4)}, r"`x` has shape \(2, 2, 4\).*4 axes"),
        ({"x": torch.zeros(2, 2, 4, 3)}, r"\(2, 2, 4, 3\).*axes of length 4"),
        ({"weights": torch.zeros(14, 3, 2)}, r"\(14, 3, 2\), expected \(15, C_out, 2\)"),
        ({"weights": torch.zeros(15, 3, 2, dtype=torch.float64)}, "float32 on cpu and `weights` are torch.float64"),
        ({"n": 5}, "expected n = 5"),
        ({"backend": "grouped_"}, "Did you mean 'grouped'"),
        ({"mask": torch.ones(2, 3, dtype=torch.bool)}, r"\(2, 3\).*expected torch.bool \(2, 4\)"),
    ],
)  # fmt: skip
def test_errors(change: dict[str, object], words: str) -> None:
    plan = tensor_plan("S_n", 2, 2)
    inputs: dict[str, object] = {"x": torch.zeros(2, 2, 4, 4), "weights": torch.zeros(15, 3, 2), "plan": plan}
    with pytest.raises(InvalidInput, match=words):
        tensor_map(**{**inputs, **change})  # type: ignore[arg-type]


def test_errors_of_groups_and_sizes() -> None:
    plan = tensor_plan("O(3)", 1, 1)
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(InvalidInput, match=r"`mask` with O\(3\)"):
        tensor_map(torch.zeros(2, 1, 3), torch.zeros(1, 1, 1), plan, mask=mask)
    with pytest.raises(InvalidInput, match="length 3"):
        tensor_map(torch.zeros(2, 1, 4), torch.zeros(1, 1, 1), plan)
    free = tensor_plan("S_n", 0, 2)
    with pytest.raises(InvalidInput, match="has no size"):
        tensor_map(torch.zeros(2, 1), torch.zeros(2, 1, 1), free)
    big = tensor_plan("S_n", 3, 3)
    with pytest.raises(InvalidInput, match=r"203 matrices of 27,000 x 27,000, 592 GB"):
        tensor_map(torch.zeros(1, 1, 30, 30, 30), torch.zeros(203, 1, 1), big, backend="dense")
