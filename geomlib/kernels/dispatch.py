"""Which implementation of an operation runs.

Every hot operation has a reference in plain torch, which is its specification, and may have faster backends. The
choice is made, in this order, by the argument ``backend=``, by the context manager :func:`use_backend`, and by the
environment variable ``GEOMLIB_BACKEND``; the default ``"auto"`` takes the fastest that can serve the given tensors.
A backend asked for by name is used or an error says why it cannot be.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad

from geomlib.errors import InvalidInput, MissingDependency

__all__ = [
    "BACKENDS",
    "available_backends",
    "choose",
    "inside_transform",
    "refuse_forward_mode",
    "traced",
    "transformed",
    "use_backend",
]

BACKENDS = ("auto", "torch", "cpu", "cuda")

_requested: contextvars.ContextVar[str | None] = contextvars.ContextVar("geomlib_backend", default=None)


def _checked(name: str, origin: str) -> str:
    if name not in BACKENDS:
        hint = difflib.get_close_matches(name, BACKENDS, 1)
        fix = f" Did you mean {hint[0]!r}?" if hint else ""
        raise InvalidInput(f"{origin}: unknown backend {name!r}, expected one of {', '.join(BACKENDS)}.{fix}")
    return name


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend of every operation called inside the block.

    >>> with use_backend("torch"):
    ...     pass
    """
    token = _requested.set(_checked(name, "use_backend"))
    try:
        yield
    finally:
        _requested.reset(token)


@functools.cache
def _numba_missing() -> str | None:
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install 'geomlib-torch[cpu]')"
    return None


@functools.cache
def _cuda_missing() -> str | None:
    if importlib.util.find_spec("cuda") is None:
        return "cuda-core is not installed (pip install 'geomlib-torch[cuda]')"
    from geomlib.kernels.cuda.launcher import missing_device

    return missing_device()


def available_backends() -> dict[str, str]:
    """Return every backend with ``"available"``, the reason why it is not, or which tensors it is available for."""
    cuda = _cuda_missing() or "available for tensors on a CUDA device"
    return {"torch": "available", "cpu": _numba_missing() or "available", "cuda": cuda}


def traced(*tensors: Tensor | None) -> bool:
    """Return whether operators on these tensors are being noted down for later, by torch.compile, export or make_fx."""
    if torch.compiler.is_compiling():
        return True
    if transformed():
        return False
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        return True
    for t in tensors:  # a generator would take as long as all the rest
        if type(t) is not Tensor and isinstance(t, (FakeTensor, FunctionalTensor)):
            return True
    return False


_peek: Callable[[], object] = getattr(
    getattr(torch._C, "_functorch", None), "peek_interpreter_stack", lambda: None
)


def transformed() -> bool:
    """Return whether a transform of ``torch.func`` is at work."""
    return _peek() is not None


def inside_transform() -> bool:
    """Tracing, functorch transforms and forward-mode derivatives see torch operations only, not compiled loops."""
    return traced() or transformed() or forward_ad._current_level >= 0


def refuse_forward_mode(op: str) -> None:
    """Refuse forward-mode derivatives of an operator that is registered with reverse-mode ones only.

    Raises:
        InvalidInput: inside ``torch.func.jvp`` or a dual level, where torch would take the tangent for zero.
    """
    if forward_ad._current_level >= 0:
        raise InvalidInput(
            f"{op}: forward-mode derivatives are not served by the operator and would come out as zero. "
            "Call the layer outside of a trace, or take reverse-mode derivatives."
        )


def _card_refusal(tensors: tuple[Tensor, ...]) -> str | None:
    """Say why generated CUDA kernels cannot serve these tensors, or None if they can."""
    first = tensors[0]
    for t in tensors:
        if t.device.type != "cuda":
            return f"a tensor is on {t.device}, the cuda backend needs CUDA tensors (move it: .to('cuda'))"
        if t.device != first.device or t.dtype != first.dtype:
            return f"the tensors mix {first.device} {first.dtype} and {t.device} {t.dtype}"
        if type(t) not in (Tensor, torch.nn.Parameter):
            return f"a tensor is a {type(t).__name__}"
    if first.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        return f"dtype {first.dtype} is not a floating type that the kernels know"
    if torch.cuda.get_device_capability(first.device) < (8, 0):
        return "the card is older than compute capability 8.0"
    if inside_transform():
        return "the call is being traced or transformed by torch"
    return None


def _refusal(tensors: tuple[Tensor, ...]) -> str | None:
    """Say why the Numba kernels cannot serve these tensors, or None if they can."""
    dtype = tensors[0].dtype
    for t in tensors:
        if not t.is_cpu:
            return f"a tensor is on {t.device}, the cpu backend needs CPU tensors"
        if t.dtype != dtype:
            return f"the tensors mix {dtype} and {t.dtype}"
        if type(t) not in (Tensor, torch.nn.Parameter):
            return f"a tensor is a {type(t).__name__}"
    if dtype not in (torch.float32, torch.float64):
        return f"dtype {dtype} is not float32 or float64"
    if inside_transform():
        return "the call is being traced or transformed by torch"
    return None


def _no_kernels() -> str:
    return "the operation has no CUDA kernels"


def choose(
    op: str,
    tensors: tuple[Tensor, ...],
    backend: str | None = None,
    *,
    cuda: Callable[[], str | None] = _no_kernels,
    loops_pay: Callable[[], bool] = lambda: True,
) -> str:
    """Return ``"torch"``, ``"cpu"`` or ``"cuda"`` for one call of the operation named ``op``.

    Args:
        op: for messages.
        tensors: its arguments.
        backend: a name, or None for the one of the surrounding context.
        cuda: says why the operation is not served by generated CUDA kernels; None if it is.
        loops_pay: whether "auto" takes the Numba loops where it can.

    Raises:
        InvalidInput: a backend was asked for by name and cannot serve these tensors.
        MissingDependency: the package of the backend asked for, or the card, is not there.
    """
    name = backend or _requested.get() or os.environ.get("GEOMLIB_BACKEND") or "auto"
    name = _checked(name, op)
    if name == "torch":
        return name
    if name == "cuda" or (name == "auto" and tensors[0].device.type == "cuda"):
        return _choose_card(op, tensors, cuda(), forced=name == "cuda")
    missing = _numba_missing()
    if missing is None:
        refusal = _refusal(tensors)
        if refusal is None:
            return "cpu" if name == "cpu" or loops_pay() else "torch"
        if name == "cpu":
            raise InvalidInput(
                f"{op}: backend 'cpu' was asked for, but {refusal}. Use backend='auto' or 'torch'."
            )
    elif name == "cpu":
        raise MissingDependency(f"{op}: backend 'cpu' was asked for, but {missing}.")
    return "torch"


def _choose_card(op: str, tensors: tuple[Tensor, ...], no_kernels: str | None, *, forced: bool) -> str:
    missing = None if no_kernels else _cuda_missing()
    refusal = no_kernels or (None if missing else _card_refusal(tensors))
    if missing is None and refusal is None:
        return "cuda"
    if forced and missing is not None:
        raise MissingDependency(
            f"{op}: backend 'cuda' was asked for, but {missing}. Use backend='auto' or 'torch'."
        )
    if forced:
        raise InvalidInput(
            f"{op}: backend 'cuda' was asked for, but {refusal}. Use backend='auto' or 'torch'."
        )
    return "torch"
