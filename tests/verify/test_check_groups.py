"""One exact map and one slightly wrong map for every family of groups, through `verify.check`."""

from __future__ import annotations

import pytest
import torch

from geomlib import verify
from geomlib.algebra.groups import Automorphisms
from geomlib.algebra.groups.chains import stabiliser_chain


def eta(x: torch.Tensor) -> torch.Tensor:
    return x * torch.tensor([1.0, -1.0, -1.0, -1.0]).to(x)


def omega(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x[..., 1], -x[..., 0], x[..., 3], -x[..., 2]], -1)


def pairing(form):  # a map x -> x (x . F y), where y is the next row
    return lambda x: x * (form(x) * x.roll(1, 0)).sum(-1, keepdim=True)


def wedge(x: torch.Tensor) -> torch.Tensor:
    c = torch.linalg.cross(x, x.roll(1, 0))
    return torch.stack([c[..., 2], -c[..., 1], c[..., 0]], -1)


def motor_norm(x: torch.Tensor) -> torch.Tensor:  # blades of the projective algebra without e0
    return x * (x[..., [0, 2, 3, 4, 8, 9, 10, 14]] ** 2).sum(-1, keepdim=True)


SQUARE = torch.tensor(
    [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
)

EXACT = {
    "Lorentz": (pairing(eta), "O(1,3)", "vector", "vector"),
    "Lorentz scalar": (lambda x: (eta(x) * x).sum(-1), "SO+(1,3)", "vector", "scalar"),
    "symplectic": (pairing(omega), "Sp(4)", "vector", "vector"),
    "lowered index": (eta, "O(1,3)", "vector", "covector"),
    "inverse of SPD": (torch.linalg.inv, "GL(3)", "spd(3)", "spd(3)*"),
    "three SPD": (lambda x: x @ torch.linalg.inv(x.roll(1, 0)) @ x, "GL(3)", "spd(3)", "spd(3)"),
    "cross product in SL": (lambda x: torch.linalg.cross(x, x.roll(1, 0)), "SL(3)", "vector", "covector"),
    "wedge": (wedge, "O(3)", "vector", "mv(3,0,0)[2]"),
    "spacetime algebra": (lambda x: x * x[..., :1], "Pin(1,3,0)", "mv(1,3,0)", "mv(1,3,0)"),
    "projective algebra, motions": (motor_norm, "E(3)", "mv(3,0,1)", "mv(3,0,1)"),
    "projective algebra, versors": (motor_norm, "Pin(3,0,1)", "mv(3,0,1)", "mv(3,0,1)"),
    "complement": (lambda x: torch.eye(5).to(x) - x, "O(5)", "grassmann(5,2)", "grassmann(5,3)"),
    "matrix product": (lambda x: x @ x, "S_n", "perm(2)", "perm(2)"),
    "channels last": (lambda x: torch.einsum("nmc,mkc->nkc", x, x), "S_n", "node:perm(2)", "node:perm(2)"),
    "even permutations": (lambda x: x - x.mean(0), "SE(4)*A_n", "node:point", "node:vector"),
    "cubic, by component": (lambda x: x**3, "O_h", "vector", "vector"),
    "icosahedral": (lambda x: x * (x**2).sum(-1, keepdim=True), "I_h", "1x2e", "1x2e"),
    "high degree": (lambda x: x * (x**2).sum(-1, keepdim=True), "O(3)", "4x8e+2x5o", "4x8e+2x5o"),
    "one axis": (
        lambda x: x + x[..., 2:] ** 2 * torch.tensor([0.0, 0.0, 1.0]).to(x),
        "SO(2)@z",
        "vector",
        "vector",
    ),
}

BROKEN = {
    "Euclidean norm of four-vectors": (pairing(lambda x: x), "O(1,3)", "vector", "vector"),
    "symplectic form of other coordinates": (pairing(omega), "Sp(4,block)", "vector", "vector"),
    "raised index": (eta, "O(1,3)", "vector", "vector"),
    "inverse typed as itself": (torch.linalg.inv, "GL(3)", "spd(3)", "spd(3)"),
    "volume form in GL": (lambda x: torch.linalg.cross(x, x.roll(1, 0)), "GL(3)", "vector", "covector"),
    "blades in the order of the axes": (
        lambda x: torch.linalg.cross(x, x.roll(1, 0)), "O(3)", "vector", "mv(3,0,0)[2]",
    ),
    "null blades in a norm": (lambda x: x * (x**2).sum(-1, keepdim=True), "E(3)", "mv(3,0,1)", "mv(3,0,1)"),
    "transposed factor": (lambda x: torch.einsum("nmc,mkc->nkc", x, x.flip(0)), "S_n", "node:perm(2)", "node:perm(2)"),
    "cubic map under all rotations": (lambda x: x**3, "SO(3)", "vector", "vector"),
    "another axis": (lambda x: x + x[..., 2:] ** 2 * torch.tensor([0.0, 0.0, 1.0]).to(x), "SO(2)@x", "vector", "vector"),
    "unit vectors scale": (lambda x: x / x.norm(dim=-1, keepdim=True), "scalings*O(3)", "vector", "vector"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact(name: str) -> None:
    function, group, inputs, outputs = EXACT[name]
    report = verify.check(function, group, inputs, outputs, trials=8)
    assert report.verdict == "EXACT", str(report)


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    function, group, inputs, outputs = BROKEN[name]
    assert verify.check(function, group, inputs, outputs, trials=8).verdict == "BROKEN"


def test_automorphisms_of_a_square() -> None:
    """A sum over neighbours respects the square, and no permutation that is not one of its symmetries."""
    example = {"0": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}
    types = ("node:inv", "node:inv")

    def neighbours(x: torch.Tensor) -> torch.Tensor:
        return SQUARE.to(x) @ x

    square = verify.check(neighbours, "Aut(4; 0-1, 1-2, 2-3, 3-0)", *types, example=example, trials=8)
    assert square.verdict == "EXACT"
    assert verify.check(neighbours, "S_n", *types, example=example, trials=8).verdict == "BROKEN"


def test_a_registered_group() -> None:
    chain = stabiliser_chain([(1, 2, 3, 4, 0)], 5)
    verify.register_group("five turns", Automorphisms(chain, "five turns"))
    example = {"0": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    turned = verify.check(
        lambda x: x + 2 * x.roll(1, 0), "five turns", "node:inv", "node:inv", example=example
    )
    assert turned.verdict == "EXACT"
    all_orders = verify.check(lambda x: x + 2 * x.roll(1, 0), "S_n", "node:inv", "node:inv", example=example)
    assert all_orders.verdict == "BROKEN"
