"""PPGN and sets of dense graphs: the formulas by loops, padding, sizes, exact counts, gradients, misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib import InvalidInput, create_model, verify
from geomlib.datasets.substructures import make_substructures
from geomlib.datasets.tasks import Samples
from geomlib.zoo.dense_graphs import DenseGraphs, dense_adjacency, graph_tensor, size_batches
from geomlib.zoo.ppgn import PPGN


def graphs(b: int = 4, n: int = 6, features: int = 2) -> dict[str, torch.Tensor]:
    return {
        "adjacency": torch.randn(b, n, n, dtype=torch.float64),
        "x": torch.randn(b, features, n, dtype=torch.float64),
        "mask": torch.arange(n) < torch.tensor([n, 1, n - 1, n - 3, 0][:b])[:, None],
    }


def by_loops(model: PPGN, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the prediction for one graph without padding, from the formulas, node by node."""
    n, w = len(a), {k: v.numpy() for k, v in model.state_dict().items()}
    h = {(i, j): np.concatenate([[a[i, j]], x[:, i] * (i == j)]) for i in range(n) for j in range(n)}
    total = np.zeros(model.classes or 1)
    mean = model.normalization == "mean"
    for b in range(len(model.blocks)):
        sides = []
        for side in ("left", "right"):
            out = dict(h)
            for d in range(model.config["depth"]):
                key = f"blocks.{b}.{side}.layers.{d}"
                out = {ij: np.maximum(w[f"{key}.weight"] @ v + w[f"{key}.bias"], 0) for ij, v in out.items()}
            sides.append(out)
        product = {
            (i, j): sum(sides[0][i, k] * sides[1][k, j] for k in range(n)) / (n if mean else 1)
            for i in range(n)
            for j in range(n)
        }
        skip = w[f"blocks.{b}.skip.weight"]
        h = {ij: skip @ np.concatenate([h[ij], product[ij]]) + w[f"blocks.{b}.skip.bias"] for ij in h}
        diagonal = sum(h[i, i] for i in range(n)) / (n if mean else 1)
        rest = sum((v for (i, j), v in h.items() if i != j), np.zeros_like(diagonal))
        rest = rest / (max(n * (n - 1), 1) if mean else 1)
        total = total + w[f"heads.{b}.weight"] @ np.concatenate([diagonal, rest]) + w[f"heads.{b}.bias"]
    return model.shift + model.scale * total


@pytest.mark.parametrize("normalization", ["mean", "sum"])
def test_it_is_what_the_formulas_say(normalization):
    """Every graph of a padded batch is predicted as it is alone, without padding, whatever lies in the padding."""
    model = PPGN(2, 3, channels=4, blocks=3, normalization=normalization, shift=0.5, scale=2.0).double()
    batch = graphs()
    found = model(**batch).detach().numpy()
    for g, n in enumerate(batch["mask"].sum(1).tolist()):
        a, x = batch["adjacency"][g, :n, :n], batch["x"][g, :, :n]
        np.testing.assert_allclose(found[g], by_loops(model, a.numpy(), x.numpy()), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[g], model(a[None], x[None])[0].detach().numpy(), rtol=1e-12)
    outside = ~batch["mask"]
    spoiled = {k: v.clone() for k, v in batch.items()}
    spoiled["adjacency"][outside[:, :, None] | outside[:, None, :]] = torch.nan
    spoiled["x"][outside[:, None, :].expand_as(spoiled["x"])] = torch.inf
    assert torch.equal(model(**spoiled), model(**batch))


def test_exact_and_one_number():
    model = PPGN(channels=4)
    inputs = {"adjacency": torch.randn(2, 5, 5), "mask": torch.ones(2, 5, dtype=torch.bool)}
    assert model(**inputs).shape == (2,)
    report = verify.check(model, example=inputs, trials=8)
    assert report.verdict == "EXACT" and report.e64 < 1e-12


def test_triangles_are_counted_exactly():
    r"""A passes both MLPs, the first block makes A², the second A³: its trace is six times the number."""
    model = PPGN(channels=2, blocks=2, depth=1, normalization="sum").double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        first, second = model.blocks
        for side in (first.left, first.right):
            side.layers[0].weight[0, 0] = 1
        first.skip.weight[0, 0] = first.skip.weight[1, 1] = 1  # A, A A
        second.left.layers[0].weight[0, 1] = second.right.layers[0].weight[0, 0] = 1
        second.skip.weight[0, 2] = 1
        model.heads[1].weight[0, 0] = 1 / 6
    for nodes in (3, 10, 15):
        made = make_substructures(30, 0, nodes=nodes, p=0.5)
        torch.testing.assert_close(model(made["adjacency"]), made["y"], rtol=1e-13, atol=1e-12)


def test_what_one_dimensional_refinement_cannot_tell():
    two = torch.block_diag(*[torch.ones(3, 3) - torch.eye(3)] * 2)
    six = torch.zeros(6, 6)
    six[torch.arange(6), (torch.arange(6) + 1) % 6] = 1
    model = PPGN(channels=8, normalization="sum").double()
    found = model(torch.stack([two, six + six.T]).double()).detach()
    assert abs(float(found[0] - found[1])) > 1e-3 * float(found.abs().max())


def test_gradients():
    model = PPGN(1, 2, channels=2, blocks=2, depth=1).double()
    batch = graphs(2, 3, 1)
    batch["mask"] = torch.tensor([[True, True, True], [True, True, False]])
    names, weights = zip(*model.named_parameters(), strict=True)
    leaves = [batch["adjacency"].requires_grad_(), batch["x"].requires_grad_(), *weights]

    def call(a, x, *values):
        inputs = {"adjacency": a, "x": x, "mask": batch["mask"]}
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (), inputs)

    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)


def test_extreme_inputs_and_sizes():
    model = PPGN(2, 3, channels=4)
    for n in (0, 1, 2):
        assert model(torch.zeros(2, n, n), torch.zeros(2, 2, n)).isfinite().all()
    assert model(torch.zeros(0, 4, 4), torch.zeros(0, 2, 4)).shape == (0, 3)
    assert model(torch.full((1, 9, 9), 1e6), torch.full((1, 2, 9), -1e6)).isfinite().all()
    a = torch.randn(2, 5, 5, 2)[..., 0]
    x = torch.randn(5, 2, 2).permute(1, 2, 0)
    torch.testing.assert_close(model(a, x), model(a.contiguous(), x.contiguous()))


def test_config_builds_the_same_model():
    model = PPGN(2, 3, channels=5, blocks=1, normalization="sum", shift=1.0)
    again = create_model(**model.config)
    again.load_state_dict(model.state_dict())
    batch = {k: v.float() if v.is_floating_point() else v for k, v in graphs().items()}
    assert torch.equal(model(**batch), again(**batch))


def test_compiled_without_graph_breaks():
    model = PPGN(2, 3, channels=3, blocks=1).double()
    batch = graphs()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**batch), model(**batch))


def test_misuse():
    with pytest.raises(InvalidInput, match=r"normalization='max'.*'?mean"):
        PPGN(normalization="max")
    with pytest.raises(InvalidInput, match="channels=0"):
        PPGN(channels=0)
    model, a, x = PPGN(2), torch.zeros(3, 4, 4), torch.zeros(3, 2, 4)
    for inputs, match in (
        ((a,), "`x` is missing, features=2"),
        ((torch.zeros(3, 4, 5), x), r"`adjacency` has shape \(3, 4, 5\)"),
        ((torch.zeros(4), x), "`adjacency` has shape"),
        ((a, x[:, :1]), r"`x` has shape \(3, 1, 4\), expected \(samples, 2, 4\)"),
        ((a, x[:2]), "`x` has 2 samples, `adjacency` 3"),
        ((a.double(), x), "float64"),
        ((a, x, torch.ones(3, 4)), "`mask` is torch.float32"),
        ((a, x, torch.ones(2, 4, dtype=torch.bool)), r"expected torch.bool \(3, 4\)"),
    ):
        with pytest.raises(InvalidInput, match=match):
            model(*inputs)
    with pytest.raises(InvalidInput, match="`x` is given, features=0"):
        PPGN()(a, x)


def test_sets_are_cut_to_the_largest_graph():
    rng = np.random.default_rng(0)
    sizes, dense, x = [4, 1, 6, 3], [], torch.zeros(4, 2, 8)
    edges = torch.full((4, 2, 40), -1)
    for g, n in enumerate(sizes):
        upper = np.triu(rng.random((n, n)) < 0.5, 1)
        dense.append(torch.from_numpy((upper | upper.T).astype(np.float32)))
        own = dense[-1].nonzero().T
        edges[g, :, : own.shape[1]] = own
        x[g, :, :n] = torch.randn(2, n)
    samples = Samples({"x": x, "edges": edges, "nodes": torch.tensor(sizes), "label": torch.arange(4)})
    model = PPGN(2, 2, channels=3)
    made = model.prepare(samples)
    assert isinstance(made, DenseGraphs) and len(made) == 4
    batch = made.batch(torch.tensor([3, 0]))
    assert batch["adjacency"].shape == (2, 4, 4) and batch["label"].tolist() == [3, 0]
    label = batch.pop("label")
    found = model(**batch)
    for row, g in enumerate(label.tolist()):
        torch.testing.assert_close(batch["adjacency"][row, : sizes[g], : sizes[g]], dense[g])
        torch.testing.assert_close(found[row], model(dense[g][None], x[g : g + 1, :, : sizes[g]])[0])
    empty = made.batch(torch.zeros(0, dtype=torch.long))
    assert empty["adjacency"].shape == (0, 0, 0)
    whole = Samples({"adjacency": torch.zeros(2, 3, 3)})
    assert model.prepare(whole) is whole
    with pytest.raises(InvalidInput, match=r"nodes outside 0\.\.2"):
        dense_adjacency(torch.tensor([[[0], [3]]]), 3, torch.float32)
    with pytest.raises(InvalidInput, match="nodes outside"):
        dense_adjacency(torch.tensor([[[0], [-1]]]), 3, torch.float32)
    with pytest.raises(InvalidInput, match=r"integers \(graphs, 2, edges\)"):
        dense_adjacency(torch.zeros(2, 2, 3), 3, torch.float32)
    assert graph_tensor(torch.ones(1, 2, 2), None, torch.tensor([[True, False]])).sum() == 1


@pytest.mark.parametrize("cells", [None, 400, 3000])
def test_batches_of_like_size(cells):
    nodes = torch.randint(1, 60, (100,))
    for generator in (None, torch.Generator().manual_seed(0)):
        batches = size_batches(nodes, 16, cells, generator)
        assert torch.cat(batches).sort().values.tolist() == list(range(100))  # every graph once
        for b in batches:
            assert len(b) <= 16 and (
                cells is None or len(b) == 1 or len(b) * int(nodes[b].max()) ** 2 <= cells
            )
    used = sum(len(b) * int(nodes[b].max()) ** 2 for b in size_batches(nodes, 16, cells))
    plain = sum(len(b) * int(nodes[b].max()) ** 2 for b in torch.arange(100).split(16))
    assert used < 0.7 * plain
    one, two, other = (size_batches(nodes, 16, cells, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(one) != len(other) or any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert size_batches(nodes[:0], 4) == []
    with pytest.raises(InvalidInput, match="batch_size=0"):
        size_batches(nodes, 0)
