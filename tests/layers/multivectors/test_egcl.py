"""Message passing of multivectors: reference outputs and gradients, brute force, symmetry, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.layers import CliffordEGCL
from geomlib.verify import check
from tests.algebra.clifford.common import load, rand

D = torch.float64
BACKENDS = ["torch"] + ["cpu"] * (available_backends()["cpu"] == "available")


def close(a, b, tol):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(b.detach().abs().max())))


@pytest.mark.parametrize("name", ["egcl_mean", "egcl_sum"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_reference_outputs_and_gradients(name, backend):
    d = {k.removeprefix(f"{name}."): v for k, v in load("csmpn_egcl").items() if k.startswith(f"{name}.")}
    layer = CliffordEGCL(CliffordAlgebra(3), 3, 4, 3, 2, 1, aggregation=name[5:], safe=False).double()
    layer.load_state_dict({k[6:]: v for k, v in d.items() if k.startswith("param.")})
    h = d["h"].requires_grad_()
    with use_backend(backend):
        out = layer(h, d["edge_index"], d["edge_attr"], d["node_attr"])
        close(out, d["out"], 1e-12)
        names, parameters = zip(*layer.named_parameters(), strict=True)
        by_h, *found = torch.autograd.grad(out, (h, *parameters), d["gout"])
    close(by_h, d["grad_h"], 1e-10)
    for key, g in zip(names, found, strict=True):
        close(g, d[f"grad.{key}"], 1e-10)


def graph(nodes=5, edges=9):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, nodes, (2, edges), generator=generator)


@pytest.mark.parametrize("receiver", ["source", "target"])
@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.parametrize("attributes", [0, 2])
def test_it_is_the_equation_edge_by_edge(receiver, aggregation, attributes):
    """Node 4 receives nothing; the weights of edges enter message and mean."""
    alg = CliffordAlgebra(1, 2)
    layer = CliffordEGCL(
        alg, 3, 4, 2, attributes, attributes, 3, aggregation=aggregation, receiver=receiver, residual=False
    ).double()
    x, edge_index = rand(alg, 5, 3), graph().clamp(max=3)
    edge_attr, node_attr = (rand(alg, n, attributes) if attributes else None for n in (9, 5))
    weight = torch.rand(9, dtype=D) + 0.5
    found = layer(x, edge_index, edge_attr, node_attr, weight)
    total, count = torch.zeros(5, 2, 8, dtype=D), torch.zeros(5, dtype=D)
    for e in range(9):
        j, i = edge_index[:, e].tolist() if receiver == "target" else edge_index[:, e].flip(0).tolist()
        parts = [x[i] - x[j]] + ([edge_attr[e]] if attributes else [])
        total[i] += weight[e] * layer.edge_model(torch.cat(parts))
        count[i] += weight[e]
    if aggregation == "mean":
        total /= count.clamp(min=1)[:, None, None]
    assert float(count[4]) == 0
    close(found, layer.node_model(torch.cat([x, total] + ([node_attr] if attributes else []), 1)), 1e-12)


def test_weights_of_one_are_no_weights_and_zero_removes_an_edge():
    alg = CliffordAlgebra(2)
    layer, x, edges = CliffordEGCL(alg, 3, 4, 3).double(), rand(alg, 5, 3), graph()
    close(layer(x, edges, edge_weight=torch.ones(9, dtype=D)), layer(x, edges), 1e-14)
    half = torch.tensor([1.0] * 6 + [0.0] * 3, dtype=D)
    close(layer(x, edges, edge_weight=half), layer(x, edges[:, :6]), 1e-14)


@pytest.mark.parametrize("signature", [(2, 0, 0), (1, 3, 0), (3, 0, 1)])
def test_exact_under_versors(signature):
    alg = CliffordAlgebra(*signature)
    layer = CliffordEGCL(alg, 2, 3, 2, 1, 1)
    example = {
        "x": rand(alg, 4, 2), "edge_index": graph(4, 6), "edge_attr": rand(alg, 6, 1),
        "node_attr": rand(alg, 4, 1), "edge_weight": torch.rand(6, dtype=D),
    }  # fmt: skip
    assert check(layer, example=example, trials=4, stress=False).verdict == "EXACT"


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives(backend):
    alg = CliffordAlgebra(2)
    layer = CliffordEGCL(alg, 2, 2, 2, 1, n_layers=1).double()
    x, e = rand(alg, 3, 2).requires_grad_(), rand(alg, 4, 1).requires_grad_()
    with use_backend(backend):
        assert torch.autograd.gradcheck(lambda a, b: layer(a, graph(3, 4), b), (x, e))
        assert torch.autograd.gradgradcheck(lambda a, b: layer(a, graph(3, 4), b), (x, e), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_no_edges_one_node_strides_and_extremes(dtype):
    alg = CliffordAlgebra(1, 3)
    layer = CliffordEGCL(alg, 3, 4, 3).to(dtype)
    x = rand(alg, 4, 3).to(dtype)
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert layer(x, none).shape == x.shape and layer(x[:0], none).shape == (0, 3, 16)
    assert bool(torch.isfinite(layer(x[:1], torch.zeros(2, 1, dtype=torch.int64))).all())
    spread = torch.stack([x] * 2, -1)[..., 1]
    assert torch.equal(layer(spread, graph(4, 6)), layer(x, graph(4, 6)))
    light = torch.zeros(2, 3, 16, dtype=dtype)
    light[0, :, 1] = light[0, :, 2] = 5
    for case in (light, 1e-30 * x[:2], 0 * x[:2]):
        case = case.detach().requires_grad_()
        out = layer(case, torch.tensor([[0, 1], [1, 0]]))
        (g,) = torch.autograd.grad(out.sum(), case)
        assert bool(torch.isfinite(out).all()) and bool(torch.isfinite(g).all())


def test_compiles_in_one_graph():
    alg = CliffordAlgebra(3)
    layer, x = CliffordEGCL(alg, 3, 4, 3), rand(alg, 5, 3).float()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    close(compiled(x, graph()), layer(x, graph()), 1e-6)


def test_misuse():
    alg = CliffordAlgebra(2)
    with pytest.raises(InvalidInput, match="aggregation='max'"):
        CliffordEGCL(alg, 2, 2, 2, aggregation="max")
    with pytest.raises(InvalidInput, match="receiver='row'"):
        CliffordEGCL(alg, 2, 2, 2, receiver="row")
    with pytest.raises(InvalidInput, match="residual=False"):
        CliffordEGCL(alg, 2, 2, 3)
    with pytest.raises(InvalidInput, match="edge_channels=-1"):
        CliffordEGCL(alg, 2, 2, 2, -1)
    layer, x = CliffordEGCL(alg, 2, 2, 2, 1).double(), rand(alg, 4, 2)
    edges, attr = graph(4, 6), rand(alg, 6, 1)
    with pytest.raises(InvalidInput, match="`edge_attr` is missing"):
        layer(x, edges)
    with pytest.raises(InvalidInput, match="expected 6 rows"):
        layer(x, edges, attr[:5])
    with pytest.raises(InvalidInput, match="built for none"):
        layer(x, edges, attr, x)
    with pytest.raises(InvalidInput, match=r"nodes are 0\.\.3"):
        layer(x, edges + 1, attr)
    with pytest.raises(InvalidInput, match=r"expected integers of shape \(2, E\)"):
        layer(x, edges.double(), attr)
    with pytest.raises(InvalidInput, match="`edge_weight`"):
        layer(x, edges, attr, edge_weight=torch.ones(6))
    with pytest.raises(InvalidInput, match="channels, blades"):
        layer(x[0], edges, attr)
    with pytest.raises(InvalidInput, match="Cast one"):
        layer(x.float(), edges, attr)
