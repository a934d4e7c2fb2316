"""What is refused, with the matrix of the batch named; what is not read is never silently finite."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.manifolds.checks import require_spd, require_square, require_symmetric
from geomlib.algebra.manifolds.spectral import apply_spectrum, decompose, derivative_symfun, symfun
from tests.algebra.manifolds.spectral.common import with_spectra

POSITIVE = ["log", "sqrt", "invsqrt", "pow"]


def batch(*bad: float) -> torch.Tensor:
    """Three matrices, the second of which has these eigenvalues."""
    return with_spectra([[1.0, 2.0, 3.0], list(bad), [1.0, 1.0, 1.0]])


def run(f: str, A: torch.Tensor) -> torch.Tensor:
    return symfun(A, f, 0.3 if f in ("pow", "clamp") else None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", [None, "torch"])
@pytest.mark.parametrize("f", POSITIVE)
def test_matrices_that_are_not_positive_definite(f: str, backend: str | None, dtype: torch.dtype) -> None:
    t = 0.3 if f == "pow" else None
    for bad in ((-1.0, 1.0, 2.0), (0.0, 1.0, 2.0), (-1e-3, -1e-3, -1e-3)):
        with pytest.raises(
            InvalidInput, match=r"matrix \[1\] of `A` is not positive definite .* eigenvalues"
        ):
            # Rounding to float32 may move an eigenvalue from zero to 1e-8, which is a number like any other.
            symfun(batch(*bad).to(dtype if bad[0] else torch.float64), f, t, backend=backend)
    with pytest.raises(InvalidInput, match="`A` is not positive definite"):
        symfun(torch.diag(torch.tensor([0.0, 1.0], dtype=dtype)), f, t, backend=backend)
    x = torch.randn(40, 4, 2, dtype=torch.float64)
    with pytest.raises(InvalidInput, match="relative to its trace"):  # rank 2 of 4, rounded any way
        symfun(x @ x.mT, f, t, backend=backend)
    assert symfun(batch(1e-9, 1.0, 1.0), f, t, backend=backend).isfinite().all()
    with pytest.raises(InvalidInput, match=r"matrix \[1\] of `A`"):
        derivative_symfun(batch(-1.0, 1.0, 2.0), f, torch.eye(3).double(), t)
    with pytest.raises(InvalidInput, match=r"matrix \[1\] of `A`"):
        bad_batch = batch(-1.0, 1.0, 2.0)
        apply_spectrum(bad_batch, *decompose(bad_batch), f, t)


@pytest.mark.parametrize("f", [*POSITIVE, "inv", "exp", "clamp"])
@pytest.mark.parametrize("backend", [None, "torch"])
def test_values_that_are_no_numbers(f: str, backend: str | None) -> None:
    t = 0.3 if f in ("pow", "clamp") else None
    for value in (torch.nan, torch.inf, -torch.inf):
        A = batch(1.0, 1.0, 2.0)
        A[1, 0, 2] = A[1, 2, 0] = value
        with pytest.raises(InvalidInput, match=r"matrix \[1\] of `A` holds NaN or infinity"):
            symfun(A, f, t, backend=backend)
    A = batch(1.0, 1.0, 2.0)
    A[1, 0, 2] += 0.1
    with pytest.raises(InvalidInput, match=r"matrix \[1\] of `A` is not symmetric"):
        symfun(A, f, t, backend=backend)


def test_inverse_and_exponential() -> None:
    with pytest.raises(InvalidInput, match=r"matrix \[1\] of `A` is singular"):
        symfun(batch(-1.0, 0.0, 1.0), "inv")
    A = batch(-1.0, 1.0, 2.0)
    assert torch.allclose(
        symfun(A, "inv") @ A, torch.eye(3).double(), atol=1e-13
    )  # indefinite is no obstacle
    with pytest.raises(InvalidInput, match=r"overflows torch.float64: its largest eigenvalue is 1000"):
        symfun(1e3 * torch.eye(3, dtype=torch.float64), "exp")
    with pytest.raises(InvalidInput, match=r"overflows torch.float32"):
        symfun(100 * torch.eye(3), "exp")
    assert symfun(-1e3 * torch.eye(3, dtype=torch.float64), "exp").isfinite().all()
    huge = 1e200 * torch.eye(2, dtype=torch.float64)
    assert torch.allclose(symfun(huge, "log"), huge.log().diagonal().diag())


def test_arguments() -> None:
    for call, message in (
        (lambda: symfun(torch.eye(2), "logm"), "Did you mean 'log'"),
        (lambda: symfun(torch.eye(2), "pow"), "needs a finite t, the exponent; found None"),
        (lambda: symfun(torch.eye(2), "clamp", float("nan")), "needs a finite t"),
        (lambda: symfun(torch.eye(2), "log", 2.0), "takes no parameter"),
        (lambda: symfun(torch.ones(2, 3), "log"), r"shape \(2, 3\), expected square matrices"),
        (lambda: symfun(torch.ones(3), "log"), "expected square"),
        (lambda: symfun(torch.eye(2).long(), "log"), "dtype torch.int64"),
        (lambda: symfun(torch.eye(2, dtype=torch.complex64), "log"), "dtype torch.complex64"),
        (lambda: derivative_symfun(torch.eye(2), "log", torch.eye(3)), "`G` has shape"),
    ):
        with pytest.raises(InvalidInput, match=message):
            call()


def test_where_values_are_not_read_nothing_finite_comes_out() -> None:
    bad = batch(-1.0, 1.0, 2.0)
    for f in POSITIVE:
        found = torch.func.vmap(lambda a, f=f: run(f, a), chunk_size=None)
        with pytest.raises(InvalidInput, match="not positive"):  # vmap alone hands over plain tensors
            found(bad)
    compiled = torch.compile(lambda a: symfun(a, "log"), fullgraph=True, backend="aot_eager")
    with pytest.raises(InvalidInput, match="not positive"):  # an operator knows values when it runs
        compiled(bad)


def test_the_checks_that_everybody_uses() -> None:
    require_square("A", torch.eye(2))
    require_symmetric("A", torch.zeros(0, 2, 2))
    require_spd("P", torch.diag(torch.tensor([1.0, 1e-8])))
    require_spd("P", torch.diag(torch.tensor([1.0, 1e-30])))  # pivots that no rounding touches
    with pytest.raises(InvalidInput, match=r"matrix \[0, 1\] of `P` is not positive definite"):
        require_spd("P", torch.stack([torch.eye(2), -torch.eye(2)])[None])
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    with pytest.raises(InvalidInput, match="not positive definite to working precision"):
        require_spd("P", x @ x.mT)
    with pytest.raises(InvalidInput, match="`P` is not symmetric: entries differ from the transpose by 1,"):
        require_spd("P", torch.tensor([[1.0, 1.0], [0.0, 1.0]]))


def test_half_precision_under_autocast() -> None:
    A = batch(1.0, 1.0, 2.0).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(symfun(A, "log"), symfun(A, "log"))
        inside = symfun(A, "log")
        low = symfun(A.bfloat16(), "sqrt", eig_dtype=torch.float32)
    assert inside.dtype == torch.float32 and torch.allclose(inside, symfun(A, "log"), atol=1e-6)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.float(), symfun(A, "sqrt"), atol=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = symfun(A, "log", eig_dtype=torch.float32)
    assert torch.allclose(narrow, symfun(A, "log"), atol=1e-5)
