"""Mistakes people make, each beside the same code without it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.verify import families

__all__ = ["PAIRS", "Pair", "Subject"]


@dataclass(frozen=True)
class Subject:
    """What is handed to ``verify.check``."""

    target: Callable[..., Any]
    group: str
    inputs: str | Mapping[str, str]
    outputs: str | tuple[str, ...] | Mapping[str, str]
    example: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A mutant, ``build(True)``, and its correct twin, ``build(False)``."""

    build: Callable[[bool], Subject]
    verdict: str = "BROKEN"


PAIRS: dict[str, Pair] = {}


def pair(name: str, verdict: str = "BROKEN") -> Callable[[Callable[[bool], Subject]], Callable]:
    """Register a function that gives the mutant for True and the twin for False."""

    def register(build: Callable[[bool], Subject]) -> Callable[[bool], Subject]:
        PAIRS[name] = Pair(build, verdict)
        return build

    return register


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stretched(x: Tensor, *factors: float) -> Tensor:
    return x * torch.tensor(factors, dtype=x.dtype)


def norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def differences(pos: Tensor) -> Tensor:  # (N, 3) -> (N, N, 3)
    return pos[:, None] - pos[None]


# Vectors and irreps


@pair("a small anisotropic map")
def _(faulty: bool) -> Subject:
    factors = (1.0, 2.0, 3.0) if faulty else (2.0, 2.0, 2.0)
    return Subject(lambda v: 1e-4 * stretched(v, *factors), "O(3)", "vector", "vector")


@pair("one axis longer by 1e-6")
def _(faulty: bool) -> Subject:
    factors = (1.0, 1.0, 1.0 + 1e-6) if faulty else (1.0 + 1e-6,) * 3
    return Subject(lambda v: norm(v) * stretched(v, *factors), "O(3)", "vector", "vector")


@pair("absolute value of an odd scalar")
def _(faulty: bool) -> Subject:
    return Subject(lambda x: x.abs() if faulty else x * x.abs(), "O(3)", "3x0o", "3x0o")


@pair("1o labelled 1e")
def _(faulty: bool) -> Subject:
    return Subject(lambda v: v * norm(v), "O(3)", "1o", "1e" if faulty else "1o")


@pair("a cross product called O(3)")
def _(faulty: bool) -> Subject:
    def layer(v: Tensor, w: Tensor) -> Tensor:
        turned = torch.linalg.cross(v, w)
        return v + (turned if faulty else torch.linalg.cross(v, turned))

    return Subject(layer, "O(3)", {"0": "vector", "1": "vector"}, "vector")


@pair("a handed scalar called even")
def _(faulty: bool) -> Subject:
    def volume(x: Tensor) -> Tensor:
        found = torch.linalg.det(x.unflatten(-1, (3, 3)))
        return found if faulty else found.square()

    return Subject(volume, "O(3)", "3x1o", "scalar")


@pair("one sign in the path 1 x 1 -> 2")
def _(faulty: bool) -> Subject:
    def product(v: Tensor, w: Tensor) -> Tensor:
        (a, b, c), (x, y, z) = v.unbind(-1), w.unbind(-1)
        sign = -1.0 if faulty else 1.0
        rows = [
            a * z + sign * c * x,
            a * y + b * x,
            (2 * b * y - a * x - c * z) / 3**0.5,
            b * z + c * y,
            c * z - a * x,
        ]
        return torch.stack(rows, -1)

    return Subject(product, "O(3)", {"0": "1o", "1": "1o"}, "2e")


@pair("two axis orders in one layer")
def _(faulty: bool) -> Subject:
    def layer(v: Tensor, w: Tensor) -> Tensor:
        return v * norm(w) + (w[..., [1, 2, 0]] if faulty else w)

    return Subject(layer, "O(3)", {"0": "vector", "1": "vector"}, "vector")


@pair("layer norm over all components")
def _(faulty: bool) -> Subject:
    def normed(x: Tensor) -> Tensor:
        if faulty:
            return nn.functional.layer_norm(x, (6,))
        return x / (x.square().mean(-1, keepdim=True) + 1e-2).sqrt()

    return Subject(normed, "O(3)", "2x1o", "2x1o")


@pair("a matrix turned on one side only")
def _(faulty: bool) -> Subject:
    def layer(v: Tensor, w: Tensor) -> Tensor:
        outer = v[..., :, None] * w[..., None, :]
        return outer + (outer @ torch.diag(torch.tensor([0.0, 0.0, 1e-3])).to(v) if faulty else outer.mT)

    return Subject(layer, "O(3)", {"0": "vector", "1": "vector"}, "tensor(2)")


@pair("a frame made right-handed by a change of sign, n = 4")
def _(faulty: bool) -> Subject:
    def right_handed(frames: Tensor) -> tuple[Tensor, Tensor]:  # columns are vectors
        sign = torch.sign(torch.linalg.det(frames))[:, None, None]
        if faulty:
            turned = sign * frames  # changes the determinant in odd dimensions only
        else:
            turned = torch.cat([frames[..., :3], sign * frames[..., 3:]], -1)
        rows = turned.mT
        return rows[:, :3], rows[:, 3]

    frames = random(5, 4, 4).mT
    return Subject(
        lambda rows: right_handed(rows.mT),
        "O(4)",
        {"rows": "vector"},
        ("vector", "pseudovector"),
        {"rows": frames},
    )


# Points and graphs


POSITIONS = {"pos": 1.2 * random(9, 3)}


@pair("the order of the rows")
def _(faulty: bool) -> Subject:
    def layer(pos: Tensor) -> Tensor:
        weight = torch.exp(-differences(pos).square().sum(-1))
        slope = torch.linspace(1.0, 1.001 if faulty else 1.0, len(pos)).to(pos)
        return (weight * slope).sum(1)

    return Subject(layer, "E(3)*S_n", {"pos": "point"}, "node:scalar", POSITIONS)


@pair("the three nearest neighbours, ties by number")
def _(faulty: bool) -> Subject:
    def layer(pos: Tensor) -> Tensor:
        vec = differences(pos)
        square = vec.square().sum(-1)
        if not faulty:
            return (vec * torch.exp(-square)[..., None]).sum(1)
        nearest = (square.detach() + 1e6 * torch.eye(len(pos)).to(pos)).argsort(stable=True, dim=-1)[:, :3]
        return vec[torch.arange(len(pos))[:, None], nearest].sum(1)

    return Subject(layer, "E(3)*S_n", {"pos": "point"}, "node:vector", POSITIONS)


@pair("silent truncation at 32 neighbours")
def _(faulty: bool) -> Subject:
    def layer(pos: Tensor) -> Tensor:
        square = differences(pos).square().sum(-1)
        return torch.exp(-0.1 * (square[:, :33] if faulty else square)).sum(1)

    return Subject(layer, "E(3)*S_n", {"pos": "point"}, "node:scalar", POSITIONS)


@pair("positions that are not centred")
def _(faulty: bool) -> Subject:
    def layer(pos: Tensor) -> Tensor:
        return ((pos if faulty else pos - pos.mean(0)).square().sum(-1) + 1).sqrt()

    return Subject(layer, "E(3)*S_n", {"pos": "point"}, "node:scalar", POSITIONS)


@pair("a centre that is off by 1e-6, far away")
def _(faulty: bool) -> Subject:
    def layer(pos: Tensor) -> Tensor:
        return (pos - pos.mean(0) * (1 - 1e-6 if faulty else 1)).square().sum(-1)

    return Subject(layer, "E(3)*S_n", {"pos": "point"}, "node:scalar", POSITIONS)


@pair("a skew force on an atom in an octahedron")
def _(faulty: bool) -> Subject:
    octahedron = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)])

    def force(pos: Tensor) -> Tensor:
        d = pos[1:] - pos[:1]
        pull = (d * torch.exp(-d.square().sum(-1, keepdim=True))).sum(0, keepdim=True)
        return stretched(pull, 1.0, 1.0, 1.0 + (1e-4 if faulty else 0.0))

    return Subject(force, "E(3)", {"pos": "point"}, "graph:vector", {"pos": octahedron})


@pair("the cell forgotten")
def _(faulty: bool) -> Subject:
    def wrapped(pos: Tensor, cell: Tensor) -> Tensor:
        fractions = differences(pos) @ torch.linalg.inv(cell[0])
        return torch.exp(-((fractions - fractions.round().detach()) @ cell[0]).square().sum(-1)).sum(1)

    cell = torch.tensor([[[4.0, 0, 0], [0.5, 5, 0], [0, 1, 4.5]]])
    types = {"pos": "point", "cell": "graph:inv" if faulty else "graph:cell"}
    return Subject(wrapped, "E(3)*S_n", types, "node:scalar", {"pos": 1.5 * random(6, 3), "cell": cell})


@pair("the edge vectors forgotten")
def _(faulty: bool) -> Subject:
    def layer(x: Tensor, edge_attr: Tensor) -> Tensor:
        return (x * norm(edge_attr) + edge_attr).mean(1)

    types = {"x": "vector"} if faulty else {"x": "vector", "edge_attr": "node:vector"}
    return Subject(
        layer, "O(3)", types, "vector", {"x": random(5, 4, 3), "edge_attr": random(5, 4, 3, seed=1)}
    )


@pair("random frames of the edges")
def _(faulty: bool) -> Subject:
    def layer(vec: Tensor) -> Tensor:
        helper = random(*vec.shape).to(vec)
        first = nn.functional.normalize(torch.linalg.cross(vec, helper), dim=-1)
        second = nn.functional.normalize(torch.linalg.cross(vec, first), dim=-1)
        a, b = (vec.roll(1, 0) * first).sum(-1), (vec.roll(1, 0) * second).sum(-1)
        return a if faulty else a.square() + b.square()  # the length does not know the frame

    return Subject(layer, "O(3)", {"vec": "vector"}, "scalar", {"vec": random(8, 3, seed=1)})


@pair("messages weighted by their order")
def _(faulty: bool) -> Subject:
    def layer(x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        weight = torch.linspace(1.0, 1.1 if faulty else 1.0, len(source)).to(x)
        return torch.zeros_like(x).index_add(0, target, x[source] * weight[:, None] * norm(x[target]))

    edges = torch.tensor([[0, 1, 1, 2, 3, 4, 0, 2], [1, 0, 2, 1, 4, 3, 2, 0]])
    types = {"x": "node:vector", "edge_index": "index"}
    return Subject(layer, "O(3)*S_n", types, "node:vector", {"x": random(5, 3), "edge_index": edges})


@pair("memory read as if it were contiguous")
def _(faulty: bool) -> Subject:
    def layer(x: Tensor) -> Tensor:
        found = x if faulty else x.contiguous()
        rows = torch.as_strided(found, (found.shape[0], 3), (3, 1))
        return rows * norm(rows)

    return Subject(layer, "O(3)*S_n", {"x": "node:vector"}, "node:vector", {"x": random(5, 3)})


# Batches


BATCH = {"x": random(7, 3), "batch": torch.tensor([0, 0, 0, 0, 1, 1, 1])}
BATCHED = {"x": "node:vector", "batch": "node:index"}


@pair("pooling without the last graph")
def _(faulty: bool) -> Subject:
    def layer(x: Tensor, batch: Tensor) -> Tensor:
        graphs = int(batch.max()) + 1
        value = norm(x)[:, 0] * ((batch < graphs - 1).to(x) if faulty and graphs > 1 else 1.0)
        return x.new_zeros(graphs).index_add(0, batch, value)

    return Subject(layer, "O(3)*S_n", BATCHED, "graph:scalar", BATCH)


@pair("statistics over the batch")
def _(faulty: bool) -> Subject:
    def layer(x: Tensor, batch: Tensor) -> Tensor:
        length = norm(x)[:, 0]
        graphs = int(batch.max()) + 1
        total, count = (x.new_zeros(graphs).index_add(0, batch, v) for v in (length, torch.ones_like(length)))
        mean = length.mean() if faulty else (total / count.clamp(min=1))[batch]
        return length - mean

    return Subject(layer, "O(3)*S_n", BATCHED, "node:scalar", BATCH)


@pair("a graph of NaN changes its neighbours")
def _(faulty: bool) -> Subject:
    def layer(x: Tensor, batch: Tensor) -> Tensor:
        graphs = int(batch.max()) + 1
        value = norm(x)[:, 0]
        if faulty:  # 0 * NaN is NaN
            return nn.functional.one_hot(batch, graphs).to(x).T @ value
        return x.new_zeros(graphs).index_add(0, batch, value)

    return Subject(layer, "O(3)*S_n", BATCHED, "graph:scalar", BATCH)


# State and derivatives


@pair("dropout left on", verdict="NONDETERMINISTIC")
def _(faulty: bool) -> Subject:
    def dropped(v: Tensor) -> Tensor:
        return v * nn.functional.dropout(norm(v), 0.5, training=True)

    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, v: Tensor) -> Tensor:
            return v * self.dropout(norm(v))

    return Subject(dropped if faulty else Dropped(), "O(3)", "vector", "vector")


@pair("input changed in place")
def _(faulty: bool) -> Subject:
    def layer(v: Tensor) -> Tensor:
        w = v if faulty else v.clone()
        with torch.no_grad():
            w.div_(norm(w) + 1)
        return w * norm(w)

    return Subject(layer, "O(3)", "vector", "vector", options={"gradients": False})


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.square().sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.factor * grads[0][..., None] * x, None


@pair("a backward that is equivariant and wrong")
def _(faulty: bool) -> Subject:
    return Subject(lambda v: _Square.apply(v, 2.2 if faulty else 2.0), "O(3)", "vector", "scalar")


@pair("a gradient cut off")
def _(faulty: bool) -> Subject:
    def layer(pos: Tensor) -> Tensor:
        vec = differences(pos)
        weight = torch.exp(-vec.square().sum(-1))
        return ((weight.detach() if faulty else weight)[..., None] * vec).sum(1)

    return Subject(layer, "E(3)*S_n", {"pos": "point"}, "node:vector", POSITIONS)


@pair("forces that are no gradient")
def _(faulty: bool) -> Subject:
    def field(pos: Tensor) -> dict[str, Tensor]:
        vec = differences(pos)
        weight = torch.exp(-vec.square().sum(-1))
        energy = 0.5 * weight.sum().reshape(1)
        own = 1.0 + 0.1 * weight.sum(1) if faulty else torch.ones(len(pos)).to(pos)
        return {"energy": energy, "forces": 2 * (weight[..., None] * vec).sum(1) * own[:, None]}

    types = {"energy": "graph:scalar", "forces": "node:vector"}
    return Subject(field, "E(3)*S_n", {"pos": "point"}, types, POSITIONS)


class _Table(nn.Module):
    """Multiplies by an orthogonal table and its inverse: the identity, as far as the table is exact."""

    def __init__(self, cast: bool):
        super().__init__()
        q = torch.linalg.qr(random(3, 3).double())[0]
        self.register_buffer("table", q.float() if cast else q)

    def forward(self, v: Tensor) -> Tensor:
        return v @ self.table.mT @ self.table * norm(v)


@pair("a table made in float32 and cast", verdict="PRECISION LEAK")
def _(faulty: bool) -> Subject:
    return Subject(_Table(faulty), "O(3)", "vector", "vector")


@pair("outputs in float32 whatever comes in, one axis longer by 1e-4")
def _(faulty: bool) -> Subject:
    factors = (1.0, 1.0, 1.0 + 1e-4) if faulty else (1.0, 1.0, 1.0)
    return Subject(lambda v: (norm(v) * stretched(v, *factors)).float(), "O(3)", "vector", "vector")


# The four families


def family(
    name: str, scale: float, *, model: nn.Module | None = None, example: Mapping[str, Any] | None = None
) -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = families.FAMILIES[name]() if model is None else model
    target = families.Energy(built, scale)
    return Subject(
        target, families.GROUP, families.INPUTS, families.OUTPUTS, example or families.EXAMPLE, {"trials": 8}
    )


def leaning(pos: Tensor, batch: Tensor, size: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the pairs of `families.all_pairs` with lengths that are a little too long along z."""
    edge_index, distance = families.all_pairs(pos, batch)
    vec = pos[edge_index[0]] - pos[edge_index[1]]
    return edge_index, distance * (1 + size * (vec[:, 2] / distance).square())


@pair("SchNet, lengths along z longer by 1e-4, output x 1e5")
def _(faulty: bool) -> Subject:
    subject = family("SchNet", 1e5)
    if faulty:
        subject.target.model.interaction_graph = functools.partial(leaning, size=1e-4)  # type: ignore[attr-defined]
    return subject


@pair("TensorNet of rotations called O(3), output x 1e-5")
def _(faulty: bool) -> Subject:
    if not faulty:
        return family("TensorNet", 1e-5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        handed = families.tensornet("SO(3)")
    return family("TensorNet", 1e-5, model=handed)


def _stretch_component(index: int, size: int) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        factor = torch.ones(size, dtype=x.dtype)
        factor[index] += 1e-4
        return x * factor

    return change


@pair("e3nn messages, one component of 2e longer by 1e-4, octahedron")
def _(faulty: bool) -> Subject:
    octahedron = torch.cat([torch.zeros(1, 3), 1.5 * torch.eye(3), -1.5 * torch.eye(3)])
    example = {
        "z": torch.tensor([8, 1, 1, 1, 1, 1, 1]),
        "pos": octahedron,
        "batch": torch.zeros(7, dtype=torch.long),
    }
    subject = family("e3nn messages", 1.0, example=example)
    if faulty:
        from tests.verify.reference_network import Fault

        subject.target.model.fault = Fault(_stretch_component(16, 26))  # type: ignore[attr-defined]
    return subject


@pair("e3nn many-body, tanh of the components of the second order, output x 1e5")
def _(faulty: bool) -> Subject:
    subject = family("e3nn many-body", 1e5)
    if faulty:
        subject.target.model.fault = nn.Tanh()  # type: ignore[attr-defined]
    return subject
