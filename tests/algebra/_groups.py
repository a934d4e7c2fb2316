"""What several tests of the groups share."""

from __future__ import annotations

import torch

from geomlib.algebra.groups import Element, Group, parse_group

#: One group of every family, ready to be sampled.
NAMES = [
    "O(3)", "SO(3)", "E(3)", "SE(3)", "T(3)", "O(2)", "SO(4)", "O(5)", "S_n", "A_n", "O(1,3)", "SO(2,2)", "SO+(1,3)",
    "O(3,0)", "O(0,2)", "Sp(4)", "Sp(6,block)", "GL(3)", "SL(2)", "GL(1)", "Pin(3,0,0)", "Pin(1,3,0)", "Pin(3,0,1)",
    "Pin(0,2,0)", "Spin(4,1,0)", "Spin(2,0,1)", "Pin(1)", "Aut(6; 0-1, 1-2, 2-3, 3-4, 4-5, 5-0)", "Aut(6; (0 1 2)(3 4))",
    "C_5", "C_4v", "D_3", "D_4h", "T_d", "O_h", "I_h", "SO(2)@y", "C_4@x", "scalings", "translations",
    "E(3)*S_n", "SO(3)*A_n", "O(1,3)*S_n", "scalings*O(3)", "O(4)*O(2)", "O_h*S_n", "B(3)", "B(4)",
    "Kron(S_3, O(2))", "Kron(Sp(2), A_4)",
]  # fmt: skip


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ready(name: str, nodes: int = 6) -> Group:
    return parse_group(name).sized(nodes)


def plain(linear: torch.Tensor, shift: torch.Tensor | None = None) -> Element:
    return Element(linear.double(), torch.zeros(len(linear)).double() if shift is None else shift.double())
