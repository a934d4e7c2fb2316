"""KIGN: maps by hand, padding and sizes, what order two cannot count and order three can, gradients, misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput, create_model, verify
from geomlib.datasets.substructures import count_triangles, make_substructures
from geomlib.zoo.kign import KIGN

# Out legs first: A_ij, A_jk and A_ik of the tensor of order three, from A_ab.
EDGES = [["D", [0, 1, 2, 0, 1]], ["D", [0, 1, 2, 1, 2]], ["D", [0, 1, 2, 0, 2]]]


def graphs(b: int = 3, n: int = 5, features: int = 2) -> dict[str, torch.Tensor]:
    return {
        "adjacency": torch.randn(b, n, n, dtype=torch.float64),
        "x": torch.randn(b, features, n, dtype=torch.float64),
        "mask": torch.arange(n) < torch.tensor([n, 1, n - 2, n - 1][:b])[:, None],
    }


def triangle_counter() -> KIGN:
    """Return the network that is the formula of the class: one channel of order three, sums, identities."""
    model = KIGN(orders=(3,), channels=1, hidden=1, normalization="sum").double()
    lift, total = model.layers
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.mlp[0].weight.fill_(1.0)
        model.mlp[2].weight.fill_(1.0)
    lift.set_diagram_weights(EDGES, torch.ones(3, 1, 1), [["D", [0, 1, 2]]], torch.tensor([[-2.0]]))
    total.set_diagram_weights([["D", [0, 1, 2]]], torch.full((1, 1, 1), 1 / 6, dtype=torch.float64))
    return model


@pytest.mark.parametrize("backend", ["dense", "grouped"])
def test_triangles_are_counted_exactly(data, backend):
    model = triangle_counter()
    for layer in model.layers:
        layer.backend = backend
    with np.load(data / "diagrams" / "er_graphs.npz", allow_pickle=False) as found:
        adjacency, truth = torch.from_numpy(found["adj"].astype(float)), torch.from_numpy(found["triangles"])
    torch.testing.assert_close(model(adjacency), truth, rtol=0, atol=1e-10)
    for nodes in (1, 3, 14):  # the same weights
        made = make_substructures(20, 0, nodes=nodes, p=0.5)
        torch.testing.assert_close(model(made["adjacency"]), made["y"], rtol=0, atol=1e-10)


def test_order_two_cannot_tell_what_order_three_can():
    """Two triangles and a ring of six nodes: every node looks alike, so refinement of colours cannot tell them."""
    two = torch.block_diag(*[torch.ones(3, 3) - torch.eye(3)] * 2).double()
    six = torch.zeros(6, 6, dtype=torch.float64)
    six[torch.arange(6), (torch.arange(6) + 1) % 6] = 1
    pair = torch.stack([two, six + six.T])
    assert count_triangles(pair).tolist() == [2, 0]
    for orders, same in (((2, 2), True), ((2, 1, 2), True), ((3,), False)):
        found = KIGN(orders=orders, channels=8, normalization="sum").double()(pair).detach()
        difference = abs(float(found[0] - found[1])) / float(found.abs().max())
        assert difference < 1e-12 if same else difference > 1e-3


def test_padding_and_sizes():
    """Every graph of a padded batch is predicted as it is alone, whatever lies in the padding."""
    for orders, normalization in (((2, 2), "mean"), ((2, 3, 1), "mean"), ((2,), "sum")):
        model = KIGN(2, 3, orders, channels=3, normalization=normalization, shift=0.5, scale=2.0).double()
        with torch.no_grad():
            for layer in model.layers:
                layer.bias.normal_()
        batch = graphs()
        found = model(**batch)
        for g, n in enumerate(batch["mask"].sum(1).tolist()):
            alone = model(batch["adjacency"][g : g + 1, :n, :n], batch["x"][g : g + 1, :, :n])
            torch.testing.assert_close(found[g : g + 1], alone, rtol=1e-11, atol=1e-12)
        outside = ~batch["mask"]
        batch["adjacency"][outside[:, :, None] | outside[:, None, :]] = torch.nan
        batch["x"][outside[:, None, :].expand_as(batch["x"])] = torch.inf
        assert torch.equal(model(**batch), found)


def test_exact_and_one_number():
    model = KIGN(orders=(2, 1), channels=3, hidden=4)
    inputs = {"adjacency": torch.randn(2, 4, 4), "mask": torch.ones(2, 4, dtype=torch.bool)}
    assert model(**inputs).shape == (2,)
    assert verify.check(model, example=inputs, trials=4, stress=False).verdict == "EXACT"


def test_a_fixed_number_of_nodes_has_fewer_maps():
    free, tied = KIGN(orders=(2,), channels=2), KIGN(orders=(2,), channels=2, nodes=3)
    assert free.layers[0].weight.shape[0] == 15 and tied.layers[0].weight.shape[0] == 14
    assert tied(torch.randn(2, 3, 3)).shape == (2,)
    with pytest.raises(InvalidInput):
        tied(torch.randn(2, 4, 4))


def test_gradients():
    model = KIGN(1, 2, (2,), channels=2, hidden=2).double()
    batch = graphs(2, 3, 1)
    names, weights = zip(*model.named_parameters(), strict=True)
    leaves = [batch["adjacency"].requires_grad_(), batch["x"].requires_grad_(), *weights]

    def call(a, x, *values):
        inputs = {"adjacency": a, "x": x, "mask": batch["mask"]}
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (), inputs)

    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, leaves, fast_mode=True)


def test_extreme_inputs_and_sizes():
    model = KIGN(2, 3, (2, 3), channels=2, hidden=4)
    for n in (1, 2):
        assert model(torch.zeros(2, n, n), torch.zeros(2, 2, n)).isfinite().all()
    assert model(torch.zeros(0, 4, 4), torch.zeros(0, 2, 4)).shape == (0, 3)
    nobody = torch.zeros(1, 4, dtype=torch.bool)
    assert model(torch.ones(1, 4, 4), torch.ones(1, 2, 4), nobody).isfinite().all()
    assert model(torch.full((1, 7, 7), 1e30), torch.full((1, 2, 7), -1e30)).isfinite().all()


def test_config_builds_the_same_model():
    model = KIGN(2, 3, (2, 1), channels=3, hidden=4, nodes=5, shift=1.0)
    again = create_model(**model.config)
    again.load_state_dict(model.state_dict())
    batch = {k: v.float() if v.is_floating_point() else v for k, v in graphs().items()}
    assert torch.equal(model(**batch), again(**batch))


def test_misuse():
    for options, match in (
        ({"orders": ()}, r"orders=\[\]"),
        ({"orders": (2, 0)}, r"orders=\[2, 0\]"),
        ({"channels": 0}, "channels=0"),
    ):
        with pytest.raises(InvalidInput, match=match):
            KIGN(**options)
    with pytest.raises(InvalidInput, match="KIGN: `x` is missing, features=2"):
        KIGN(2)(torch.zeros(1, 3, 3))
    with pytest.raises(InvalidInput, match="normalization='max'"):
        KIGN(normalization="max")
