"""Potentials with analytic answers, called like a model of the zoo."""

from __future__ import annotations

import torch
from torch import nn


class Toy(nn.Module):
    """Energy from positions and pairs by autograd; subclasses give the energy of every atom."""

    cutoff = 3.0

    def atoms(self, pos, pairs, vec):
        raise NotImplementedError

    def forward(self, z, pos, batch, *, pairs, cell=None, pbc=None, charge=None, num_graphs=1, forces=True):
        with torch.enable_grad():
            x = pos.detach().requires_grad_()
            vec = x[pairs.j] - x[pairs.i]
            if cell is not None:
                vec = vec + torch.einsum("pk,pkl->pl", pairs.shift.to(x), cell[batch[pairs.i]])
            energy = x.new_zeros(num_graphs).index_add(0, batch, self.atoms(x, pairs, vec))
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return {"energy": energy.detach(), "forces": -gradient}


class Well(Toy):
    """Every atom in its own harmonic well around the origin, k in eV/Å²."""

    cutoff = 1e-3

    def __init__(self, k=2.0):
        super().__init__()
        self.k = k

    def atoms(self, pos, pairs, vec):
        return 0.5 * self.k * pos.square().sum(1)


class Free(Well):
    """No force."""

    def __init__(self):
        super().__init__(0.0)


class Morse(Toy):
    """Smoothly cut Morse bonds between all near atoms: anharmonic, conserves momentum and angular
    momentum."""

    def atoms(self, pos, pairs, vec):
        r = vec.norm(dim=1)
        bond = (1.0 - torch.exp(-1.5 * (r - 1.2))).square() - 1.0
        envelope = (1.0 - (r / self.cutoff).square()).clamp(min=0.0) ** 4
        half = bond * envelope  # half to each atom
        zero = pos.new_zeros(len(pos))
        return zero.index_add(0, pairs.i, half * 0.5).index_add(0, pairs.j, half * 0.5)


class Broken(Toy):
    """A force that is not a number once an atom is beyond 1 Å."""

    def atoms(self, pos, pairs, vec):
        return (1.0 - pos.norm(dim=1)).sqrt()
