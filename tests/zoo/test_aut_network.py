"""The network of Aut(G): every automorphism and no other permutation, its options, learning what fewer maps cannot."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geomlib import InvalidInput, create_model
from geomlib.datasets.aut_graph import SKELETON, make_aut_graph
from geomlib.verify import check
from geomlib.zoo import AutNetwork

FORK = [(0, 1), (0, 2), (0, 3), (3, 4)]
VARIANTS = {
    "nodes": {},
    "pairs": {"pair_channels": 2},
    "graph": {"order": 0, "outputs": 2},
    "pairs to graph": {"order": 0, "pair_channels": 2, "layers": 1},
    "S_n": {"edges": []},
    "deep": {"layers": 3, "outputs": 3, "shift": 0.5, "scale": 2.0},
}


def made(name: str) -> AutNetwork:
    torch.manual_seed(0)
    model = AutNetwork(**{"edges": FORK, "nodes": 5, "features": 2, "channels": 3, **VARIANTS[name]}).double()
    for key, p in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(p)
    return model


def drawn(batch: int = 3) -> Tensor:
    return torch.randn(batch, 2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", VARIANTS)
def test_symmetry_is_as_declared(name: str) -> None:
    report = check(made(name), example={"x": drawn()}, trials=6)
    assert report.verdict == "EXACT" and not report.warnings, report


@pytest.mark.parametrize("name", VARIANTS)
def test_automorphisms_and_no_other_permutation(name: str) -> None:
    model, x = made(name), drawn()
    y = model(x)
    nodes = model.order == 1

    def error(p: list[int]) -> float:
        return float((model(x[..., p]) - (y[..., p] if nodes else y)).detach().abs().max())

    assert model.group.order == (120 if name == "S_n" else 2)
    assert error([0, 2, 1, 3, 4]) < 1e-12  # the two leaves at node 0
    others = [[0, 1, 2, 4, 3], [1, 0, 2, 3, 4], [0, 3, 2, 1, 4]]
    assert all((error(p) < 1e-12) == (name == "S_n") for p in others)


def test_rows_are_independent_and_shapes() -> None:
    model, x = made("pairs"), drawn(4)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-12, atol=1e-12)
    assert (
        model(x[:0]).shape == (0, 5)
        and made("deep")(x).shape == (4, 3, 5)
        and made("graph")(x).shape == (4, 2)
    )
    built = create_model(**model.config).double()
    built.load_state_dict(model.state_dict())
    assert torch.equal(built(x), model(x))
    assert bool(model(0 * x).isfinite().all()) and bool(model(1e30 * x).isfinite().all())


def test_orbits_are_learned_where_permutations_are_too_few() -> None:
    train, test = make_aut_graph(300, 0), make_aut_graph(500, 2)
    scores = {}
    for name, edges in {"orbits": SKELETON, "permutations": []}.items():
        torch.manual_seed(0)
        model = AutNetwork(edges, 10, features=2, channels=8).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(120):
            optimizer.zero_grad()
            (model(train["x"]) - train["rate"]).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            scores[name] = float((model(test["x"]) - test["rate"]).square().mean() / test["rate"].var())
    assert scores["orbits"] < 0.1 < 0.5 < scores["permutations"], scores


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: AutNetwork(FORK, 5, order=2), "order=2"), (lambda: AutNetwork(FORK, 5, layers=0), "layers=0"),
        (lambda: AutNetwork(FORK, 3), "node 3"), (lambda: made("nodes")(torch.ones(1, 2, 4).double()), r"samples, 2, 5"),
        (lambda: made("nodes")(torch.ones(1, 2, 5)), "Cast one"), (lambda: AutNetwork(FORK, 5, channels=0), "channels"),
    ],
)  # fmt: skip
def test_misuse(make, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        make()
