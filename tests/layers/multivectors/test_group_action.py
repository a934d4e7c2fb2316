"""Layers of learned motions: the authors' outputs and gradients, folding, the dead saddle, what they do not respect."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.clifford import PGA, CliffordAlgebra, point, point_coordinates
from geomlib.layers import GroupActionLinear, GroupActionMessagePassing, GroupActionMLP, MVAct, VectorSiLU
from geomlib.verify import check
from tests.algebra.clifford.common import load, rand
from tests.layers.multivectors.reference import close, compare

EVEN = (0, 5, 6, 7, 8, 9, 10, 15)
POINT = ("e012", "e013", "e023")


def random_layer(*args, **kwargs):
    torch.manual_seed(0)
    layer = GroupActionLinear(*args, **kwargs).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    return layer


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(("name", "blades"), [("gca_vec", (1, 2, 3)), ("gca_points", (11, 12, 13))])
def test_group_action_is_the_reference(name, blades, overwrite):
    """Whether e123 is overwritten makes no difference where the input does not hold it."""
    compare(GroupActionLinear(3, 2, blades, overwrite=overwrite), load("gcan_layers"), name)


@pytest.mark.parametrize("kind", ["linear", "sum", "mean"])
def test_gates_are_the_reference(kind):
    d = load("gcan_layers")
    compare(MVAct(PGA, 3, kind, EVEN), d, f"mvact_{kind}")
    compare(MVAct(PGA, 3, kind, EVEN, (0, 5, 6)), d, f"mvact_{kind}_k")


def test_vector_silu_is_the_reference():
    compare(VectorSiLU(3), load("gcan_layers"), "g3lin_vsilu")


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_vector_silu_without_weights(kind):
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    total = x.sum(-1, keepdim=True) / (3 if kind == "mean" else 1)
    close(VectorSiLU(3, kind, dims=1)(x), x / (1 + torch.exp(-total)), 1e-14)


def test_mlp_is_the_reference():
    d = load("gcan_models")
    flat = {k: v.squeeze(2) if v.dim() == 4 else v for k, v in d.items() if k.startswith("gcamlp")}
    compare(GroupActionMLP(4, 5, 4, 2, overwrite=True), flat, "gcamlp")


class Steps(torch.nn.Module):
    def __init__(self, edge_index):
        super().__init__()
        steps = [
            GroupActionMessagePassing(2, 3, 4, 5, overwrite=True),
            GroupActionMessagePassing(4, 3, 1, 5, overwrite=True),
        ]
        self.layers = torch.nn.ModuleList(steps)
        self.edge_index = edge_index

    def forward(self, x):
        for layer in self.layers:
            x = layer(x, self.edge_index)
        return x


def test_gnn_is_the_reference():
    d = load("gcan_models")
    compare(Steps(d["gcagnn.edge_index"]), d, "gcagnn")


@pytest.mark.parametrize("blades", [None, (1, 2, 3), (11, 12, 13), (12, 14), (0, 5, 15), (0, 3, 14)])
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("renormalize", [True, False])
def test_it_is_a_sum_of_sandwiches(blades, overwrite, renormalize):
    """Against one sandwich per sample and pair of channels, by products of multivectors."""
    layer = random_layer(3, 2, blades, overwrite=overwrite, renormalize=renormalize)
    held = list(range(16)) if blades is None else list(blades)
    x = torch.randn(5, 3, len(held), dtype=torch.float64)
    full = x.new_zeros(5, 3, 16).index_copy(-1, torch.tensor(held), x)
    if overwrite:
        full[..., 14] = 0
    full[..., 14] += layer.embed_e0[:, 0]
    k = x.new_zeros(2, 3, 16).index_copy(-1, torch.tensor(EVEN), layer.motors())
    moved = (layer.weight[..., None] * PGA.sandwich(k, full[:, None])).sum(-2)
    close(layer(x), moved[..., held], 1e-13)
    close(layer.fold()(x), moved[..., held].detach(), 1e-13)
    assert len(list(layer.fold().parameters())) == 0


def test_renormalized_templates_are_motors():
    layer = random_layer(3, 2, renormalize=True)
    k = torch.zeros(2, 3, 16, dtype=torch.float64).index_copy(-1, torch.tensor(EVEN), layer.motors())
    unit = PGA.gp(k, PGA.reverse(k))
    close(unit, PGA.blade("1", unit).expand_as(unit), 1e-12)
    start = GroupActionLinear(3, 2)
    close(start.motors().square().sum(-1), torch.ones(2, 3), 1e-6)
    with torch.no_grad():
        layer._action.zero_()
    x = torch.randn(4, 3, 16, dtype=torch.float64)
    grads = torch.autograd.grad(layer(x).sum(), list(layer.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in grads)


def test_a_motor_moves_a_point():
    layer = GroupActionLinear(1, 1, POINT).double()
    with torch.no_grad():
        layer._action.copy_(torch.tensor([[[1, -0.5, -1.0, -1.5, 0, 0, 0, 0]]]))
        layer.weight.fill_(1)
    x = torch.tensor([[[0.0, 0.0, 0.0]]], dtype=torch.float64)
    shifted = torch.cat([layer(x), torch.ones(1, 1, 1)], -1)
    moved = point_coordinates(PGA.embed(shifted.detach(), 3))
    close(moved, torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64), 1e-14)


def _translation_loss(**options):
    """The issue of the released layer: learn to shift points by (1, 2, 3)."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        GroupActionLinear(1, 8, POINT, **options),
        MVAct(PGA, 8, "linear", POINT),
        GroupActionLinear(8, 1, POINT, **options),
    )
    x = torch.randn(64, 3, generator=g)

    def blades(p):
        return point(p)[:, None, 11:14]

    target = blades(x + torch.tensor([1.0, 2.0, 3.0]))
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    loss = torch.tensor(0.0)
    for _ in range(200):
        loss = (model(blades(x)) - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    moved = max(float(m._action[..., [1, 2, 3, 7]].detach().abs().max()) for m in (model[0], model[2]))
    return (
        float(loss.detach()),
        moved,
        max(float(m.embed_e0.detach().abs().max()) for m in (model[0], model[2])),
    )


def test_points_learn_a_translation_and_the_released_layer_does_not():
    loss, moved, _ = _translation_loss()
    assert loss < 0.02 and moved > 0.1
    old, moved, embedded = _translation_loss(e123_init=0, overwrite=True)
    assert moved == 0 and embedded == 0 and old > 10 * loss


def test_templates_are_not_equivariant():
    """What is declared holds, and no more: turning the input is seen at once."""
    layer = random_layer(3, 2)
    x = rand(PGA, 5, 3)
    kind = "node:mv(3,0,1)"
    for module in (layer, MVAct(PGA, 3).double()):
        found = check(
            module,
            group="Spin(3,0,1)",
            inputs={"x": kind},
            outputs=kind,
            example={"x": x},
            trials=4,
            stress=False,
        )
        assert found.verdict == "BROKEN"


def test_a_gate_that_reads_the_scalar_is_equivariant():
    for algebra in (CliffordAlgebra(3), CliffordAlgebra(1, 1, 1)):
        layer = MVAct(algebra, 3, kernel_blades=("1",))
        assert layer.symmetry.group == f"{algebra.group_name}*S_n"
        assert check(layer, example={"x": rand(algebra, 4, 3)}, trials=4, stress=False).verdict == "EXACT"


def test_second_derivatives():
    x = rand(PGA, 2, 2).requires_grad_()
    for layer in (random_layer(2, 1), random_layer(2, 1, renormalize=True), MVAct(PGA, 2).double()):
        assert torch.autograd.gradcheck(layer, x)
        assert torch.autograd.gradgradcheck(layer, x)
    layer = random_layer(2, 1, POINT, renormalize=True)
    inputs = tuple(p.detach().requires_grad_() for p in layer.parameters())
    names = [n for n, _ in layer.named_parameters()]
    y = torch.randn(2, 2, 3, dtype=torch.float64)

    def run(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (y,))

    assert torch.autograd.gradcheck(run, inputs) and torch.autograd.gradgradcheck(run, inputs)


def test_any_rows():
    layer = random_layer(2, 3)
    x = rand(PGA, 4, 5, 2)
    out = layer(x)
    assert out.shape == (4, 5, 3, 16) and layer(x[:0]).shape == (0, 5, 3, 16)
    close(layer(x[2, 3]), out[2, 3], 1e-14)
    spread = torch.stack([x] * 2, -1)[..., 0]
    assert not spread.is_contiguous()
    close(layer(spread), out, 0)
    many = rand(PGA, 3000, 2)
    close(layer(many)[-1], layer(many[-1]), 1e-13)
    graph = GroupActionMessagePassing(2, 3, 2, 4).double()
    none = torch.zeros(2, 0, dtype=torch.int64)
    alone = torch.cat([x[0], x.new_zeros(5, 3, 16)], 1)
    close(graph(x[0], none), graph.update_mlp(alone), 1e-13)
    assert graph(x[0][:0], none).shape == (0, 2, 16)


def test_messages_are_those_of_the_definition():
    torch.manual_seed(0)
    layer = GroupActionMessagePassing(2, 3, 2, 4, layers=2).double()
    edges = torch.tensor([[0, 1, 2, 3, 0, 0], [1, 2, 3, 0, 2, 2]])  # one edge twice
    x = rand(PGA, 5, 2)
    messages = layer.message_mlp(torch.cat([x[edges[1]], x[edges[0]]], 1))
    total = x.new_zeros(5, 3, 16).index_add(0, edges[1], messages)
    close(layer(x, edges), layer.update_mlp(torch.cat([x, total], 1)), 1e-13)


def test_compiled_without_graph_breaks():
    torch.manual_seed(0)
    x = rand(PGA, 4, 2).requires_grad_()
    layers = [
        (GroupActionMLP(2, 3, 2, 1, renormalize=True), (x,)),
        (GroupActionMessagePassing(2, 3, 2, 4), (x, torch.tensor([[0, 1, 2], [1, 2, 3]]))),
    ]
    for layer, args in layers:
        layer = layer.double()
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        out, wanted = compiled(*args), layer(*args)
        close(out, wanted, 1e-12)
        (a,), (b,) = (torch.autograd.grad(z.square().sum(), x) for z in (out, wanted))
        close(a, b, 1e-11)


def test_huge_and_zero_inputs_stay_finite():
    for dtype, huge in ((torch.float32, 1e12), (torch.float64, 1e100)):
        torch.manual_seed(0)
        for layer in (GroupActionMLP(2, 3, 2), MVAct(PGA, 2), MVAct(PGA, 2, "mean")):
            layer = layer.to(dtype)
            x = (
                torch.stack([torch.zeros(2, 16), huge * torch.randn(2, 16, dtype=dtype)])
                .to(dtype)
                .requires_grad_()
            )
            out = layer(x)
            assert bool(torch.isfinite(out).all())
            assert bool(torch.isfinite(torch.autograd.grad(out.sum(), x)[0]).all())


def test_misuse_is_named():
    with pytest.raises(InvalidInput, match="in_channels=0"):
        GroupActionLinear(0, 1)
    with pytest.raises(InvalidInput, match="unknown blades"):
        GroupActionLinear(1, 1, ("e4",))
    with pytest.raises(InvalidInput, match="increasing order"):
        GroupActionLinear(1, 1, (3, 2))
    with pytest.raises(InvalidInput, match="increasing order"):
        GroupActionLinear(1, 1, (3, 16))
    with pytest.raises(InvalidInput, match="does not hold e12"):
        MVAct(PGA, 1, input_blades=(0, 5), kernel_blades=("e12",))
    with pytest.raises(InvalidInput, match="agg='max'"):
        MVAct(PGA, 1, "max")
    with pytest.raises(InvalidInput, match="layers=-1"):
        GroupActionMLP(1, 1, 1, -1)
    with pytest.raises(InvalidInput, match="layers=0"):
        GroupActionMessagePassing(1, 1, 1, layers=0)
    layer = GroupActionLinear(2, 1, POINT)
    with pytest.raises(InvalidInput, match="e012, e013, e023"):
        layer(torch.randn(3, 2, 4))
    with pytest.raises(InvalidInput, match="Cast one"):
        layer(torch.randn(3, 2, 3, dtype=torch.float64))
    with pytest.raises(InvalidInput, match="floating"):
        layer.fold()(torch.ones(3, 2, 3, dtype=torch.int64))
    with pytest.raises(InvalidInput, match=r"\(batch, 2, n1, n2, 3\)"):
        VectorSiLU(2)(torch.randn(1, 2, 4, 3))
    graph = GroupActionMessagePassing(2, 3, 2, 4)
    with pytest.raises(InvalidInput, match="edge 0"):
        graph(torch.randn(3, 2, 16), torch.tensor([[3], [0]]))
    with pytest.raises(InvalidInput, match="N, 2, 16"):
        graph(torch.randn(1, 3, 2, 16), torch.tensor([[1], [0]]))
