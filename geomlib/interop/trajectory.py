"""Files that grow while a simulation runs: extended XYZ frames and a CSV log."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.interop.constants import ASE_TIME

__all__ = ["LOG_COLUMNS", "LogWriter", "TrajectoryWriter"]

LOG_COLUMNS = ("step", "time_fs", "replica", "potential_eV", "kinetic_eV", "total_eV", "temperature_K")


class _Growing:
    """A text file that keeps what was written when the run is interrupted."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.stream: IO[str] = self.path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise InvalidInput(f"cannot write {self.path}: {error.strerror}.") from error

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()


class LogWriter(_Growing):
    """CSV with one row per step and replica; the columns are ``LOG_COLUMNS``."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._rows = csv.writer(self.stream, lineterminator="\n")
        self._rows.writerow(LOG_COLUMNS)

    def write(self, step: int, time: float, potential: Tensor, kinetic: Tensor, temperature: Tensor) -> None:
        """Append one row per replica."""
        columns = (potential, kinetic, potential + kinetic, temperature)
        for replica, values in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            self._rows.writerow((step, repr(time), replica, *(repr(v) for v in values)))
        self.stream.flush()


class TrajectoryWriter(_Growing):
    """Extended XYZ, readable by ASE and by ``geomlib.datasets.load``: positions, momenta, forces, energy.

    Momenta are in ASE's unit, sqrt(eV u), so that ASE's kinetic energies are right.
    """

    def write(
        self,
        step: int,
        time: float,
        symbols: list[list[str]],
        counts: list[int],
        pos: Tensor,
        momenta: Tensor,  # (N, 3) u Å/fs
        forces: Tensor,
        energy: Tensor,
        cell: Tensor,
        pbc: Tensor,
        charge: Tensor,
    ) -> None:
        """Append one frame per replica."""
        pieces = (x.split(counts) for x in (pos, momenta * ASE_TIME, forces))
        frames = zip(symbols, *pieces, energy.tolist(), cell, pbc.tolist(), charge.tolist(), strict=True)
        for replica, (names, r, p, f, e, h, periodic, q) in enumerate(frames):
            words = [
                "Properties=species:S:1:pos:R:3:momenta:R:3:forces:R:3",
                f"energy={e!r}",
                'pbc="' + " ".join("T" if x else "F" for x in periodic) + '"',
                f"step={step} time_fs={time!r} replica={replica}",
            ]
            if bool(h.any()):
                words.insert(0, 'Lattice="' + " ".join(repr(x) for x in h.flatten().tolist()) + '"')
            if q:
                words.append(f"charge={q!r}")
            self.stream.write(f"{len(names)}\n{' '.join(words)}\n")
            for name, row in zip(names, _lines(r, p, f), strict=True):
                self.stream.write(f"{name} {row}\n")
        self.stream.flush()


def _lines(*columns: Tensor) -> list[str]:
    """Return one line per atom with all columns, in digits that read back to the same float64."""
    tables = [c.tolist() for c in columns]
    return [" ".join(repr(x) for part in row for x in part) for row in zip(*tables, strict=True)]
