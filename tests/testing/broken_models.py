"""Models, each with one fault, and the suite that must see it. Run by test_suites_catch.py, never by itself."""

from __future__ import annotations

import torch
from torch import nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.testing import ModelSuite
from geomlib.zoo.registry import register_model


@register_model("good_pairs")
class Good(nn.Module):
    """E = sum over pairs of a learned bump: nothing is wrong with it."""

    cutoff = 3.0

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.species = nn.Embedding(10, 4)
        self.linear = nn.Linear(4, 1)

    @property
    def config(self):
        return {"name": "good_pairs", "width": self.width}

    def points(self, pos):
        return pos

    def graphs(self, batch):
        return int(batch.max()) + 1

    def pool(self, atoms, batch):
        return atoms.new_zeros(self.graphs(batch)).index_add(0, batch, atoms)

    def forward(self, z, pos, batch):
        track = torch.is_grad_enabled()
        with torch.enable_grad():
            pos = pos if pos.requires_grad else pos.detach().requires_grad_()
            energy = self.pool(self.atoms(z, self.points(pos), batch), batch)
            (slope,) = torch.autograd.grad(energy.sum(), pos, create_graph=track)
        found = {"energy": energy, "forces": -slope}
        return found if track else {name: x.detach() for name, x in found.items()}

    def atoms(self, z, pos, batch):
        same = (batch[:, None] == batch) & ~torch.eye(len(z), dtype=torch.bool)
        i, j = same.nonzero().T
        d2 = (pos[i] - pos[j]).square().sum(-1) / self.cutoff**2
        charge = torch.tanh(self.linear(self.species(z)))[:, 0]
        bump = (1.0 - self.width * d2).clamp(min=0.0) ** 3
        return torch.zeros_like(charge).index_add(0, i, charge[i] * charge[j] * bump)

    @property
    def symmetry(self):
        inputs = {"z": "node:inv", "pos": "point", "batch": "index"}
        return Symmetry("E(3)*S_n", inputs=inputs, outputs={"energy": "graph:inv", "forces": "node:vector"})

    @classmethod
    def example(cls, generator):
        z = torch.randint(1, 9, (9,), generator=generator)
        pos = 1.2 * torch.randn(9, 3, generator=generator)
        return cls(), {"z": z, "pos": pos, "batch": torch.tensor([0] * 5 + [1] * 4)}

    def extra_repr(self):
        return "E(3), species, points -> 0e, 1o"


class TestGood(ModelSuite):
    model = Good
    compiles = "torch 2.13 cannot compile a forward pass that calls requires_grad_() on its input"


class Forgotten(Good):
    @classmethod
    def example(cls, generator):
        _, inputs = super().example(generator)
        return cls(0.9), inputs

    @property
    def config(self):
        return {"name": "good_pairs"}


class TestForgotten(ModelSuite):
    """test_config_rebuilds_it"""

    model = Forgotten


class Absolute(Good):
    def points(self, pos):
        return pos * (1.0 + 1e-6 * pos.square().sum(-1, keepdim=True))


class TestAbsolute(ModelSuite):
    """test_translation"""

    model = Absolute


class Compact(Good):
    def pool(self, atoms, batch):
        rows = torch.unique(batch, return_inverse=True)[1]
        return atoms.new_zeros(int(rows.max()) + 1).index_add(0, rows, atoms)


class TestCompact(ModelSuite):
    """test_empty_graphs"""

    model = Compact


class Mean(Good):
    def pool(self, atoms, batch):
        return super().pool(atoms, batch) / batch.bincount()


class TestMean(ModelSuite):
    """test_size_consistency"""

    model = Mean


class Noisy(Good):
    def atoms(self, z, pos, batch):
        return super().atoms(z, pos, batch) * (1.0 + 1e-3 * torch.rand(len(z)).to(pos))


class TestNoisy(ModelSuite):
    """test_repeatable"""

    model = Noisy


class Forceless(Good):
    def forward(self, z, pos, batch):
        found = super().forward(z, pos, batch)
        return found if torch.is_grad_enabled() else {"energy": found["energy"]}


class TestForceless(ModelSuite):
    """test_without_gradients"""

    model = Forceless


class Frozen(Good):
    def atoms(self, z, pos, batch):
        if self.training:
            return super().atoms(z, pos, batch) + 0.0 * self.linear.weight.detach().sum() * pos.sum(-1)
        return super().atoms(z, pos, batch)

    def forward(self, z, pos, batch):
        found = super().forward(z, pos, batch)
        return (
            {name: x.detach() + 0.0 * self.linear.bias for name, x in found.items()}
            if self.training
            else found
        )


class TestFrozen(ModelSuite):
    """test_training_step"""

    model = Frozen


class Hiding(Good):
    def points(self, pos):
        return torch.nan_to_num(pos)


class TestHiding(ModelSuite):
    """test_nan_is_not_hidden"""

    model = Hiding


class OnePercent(Good):
    def forward(self, z, pos, batch):
        found = super().forward(z, pos, batch)
        return {**found, "forces": 1.01 * found["forces"]}


class TestOnePercent(ModelSuite):
    """test_conservativity"""

    model = OnePercent
