"""A8: energies and forces of every model pass through the cutoff without a step, in pairs and in triples."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.zoo.registry import model_class
from tests.zoo.potentials import POTENTIALS

D = torch.float64
BACKENDS = [name for name, state in available_backends().items() if state == "available" or not state]
HEIGHT = 1.1  # Å, of the triangle's third atom
Scan = Callable[[float], Tensor]


def build(name: str) -> nn.Module:
    model, _ = model_class(name).example(torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    return model.double().eval()


def dimer(r: float) -> Tensor:
    return torch.tensor([[0, 0, 0], [0, 0, r]], dtype=D)


def triple(r: float) -> Tensor:
    """The third atom leaves the first two, which stay neighbours; it loses them at two different distances."""
    return torch.tensor([[0, 0, 0], [HEIGHT, 0, 0], [0, 0, r]], dtype=D)


def chain(r: float) -> Tensor:
    """The middle atom leaves the first and comes within reach of the last."""
    return torch.tensor([[0, 0, 0], [0, 0, r], [0.3, 0, 8.5]], dtype=D)


def losses(scan: Scan, cutoff: float) -> list[float]:
    """Return the distances at which a pair crosses the cutoff."""
    if scan is dimer:
        return [cutoff]
    if scan is triple:
        return [cutoff, math.sqrt(cutoff**2 - HEIGHT**2)]
    return [cutoff, 8.5 - math.sqrt(cutoff**2 - 0.09)]


def values(model: nn.Module, scan: Scan, distances: list[float]) -> Tensor:
    """Return the energy and all forces at every distance, (distances, 1 + 3 atoms); one batch."""
    pos = torch.stack([scan(r) for r in distances])
    n, atoms = pos.shape[:2]
    out = model(
        torch.tensor([6, 8, 1][:atoms]).repeat(n), pos.flatten(0, 1), torch.arange(n).repeat_interleave(atoms)
    )
    return torch.cat([out["energy"][:, None], out["forces"].view(n, -1)], 1)


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scan", [dimer, triple, chain])
def test_no_step_at_200_distances(name: str, backend: str, scan: Scan) -> None:
    model, gap = build(name), 1e-9
    crossings = losses(scan, model.cutoff)  # type: ignore[arg-type]
    spread = torch.linspace(0.8, model.cutoff + 0.5, 200 - 7 * len(crossings), dtype=D).tolist()  # type: ignore[operator]
    near = [c + d for c in crossings for d in (0.0, 1e-3, -1e-3, 1e-6, -1e-6, 1e-9, -1e-9)]
    points = [*spread, *near]
    assert len(points) == 200
    with use_backend(backend), torch.no_grad():
        a, b, c, d = (values(model, scan, [r + k * gap for r in points]) for k in (-3, -1, 1, 3))
    # A smooth curve moves a third as far between b and c; a step moves both as far.
    steps = 1.5 * ((c - b) - (d - a) / 3).abs().amax(1)
    assert steps.max() <= 1e-10, points[int(steps.argmax())]


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_force_has_nearly_vanished_before_the_cutoff(name: str, backend: str) -> None:
    model = build(name)
    rc = float(model.cutoff)  # type: ignore[arg-type]
    with use_backend(backend), torch.no_grad():
        largest = values(model, dimer, torch.linspace(0.8, rc, 100).tolist())[:, 1:].abs().max()
        close, inside, outside = values(model, dimer, [rc - 1e-4, rc - 1e-9, rc + 1e-9])[:, 1:]
        assert close.abs().max() <= 1e-6 * largest and outside.abs().max() == 0
        # Twice differentiable: the slope of the force has no step either.
        assert ((inside - close) / 1e-4).abs().max() <= 1e-4 * largest
    if "envelope" in model.config:  # type: ignore[operator]
        cosine = model_class(name)(**{**_options(model), "envelope": "cosine"}).double().eval()
        with use_backend(backend), torch.no_grad():
            close, inside = values(cosine, dimer, [rc - 1e-4, rc - 1e-9])[:, 1:]
        assert ((inside - close) / 1e-4).abs().max() > 1e-4 * largest, "the test above cannot see a kink"


def _options(model: nn.Module) -> dict[str, object]:
    return {k: v for k, v in model.config.items() if k != "name"}  # type: ignore[operator,union-attr]


def test_a_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour list that stops a hair early breaks the test above."""
    from geomlib.zoo import potential

    real = potential.half_pairs
    monkeypatch.setattr(
        potential, "half_pairs", lambda pos, cutoff, *others: real(pos, cutoff - 1e-2, *others)
    )
    model = build("tensornet")
    with torch.no_grad():
        rc = float(model.cutoff) - 1e-2  # type: ignore[arg-type]
        low, high = values(model, dimer, [rc - 1e-9, rc + 1e-9])
    assert (high - low).abs().max() > 1e-7
