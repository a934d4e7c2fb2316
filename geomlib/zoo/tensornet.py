r"""TensorNet: an interatomic potential of Cartesian 3x3 tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers.bonds import Bonds
from geomlib.layers.radial import ExpNormalBasis
from geomlib.layers.readout import CartesianReadout, ScalarHead, SymmetricHead, VectorHead
from geomlib.layers.tensor_embedding import TensorEmbedding
from geomlib.layers.tensor_interaction import TensorInteraction
from geomlib.zoo.potential import Potential
from geomlib.zoo.registry import register_model

__all__ = ["TensorNet"]

HEADS = ("energy", "dipole", "polarizability")


@register_model("tensornet")
class TensorNet(Potential):
    r"""Energies, forces and stress of molecules and crystals, from products of 3x3 matrices.

    Every atom carries C channels of a full 3x3 tensor. An embedding sums the tensors of its bonds, each interaction
    layer multiplies them with the neighbours' sum, and a readout of the invariant norms gives one energy per atom:

    .. math:: E = \sum_i \left(s\,e_i + E^0_{z_i}\right) + E^0

    **Group** E(3) (or SE(3) with ``group="SO(3)"``) and permutations of atoms. Energies are invariant, forces and dipoles
    are vectors, stress and polarizability symmetric tensors.

    Args:
        channels: number of channels C.
        layers: number of interaction layers; 0 gives the embedding and readout alone.
        num_radial: number of radial functions R.
        cutoff: in Å.
        max_z: atomic numbers 0 to ``max_z - 1`` are accepted.
        group: ``"O(3)"``, or ``"SO(3)"`` for a model that sees handedness.
        envelope: ``"smooth"`` (twice differentiable at the cutoff) or ``"cosine"`` (the paper's, once).
        heads: any of ``"energy"``, ``"dipole"``, ``"polarizability"``; the energy is always there.
        trainable_basis: learn the radial basis.
        validate: check inputs at every call.

    The number of weights is ``max_z C + 16.5 C² + 3 R C + 19 C + 1 + layers (14 C² + R C + 6 C)``.

    Source: Simeon and De Fabritiis, *TensorNet: Cartesian Tensor Representations for Efficient Learning of Molecular
    Potentials*, arXiv 2306.06482; total charge: Simeon et al., arXiv 2403.15073.

    >>> model = TensorNet(channels=16, layers=1)
    >>> water = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    >>> out = model(torch.tensor([8, 1, 1]), water)
    >>> out["energy"].shape, out["forces"].shape
    (torch.Size([1]), torch.Size([3, 3]))
    """

    def __init__(
        self,
        channels: int = 128,
        layers: int = 2,
        num_radial: int = 32,
        cutoff: float = 5.0,
        max_z: int = 128,
        group: str = "O(3)",
        envelope: str = "smooth",
        heads: Sequence[str] = ("energy",),
        trainable_basis: bool = False,
        validate: bool = True,
    ) -> None:
        super().__init__(cutoff, max_z, validate=validate)
        if layers < 0:
            raise InvalidInput(f"layers={layers}: expected 0 or more.")
        heads = tuple(dict.fromkeys(("energy", *heads)))
        if unknown := [h for h in heads if h not in HEADS]:
            raise InvalidInput(f"heads: unknown {unknown}, expected some of {', '.join(HEADS)}.")
        self.channels, self.group, self.heads = channels, group, heads
        self._options = {
            "channels": channels, "layers": layers, "num_radial": num_radial, "cutoff": float(cutoff), "max_z": max_z,
            "group": group, "envelope": envelope, "heads": list(heads), "trainable_basis": trainable_basis,
        }  # fmt: skip
        basis = ExpNormalBasis(num_radial, cutoff, envelope, trainable=trainable_basis)
        self.embedding = TensorEmbedding(channels, max_z=max_z, basis=basis)
        self.interactions = nn.ModuleList(
            TensorInteraction(channels, group=group, basis=basis) for _ in range(layers)
        )
        self.readout = CartesianReadout(channels)
        self.energy_head = ScalarHead(channels)
        self.dipole_head = VectorHead(channels) if "dipole" in heads else None
        self.polarizability_head = SymmetricHead(channels) if "polarizability" in heads else None

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "tensornet", **self._options}

    def representation(self, z: Tensor, bonds: Bonds, charge: Tensor) -> list[Tensor]:
        """Return the tensors (N, 9, C) after the embedding and after every interaction."""
        scale = 1.0 + 0.1 * charge
        tensors = [self.embedding.embed(z, bonds)]
        for layer in cast(Iterable[TensorInteraction], self.interactions):
            tensors.append(layer.interact(tensors[-1], bonds, scale))
        return tensors

    def evaluate(self, z: Tensor, bonds: Bonds, charge: Tensor) -> dict[str, Tensor]:
        """Return the outputs of every atom."""
        x = self.representation(z, bonds, charge)[-1]
        invariants = self.readout(x)
        out = {"energy": self.energy_head(invariants)}
        if self.dipole_head is not None:
            out["dipole"] = self.dipole_head(x, invariants)
        if self.polarizability_head is not None:
            out["polarizability"] = self.polarizability_head(x, invariants)
        return out

    @property
    def symmetry(self) -> Symmetry:
        """E(3) or SE(3), and permutations of atoms."""
        outputs = {"energy": "graph:inv", "atomic_energy": "node:inv", "forces": "node:vector"}
        if self.dipole_head is not None:
            outputs["dipole"] = "graph:vector"
        if self.polarizability_head is not None:
            outputs["polarizability"] = "graph:sym2"
        inputs = {"z": "node:inv", "pos": "node:point", "batch": "index", "charge": "graph:inv"}
        if self.group == "O(3)":
            return Symmetry("E(3)*S_n", inputs=inputs, outputs=outputs)
        return Symmetry("SE(3)*S_n", inputs=inputs, outputs=outputs, breaks=("reflections",))

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorNet, dict[str, Any]]:
        """Return a small instance and a batch of two clusters."""
        from geomlib.layers._examples import example_atoms

        (z1, p1), (z2, p2) = example_atoms(generator, 7), example_atoms(generator, 5)
        inputs = {
            "z": torch.cat([z1, z2]),
            "pos": torch.cat([p1, p2]),
            "batch": torch.tensor([0] * 7 + [1] * 5),
            "charge": torch.tensor([0.0, 1.0]),
        }
        return cls(
            channels=8, layers=1, num_radial=8, cutoff=5.0, max_z=10, heads=("energy", "dipole")
        ), inputs

    def extra_repr(self) -> str:
        """Return the number of weights and the main sizes."""
        count = sum(p.numel() for p in self.parameters())
        return f"{count:,} weights, {self.group}, cutoff {self.cutoff} Å, heads {', '.join(self.heads)}"
