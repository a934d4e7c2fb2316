"""Chemical symbols and atomic numbers, 1 to 118."""

from __future__ import annotations

import difflib

from geomlib.errors import InvalidInput

__all__ = ["NUMBERS", "SYMBOLS", "all_electron_energy", "atomic_number"]

_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

SYMBOLS: tuple[str, ...] = ("", *_TABLE.split())
"""Symbol of each atomic number; entry 0 is empty."""

NUMBERS: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
"""Atomic number of each symbol."""


def atomic_number(symbol: str, where: str = "symbol") -> int:
    """Return the atomic number of a symbol, or of a number written as text.

    Raises:
        InvalidInput: unknown element, naming `where`.

    Example:
        >>> from geomlib.datasets.elements import atomic_number
        >>> atomic_number("Cl"), atomic_number("17")
        (17, 17)
    """
    z = NUMBERS.get(symbol)
    if z is not None:
        return z
    if symbol.isascii() and symbol.isdigit() and 1 <= len(symbol) <= 3 and 1 <= int(symbol) < len(SYMBOLS):
        return int(symbol)
    close = difflib.get_close_matches(symbol.capitalize(), NUMBERS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InvalidInput(
        f"{where}: unknown element {symbol[:20]!r}; expected a symbol H..Og or a number 1..118.{hint}"
    )


def all_electron_energy(z: float) -> float:
    r"""Estimate the total energy of a neutral atom in eV, to recognise energies in other units.

    .. math:: E = -20.917\,Z^{7/3} + 13.606\,Z^2 - 7.34\,Z^{5/3}

    The Thomas–Fermi series with the corrections of Scott and Schwinger; 8 % off for H, 1 % for C, better
    beyond.
    """
    return -20.917 * z ** (7 / 3) + 13.606 * z**2 - 7.34 * z ** (5 / 3)
