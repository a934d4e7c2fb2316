"""`Structures`: many atomic structures packed into a few tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from geomlib.errors import InvalidInput

__all__ = ["Structures"]

_FLOAT = torch.float64


@dataclass(frozen=True, eq=False, repr=False)
class Structures:
    """A packed, columnar list of B structures with N atoms in all.

    Structure b owns atoms ``ptr[b]:ptr[b+1]``. Units: Å, eV, eV/Å, eV/Å³ (ASE sign: tension positive),
    elementary charges.

    Shapes:
        - z: (N,) int64, atomic numbers
        - pos: (N, 3) float64
        - ptr: (B+1,) int64, from 0 to N
        - energy: (B,) float64 or None; forces: (N, 3) or None; stress: (B, 3, 3) or None
        - cell: (B, 3, 3), rows are lattice vectors, zeros where there is none
        - pbc: (B, 3) bool. A cell without pbc is kept but means nothing: the structure is a molecule
        - charge: (B,) total charge, default 0

    Args:
        z: atomic numbers.
        pos: positions.
        ptr: first atom of each structure, and N.
        energy: total energies. NaN marks a masked label (see `missing`).
        forces: forces, NaN where masked.
        stress: stress tensors, NaN where masked.
        cell: lattice vectors.
        pbc: periodic directions.
        charge: total charges.
        extra: other tensors, in the units of their file. First dimension B for the names in `graph_extra`,
            otherwise N.
        graph_extra: names of the extras that hold one row per structure.
        text: strings, one per structure, such as `config_type`.
        source: one line that says where the numbers come from: file, keys, units.

    Raises:
        InvalidInput: a field has the wrong shape, or positions are not finite.

    Example:
        >>> import torch
        >>> from geomlib.datasets import Structures
        >>> pos = [[0, 0, 0], [0, 0, 0.74], [0, 0, 0]]
        >>> s = Structures(z=[1, 1, 2], pos=pos, ptr=[0, 2, 3], energy=[-31.7, -79.0])
        >>> len(s), s[1].z.tolist(), s.batch.tolist()
        (2, [2], [0, 0, 1])
    """

    z: Tensor
    pos: Tensor
    ptr: Tensor
    energy: Tensor | None = None
    forces: Tensor | None = None
    stress: Tensor | None = None
    cell: Tensor = None  # type: ignore[assignment]
    pbc: Tensor = None  # type: ignore[assignment]
    charge: Tensor = None  # type: ignore[assignment]
    extra: dict[str, Tensor] = field(default_factory=dict)
    graph_extra: frozenset[str] = frozenset()
    text: dict[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("z", torch.as_tensor(self.z, dtype=torch.int64).reshape(-1))
        put("pos", _floating(self.pos))
        put("ptr", torch.as_tensor(self.ptr, dtype=torch.int64).reshape(-1))
        n, b = self.z.numel(), self.ptr.numel() - 1
        if (
            b < 0
            or int(self.ptr[0]) != 0
            or int(self.ptr[-1]) != n
            or bool((self.ptr[1:] < self.ptr[:-1]).any())
        ):
            raise InvalidInput(
                f"Structures: `ptr` must rise from 0 to the number of atoms ({n}); got {b + 1} values"
                + (f" from {int(self.ptr[0])} to {int(self.ptr[-1])}." if b >= 0 else ".")
            )
        like = {"dtype": self.pos.dtype, "device": self.pos.device}
        if self.cell is None:
            put("cell", torch.zeros(b, 3, 3, **like))
        if self.pbc is None:
            put("pbc", torch.zeros(b, 3, dtype=torch.bool, device=self.pos.device))
        if self.charge is None:
            put("charge", torch.zeros(b, **like))
        put("pbc", torch.as_tensor(self.pbc, dtype=torch.bool))
        expected = {"pos": (n, 3), "forces": (n, 3), "energy": (b,), "charge": (b,), "pbc": (b, 3)}
        expected |= {"stress": (b, 3, 3), "cell": (b, 3, 3)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is None:
                continue
            if name != "pbc":
                put(name, _floating(value))
            if tuple(getattr(self, name).shape) != shape:
                raise InvalidInput(
                    f"Structures: `{name}` has shape {tuple(getattr(self, name).shape)}, expected {shape} "
                    f"for {b} structures with {n} atoms."
                )
        bad = ~torch.isfinite(self.pos).all(dim=1)
        if bool(bad.any()):
            atom = int(bad.nonzero()[0])
            graph = int(torch.searchsorted(self.ptr, torch.tensor(atom), right=True)) - 1
            raise InvalidInput(
                f"Structures: structure {graph} of {b}: atom {atom - int(self.ptr[graph])} has position "
                f"{self.pos[atom].tolist()}, which is not finite (argument `pos`)."
            )
        if n and (int(self.z.min()) < 1 or int(self.z.max()) > 118):
            atom = int(((self.z < 1) | (self.z > 118)).nonzero()[0])
            raise InvalidInput(
                f"Structures: atom {atom} has atomic number {int(self.z[atom])}, expected 1..118 (`z`)."
            )
        put("graph_extra", frozenset(self.graph_extra))
        put("extra", {k: torch.as_tensor(v) for k, v in self.extra.items()})
        put("text", {k: tuple(v) for k, v in self.text.items()})
        for name, value in self.extra.items():
            rows = b if name in self.graph_extra else n
            if value.dim() == 0 or value.shape[0] != rows:
                raise InvalidInput(
                    f"Structures: extra {name!r} has shape {tuple(value.shape)}, expected {rows} rows "
                    + (
                        "(one per structure)."
                        if name in self.graph_extra
                        else "(one per atom; see `graph_extra`)."
                    )
                )
        for name, value in self.text.items():
            if len(value) != b:
                raise InvalidInput(f"Structures: text {name!r} has {len(value)} entries for {b} structures.")

    def __len__(self) -> int:
        return self.ptr.numel() - 1

    def __iter__(self) -> Iterator[Structures]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        labels = [n for n in ("energy", "forces", "stress") if getattr(self, n) is not None]
        periodic = int(self.pbc.any(dim=1).sum())
        return (
            f"Structures({len(self)} structures, {self.z.numel()} atoms, {len(self.elements)} elements, "
            f"{periodic} periodic, "
            f"labels: {', '.join(labels) or 'none'})"
        )

    @property
    def batch(self) -> Tensor:
        """Structure of each atom, (N,) int64."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.ptr.device), self.num_atoms)

    @property
    def num_atoms(self) -> Tensor:
        """Atoms per structure, (B,) int64."""
        return self.ptr[1:] - self.ptr[:-1]

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur, ascending."""
        return torch.unique(self.z).tolist()

    @property
    def missing(self) -> dict[str, int]:
        """Number of structures with a masked (NaN) label, per label that has any."""
        counts: dict[str, int] = {}
        for name in ("energy", "forces", "stress"):
            value = getattr(self, name)
            if value is None:
                continue
            bad = torch.isnan(value).reshape(value.shape[0], -1).any(dim=1)
            count = int(self.batch[bad].unique().numel()) if name == "forces" else int(bad.sum())
            if count:
                counts[name] = count
        return counts

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Structures:
        """Return the chosen structures, in the order asked for (an int gives a list of one)."""
        b = len(self)
        if isinstance(index, slice):
            chosen = (
                torch.arange(b)[index]
                if (index.step or 1) > 0
                else torch.tensor(range(b)[index], dtype=torch.int64)
            )
        else:
            chosen = torch.as_tensor(index)
            if chosen.dtype == torch.bool:
                if chosen.shape != (b,):
                    raise InvalidInput(
                        f"Structures[mask]: mask of shape {tuple(chosen.shape)}, expected ({b},)."
                    )
                chosen = chosen.nonzero().reshape(-1)
            elif chosen.numel() == 0:
                chosen = chosen.reshape(0).to(torch.int64)
            elif chosen.dtype.is_floating_point or chosen.dtype.is_complex or chosen.dim() > 1:
                raise InvalidInput(
                    f"Structures[index]: got {chosen.dtype} of shape {tuple(chosen.shape)}, expected an "
                    "int, a slice, "
                    "integers (n,) or a boolean mask."
                )
            chosen = chosen.reshape(-1).to(torch.int64)
            if chosen.numel() and (int(chosen.max()) >= b or int(chosen.min()) < -b):
                error = (
                    IndexError if isinstance(index, int) else InvalidInput
                )  # IndexError ends old-style iteration
                raise error(
                    "Structures[index]: index "
                    f"{index if isinstance(index, int) else int(chosen.abs().max())} "
                    f"is out of range for {b} structures."
                )
            chosen = torch.where(chosen < 0, chosen + b, chosen)
        chosen = chosen.to(self.ptr.device)
        counts = self.num_atoms[chosen]
        ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        atoms = torch.arange(int(ptr[-1]), device=ptr.device) + torch.repeat_interleave(
            self.ptr[chosen] - ptr[:-1], counts
        )
        graph: dict[str, Any] = {n: getattr(self, n) for n in ("energy", "stress", "cell", "pbc", "charge")}
        graph = {n: None if v is None else v[chosen] for n, v in graph.items()}
        picked = chosen.tolist()
        return Structures(
            z=self.z[atoms],
            pos=self.pos[atoms],
            ptr=ptr,
            forces=None if self.forces is None else self.forces[atoms],
            extra={k: v[chosen if k in self.graph_extra else atoms] for k, v in self.extra.items()},
            graph_extra=self.graph_extra,
            text={k: tuple(v[i] for i in picked) for k, v in self.text.items()},
            source=self.source,
            **graph,
        )

    @staticmethod
    def concatenate(parts: Sequence[Structures]) -> Structures:
        """Join lists of structures end to end.

        Extras and text that not all parts have are left out, and `source` says so.

        Raises:
            InvalidInput: a label (energy, forces, stress) is in some parts only, or extras disagree in shape.
        """
        parts = list(parts)
        if not parts:
            raise InvalidInput("Structures.concatenate: got no parts, expected at least one.")
        joined: dict[str, Any] = {}
        for name in ("energy", "forces", "stress"):
            have = [getattr(p, name) is not None for p in parts]
            if any(have) and not all(have):
                raise InvalidInput(
                    f"Structures.concatenate: part {have.index(False)} has no {name}, others do. "
                    f"Drop the label with dataclasses.replace(part, {name}=None)."
                )
        for name in ("z", "pos", "energy", "forces", "stress", "cell", "pbc", "charge"):
            if getattr(parts[0], name) is not None:
                joined[name] = torch.cat([getattr(p, name) for p in parts])
        common = [k for k in parts[0].extra if all(k in p.extra for p in parts)]
        dropped = sorted({k for p in parts for k in p.extra} - set(common))
        for name in common:
            kinds = {(name in p.graph_extra, tuple(p.extra[name].shape[1:])) for p in parts}
            if len(kinds) > 1:
                raise InvalidInput(
                    f"Structures.concatenate: extra {name!r} differs in kind or shape: {sorted(kinds)}."
                )
        words = [k for k in parts[0].text if all(k in p.text for p in parts)]
        dropped += sorted({k for p in parts for k in p.text} - set(words))
        sources = list(dict.fromkeys(p.source for p in parts if p.source))
        note = [f"left out, not in all parts: {', '.join(dropped)}"] if dropped else []
        offsets = torch.tensor([0, *(p.z.numel() for p in parts)]).cumsum(0)
        ptr = torch.cat(
            [parts[0].ptr[:1]] + [p.ptr[1:] + int(o) for p, o in zip(parts, offsets[:-1], strict=True)]
        )
        return Structures(
            ptr=ptr,
            extra={k: torch.cat([p.extra[k] for p in parts]) for k in common},
            graph_extra=frozenset(k for k in common if k in parts[0].graph_extra),
            text={k: tuple(s for p in parts for s in p.text[k]) for k in words},
            source=" | ".join(sources + note),
            **joined,
        )

    def to(self, target: torch.dtype | torch.device | str) -> Structures:
        """Return a copy with another floating dtype, or on another device.

        Energies stay float64: total energies near -3e4 eV would lose 2 meV in float32. Subtract references
        first.
        """
        dtype = target if isinstance(target, torch.dtype) else None

        def move(value: Tensor | None, cast: bool = True) -> Tensor | None:
            if value is None:
                return None
            if dtype is None:
                return value.to(target)
            return value.to(dtype) if cast and value.is_floating_point() else value

        values = {
            n: move(getattr(self, n))
            for n in ("z", "pos", "ptr", "forces", "stress", "cell", "pbc", "charge")
        }
        values["energy"] = move(self.energy, cast=False)
        return replace(self, extra={k: move(v) for k, v in self.extra.items()}, **values)  # type: ignore[arg-type]

    def to_ase(self) -> list[Any]:
        """Return `ase.Atoms`, with labels in a SinglePointCalculator and extras in `info` and `arrays`."""
        from geomlib.datasets.conversion import to_ase

        return to_ase(self)

    @staticmethod
    def from_ase(atoms: Sequence[Any], **options: Any) -> Structures:
        """Build from `ase.Atoms`, with labels from the calculators or from `info` and `arrays`.

        Args:
            atoms: one Atoms or a list of them.
            **options: `energy_key`, `forces_key`, `stress_key`, `units`, `on_nan` as in
                :func:`geomlib.datasets.read_extxyz`.
        """
        from geomlib.datasets.conversion import from_ase

        return from_ase(atoms, **options)

    def to_pyg(self) -> list[Any]:
        """Return PyTorch Geometric `Data` with z, pos, y (energy), forces, cell, pbc, charge, extras."""
        from geomlib.datasets.conversion import to_pyg

        return to_pyg(self)

    def replace(self, **changes: Any) -> Structures:
        """Return a copy with some fields changed; the result is checked like a new one."""
        known: Mapping[str, Any] = self.__dataclass_fields__
        unknown = [k for k in changes if k not in known]
        if unknown:
            raise InvalidInput(
                f"Structures.replace: unknown fields {unknown}; expected some of {', '.join(known)}."
            )
        return replace(self, **changes)


def _floating(value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() and isinstance(value, Tensor) else tensor.to(_FLOAT)
