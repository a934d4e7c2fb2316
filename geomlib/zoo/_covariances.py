"""What models on batches of covariances share: the check of their input."""

from __future__ import annotations

from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["checked_cov"]


def checked_cov(model: str, cov: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:  # (B, *shape)
    """Return a batch of covariances.

    Raises:
        InvalidInput: another shape, a type that is not floating, or another type than the weights.
    """
    if cov.dim() != len(shape) + 1 or tuple(cov.shape[1:]) != shape:
        raise InvalidInput(
            f"{model}: `cov` has shape {tuple(cov.shape)}, expected (B, {', '.join(map(str, shape))})."
        )
    if cov.dtype != like.dtype:
        raise InvalidInput(
            f"{model}: `cov` is {cov.dtype} and the weights are {like.dtype}. Cast one of them: model.to({cov.dtype}) or "
            f"cov.to({like.dtype})."
        )
    return cov
