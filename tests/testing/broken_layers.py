"""Layers, each with one fault, and the suite that must see it. Run by test_suites_catch.py, never by itself."""

from __future__ import annotations

import torch
from torch import nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.testing import LayerSuite


class Good(nn.Module):
    """v_i = sum_j c(r_ij) tanh(w x_j) r_ij: nothing is wrong with it."""

    cutoff = 3.0

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def envelope(self, r):
        return (1.0 - (r / self.cutoff) ** 2).clamp(min=0.0) ** 3

    def weight(self, x):
        return torch.tanh(self.linear(x))[:, 0]

    def collect(self, messages, target, n):
        return messages.new_zeros(n, 3).index_add(0, target, messages)

    def forward(self, x, edge_index, edge_vec):
        j, i = edge_index
        w = self.weight(x)[j] * self.envelope(edge_vec.norm(dim=-1))
        return self.collect(w[:, None] * edge_vec, i, x.shape[0])

    @property
    def symmetry(self):
        inputs = {"x": "node:inv", "edge_index": "index", "edge_vec": "edge:vector"}
        return Symmetry("O(3)*S_n", inputs=inputs, outputs="node:vector")

    @classmethod
    def example(cls, generator):
        pos = 1.5 * torch.randn(6, 3, generator=generator)
        near = torch.cdist(pos, pos) < cls.cutoff
        edge_index = near.fill_diagonal_(False).nonzero().T.contiguous()
        vec = pos[edge_index[1]] - pos[edge_index[0]]
        return cls(), {"x": torch.randn(6, 4, generator=generator), "edge_index": edge_index, "edge_vec": vec}

    def extra_repr(self):
        return "4x0e -> 1o"


class TestGood(LayerSuite):
    layer = Good


class Unseeded(Good):
    @classmethod
    def example(cls, generator):
        return super().example(torch.Generator().manual_seed(torch.seed() % 1000))


class TestUnseeded(LayerSuite):
    """test_construct"""

    layer = Unseeded


class Speechless(Good):
    def extra_repr(self):
        return ""


class TestSpeechless(LayerSuite):
    """test_repr_shows_representations"""

    layer = Speechless


class InPlace(Good):
    def forward(self, x, edge_index, edge_vec):
        if not x.requires_grad:
            x.mul_(0.5)
        return super().forward(x, edge_index, edge_vec)


class TestInPlace(LayerSuite):
    """test_forward"""

    layer = InPlace


class Infinite(Good):
    def weight(self, x):
        return super().weight(x) / 0.0


class TestInfinite(LayerSuite):
    """test_forward"""

    layer = Infinite


class Detached(Good):
    def weight(self, x):
        return super().weight(x).detach()


class TestDetached(LayerSuite):
    """test_backward"""

    layer = Detached


class Tanh(Good):
    def collect(self, messages, target, n):
        return torch.tanh(super().collect(messages, target, n))


class TestTanh(LayerSuite):
    """test_equivariance"""

    layer = Tanh


class Blind(Good):
    @property
    def symmetry(self):
        declared = super().symmetry
        return Symmetry("SO(3)*S_n", declared.inputs, declared.outputs, breaks=("reflections",))


class TestBlind(LayerSuite):
    """test_breaks"""

    layer = Blind


class Zero(Good):
    def envelope(self, r):
        return 0.0 * super().envelope(r)


class TestZero(LayerSuite):
    """test_mutant_is_caught"""

    layer = Zero


class FirstNode(Good):
    def weight(self, x):
        return super().weight(x) * torch.linspace(1.0, 2.0, x.shape[0]).to(x)


class TestFirstNode(LayerSuite):
    """test_permutation"""

    layer = FirstNode


class EdgeOrder(Good):
    def collect(self, messages, target, n):
        return super().collect(
            messages * torch.linspace(1.0, 2.0, len(messages)).to(messages)[:, None], target, n
        )


class TestEdgeOrder(LayerSuite):
    """test_edge_order"""

    layer = EdgeOrder


class Centred(Good):
    def weight(self, x):
        return super().weight(x - x.mean(0))


class TestCentred(LayerSuite):
    """test_batching"""

    layer = Centred


class Deviation(Good):
    def weight(self, x):
        return super().weight(x / x.std(0))


class TestDeviation(LayerSuite):
    """test_one_node"""

    layer = Deviation


class PerEdge(Good):
    def collect(self, messages, target, n):
        return (
            super().collect(messages, target, n) / len(messages)
            if len(messages)
            else messages.new_full((n, 3), torch.nan)
        )


class TestPerEdge(LayerSuite):
    """test_no_edges"""

    layer = PerEdge


class Degree(Good):
    def collect(self, messages, target, n):
        degree = messages.new_zeros(n).index_add(0, target, torch.ones_like(messages[:, 0]))
        return super().collect(messages, target, n) / degree[:, None]


class TestDegree(LayerSuite):
    """test_isolated_node"""

    layer = Degree


class HardCutoff(Good):
    def envelope(self, r):
        return torch.ones_like(r)


class TestHardCutoff(LayerSuite):
    """test_cutoff_is_smooth"""

    layer = HardCutoff


class Kink(Good):
    def envelope(self, r):
        return 1.0 - r / self.cutoff


class TestKink(LayerSuite):
    """test_cutoff_is_smooth"""

    layer = Kink


class Half(Good):
    def forward(self, x, edge_index, edge_vec):
        return super().forward(x, edge_index, edge_vec).half()


class TestHalf(LayerSuite):
    """test_float32"""

    layer = Half


class Narrow(Good):
    def envelope(self, r):
        return super().envelope(r.float())

    def forward(self, x, edge_index, edge_vec):
        return super().forward(x, edge_index, edge_vec).float()


class TestNarrow(LayerSuite):
    """test_float64"""

    layer = Narrow


class Leak(Good):
    def envelope(self, r):
        return super().envelope(r.float()).to(r)


class TestLeak(LayerSuite):
    """test_float64"""

    layer = Leak


class DefaultDtype(Good):
    def envelope(self, r):
        return super().envelope(r) * torch.tensor([1.0 / 3.0]).to(r)


class TestDefaultDtype(LayerSuite):
    """test_default_dtype"""

    layer = DefaultDtype


class DefaultTable(Good):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor([1.0 / 3.0]), persistent=False)

    def envelope(self, r):
        return super().envelope(r) * self.table


class TestDefaultTable(LayerSuite):
    """test_default_dtype"""

    layer = DefaultTable


class Forgetful(Good):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = float(torch.rand(()))

    def envelope(self, r):
        return super().envelope(r) * self.hidden


class TestForgetful(LayerSuite):
    """test_save_and_load"""

    layer = Forgetful


class Uncopied(Good):
    def __deepcopy__(self, memo):
        return self


class TestUncopied(LayerSuite):
    """test_deepcopy"""

    layer = Uncopied


class CompiledOtherwise(Good):
    def envelope(self, r):
        return super().envelope(r) * (1.001 if torch.compiler.is_compiling() else 1.0)


class TestCompiledOtherwise(LayerSuite):
    """test_compile"""

    layer = CompiledOtherwise


class WrongBackward(Good):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 1.9 * x * grad

    def weight(self, x):
        return self.Square.apply(super().weight(x))


class TestWrongBackward(LayerSuite):
    """test_gradients"""

    layer = WrongBackward


class WrongSecond(Good):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 3.0 * x.detach() ** 2 * grad  # right once, constant from then on

    def weight(self, x):
        return self.Cube.apply(super().weight(x))


class TestWrongSecond(LayerSuite):
    """test_second_derivatives"""

    layer = WrongSecond


class Unforced(Good):
    """Returns an energy, and forces that are not its derivative."""

    def forward(self, x, edge_index, pos):
        j, i = edge_index
        vec = pos[i] - pos[j]
        out = super().forward(x, edge_index, vec)
        return {"energy": out.square().sum()[None], "forces": out}

    @property
    def symmetry(self):
        inputs = {"x": "node:inv", "edge_index": "index", "pos": "point"}
        return Symmetry("E(3)*S_n", inputs=inputs, outputs={"energy": "graph:inv", "forces": "node:vector"})

    @classmethod
    def example(cls, generator):
        pos = torch.randn(5, 3, generator=generator)
        edge_index = (1 - torch.eye(5)).nonzero().T
        return cls(), {"x": torch.randn(5, 4, generator=generator), "edge_index": edge_index, "pos": pos}


class TestUnforced(LayerSuite):
    """test_conservativity"""

    layer = Unforced
