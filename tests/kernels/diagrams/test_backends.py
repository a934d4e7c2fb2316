"""Every backend gives the outputs and gradients of the fixtures, and commutes with the group it was made for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from geomlib.algebra.diagrams import Diagram, tensor_group
from geomlib.kernels.diagrams import tensor_map, tensor_plan
from geomlib.kernels.dispatch import use_backend
from tests.kernels.diagrams.common import act, draw, element, layers

SOLVERS = ["loops", "torch", "dense", "per_diagram", "auto"]


@contextmanager
def way(name: str) -> Iterator[str]:
    """Give the backend to ask for; the grouped multiplication has compiled loops and torch's operators."""
    if name == "loops":
        pytest.importorskip("numba")
    with use_backend({"loops": "cpu", "torch": "torch"}.get(name, "auto")):
        yield "grouped" if name in ("loops", "torch") else name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("backend", SOLVERS)
def test_layers_of_the_fixtures(backend: str, dtype: torch.dtype) -> None:
    """Outputs and both gradients of layers that were computed with dense matrices by other code."""
    records, arrays = layers()
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    assert len(records) == 13
    for name, record in records.items():
        group, k, l = tensor_group(record["group"] + f"({record['n']})") if record["group"] not in "SA" else (
            tensor_group(f"{record['group']}_{record['n']}")
        ), record["k"], record["l"]  # fmt: skip
        plan = tensor_plan(group, k, l, "spanning")
        number = {d: i for i, d in enumerate(plan.diagrams)}
        rows = torch.tensor([number[Diagram.from_label(label, k, l)] for label in record["labels"]])
        w = arrays[f"{name}/W"].to(dtype)
        weights = w.new_zeros(len(plan), *w.shape[1:]).index_copy(0, rows, w).requires_grad_()
        x = arrays[f"{name}/x"].to(dtype).requires_grad_()
        with way(backend) as chosen:
            y = tensor_map(x, weights, plan, backend=chosen)
            gx, gw = torch.autograd.grad(y, (x, weights), arrays[f"{name}/upstream"].to(dtype))
        for found, key in ((y, "y"), (gx, "grad_x"), (gw[rows], "grad_W")):
            expected = arrays[f"{name}/{key}"]
            error = (found.double() - expected).abs().max() / expected.abs().max()
            assert error < tolerance, (name, key, float(error))


MAPS = [
    ("S_4", 2, 3), ("S_3", 3, 2), ("A_4", 2, 2), ("A_3", 2, 3), ("A_2", 1, 2), ("B(3)", 2, 2), ("B(2)", 3, 3), ("O(3)", 3, 3),
    ("O(2)", 4, 2), ("SO(3)", 2, 3), ("SO(2)", 2, 2), ("SO(4)", 2, 2), ("SO(4)", 1, 3), ("Sp(4)", 2, 2), ("Sp(2)", 3, 3),
    ("Sp(4,block)", 3, 1), ("O(1,3)", 2, 2), ("O(1,1)", 3, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "k", "l"), MAPS)
def test_equivariance(name: str, k: int, l: int) -> None:
    """The map commutes with random elements; boosts and symplectic matrices need not be orthogonal."""
    plan = tensor_plan(name, k, l)
    n = plan.n or 0
    drawn = plan.group.name
    x, w = draw(plan, n)
    y = tensor_map(x, w, plan, backend="grouped")
    for component in range(2 if drawn[0] in "OB" else 1):
        g = element(drawn, n, component, seed=component)
        moved = tensor_map(act(g, x), w, plan, backend="grouped")
        scale = 1 + float(torch.linalg.cond(g)) ** (k + l)
        assert (moved - act(g, y)).abs().max() < 1e-11 * scale * y.abs().max()
        assert y.abs().max() > 0


@pytest.mark.parametrize(("name", "k", "l"), [("A_4", 2, 2), ("A_3", 1, 2), ("SO(3)", 2, 1), ("SO(2)", 1, 1)])
def test_only_the_declared_group(name: str, k: int, l: int) -> None:
    """An odd permutation, or a reflection, is seen by the diagrams with an epsilon."""
    plan = tensor_plan(name, k, l)
    n = plan.n or 0
    odd = torch.eye(n, dtype=torch.float64)[[1, 0, *range(2, n)]]
    x, w = draw(plan, n)
    y = tensor_map(x, w, plan, backend="grouped")
    assert (tensor_map(act(odd, x), w, plan, backend="grouped") - act(odd, y)).abs().max() > 0.1
    signed = torch.tensor([d.kind in ("jellyfish", "grood") for d in plan.diagrams], dtype=torch.float64)
    y = tensor_map(x, w * signed[:, None, None], plan, backend="grouped")
    moved = tensor_map(act(odd, x), w * signed[:, None, None], plan, backend="grouped")
    torch.testing.assert_close(moved, -act(odd, y))
    assert y.abs().max() > 0.1


@pytest.mark.parametrize("which", ["basis", "spanning"])
@pytest.mark.parametrize(("name", "k", "l"), MAPS)
def test_grouped_is_the_reference(name: str, k: int, l: int, which: str) -> None:
    """Values, both gradients and both second gradients, also for the subset of diagrams that is independent."""
    plan = tensor_plan(name, k, l, which)  # type: ignore[arg-type]
    x, w = (t.requires_grad_() for t in draw(plan, plan.n or 0, c_in=3, c_out=1))
    results: list[list[torch.Tensor]] = []
    for backend in ("loops", "torch", "dense"):
        with way(backend) as chosen:
            y = tensor_map(x, w, plan, backend=chosen)
            g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).requires_grad_()
            first = torch.autograd.grad(y, (x, w), g, create_graph=True)
            second = torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (x, w, g))
        results.append([y, *first, *second])
    for found, expected in [
        *zip(results[0], results[2], strict=True),
        *zip(results[1], results[2], strict=True),
    ]:
        torch.testing.assert_close(
            found, expected, rtol=1e-11, atol=1e-11 * float(1 + expected.detach().abs().max())
        )


@pytest.mark.parametrize("backend", ["grouped", "dense", "auto"])
def test_one_set_of_weights_at_any_size(backend: str) -> None:
    """Without a size, the same weights serve every n, and agree with the plan of that size where that is complete."""
    free = tensor_plan("S_n", 2, 2)
    for n in (1, 2, 4, 7):
        x, w = draw(free, n)
        y = tensor_map(x, w, free, backend=backend)
        expected = tensor_map(x, w, tensor_plan(f"S_{n}", 2, 2, "spanning"), backend="per_diagram")
        torch.testing.assert_close(y, expected)
