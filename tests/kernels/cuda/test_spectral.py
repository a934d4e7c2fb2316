"""Generated CUDA of spectral functions: compiled without spills, and executed on a CPU by an emulator of warps."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.manifolds.spectral import symfun
from geomlib.algebra.manifolds.spectral.primitives import torch_derivative, torch_eigh, torch_forward
from geomlib.kernels.cuda import launcher
from geomlib.kernels.cuda.build import build
from geomlib.kernels.cuda.compiler import missing_compiler
from geomlib.kernels.spectral import cuda, served
from geomlib.kernels.spectral.cuda_block_source import BLOCK_LARGEST, BlockKernel, print_block_eigh
from geomlib.kernels.spectral.cuda_source import KINDS, LARGEST, SpectralKernel, _bytes, print_spectral

from .emulate import Emulator, needs_compiler

needs_nvrtc = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))
S, D = torch.float32, torch.float64
FUNCTIONS = {
    "log": 0.0,
    "sqrt": 0.0,
    "invsqrt": 0.0,
    "inv": 0.0,
    "exp": 0.0,
    "pow": -1.3,
    "clamp": 0.7,
    "top": 2.0,
}


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    ("n", "real", "registers"),
    [(4, D, 120), (32, D, 80)]
    + [pytest.param(*case, marks=pytest.mark.slow) for case in ((3, D, 80), (4, S, 72), (16, S, 64))],
)
def test_nothing_spills(n, real, registers, arch):
    for kind in KINDS if arch == "sm_90" else ["forward"]:
        kernel = SpectralKernel(kind, "log", n, real)
        used = build(kernel, S, arch, keep=False, text=print_spectral).usage[kernel.name]
        assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0), kind
        assert used.registers <= registers, (kind, used)


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("f", FUNCTIONS)
def test_every_function_compiles_at_even_and_odd_sizes(f):
    for n, real in ((1, D), (2, S), (3, D), (7, D), (12, S), (31, D)):
        for kind in KINDS:
            kernel = SpectralKernel(kind, f, n, real)
            used = build(kernel, D, "sm_90", keep=False, text=print_spectral).usage[kernel.name]
            assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0), (kind, n)


def test_what_a_block_shares_fits():
    for n, real, kind, block in (
        (4, D, "eigh", 128),
        (5, S, "forward", 128),
        (32, D, "forward", 64),
        (32, D, "derivative", 32),
    ):
        kernel = SpectralKernel(kind, "log", n, real)
        assert kernel.block == block
        assert n <= 4 or kernel.matrices * _bytes(kernel) <= 48 << 10


@pytest.fixture
def emulated(tmp_path, monkeypatch):
    found = Emulator(tmp_path)

    def start(kernel, dtype, where, grid, block, numbers, text):
        found.start(text(kernel, dtype), kernel.name, grid, block, numbers)

    monkeypatch.setattr(launcher, "start", start)
    return found


def matrices(count: int, n: int, dtype: torch.dtype, seed: int = 0):
    """Generic, repeated, nearly repeated spectra in turn, none at the floor of 0.7."""
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(count, n, n, generator=g, dtype=D))[0]
    w = 0.2 + 2 * torch.rand(count, n, generator=g, dtype=D)
    w = torch.where((w - 0.7).abs() < 0.05, 1.0, w).sort().values
    w[1::3, : n // 2] = 0.5
    w[2::3, n // 2 :] = 1.5 + 1e-9 * torch.arange(n - n // 2)
    if n > 2:
        w[:, -2:] += 1.0  # a gap for the projector
    a = (q * w[:, None]) @ q.mT
    e = torch.randn(count, n, n, generator=g, dtype=D)
    return (0.5 * (a + a.mT)).to(dtype), e.to(dtype)


def close(a, b, tolerance):
    assert a.shape == b.shape and a.dtype == b.dtype
    scale = b.flatten(1).abs().amax(1).clamp(min=1.0)
    assert float(((a - b).flatten(1).abs().amax(1) / scale).max()) <= tolerance


@needs_compiler
@pytest.mark.parametrize(
    ("n", "count", "dtype", "real"),
    [(2, 130, D, D), (4, 5, S, D), (5, 6, S, S), (17, 3, S, D)]
    + [pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 3, S, D), (3, 5, S, S), (8, 5, D, D))],
)
def test_is_the_specification(emulated, n, count, dtype, real):
    a, e = matrices(count, n, dtype)
    f = list(FUNCTIONS)[n % 8] if n != 8 else "log"  # all kernels of one size have the same decomposition
    t = FUNCTIONS[f]
    tolerance = 2e-14 * n if dtype == D else 2e-6 if real == D else 4e-6 * n
    F, w, v = cuda.forward(a, f, t, real)
    expected = torch_forward(a, f, t, real)
    close(F, expected[0], tolerance)
    close(w, expected[1], 4 * n * torch.finfo(real).eps)
    close(v.mT @ v, torch.eye(n, dtype=real).expand_as(v), 20 * n * torch.finfo(real).eps)
    close((v * w[:, None]) @ v.mT, 0.5 * (a + a.mT).to(real), 20 * n * torch.finfo(real).eps)
    assert bool((w.diff(dim=-1) >= 0).all()) and torch.equal(F, F.mT)
    again_w, again_v = cuda.eigh(a, real)
    assert torch.equal(again_w, w) and torch.equal(again_v, v)
    close(cuda.derivative(w, v, f, t, e), torch_derivative(*expected[1:], f, t, e), tolerance)
    kernel = SpectralKernel("forward", f, n, real)
    assert emulated.launches[0] == (kernel.name, (-(-count // kernel.matrices), 1, 1))


@needs_compiler
@pytest.mark.parametrize(
    ("n", "f"),
    [(6, "log"), (6, "pow"), (3, "top"), (6, "exp")]
    + [pytest.param(n, f, marks=pytest.mark.slow) for n in (3, 6) for f in FUNCTIONS],
)
def test_functions_and_differences(emulated, f, n):
    a, e = matrices(4, n, D, seed=1)
    t = FUNCTIONS[f] if f != "top" else 2.0
    F, w, v = cuda.forward(a, f, t, D)
    close(F, torch_forward(a, f, t, D)[0], 1e-13)
    close(cuda.derivative(w, v, f, t, e), torch_derivative(w, v, f, t, e), 1e-13)
    wide = torch.tensor([[1e-8, 1e-8, 1.0, 1.0 + 1e-12, 40.0, 60.0]], dtype=D)[:, -n:]
    q = torch.linalg.qr(e[:1])[0]
    close(cuda.derivative(wide, q, f, t, e[:1]), torch_derivative(wide, q, f, t, e[:1]), 1e-13)


@needs_compiler
def test_hard_spectra(emulated):
    """Equal, graded, huge, tiny and zero eigenvalues, negative ones, diagonal matrices, and the largest size."""
    g = torch.Generator().manual_seed(3)
    for n in (4, 7):
        q = torch.linalg.qr(torch.randn(6, n, n, generator=g, dtype=D))[0]
        w = torch.ones(6, n, dtype=D)
        w[1] = torch.logspace(-12, 0, n)
        w[2], w[3], w[4] = 1e200, 1e-200, 0.0
        w[5] = torch.linspace(-3, 2, n)
        a = (q * w[:, None]) @ q.mT
        a = 0.5 * (a + a.mT)
        a[0] = torch.diag(torch.arange(n, 0, -1, dtype=D))
        found, u = cuda.eigh(a, D)
        size = a.flatten(1).abs().amax(1)
        assert bool(((found - torch_eigh(a, D)[0]).abs().amax(1) <= 8 * n * 2.3e-16 * size).all())
        assert torch.equal(found[0], torch.arange(1, n + 1, dtype=D)) and torch.equal(found[4], w[4])
        close(u.mT @ u, torch.eye(n, dtype=D).expand_as(u), 1e-14)
    a, e = matrices(2, LARGEST, D, seed=4)
    F, w, v = cuda.forward(a, "log", 0.0, D)
    close(F, torch_forward(a, "log", 0.0, D)[0], 1e-13)
    close(cuda.derivative(w, v, "log", 0.0, e), torch_derivative(w, v, "log", 0.0, e), 1e-13)


@needs_compiler
def test_what_is_no_number_stays_none_and_stays_with_its_matrix(emulated):
    for n in (3, 6):
        a, _ = matrices(4, n, D, seed=5)
        good = cuda.forward(a, "log", 0.0, D)[0]
        a[1, 0, 1] = a[1, 1, 0] = torch.nan
        a[2, 0, 0] = torch.inf
        a[3] = -a[3]
        F, w, _ = cuda.forward(a, "log", 0.0, D)
        assert F[1:3].isnan().all() and w[1:3].isnan().all() and F[3].isnan().any()
        assert torch.equal(F[0], good[0])


@needs_compiler
def test_strided_batches(emulated):
    a, e = matrices(6, 3, D, seed=6)
    a, e = a.reshape(2, 3, 3, 3).transpose(0, 1), e.reshape(2, 3, 3, 3).transpose(0, 1)
    F, w, v = cuda.forward(a, "sqrt", 0.0, D)
    close(F, torch_forward(a, "sqrt", 0.0, D)[0], 1e-14)
    close(cuda.derivative(w, v, "sqrt", 0.0, e), torch_derivative(w, v, "sqrt", 0.0, e), 1e-13)


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_blocks_spill_nothing(arch):
    kernel = BlockKernel(BLOCK_LARGEST, D)
    used = build(kernel, S, arch, keep=False, text=print_block_eigh).usage[kernel.name]
    assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0) and used.registers <= 80, used


@needs_compiler
@pytest.mark.parametrize(
    ("n", "dtype", "real"),
    [
        (33, S, D),
        pytest.param(40, S, S, marks=pytest.mark.slow),
        pytest.param(BLOCK_LARGEST, S, D, marks=pytest.mark.slow),
    ],
)
def test_a_block_for_every_matrix(emulated, n, dtype, real):
    a, e = matrices(3, n, dtype)
    a[1] = torch.diag(torch.arange(n, 0, -1)).to(dtype)
    F, w, v = cuda.forward(a, "log", 0.0, real)
    eps = torch.finfo(real).eps
    close(w, torch_eigh(a, real)[0], 4 * n * eps)
    close(v.mT @ v, torch.eye(n, dtype=real).expand_as(v), 10 * n * eps)
    close((v * w[:, None]) @ v.mT, 0.5 * (a + a.mT).to(real), 10 * n * eps)
    assert torch.equal(w[1], torch.arange(1, n + 1).to(real)) and bool((w.diff(dim=-1) >= 0).all())
    close(F, torch_forward(a, "log", 0.0, real)[0], 1e-13 if dtype == D else 1e-4)
    assert torch.equal(cuda.derivative(w, v, "log", 0.0, e), torch_derivative(w, v, "log", 0.0, e))
    assert emulated.launches == [(f"spectral_block_{n}", (3, 1, 1))]
    a[0, 2, 1] = torch.nan
    lost, _ = cuda.eigh(a, real)
    assert lost[0].isnan().all() and torch.equal(lost[1:], w[1:])


@needs_compiler
@pytest.mark.parametrize("n", [pytest.param(3, marks=pytest.mark.slow), 5])
def test_derivatives_through_the_dispatch(emulated, monkeypatch, n):
    """Values, gradients, gradients of gradients and vmap as a tensor on a card would get them."""
    monkeypatch.setattr(served, "choose", lambda *args, **options: "cuda")
    a, e = matrices(4, n, D, seed=7)

    def orders(backend):
        x = a.clone().requires_grad_()
        y = symfun(x, "log", backend=backend)
        first = torch.autograd.grad(y, x, e, create_graph=True)[0]
        return y, first, torch.autograd.grad(first, x, e)[0], torch.func.vmap(lambda m: symfun(m, "log"))(a)

    found = orders(None)
    names = [name for name, _ in emulated.launches]
    assert names.count(f"spectral_forward_log_{n}") == 2 and f"spectral_derivative_log_{n}" in names
    monkeypatch.undo()
    for x, y in zip(found, orders("torch"), strict=True):
        close(x.detach(), y.detach(), 1e-12)


def test_no_matrices_and_what_is_refused():
    none = torch.zeros(0, 3, 3)
    assert cuda.forward(none, "log", 0.0, D)[0].shape == (0, 3, 3)
    assert cuda.eigh(none, D)[0].dtype == D
    assert cuda.eigh(torch.zeros(0, 40, 40), D)[1].shape == (0, 40, 40)
    assert cuda.refusal(BLOCK_LARGEST, S, D) is None
    assert "up to 96 rows, not 97" in str(cuda.refusal(97, S, D))
    assert "not torch.bfloat16" in str(cuda.refusal(3, torch.bfloat16, D))
