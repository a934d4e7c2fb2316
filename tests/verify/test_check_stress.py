"""The stress set: that its inputs are what they are called, and that faults which only they show are caught."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from geomlib.algebra.groups import parse_group
from geomlib.algebra.symmetry import parse_type
from geomlib.verify import Report, check
from geomlib.verify.scenes import octahedron, stabiliser, tetrahedron
from geomlib.verify.stress import STRESSES, Setting, within_graphs
from geomlib.verify.values import leaves

N = 7
GROUP = "E(3)*S_n"
TYPES = {
    "pos": "node:point",
    "z": "node:inv",
    "x": "node:2x0e+1o",
    "edge_index": "edge:index",
    "edge_vec": "edge:vector",
    "batch": "node:index",
    "charge": "graph:inv",
}


def base(generator: Generator | None = None) -> dict:
    g = generator or torch.Generator().manual_seed(3)
    pos = 1.5 * torch.randn(N, 3, generator=g, dtype=torch.float64)
    i, j = (~torch.eye(N, dtype=torch.bool)).nonzero().T
    return {
        "pos": pos.float().double(),
        "z": torch.randint(1, 5, (N,), generator=g),
        "x": torch.randn(N, 5, generator=g).double(),
        "edge_index": torch.stack([i, j]),
        "edge_vec": (pos[j] - pos[i]).float().double(),
        "batch": torch.zeros(N, dtype=torch.long),
        "charge": torch.zeros(1).double(),
        "num_graphs": 1,
    }


def setting() -> Setting:
    inputs = {n: parse_type(t).named(n) for n, t in TYPES.items()}
    outputs = {"out": parse_type("graph:vector")}
    return Setting(base(), base, inputs, outputs, parse_group(GROUP), 1.0)


def made(label: str):
    found = STRESSES[label](setting(), torch.Generator().manual_seed(0))
    assert found is not None, label
    return found


@pytest.mark.parametrize("label", STRESSES)
def test_every_stress_is_possible_for_graphs(label: str) -> None:
    stress = made(label)
    assert stress.moves
    found = leaves(stress.tree)
    n, e = len(found["pos"]), found["edge_index"].shape[1]
    assert {len(found[k]) for k in ("z", "x", "batch")} == {n} and found["edge_vec"].shape == (e, 3)
    assert len(found["charge"]) == int(found["batch"].max()) + 1 == stress.tree["num_graphs"]
    assert e == 0 or int(found["edge_index"].max()) < n
    for move in stress.moves:
        for tree in move.inputs(stress.tree):
            assert len(leaves(tree)["pos"]) <= n


def test_the_inputs_are_what_they_are_called() -> None:
    def pos(label: str) -> Tensor:
        x = leaves(made(label).tree)["pos"]
        return x - x.mean(0)

    assert torch.linalg.matrix_rank(pos("planar")) == 2 and torch.linalg.matrix_rank(pos("collinear")) == 1
    distances = torch.cdist(pos("equal distances"), pos("equal distances"))
    assert len(distances.unique()) == 4  # 0, edge, face and space diagonal
    many = made("more than 64 neighbours")
    assert torch.bincount(many.tree["edge_index"][0]).min() > 64
    alone = made("isolated node").tree
    assert 5 not in alone["edge_index"] and torch.cdist(alone["pos"][5:], alone["pos"][:5]).min() > 50
    assert [len(made(k).tree["pos"]) for k in ("two nodes", "one node")] == [2, 1]
    assert made("one node").tree["edge_index"].shape[1] == made("no edges").tree["edge_index"].shape[1] == 0
    batch = made("batch")
    assert torch.bincount(batch.tree["batch"]).tolist() == [7, 2, 5]
    labels = [move.label for move in batch.moves]
    assert labels[:3] == ["graphs one by one", "empty graphs between", "empty graph at the end"]
    assert len(labels) == 5  # and two orders in which the batch is not sorted


def test_edge_vectors_follow_the_positions() -> None:
    for label in ("planar", "octahedral", "more than 64 neighbours"):
        tree = made(label).tree
        i, j = tree["edge_index"]
        assert torch.allclose(tree["edge_vec"], tree["pos"][j] - tree["pos"][i], atol=1e-5)


@pytest.mark.parametrize(
    ("points", "label", "order"), [(tetrahedron(), "tetrahedral", 24), (octahedron(), "octahedral", 48)]
)
def test_stabilisers(points: Tensor, label: str, order: int) -> None:
    assert len(stabiliser(points, reflections=True)) == order
    assert len(stabiliser(points, reflections=False)) == order // 2
    stress = made(label)
    assert len(stress.still) == order and stress.tied
    x, z = stress.tree["pos"], stress.tree["z"]
    for h in stress.still:
        moved = (x @ h.linear.T)[torch.argsort(h.nodes)]
        assert torch.equal(moved, x) and torch.equal(z[torch.argsort(h.nodes)], z)


def test_permutations_stay_within_blocks() -> None:
    tree = {
        "pos": torch.randn(6, 3),
        "batch": torch.tensor([0, 0, 0, 1, 1, 1]),
        "ptr": torch.tensor([0, 3, 6]),
    }
    g = parse_group("S_n").sized(6).sample("odd", torch.Generator().manual_seed(1))
    nodes = within_graphs(g, tree).nodes
    assert sorted(nodes[:3].tolist()) == [0, 1, 2] and sorted(nodes.tolist()) == list(range(6))
    del tree["ptr"]
    assert torch.equal(within_graphs(g, tree).nodes, g.nodes)


def points(f: Callable[..., Tensor], out: str = "node:scalar", n: int = 9, **kwargs) -> Report:
    example = {"pos": torch.randn(n, 3, generator=torch.Generator().manual_seed(0))}
    kwargs = {"trials": 4, "gradients": False, **kwargs}
    return check(f, GROUP, {"pos": "point"}, out, example=example, **kwargs)


def spread(pos: Tensor) -> Tensor:
    return (pos[:, None] - pos[None]).square().sum(-1)


def where(report: Report) -> str:
    return next(f.where for f in report.fields if f.verdict != "EXACT")


def test_ties_are_called_discontinuous() -> None:
    def nearest(pos: Tensor) -> Tensor:
        d = spread(pos) + 1e9 * torch.eye(len(pos)).to(pos)
        kept = d.sort(dim=1).indices[:, :4]
        turned = pos[kept] - pos[:, None]
        return torch.linalg.det(turned[:, :3]).square()

    report = points(nearest)
    assert report.verdict == "BROKEN"
    reason = report.fields[0].reason
    assert reason.startswith("discontinuous at this input: noise of 1e-07 changes the output by"), reason
    smooth = points(lambda pos: torch.exp(-spread(pos)).sum(1))
    assert smooth.verdict == "EXACT" and not smooth.warnings, str(smooth)


def test_a_cap_on_the_neighbours_shows_in_a_crowd() -> None:
    def capped(pos: Tensor, cap: int) -> Tensor:
        return torch.exp(-spread(pos)[:, :cap]).sum(1)

    report = points(lambda pos: capped(pos, 64))
    assert report.verdict == "BROKEN" and where(report).startswith("more than 64 neighbours")
    assert (
        "fails only for: more than 64 neighbours" in report.advice and "order of the nodes" in report.advice
    )
    assert points(lambda pos: capped(pos, 1000)).verdict == "EXACT"


def test_small_and_empty_graphs() -> None:
    def mean_angle(pos: Tensor) -> Tensor:  # NaN for one node: 0 / 0
        return (spread(pos).sum(1) / (len(pos) - 1))[:, None]

    report = points(mean_angle, "node:1x0e")
    assert report.verdict == "NONFINITE" and where(report).startswith("one node")

    def needs_two(pos: Tensor) -> Tensor:
        return spread(pos)[:, 1]  # fails on one node, and depends on the order

    assert any("one node: the target fails with IndexError" in w for w in points(needs_two).warnings)


def test_octahedron_feels_no_force() -> None:
    def force(pos: Tensor, bias: float) -> Tensor:
        d = pos[:, None] - pos[None]
        pull = (d * torch.exp(-d.square().sum(-1, keepdim=True))).sum(1)
        # One axis counts more where a node has neighbours at equal distances only.
        crowded = (
            (d.norm(dim=-1).sort(dim=1).values[:, 1:7].std(dim=1) < 1e-9).to(pos)
            if len(pos) > 6
            else 0 * pos[:, 0]
        )
        return pull + bias * crowded[:, None] * torch.tensor([1.0, 0, 0]).to(pos)

    assert points(lambda pos: force(pos, 0.0), "node:vector").verdict == "EXACT"
    bad = points(lambda pos: force(pos, 1e-3), "node:vector")
    assert bad.verdict == "BROKEN" and where(bad).startswith("octahedral")


def graphs(f: Callable[..., Tensor], out: str = "graph:scalar", *, count: bool = True, **kwargs) -> Report:
    g = torch.Generator().manual_seed(0)
    example = {
        "pos": torch.randn(6, 3, generator=g),
        "batch": torch.zeros(6, dtype=torch.long),
        "num_graphs": 1,
    }
    if not count:
        del example["num_graphs"]
    kwargs = {"trials": 4, "gradients": False, **kwargs}
    return check(f, GROUP, {"pos": "point"}, out, example=example, **kwargs)


def pooled(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    same = batch[:, None] == batch[None]
    return pos.new_zeros(num_graphs).index_add(
        0, batch, torch.where(same, torch.exp(-spread(pos)), 0.0).sum(1)
    )


def test_batches_made_from_a_single_graph() -> None:
    good = graphs(pooled)
    assert good.verdict == "EXACT" and not good.warnings, str(good)

    def leaky(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        total = torch.exp(-spread(pos)).sum(1)
        return pos.new_zeros(num_graphs).index_add(0, batch, total)

    bad = graphs(leaky)
    assert bad.verdict == "BROKEN" and where(bad) == "batch: graphs one by one"

    def sorted_only(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        sizes = torch.bincount(batch, minlength=num_graphs).tolist()
        return torch.stack([spread(p).sum() for p in pos.split(sizes)])

    bad = graphs(sorted_only)
    assert bad.verdict == "BROKEN" and where(bad).startswith("batch")

    def last_is_lost(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        out = pooled(pos, batch, num_graphs)
        return torch.cat([out[:-1], out[-1:] * (torch.bincount(batch, minlength=num_graphs)[:-1] > 0).all()])

    assert where(graphs(last_is_lost)) == "batch: empty graphs between"


def test_an_empty_last_graph_needs_a_count() -> None:
    def counted(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        out = pooled(pos, batch, int(batch.max()) + 1)
        return torch.cat([out, out.new_ones(num_graphs - len(out))])

    def shrunk(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return pooled(pos, batch, int(batch.max()) + 1)

    assert graphs(counted).verdict == "EXACT"
    (failure,) = graphs(shrunk).failures
    assert failure.startswith("batch: output 'out' has 3 rows for 4 graphs. An empty graph needs its row too")
    assert graphs(lambda pos, batch: shrunk(pos, batch, 0), count=False).verdict == "EXACT"


def test_a_nan_stays_in_its_graph() -> None:
    def leaky(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return pooled(pos, batch, num_graphs) + 0.0 * pos.sum()

    def masked(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        parts = [spread(pos[batch == b]).sum() for b in range(num_graphs)]
        return torch.stack(parts)

    bad = graphs(leaky)
    assert bad.failures == ("batch leakage: a NaN in graph 2 changes `out` of another graph of the batch",)
    assert graphs(masked).verdict == "EXACT"


def test_zero_features_and_amplitudes() -> None:
    def unit(x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)

    example = {"x": torch.randn(5, 3)}
    bad = check(
        unit, "O(3)*S_n", {"x": "node:vector"}, "node:vector", example=example, trials=4, gradients=False
    )
    assert bad.verdict == "NONFINITE" and where(bad).startswith("zero features")
    plain = check(unit, "O(3)", "vector", "vector", trials=4, gradients=False)
    assert plain.ok and any("zero features: the output is NaN" in w for w in plain.warnings)
    huge = check(
        lambda x: x * x.norm(dim=-1, keepdim=True) ** 40,
        "O(3)",
        "vector",
        "vector",
        trials=4,
        gradients=False,
    )
    assert huge.ok and any("leave the range of float32" in w for w in huge.warnings), str(huge)
    clamp = check(lambda x: x.clamp(-30, 30), "O(3)", "vector", "vector", trials=4, gradients=False)
    assert clamp.verdict == "BROKEN" and where(clamp).startswith("amplitude")
    assert "fails only for: amplitude" in clamp.advice and "cubic group" in clamp.advice


def test_memory_layout_and_edge_order() -> None:
    def raw_memory(x: Tensor) -> Tensor:
        return x.as_strided((x.shape[0], 3), (3, 1)).norm(dim=-1)

    report = check(raw_memory, "O(3)", "vector", "scalar", trials=4, gradients=False)
    assert report.verdict == "BROKEN" and where(report) == "memory layout: not contiguous"

    def first_edge(pos: Tensor, edge_index: Tensor) -> Tensor:
        i, j = edge_index[:, :1]
        return (pos[i] - pos[j]).norm(dim=-1).expand(len(pos))

    i, j = (~torch.eye(5, dtype=torch.bool)).nonzero().T
    example = {"pos": torch.randn(5, 3), "edge_index": torch.stack([i, j])}
    report = check(
        first_edge, "E(3)", {"pos": "point"}, "node:scalar", example=example, trials=4, gradients=False
    )
    assert report.verdict == "BROKEN" and where(report).startswith("edge order")
