"""A4: forces, stress and Hessian of every model against finite differences, on five molecules and five cells.

Differences are of fourth order, with steps small enough that 1e-8 can be asked.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from geomlib.datasets import load
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.zoo.registry import model_class
from tests.zoo.potentials import POTENTIALS

D = torch.float64
BACKENDS = [name for name, state in available_backends().items() if state == "available" or not state]
every_model = pytest.mark.parametrize("name", POTENTIALS)
every_backend = pytest.mark.parametrize("backend", BACKENDS)
STEP = 1e-3  # Å
STRAIN = 2e-4
WEIGHTS = ((1.0, 2 / 3), (-1.0, -2 / 3), (2.0, -1 / 12), (-2.0, 1 / 12))


def build(name: str) -> nn.Module:
    model, _ = model_class(name).example(torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    model.set_reference(scale=1.3)
    return model.double().eval()


def slope(function: Callable[[float], Tensor], step: float = STEP) -> Tensor:
    return sum(weight * function(k * step) for k, weight in WEIGHTS) / step  # type: ignore[return-value]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.square().mean().sqrt().clamp(min=1e-30))


def ethanol() -> tuple[Tensor, Tensor]:
    frame = load("ethanol")[0]
    return frame.z, frame.pos


def ring(n: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(n, dtype=D) * 2 * torch.pi / n
    direction = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    return torch.tensor([6] * n + [1] * n), torch.cat([1.39 * direction, 2.48 * direction])


MOLECULES: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "water": lambda: (
        torch.tensor([8, 1, 1]), torch.tensor([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]], dtype=D)
    ),
    "carbon dioxide": lambda: (
        torch.tensor([8, 6, 8]), torch.tensor([[0, 0, -1.16], [0, 0, 0], [0, 0, 1.16]], dtype=D)
    ),
    "methane": lambda: (
        torch.tensor([6, 1, 1, 1, 1]),
        torch.tensor([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=D) * 0.63,
    ),
    "benzene": lambda: ring(6),
    "ethanol": ethanol,
}  # fmt: skip


def shaken(z: list[int], places: list[list[float]], cell: list[list[float]]) -> tuple[Tensor, Tensor, Tensor]:
    lattice = torch.tensor(cell, dtype=D)
    pos = torch.tensor(places, dtype=D) @ lattice
    return torch.tensor(z), pos + 0.05 * torch.randn(pos.shape, dtype=D), lattice


ALL = (True, True, True)
CELLS: dict[str, tuple[list[int], list[list[float]], list[list[float]], tuple[bool, bool, bool]]] = {
    "cubic": (
        [7, 7, 7, 7], [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [[4, 0, 0], [0, 4, 0], [0, 0, 4]], ALL
    ),
    "triclinic": ([9, 3], [[0, 0, 0], [0.5, 0.5, 0.5]], [[3.1, 0, 0], [0.7, 2.9, 0], [-0.5, 0.9, 3.3]], ALL),
    "one atom, thin": ([6], [[0.1, 0.2, 0.3]], [[1.9, 0, 0], [0.2, 2.2, 0], [0, 0.3, 4.9]], ALL),
    "left-handed, unwrapped": (
        [8, 1, 1], [[1.2, -0.7, 2.1], [0.3, 0.2, 0.1], [0.6, 0.4, 0.7]], [[0, 3, 0], [3, 0, 0.4], [0, 0.2, 3]], ALL
    ),
    "slab": (
        [6, 8, 1], [[0, 0, 0], [0.5, 0.4, 0.15], [0.2, 0.7, 0.3]], [[3, 0, 0], [1, 2.8, 0], [0, 0, 9]],
        (True, True, False),
    ),
}  # fmt: skip


@every_model
@every_backend
@pytest.mark.parametrize("case", MOLECULES)
def test_forces_and_hessian_of_molecules(name: str, backend: str, case: str) -> None:
    model, (z, pos) = build(name), MOLECULES[case]()
    pos = pos + 0.03 * torch.randn(pos.shape, dtype=D)
    moves = torch.eye(pos.numel(), dtype=D).view(-1, *pos.shape)
    with use_backend(backend):
        with torch.no_grad():
            forces = model(z, pos)["forces"]
            energies = [slope(lambda h, u=u: model(z, pos + h * u, forces=False)["energy"][0]) for u in moves]
            assert relative(forces, -torch.stack(energies).view_as(pos)) <= 1e-8
        hessian = torch.autograd.functional.hessian(
            lambda x: model(z, x, forces=False)["energy"].sum(), pos, vectorize=False
        )
        rows = hessian.view(pos.numel(), -1)
        assert (rows - rows.T).abs().max() <= 1e-12 * rows.abs().max()
        with torch.no_grad():
            u = torch.randn_like(pos)
            along = slope(lambda h: model(z, pos + h * u)["forces"])
        assert relative(-(rows @ u.flatten()), along.flatten()) <= 1e-6


@every_model
@every_backend
@pytest.mark.parametrize("case", CELLS)
def test_forces_and_stress_of_cells(name: str, backend: str, case: str) -> None:
    *crystal, periodic = CELLS[case]
    model, (z, pos, cell) = build(name), shaken(*crystal)
    pbc, one = torch.tensor(periodic), torch.eye(3, dtype=D)

    def energy(shift: Tensor | float = 0.0, strain: Tensor | float = 0.0) -> Tensor:
        bent = one + strain
        return model(z, (pos + shift) @ bent, cell=cell @ bent, pbc=pbc, forces=False)["energy"][0]

    with use_backend(backend), torch.no_grad():
        out = model(z, pos, cell=cell, pbc=pbc, stress=True)
        moves = torch.eye(pos.numel(), dtype=D).view(-1, *pos.shape)
        found = torch.stack([slope(lambda h, u=u: energy(shift=h * u)) for u in moves]).view_as(pos)
        scale = out["forces"].square().mean().sqrt().clamp(min=1e-3)  # one atom: no force, whatever the cell
        assert (out["forces"] + found).abs().max() <= 1e-8 * scale
        volume = torch.linalg.det(cell).abs()
        for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
            e = torch.zeros(3, 3, dtype=D)
            e[a, b] += 0.5
            e[b, a] += 0.5
            expected = slope(lambda h, e=e: energy(strain=h * e), STRAIN) / volume
            scale = out["stress"].square().mean().sqrt()
            assert (out["stress"][0, a, b] - expected).abs() <= 1e-8 * scale, (a, b)
        assert torch.equal(out["stress"], out["stress"].mT)
