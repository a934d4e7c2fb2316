"""Irreducible representations of O(3) and direct sums of them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from geomlib.algebra.irreps.wigner import wigner_D
from geomlib.errors import InvalidInput

__all__ = ["Irrep", "Irreps", "MulIrrep"]

_TERM = re.compile(r"^(?:(\d+)\s*x\s*)?(\d+)\s*([eoy])$")


@dataclass(frozen=True, order=True)
class Irrep:
    """One irreducible representation of O(3).

    Args:
        l: degree; the dimension is 2l + 1.
        p: parity under inversion, 1 (even) or -1 (odd).

    >>> Irrep(1, -1), Irrep.parse("2e").dim, [str(r) for r in Irrep(1, -1) * Irrep(1, -1)]
    (1o, 5, ['0e', '1e', '2e'])
    """

    l: int
    p: int

    def __post_init__(self) -> None:
        if self.l < 0 or self.p not in (1, -1):
            raise InvalidInput(f"Irrep({self.l}, {self.p}): expected l >= 0 and p of 1 or -1.")

    @staticmethod
    def parse(value: Any) -> Irrep:
        """Read ``"1o"``, an object with ``l`` and ``p``, or a pair.

        Raises:
            InvalidInput: anything else.
        """
        if isinstance(value, Irrep):
            return value
        if isinstance(value, MulIrrep):
            return Irrep.parse(str(value))
        if hasattr(value, "l") and hasattr(value, "p"):
            return Irrep(int(value.l), int(value.p))
        if isinstance(value, tuple) and len(value) == 2:
            return Irrep(int(value[0]), int(value[1]))
        found = Irreps(str(value))
        if len(found) != 1 or found[0].mul != 1:
            raise InvalidInput(f"irrep {value!r}: expected one irrep such as '1o'.")
        return found[0].ir

    @property
    def dim(self) -> int:
        """Dimension 2l + 1."""
        return 2 * self.l + 1

    def D(self, R: Tensor) -> Tensor:  # (..., 3, 3) -> (..., dim, dim)  # noqa: N802 - as e3nn writes it
        r"""Return the matrix of rotations and reflections.

        .. math:: \rho(R) = \det(R)^{[p = -1]}\, D^l(\det(R)\, R)

        Raises:
            InvalidInput: matrices that are not orthogonal.

        >>> bool((Irrep.parse("0o").D(-torch.eye(3)) == -1).all())
        True
        """
        if R.shape[-2:] != (3, 3) or not R.is_floating_point():
            raise InvalidInput(
                f"Irrep.D: expected matrices (..., 3, 3), got {R.dtype} of shape {tuple(R.shape)}."
            )
        # The sign of a singular matrix is 0, which wigner_D refuses.
        sign = torch.linalg.det(R.detach()).sign()[..., None, None]
        turned = wigner_D(self.l, sign * R)
        return turned if self.p == 1 else sign * turned

    def __mul__(self, other: Irrep) -> list[Irrep]:
        """Return the irreps in the tensor product, by degree."""
        return [Irrep(l, self.p * other.p) for l in range(abs(self.l - other.l), self.l + other.l + 1)]

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p == 1 else 'o'}"

    __repr__ = __str__


@dataclass(frozen=True)
class MulIrrep:
    """An irrep taken ``mul`` times."""

    mul: int
    ir: Irrep

    @property
    def l(self) -> int:  # noqa: E743 - the name of the field
        """Degree of the irrep."""
        return self.ir.l

    @property
    def p(self) -> int:
        """Parity of the irrep."""
        return self.ir.p

    @property
    def dim(self) -> int:
        """Dimension of the block."""
        return self.mul * self.ir.dim

    def __iter__(self) -> Iterator[Any]:
        return iter((self.mul, self.ir))

    def __str__(self) -> str:
        return f"{self.mul}x{self.ir}"

    __repr__ = __str__


class Irreps:
    """A direct sum of irreps with multiplicities, blocks in the given order.

    Strings, pairs ``(mul, irrep)`` and e3nn's objects are read.

    >>> irreps = Irreps("8x0e + 4x1o")
    >>> irreps.dim, irreps.slices(), str(irreps)
    (20, [slice(0, 8, None), slice(8, 20, None)], '8x0e+4x1o')
    >>> Irreps("1o+0e+2x1o").sorted().simplify()
    1x0e+3x1o
    """

    def __init__(self, value: Any = "") -> None:
        if isinstance(value, Irreps):
            blocks: Iterable[MulIrrep] = value._blocks
        elif isinstance(value, str):
            blocks = _parsed(value)
        elif isinstance(value, Irrep):
            blocks = [MulIrrep(1, value)]
        else:
            blocks = [_block(item) for item in value]
        self._blocks = tuple(blocks)

    @staticmethod
    def spherical_harmonics(lmax: int, p: int = -1) -> Irreps:
        """Return the irreps of the spherical harmonics up to a degree.

        >>> Irreps.spherical_harmonics(2)
        1x0e+1x1o+1x2e
        """
        return Irreps([(1, Irrep(l, p**l)) for l in range(lmax + 1)])

    @property
    def dim(self) -> int:
        """Total dimension."""
        return sum(b.dim for b in self._blocks)

    @property
    def num_irreps(self) -> int:
        """Sum of the multiplicities."""
        return sum(b.mul for b in self._blocks)

    @property
    def lmax(self) -> int:
        """Largest degree; -1 if there is none."""
        return max((b.ir.l for b in self._blocks), default=-1)

    def slices(self) -> list[slice]:
        """Return where each block lies."""
        ends = list(itertools.accumulate((b.dim for b in self._blocks), initial=0))
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    def D(self, R: Tensor) -> Tensor:  # (..., 3, 3) -> (..., dim, dim)  # noqa: N802 - as e3nn writes it
        """Return the block-diagonal matrices of rotations and reflections.

        Raises:
            InvalidInput: matrices that are not orthogonal.

        >>> bool((Irreps("2x1o").D(torch.eye(3)) == torch.eye(6)).all())
        True
        """
        found = {b.ir: b.ir.D(R) for b in self._blocks}
        out = R.new_zeros(*R.shape[:-2], self.dim, self.dim)
        for block, part in zip(self._blocks, self.slices(), strict=True):
            for start in range(part.start, part.stop, block.ir.dim):
                at = slice(start, start + block.ir.dim)
                out[..., at, at] = found[block.ir]
        return out

    def simplify(self) -> Irreps:
        """Join neighbouring blocks of the same irrep and drop empty ones."""
        out: list[MulIrrep] = []
        for b in self._blocks:
            if out and out[-1].ir == b.ir:
                out[-1] = MulIrrep(out[-1].mul + b.mul, b.ir)
            elif b.mul:
                out.append(b)
        return Irreps(out)

    def sorted(self) -> Irreps:
        """Order blocks by degree, odd before even, as e3nn does."""
        return Irreps(sorted(self._blocks, key=lambda b: b.ir))

    def count(self, ir: Any) -> int:
        """Return how often an irrep occurs."""
        wanted = Irrep.parse(ir)
        return sum(b.mul for b in self._blocks if b.ir == wanted)

    def __add__(self, other: Any) -> Irreps:
        return Irreps([*self._blocks, *Irreps(other)._blocks])

    def __mul__(self, times: int) -> Irreps:
        return Irreps([b for _ in range(times) for b in self._blocks])

    def __contains__(self, ir: Any) -> bool:
        return self.count(ir) > 0

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[MulIrrep]:
        return iter(self._blocks)

    @overload
    def __getitem__(self, k: int) -> MulIrrep: ...
    @overload
    def __getitem__(self, k: slice) -> Irreps: ...
    def __getitem__(self, k: int | slice) -> MulIrrep | Irreps:
        return Irreps(self._blocks[k]) if isinstance(k, slice) else self._blocks[k]

    def __eq__(self, other: object) -> bool:
        try:
            return self._blocks == Irreps(other)._blocks
        except (InvalidInput, TypeError):
            return False

    def __hash__(self) -> int:
        return hash(self._blocks)

    def __str__(self) -> str:
        return "+".join(map(str, self._blocks))

    __repr__ = __str__


def _parsed(text: str) -> list[MulIrrep]:
    blocks: list[MulIrrep] = []
    for term in text.split("+") if text.strip() else []:
        found = _TERM.match(term.strip())
        if found is None:
            raise InvalidInput(
                f"irreps {text!r}: {term.strip()!r} is not a term. Expected terms such as '8x0e' or '1o', joined by '+'."
                f"{_suggested(text)}"
            )
        mul, degree, parity = found.groups()
        # y: the parity of the spherical harmonics
        p = 1 if parity == "e" else -1 if parity == "o" else 1 - 2 * (int(degree) % 2)
        blocks.append(MulIrrep(int(mul or 1), Irrep(int(degree), p)))
    return blocks


def _suggested(text: str) -> str:
    """Return the nearest text that can be read: signs forgotten, other letters for x, e and o, other separators."""
    plain = re.sub(r"[*×·]", "x", text.lower().replace(" ", "")).replace("even", "e").replace("odd", "o")
    terms = re.findall(r"(?:\d+x)?\d+[eoy]", plain)
    found = "+".join(terms)
    close = difflib.SequenceMatcher(None, found, plain).ratio() > 0.7
    return f" Did you mean {found!r}?" if found and close else ""


def _block(item: Any) -> MulIrrep:
    if isinstance(item, MulIrrep):
        return item
    if hasattr(item, "mul") and hasattr(item, "ir"):
        return MulIrrep(int(item.mul), Irrep.parse(item.ir))
    if isinstance(item, (Irrep, str)):
        return MulIrrep(1, Irrep.parse(item))
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return MulIrrep(int(item[0]), Irrep.parse(item[1]))
    raise InvalidInput(
        f"irreps: cannot read {item!r}. Expected a string such as '8x0e+4x1o' or pairs (mul, irrep)."
    )
