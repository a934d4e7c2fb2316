"""Symmetry declarations: which group, and how every argument and output transforms.

The types are described in :mod:`geomlib.algebra.types`, the groups in :func:`geomlib.algebra.groups.parse_group`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from geomlib.algebra.groups import parse_group
from geomlib.algebra.types import (
    KINDS,
    MAX_L,
    SCOPES,
    Irrep,
    Scope,
    TensorType,
    closest,
    dual_type,
    parse_irreps,
    parse_type,
)
from geomlib.errors import InvalidInput

__all__ = [
    "BREAKS",
    "KINDS",
    "MAX_L",
    "SCOPES",
    "Irrep",
    "Outputs",
    "Scope",
    "Symmetry",
    "TensorType",
    "closest",
    "dual_type",
    "parse_irreps",
    "parse_type",
]

Outputs: TypeAlias = "str | tuple[str, ...] | Mapping[str, str]"

#: What a module may claim *not* to respect.
BREAKS = ("reflections", "rotations", "translations", "permutations")


def _no_types() -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Symmetry:
    """What a callable promises: rotate, shift or permute the inputs and the outputs follow.

    Args:
        group: factors joined by ``*``, for example ``"E(3)*S_n"``.
        inputs: type of every tensor argument, by name.
        outputs: one type, one per element of a returned tuple, or a dict for a returned dict.
        exact: whether the promise holds to round-off; if not, ``rtol`` says how well.
        rtol: relative error of a promise that is not exact (a quadrature, a grid).
        breaks: what is *claimed not to hold*: ``("reflections",)`` for a module that sees handedness.
        conservative: whether the vector per node is a force, minus the gradient of an energy; ``None`` promises it of an
            output named ``forces`` only, ``False`` of none.

    Raises:
        InvalidInput: unknown group, type or break; ``exact=False`` without ``rtol``.

    >>> Symmetry("E(3)*S_n", {"z": "inv", "pos": "point"}, "graph:scalar").input_types()["pos"].scope
    'node'
    """

    group: str = "E(3)*S_n"
    inputs: Mapping[str, str] = field(default_factory=_no_types)
    outputs: Outputs = "scalar"
    exact: bool = True
    rtol: float | None = None
    breaks: tuple[str, ...] = ()
    conservative: bool | None = None

    def __post_init__(self) -> None:
        parse_group(self.group)
        self.input_types()
        self.output_types()
        if not self.exact and (self.rtol is None or not self.rtol > 0):
            raise InvalidInput(
                f"Symmetry: exact=False needs rtol > 0, the relative error to allow; got rtol={self.rtol!r}."
            )
        if isinstance(self.breaks, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a usual slip
            raise InvalidInput(
                f"Symmetry: breaks is a tuple of names, got a string. Write ({self.breaks!r},)."
            )
        for name in self.breaks:
            if name not in BREAKS:
                raise InvalidInput(
                    f"Symmetry: unknown entry {name!r} in breaks. Expected {', '.join(BREAKS)}."
                    + closest(name, BREAKS)
                )

    def input_types(self) -> dict[str, TensorType]:
        """Return the parsed input types with their implied scopes."""
        return {name: parse_type(text).named(name) for name, text in self.inputs.items()}

    def output_types(self) -> dict[str, TensorType]:
        """Return the parsed output types by name: ``out`` for one tensor, ``0``, ``1``, ... for a tuple."""
        return {name: parse_type(text).named(name) for name, text in self.output_texts().items()}

    def output_texts(self) -> dict[str, str]:
        """Return the output types as written, by name."""
        if isinstance(self.outputs, str):
            return {"out": self.outputs}
        if isinstance(self.outputs, Mapping):
            return dict(self.outputs)
        return {str(i): text for i, text in enumerate(self.outputs)}
