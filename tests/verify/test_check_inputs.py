"""Any callable, inputs and outputs in any container, and errors that name the nearest valid spelling."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from geomlib import InvalidInput
from geomlib.verify import check

N = 5
EDGES = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])


def quick(*args, **kwargs):
    return check(*args, trials=4, **{"stress": False, **kwargs})


def pair_energy(pos: Tensor, edge_index: Tensor, batch: Tensor | None = None, num_graphs: int = 1) -> Tensor:
    i, j = edge_index
    pair = torch.exp(-(pos[j] - pos[i]).square().sum(-1))
    owner = torch.zeros_like(i) if batch is None else batch[i]
    return pos.new_zeros(num_graphs).index_add(0, owner, pair)


@dataclass
class Atoms:
    pos: Tensor
    edge_index: Tensor


@dataclass
class Result:
    energy: Tensor
    steps: int = 3


def test_a_dataclass_in_and_out() -> None:
    report = quick(
        lambda atoms: Result(pair_energy(atoms.pos, atoms.edge_index)),
        "E(3)*S_n",
        {},
        {"energy": "graph:scalar"},
        example=Atoms(torch.randn(N, 3), EDGES),
    )
    assert report.verdict == "EXACT" and not report.warnings, str(report)


def test_data_and_batch_of_pyg() -> None:
    data = pytest.importorskip("torch_geometric.data")

    def model(graph) -> dict[str, Tensor]:
        return {"energy": pair_energy(graph.pos, graph.edge_index, graph.batch, max(graph.num_graphs, 1))}

    def one(n: int) -> object:
        return data.Data(pos=torch.randn(n, 3), edge_index=EDGES[:, :4])

    batch = data.Batch.from_data_list([one(4), one(5), one(3)])
    kept = batch.clone()
    report = check(model, "E(3)*S_n", {}, {"energy": "graph:scalar"}, example=batch, trials=4)
    assert report.verdict == "EXACT" and not report.warnings, str(report)
    assert torch.equal(batch.pos, kept.pos) and batch.keys() == kept.keys()

    def biased(graph) -> dict[str, Tensor]:
        return {"energy": model(graph)["energy"] + 1e-3 * graph.pos[:, 0].sum()}

    assert not check(
        biased, "E(3)*S_n", {"graph": {"pos": "point"}}, {"energy": "graph:scalar"}, example=batch, trials=4
    ).ok
    single = data.Data(pos=torch.randn(N, 3), edge_index=EDGES)
    plain = quick(
        lambda graph: pair_energy(graph.pos, graph.edge_index), "E(3)*S_n", {}, "scalar", example=single
    )
    assert plain.verdict == "EXACT", str(plain)


def test_blocks_of_a_batch_stay_blocks() -> None:
    """A model that reads ``ptr`` needs the nodes of a graph to be neighbours; permutations respect that."""
    data = pytest.importorskip("torch_geometric.data")

    def model(graph) -> Tensor:
        parts = [graph.pos[a:b] for a, b in zip(graph.ptr[:-1], graph.ptr[1:], strict=True)]
        return torch.stack([(p - p.mean(0)).square().sum() if len(p) else p.sum() for p in parts])

    batch = data.Batch.from_data_list([data.Data(pos=torch.randn(n, 3)) for n in (4, 3)])
    report = check(model, "E(3)*S_n", {}, "graph:scalar", example=batch, trials=4)
    assert report.verdict == "EXACT", str(report)


def test_a_batch_changed_by_the_model_is_reported() -> None:
    data = pytest.importorskip("torch_geometric.data")

    def rude(graph) -> Tensor:
        graph.pos = graph.pos - graph.pos.mean(0)
        graph.norm = graph.pos.norm(dim=-1)
        return graph.norm

    report = quick(
        rude, "E(3)*S_n", {}, "node:scalar", example=data.Data(pos=torch.randn(N, 3)), gradients=False
    )
    assert "input `pos` is modified in place" in report.failures
    assert "the target adds `norm` to its inputs" in report.failures


def test_positional_tuple_list_and_a_dict_as_the_only_argument() -> None:
    def f(pos: Tensor, scale: Tensor) -> Tensor:
        return scale * pos.norm(dim=-1)

    pair = (torch.randn(N, 3), torch.rand(N))
    for types in ({"pos": "node:vector", "scale": "node:inv"}, ("node:vector", "node:inv")):
        assert quick(f, "O(3)*S_n", types, "node:scalar", example=pair).verdict == "EXACT"
    only = quick(
        lambda inputs: f(inputs["pos"], inputs["scale"]),
        "O(3)*S_n",
        {"pos": "node:vector", "scale": "node:inv"},
        "node:scalar",
        example={"pos": pair[0], "scale": pair[1]},
    )
    assert only.verdict == "EXACT" and not only.warnings, str(only)


def test_inputs_may_be_the_tensors_themselves() -> None:
    net = nn.Identity()
    declared = {"group": "O(3)", "outputs": "vector"}
    with pytest.raises(InvalidInput, match="so inputs must be given"):
        check(net, inputs=torch.randn(4, 3), **declared)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.mT).mT

    def norms(self, x: Tensor) -> Tensor:
        return self(x).norm(dim=-1)


class Caller:
    def __init__(self, net: nn.Module):
        self.net = net

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x)


GLOBAL_NET = Net()
TABLE = torch.rand(4, 1)


@pytest.mark.parametrize(
    ("f", "out"),
    [
        (Net().norms, "scalar"),
        (functools.partial(Net().norms), "scalar"),
        (lambda x, net=GLOBAL_NET: net(x), "vector"),
        (lambda x: GLOBAL_NET(x) * TABLE, "vector"),
        (Caller(Net()), "vector"),
        (torch.neg, "vector"),
    ],
    ids=["method", "partial", "default", "globals", "object", "builtin"],
)
def test_modules_are_found_wherever_a_callable_keeps_them(f, out: str) -> None:
    report = quick(f, "O(3)", "vector", out, example=(torch.randn(6, 4, 3),))
    assert report.verdict == "EXACT" and report.e64 < 1e-14, str(report)
    assert GLOBAL_NET.mix.weight.dtype == torch.float32 and GLOBAL_NET.training


def test_a_target_that_has_no_float64_is_told_what_to_do() -> None:
    weight = [torch.eye(3)]  # in a list, where it is not found
    with pytest.raises(InvalidInput, match=r"fails on float64 inputs.*pass the module itself"):
        quick(lambda x: x @ weight[0], "O(3)", "vector", "vector")


def test_nested_types_and_nested_outputs() -> None:
    def f(state: dict, w: list) -> dict:
        return {"a": {"v": state["v"] * 2}, "b": (w[0].norm(dim=-1), w[0])}

    report = quick(
        f,
        "O(3)",
        {"state": {"v": "vector"}, "w": ["pseudovector"]},
        {"a": {"v": "vector"}, "b": ("scalar", "pseudovector")},
        example={"state": {"v": torch.randn(4, 3)}, "w": [torch.randn(4, 3)]},
    )
    assert report.verdict == "EXACT" and len([f for f in report.fields if f.name[0] in "ab"]) == 3, str(
        report
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"inputs": {"edge_atr": "vector"}}, "given for .'edge_atr'.*Did you mean 'edge_attr'"),
        ({"inputs": {"x": "vectr"}}, "Did you mean 'vector'"),
        ({"inputs": {"x": 3}}, "a type is int"),
        ({"outputs": {"forcs": "vector"}}, "Did you mean 'forces'"),
        ({"outputs": {"forces": "nodes:vector"}}, "Did you mean 'node'"),
        ({"group": "SO3"}, r"Did you mean 'SO\(3\)'"),
        ({"inputs": {"x": "tensor(2)"}}, "`x` has shape .* acts on axes of"),
        ({"outputs": {"forces": "4x1o"}}, "`forces` .* acts on axes of length 12 .*found 3"),
        ({"trial": 999}, "there is no trial 999"),
    ],
)
def test_one_error_with_the_nearest_spelling(arguments: dict, match: str) -> None:
    def f(x: Tensor, edge_attr: Tensor) -> dict[str, Tensor]:
        return {"forces": x * edge_attr.norm(dim=-1, keepdim=True)}

    given = {"group": "O(3)", "inputs": {"x": "vector"}, "outputs": {"forces": "vector"}, **arguments}
    with pytest.raises(InvalidInput, match=match):
        quick(f, example={"x": torch.randn(4, 3), "edge_attr": torch.randn(4, 3)}, **given)


@pytest.mark.parametrize("out", ["text", 3.0, None, {"a": 1}, ()])
def test_outputs_that_are_no_tensors(out: object) -> None:
    with pytest.raises(InvalidInput, match=f"returned {type(out).__name__}, expected tensors"):
        quick(lambda x: out, "O(3)", "vector", "vector")


def test_what_is_no_callable() -> None:
    with pytest.raises(InvalidInput, match="is Tensor, expected a module or a function"):
        check(torch.ones(3), "O(3)", "vector", "vector")  # type: ignore[arg-type]


def test_usual_mistakes_are_named() -> None:
    """A forgotten edge_attr and a forgotten cell: the tensor, its shape, what is wrong, the type to write."""

    def f(pos: Tensor, edge_index: Tensor, edge_attr: Tensor, lattice: Tensor, tags: Tensor) -> Tensor:
        return (pos + 0 * tags[:, None]).norm(dim=-1) + (edge_attr.sum() + lattice.sum())

    example = {
        "pos": torch.randn(N, 3),
        "edge_index": EDGES,
        "edge_attr": torch.randn(6, 3),
        "lattice": torch.eye(3),
        "tags": torch.arange(N),
    }
    report = quick(f, "O(3)*S_n", {}, "node:scalar", example=example)
    attr, lattice, tags = report.warnings[:3]
    assert (
        "input `edge_attr` of shape (6, 3) has no type: edge_attr has 3 columns and is treated as invariant"
        in attr
    )
    assert attr.endswith("type it 'edge:vector'")
    assert "`lattice` of shape (3, 3)" in lattice and "a cell must turn with the positions" in lattice
    assert "`tags` of shape (5,)" in tags and "do not follow a permutation" in tags


def test_the_forgotten_cell_is_found_by_trying() -> None:
    def wrapped(pos: Tensor, box: Tensor) -> Tensor:
        frac = (pos[:, None] - pos[None]) @ torch.linalg.inv(box)
        d = (frac - frac.round().detach()) @ box
        return torch.exp(-d.square().sum(-1)).sum(1)

    box = torch.tensor([[4.0, 0, 0], [0.5, 5, 0], [0, 1, 4.5]])
    report = quick(
        wrapped,
        "O(3)*S_n",
        {"pos": "point"},
        "node:scalar",
        example={"pos": 1.5 * torch.randn(6, 3), "box": box},
    )
    assert not report.ok and "`box` has no type, but the function takes it as graph:cell" in report.advice
    assert "treated as invariant" in report.warnings[0]
