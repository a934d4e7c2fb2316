r"""Real matrices of Clifford algebras: left multiplication in the basis of :mod:`geomlib.algebra.clifford.frames`."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomlib.algebra.clifford.frames import frame, sign_of_masks
from geomlib.errors import InvalidInput

__all__ = ["MatrixRep", "matrix_product", "matrix_rep"]

Metric = tuple[int, ...]


class MatrixRep:
    r"""A faithful representation by real matrices: left multiplication on :math:`A P_\psi`, one block per class of characters.

    A simple algebra has one block, a sum of two such two; with null generators there can be more.

    Args:
        metric: squares of the generators.

    >>> MatrixRep((1,) * 8).shape, MatrixRep((1, 1, 1)).shape, MatrixRep((1,) * 5).shape
    ((1, 16, 16), (1, 4, 4), (2, 8, 8))
    """

    def __init__(self, metric: Metric) -> None:
        self.metric, self.frame = metric, frame(metric)
        f, sign = self.frame, sign_of_masks(metric)
        size, width = f.place.shape
        row_of = {int(m): r for r, m in enumerate(f.cosets)}
        null = sum(1 << i for i, square in enumerate(metric) if square == 0)
        regular = [r for r, c in enumerate(f.cosets) if not int(c) & null]
        self._classes: list[dict[int, int]] = []  # character -> coset that leads to it from the first one
        seen: set[int] = set()
        for psi in range(width):
            if psi not in seen:
                found: dict[int, int] = {}
                for r in regular:
                    found.setdefault(psi ^ int(f.twist[r]), r)
                self._classes.append(found)
                seen |= set(found)
        #: Blocks, and rows and columns of each.
        self.shape = (len(self._classes), size, size)
        product = np.array([[row_of[int(a ^ b)] for b in f.cosets] for a in f.cosets])
        signs = sign[np.ix_(f.cosets, f.cosets)]
        columns = np.arange(size)
        # Coordinates are numbered c 2^k + chi; a matrix reads coordinate (d' + d, psi omega_d) at row d', column d.
        left, left_sign, right, right_sign = [], [], [], []
        for found in self._classes:
            psi = next(iter(found))
            c = product  # d' + d
            left.append(c * width + (psi ^ f.twist)[None, :])
            left_sign.append(signs[c, columns[None, :]])
            right.append(np.stack([product[:, r] * width + chi for chi, r in found.items()], 1))
            right_sign.append(np.stack([signs[:, r] for r in found.values()], 1))
        columns_of = np.stack(right)
        back = np.empty((size, width), np.int64)
        back_sign = np.empty((size, width), np.int64)
        for block, found in enumerate(self._classes):
            for chi, r in found.items():
                back[:, chi] = block * size * size + product[:, r] * size + r
                back_sign[:, chi] = signs[:, r]
        number = np.arange(width)
        self._columns = columns_of.shape
        #: What the maps below read, by name; positions are followed by signs.
        self.tables: dict[str, np.ndarray[Any, Any]] = {
            "place": f.place, "place_sign": f.blade_sign, "unplace": np.argsort(f.place.ravel()),
            "hadamard": 1 - 2 * _parity(number[:, None] & number[None, :]),
            "left": np.stack(left), "left_sign": np.stack(left_sign),
            "right": columns_of, "right_sign": np.stack(right_sign), "unright": np.argsort(columns_of.ravel()),
            "read": back, "read_sign": back_sign,
        }  # fmt: skip

    def _table(self, name: str, like: Tensor) -> Tensor:
        return _constant(self.metric, name, like.device)

    def _signs(self, name: str, like: Tensor) -> Tensor:
        return _constant(self.metric, f"{name}_sign", like.device).to(like.dtype)

    def _gathered(self, name: str, x: Tensor) -> Tensor:
        return x.index_select(-1, self._table(name, x)) * self._signs(name, x)

    def _transformed(self, x: Tensor) -> Tensor:
        rows = x.unflatten(-1, self.frame.place.shape)
        return (rows @ self._table("hadamard", x).to(x.dtype)).flatten(-2)

    def coordinates(self, x: Tensor) -> Tensor:  # (..., 2^n) -> (..., 2^n)
        """Return the coordinates in the basis of the frame, coset by coset."""
        return self._transformed(self._gathered("place", x))

    def multivectors(self, coordinates: Tensor) -> Tensor:  # (..., 2^n) -> (..., 2^n)
        """Return what has these coordinates."""
        signed = self._transformed(coordinates) * self._signs("place", coordinates)
        return signed.index_select(-1, self._table("unplace", signed)) * 0.5**self.frame.count

    def to_matrix(self, x: Tensor) -> Tensor:  # (..., 2^n) -> (..., blocks, N, N)
        """Return the matrices; the matrix of a product is the product of the matrices."""
        return self._gathered("left", self.coordinates(x)).unflatten(-1, self.shape)

    def from_matrix(self, matrix: Tensor) -> Tensor:  # (..., blocks, N, N) -> (..., 2^n)
        """Return the multivector that has these matrices.

        Raises:
            InvalidInput: matrices of another shape.
        """
        if matrix.dim() < 3 or tuple(matrix.shape[-3:]) != self.shape:
            raise InvalidInput(
                f"from_matrix: expected (..., {', '.join(map(str, self.shape))}), got {tuple(matrix.shape)}."
            )
        return self.multivectors(self._gathered("read", matrix.flatten(-3)))

    def product(self, x: Tensor, y: Tensor) -> Tensor:  # (..., 2^n)
        """Return the geometric product: the matrix of x times the columns of y that differ."""
        columns = self._gathered("right", self.coordinates(y)).unflatten(-1, self._columns)
        found = (self.to_matrix(x) @ columns).flatten(-3) * self._signs("right", x)
        return self.multivectors(found.index_select(-1, self._table("unright", found)))


def _parity(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found = np.zeros_like(x)
    while x.any():
        found ^= x & 1
        x = x >> 1
    return found


@lru_cache(maxsize=32)
def matrix_rep(metric: Metric) -> MatrixRep:
    """Return the representation of an algebra."""
    return MatrixRep(metric)


@lru_cache(maxsize=256)
def _constant(metric: Metric, name: str, device: torch.device) -> Tensor:
    values = np.ascontiguousarray(matrix_rep(metric).tables[name])
    with torch.inference_mode(False):
        found = torch.from_numpy(values).to(device)
    return found if name == "hadamard" else found.flatten()


def matrix_product(metric: Metric, x: Tensor, y: Tensor) -> Tensor:  # (..., 2^n)
    """Return the geometric product by matrices, in torch operations of any order of derivative."""
    return matrix_rep(metric).product(x, y)
