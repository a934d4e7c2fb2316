r"""CGENN for jets: four-momenta of particles to classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers.clifford_egcl import CliffordEGCL
from geomlib.layers.multivector_linear import MVLinear
from geomlib.zoo._samples import check_samples, complete_graph
from geomlib.zoo.registry import register_model

__all__ = ["CGENNLorentz"]


@register_model("cgenn_lorentz")
class CGENNLorentz(nn.Module):
    r"""Classify jets, by messages of multivectors of Cl(1,3) between all particles.

    A particle carries its momentum and the scalar :math:`\psi(p_i^2)`, an edge :math:`\psi((p_i - p_j)^2)` and
    :math:`\psi(p_i \cdot p_j)`, squares and products of Minkowski space, where :math:`\psi(s) = s\,(1 + s^2)^{-1/4}` is a
    smooth signed root. Products are not normalised: lengths have a cusp on the light cone, where momenta are.

    .. math:: h_i = W\,[\psi(p_i^2),\; p_i], \qquad h \leftarrow \mathrm{EGCL}(h), \qquad
              \hat y = \mathrm{MLP}\big(\overline{\langle h_i \rangle_0}\big)

    with the mean over the particles that the mask keeps.

    **Group** O(1,3), the Lorentz group with reflections, and permutations of particles and of samples. **Shapes**
    ``momenta`` (B, n, 4), energy first, ``mask`` (B, n), to (B, classes).

    Args:
        hidden: number of channels.
        layers: number of message passing layers.
        blocks: of the networks inside them.
        classes: number of logits.
        unit: momenta are divided by it: in GeV, 1 for numbers in GeV.

    Raises:
        InvalidInput: a unit that is not positive; wrong shapes or types at the call.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141; the invariants
    are those of Gong et al., *An efficient Lorentz equivariant graph neural network for jet tagging*, arXiv 2201.08187.

    >>> model = CGENNLorentz(hidden=4, layers=1)
    >>> model(torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)).shape
    torch.Size([2, 2])
    """

    def __init__(
        self, hidden: int = 32, layers: int = 3, blocks: int = 2, classes: int = 2, unit: float = 1.0
    ) -> None:
        super().__init__()
        if not unit > 0:
            raise InvalidInput(f"CGENNLorentz: unit={unit}, expected a positive number.")
        self.algebra = CliffordAlgebra(1, 3)
        self._options = {
            "hidden": hidden, "layers": layers, "blocks": blocks, "classes": classes, "unit": float(unit),
        }  # fmt: skip
        self.unit = float(unit)
        self.embedding = MVLinear(self.algebra, 2, hidden)
        self.layers = nn.ModuleList(
            CliffordEGCL(self.algebra, hidden, hidden, hidden, 2, n_layers=blocks, normalization_init=None)
            for _ in range(layers)
        )
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, classes))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "cgenn_lorentz", **self._options}

    @full_precision
    def forward(
        self,
        momenta: Tensor,  # (B, n, 4)
        mask: Tensor | None = None,  # (B, n)
    ) -> Tensor:  # (B, classes)
        """Return the logits; the mask is true, or one, for particles that are there.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        check_samples("CGENNLorentz", "momenta", momenta, (None, None, 4), self.embedding.weight)
        samples, n = momenta.shape[:2]
        if mask is not None and tuple(mask.shape) != (samples, n):
            raise InvalidInput(
                f"CGENNLorentz: `mask` has shape {tuple(mask.shape)}, expected {(samples, n)}."
            )
        there = momenta.new_ones(samples * n) if mask is None else mask.to(momenta.dtype).flatten()
        p = momenta.flatten(0, 1) / self.unit
        p = torch.where(there[:, None] > 0, p, torch.zeros_like(p))
        edges = complete_graph(samples, n, p.device)
        a, b = p[edges[0]], p[edges[1]]
        pair = torch.stack([_root(_dot(a - b, a - b)), _root(_dot(a, b))], 1)
        h = torch.stack(
            [
                nn.functional.pad(_root(_dot(p, p))[:, None], (0, 15)),
                nn.functional.pad(p, (1, 11)),
            ],
            1,
        )
        h = self.embedding(h)
        both = there[edges[0]] * there[edges[1]]
        pair = nn.functional.pad(pair[..., None], (0, 15))
        for layer in cast(Iterable[CliffordEGCL], self.layers):
            h = layer.propagate(h, edges, pair, edge_weight=both)
        scalars = (h[..., 0] * there[:, None]).unflatten(0, (samples, n)).sum(1)
        return self.mlp(scalars / there.view(samples, n).sum(1, keepdim=True).clamp(min=1))

    @property
    def symmetry(self) -> Symmetry:
        """The Lorentz group with all reflections; the rows that S_n permutes are samples."""
        inputs = {"momenta": "node:mv(1,3,0)[1]", "mask": "node:inv"}
        return Symmetry("Pin(1,3,0)*S_n", inputs=inputs, outputs="node:inv")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CGENNLorentz, dict[str, Any]]:
        """Return a small instance and three jets of up to five particles of mass three."""
        p = torch.randn(3, 5, 3, generator=generator)
        energy = (9 + p.square().sum(-1, keepdim=True)).sqrt()
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], dtype=torch.bool)
        return cls(hidden=4, layers=1, blocks=1), {"momenta": torch.cat([energy, p], -1), "mask": mask}

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights"


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the Minkowski product, energies first."""
    return a[..., 0] * b[..., 0] - (a[..., 1:] * b[..., 1:]).sum(-1)


def _root(x: Tensor) -> Tensor:
    """Return a smooth signed root; x is capped where its square would overflow."""
    x = x.clamp(-1e15, 1e15)
    return x * (1 + x.square()) ** -0.25
