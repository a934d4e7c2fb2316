"""Simplicial layers: reference values and gradients, symmetry, order of vertices, extreme and empty inputs, misuse."""

from __future__ import annotations

import itertools

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.simplicial import hull_complex, to_message_graph
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.layers import SimplicialEmbedding, SimplicialMessagePassing
from geomlib.verify import check
from tests.algebra.clifford.common import load, rand

BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")
EDGES = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]])
TRIANGLES = torch.tensor([[0, 1], [1, 2], [2, 3]])


def close(a, b, tol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(b.detach().abs().max())))


@pytest.mark.parametrize("backend", BACKENDS)
def test_embedding_is_the_reference(backend):
    d, alg = load("csmpn_hull_model"), CliffordAlgebra(5)
    layer, start = SimplicialEmbedding(alg, 1, 3, safe=False).double(), "model.param.cl_feature_embedding."
    layer.load_state_dict({k.removeprefix(start): v for k, v in d.items() if k.startswith(start)})
    pos = d["pos"] - d["pos"].mean(1, keepdim=True)
    complex = hull_complex(d["pos"])
    with use_backend(backend):
        found = layer(alg.embed(pos.reshape(16, 1, 5), 1), complex.edges, complex.triangles)
    for dim, rows in enumerate(found):
        wanted = torch.cat(
            [
                d["embedding"][a:b][d["batch.node_types"][a:b] == dim]
                for a, b in itertools.pairwise(d["batch.x_ind_ptr"].tolist())
            ]
        )
        close(rows, wanted)


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_messages_are_the_formula(aggregation):
    """Edge by edge, with the networks of the layer: kinds of source and target, in this order."""
    torch.manual_seed(0)
    alg = CliffordAlgebra(2, 1)
    layer = SimplicialMessagePassing(alg, 3, 2, aggregation=aggregation).double()
    x, kinds = rand(alg, 5, 3), torch.rand(5, 2, dtype=torch.float64)
    edge_index = torch.tensor([[0, 1, 2, 4, 4, 4], [1, 0, 1, 1, 2, 2]])
    scalars = alg.embed(kinds[..., None], 0)
    wanted = []
    for i in range(5):
        sent = [
            layer.edge_model(torch.cat([x[i] - x[j], scalars[j], scalars[i]])[None])[0]
            for j, k in edge_index.T.tolist()
            if k == i
        ]
        total = sum(sent) if sent else torch.zeros_like(x[i])
        total = total / max(1, len(sent)) if aggregation == "mean" else total
        wanted.append(x[i] + layer.node_model(torch.cat([x[i], total, scalars[i]])[None])[0])
    close(layer(x, edge_index, kinds), torch.stack(wanted))


@pytest.mark.parametrize("signature", [(1, 3, 0), (3, 0, 1), (5, 0, 0)], ids=str)
def test_exact_under_versors(signature):
    torch.manual_seed(0)
    alg = CliffordAlgebra(*signature)
    embedding = SimplicialEmbedding(alg, 2, 3)
    example = {"x": rand(alg, 4, 2), "edges": EDGES, "triangles": TRIANGLES}
    assert check(embedding, example=example, trials=2, stress=False).verdict == "EXACT"
    messages = SimplicialMessagePassing(alg, 3)
    example = {"x": rand(alg, 4, 3), "edge_index": EDGES, "kinds": torch.rand(4, 3)}
    assert check(messages, example=example, trials=2, stress=False).verdict == "EXACT"


def test_order_of_vertices_does_not_matter():
    torch.manual_seed(0)
    alg = CliffordAlgebra(3)
    layer, x = SimplicialEmbedding(alg, 2, 3).double(), rand(alg, 4, 2)
    wanted = layer(x, EDGES, TRIANGLES)
    close(layer(x, EDGES.flip(0), TRIANGLES)[1], wanted[1], 1e-13)
    for order in itertools.permutations(range(3)):
        close(layer(x, EDGES, TRIANGLES[list(order)])[2], wanted[2], 1e-13)
    assert float((wanted[2][0] - wanted[2][1]).detach().abs().max()) > 1e-3  # other vertices do


def test_the_sum_over_orders_is_the_formula():
    torch.manual_seed(0)
    alg = CliffordAlgebra(1, 1)
    layer, x = SimplicialEmbedding(alg, 2, 3).double(), rand(alg, 4, 2)
    points, edges, triangles = layer(x, EDGES, TRIANGLES)
    close(points, layer.get_submodule("0")(x))
    for found, simplices in ((edges, EDGES), (triangles, TRIANGLES)):
        network = layer.get_submodule(str(len(simplices) - 1))
        for row, vertices in zip(found, simplices.T.tolist(), strict=True):
            terms = [network(torch.cat([x[v] for v in p])[None])[0] for p in itertools.permutations(vertices)]
            close(row, sum(terms))


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives(backend):
    torch.manual_seed(0)
    alg = CliffordAlgebra(1, 1)
    embedding = SimplicialEmbedding(alg, 1, 1).double()
    messages = SimplicialMessagePassing(alg, 1, 1).double()
    edge_index = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 2]])
    kinds = torch.rand(3, 1, dtype=torch.float64)

    def network(x):
        h = torch.cat(embedding(x, EDGES[:, :2], TRIANGLES[:, :1]))
        return messages(h[:3] + h[3:].sum(0), edge_index, kinds)

    x = rand(alg, 3, 1).requires_grad_()
    with use_backend(backend):
        assert torch.autograd.gradcheck(network, x)
        assert torch.autograd.gradgradcheck(network, x, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_and_empty_inputs(dtype):
    torch.manual_seed(0)
    alg = CliffordAlgebra(1, 3)
    embedding = SimplicialEmbedding(alg, 2, 3).to(dtype)
    messages = SimplicialMessagePassing(alg, 3).to(dtype)
    light = torch.zeros(2, 16, dtype=dtype)
    light[:, 1] = light[:, 2] = 5
    noise = rand(alg, 2).to(dtype)
    x = torch.stack([0 * light, light, 1e-30 * noise, 1e3 * noise]).requires_grad_()
    h = torch.cat(embedding(x, EDGES, TRIANGLES))
    out = messages(h, torch.tensor([[0, 5, 9], [4, 1, 0]]), torch.ones(10, 3, dtype=dtype))
    grads = torch.autograd.grad(out.sum(), (x, *embedding.parameters()), allow_unused=True)
    assert out.dtype == dtype and bool(torch.isfinite(out).all())
    assert all(bool(torch.isfinite(g).all()) for g in grads if g is not None)
    none = torch.zeros(2, 0, dtype=torch.int64)
    found = embedding(x.detach(), none, torch.zeros(3, 0, dtype=torch.int64))
    assert [len(part) for part in found] == [4, 0, 0]
    alone = messages(found[0], none, torch.ones(4, 3, dtype=dtype))
    assert alone.shape == (4, 3, 16)
    nothing = embedding(x.detach()[:0], none, torch.zeros(3, 0, dtype=torch.int64))
    assert messages(nothing[0], none, torch.ones(0, 3, dtype=dtype)).shape == (0, 3, 16)


def test_strided_and_many():
    torch.manual_seed(0)
    alg = CliffordAlgebra(3)
    layer = SimplicialEmbedding(alg, 2, 3).double()
    x = rand(alg, 8, 4)[::2, ::2]
    wide = EDGES.repeat_interleave(2, 1)[:, ::2].int()
    close(layer(x, wide, TRIANGLES)[1], layer(x.contiguous(), EDGES, TRIANGLES)[1], 1e-14)
    many = layer(x, EDGES.repeat(1, 3000), TRIANGLES.repeat(1, 2000))
    few = layer(x, EDGES, TRIANGLES)
    close(many[1][-4:], few[1], 1e-13)
    close(many[2][-2:], few[2], 1e-13)


def test_compiled_without_graph_breaks():
    torch.manual_seed(0)
    alg = CliffordAlgebra(2)
    embedding, messages = SimplicialEmbedding(alg, 1, 2).double(), SimplicialMessagePassing(alg, 2).double()
    complex = hull_complex(torch.randn(2, 4, 2, dtype=torch.float64))
    graph = to_message_graph(complex)
    rows = 8 + complex.edges.shape[1] + complex.triangles.shape[1]
    kinds = torch.rand(rows, 3, dtype=torch.float64)

    def network(x):
        return messages(torch.cat(embedding(x, complex.edges, complex.triangles)), graph, kinds)

    x = rand(alg, 8, 1).requires_grad_()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    out, wanted = compiled(x), network(x)
    close(out, wanted.detach(), 1e-13)
    a, b = (torch.autograd.grad(z.square().sum(), x)[0] for z in (out, wanted))
    close(a, b, 1e-12)


def test_misuse():
    alg = CliffordAlgebra(3)
    embedding, messages = SimplicialEmbedding(alg, 2, 3), SimplicialMessagePassing(alg, 3)
    x = torch.randn(4, 2, 8)
    with pytest.raises(InvalidInput, match=r"expected \(\.\.\., 2, 8\)"):
        embedding(x[:, :1], EDGES, TRIANGLES)
    with pytest.raises(InvalidInput, match="points, channels, blades"):
        embedding(x[None], EDGES, TRIANGLES)
    with pytest.raises(InvalidInput, match=r"shape \(2, E\)"):
        embedding(x, EDGES.T, TRIANGLES)
    with pytest.raises(InvalidInput, match=r"integers \(3, T\)"):
        embedding(x, EDGES, TRIANGLES.T)
    with pytest.raises(InvalidInput, match=r"number 3 of `edges` is \[2, 3\]; points are 0\.\.2"):
        embedding(x[:3], EDGES, TRIANGLES[:, :1])
    with pytest.raises(InvalidInput, match="number 0 of `triangles`"):
        embedding(x, EDGES, TRIANGLES - 1)
    with pytest.raises(InvalidInput, match=r"`kinds` is torch\.float32 \(4, 2\)"):
        messages(torch.randn(4, 3, 8), EDGES, torch.ones(4, 2))
    with pytest.raises(InvalidInput, match="kinds"):
        messages(torch.randn(4, 3, 8), EDGES, torch.ones(4, 3).double())
    with pytest.raises(InvalidInput, match="edge 3"):
        messages(torch.randn(3, 3, 8), EDGES, torch.ones(3, 3))
    with pytest.raises(InvalidInput, match="num_kinds=0"):
        SimplicialMessagePassing(alg, 3, 0)
    with pytest.raises(InvalidInput, match="aggregation"):
        SimplicialMessagePassing(alg, 3, aggregation="max")
    with pytest.raises(InvalidInput, match="out_channels=0"):
        SimplicialEmbedding(alg, 2, 0)
