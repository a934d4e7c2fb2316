"""The kernels of spectral functions, found in a way that torch.compile can follow."""

from __future__ import annotations

from types import ModuleType

from geomlib._lazy import fast_path

__all__ = ["spectral_kernels"]


def _loaded() -> bool:
    return fast_path("spectral") is not None


# torch.compile does not trace imports. This is what torch.compiler.assume_constant_result sets, which would load the
# whole compiler, and change the filters of warnings, when geomlib is imported.
_loaded._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def spectral_kernels() -> ModuleType | None:
    """Return the module that computes the primitives of ``spectral`` faster, or None where none is registered.

    >>> spectral_kernels().__name__
    'geomlib.kernels.spectral'
    """
    return fast_path("spectral") if _loaded() else None
