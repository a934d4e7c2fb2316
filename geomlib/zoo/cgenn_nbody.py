r"""CGENN for particles that move: positions, velocities and charges to later positions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.kernels.autocast import full_precision
from geomlib.layers.clifford_egcl import CliffordEGCL
from geomlib.layers.multivector_linear import MVLinear
from geomlib.zoo._samples import check_samples, complete_graph
from geomlib.zoo.registry import register_model

__all__ = ["CGENNNBody"]


@register_model("cgenn_nbody")
class CGENNNBody(nn.Module):
    r"""Predict where particles will be, by messages of multivectors of Cl(3,0) between all of them.

    Every particle carries a charge (a scalar), its position from the centre and its velocity (vectors). They are mixed to
    C channels, go through :class:`~geomlib.layers.CliffordEGCL` layers whose edges know :math:`q_i q_j`, and one vector is
    read from each:

    .. math:: h_i = W\,[q_i,\; x_i - \bar x,\; v_i], \qquad h \leftarrow \mathrm{EGCL}(h), \qquad
              \hat x_i = x_i + \langle P h_i \rangle_1

    **Group** E(3), and permutations of particles and of samples. **Shapes** ``pos`` and ``vel`` (B, n, 3), ``charge``
    (B, n), to (B, n, 3).

    Args:
        hidden: number of channels C.
        layers: number of message passing layers.
        blocks: of the networks inside them.
        released: divide by lengths as the released code does, whose checkpoints load; the default has bounded factors.

    Source: Ruhe, Brandstetter and Forré, *Clifford group equivariant neural networks*, arXiv 2305.11141.

    >>> model = CGENNNBody(hidden=8, layers=1)
    >>> model(torch.randn(2, 5, 3), torch.randn(2, 5, 3), torch.ones(2, 5)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(self, hidden: int = 28, layers: int = 3, blocks: int = 2, released: bool = False) -> None:
        super().__init__()
        self.algebra = CliffordAlgebra(3)
        self._options = {"hidden": hidden, "layers": layers, "blocks": blocks, "released": released}
        self.embedding = MVLinear(self.algebra, 3, hidden, subspaces=False)
        self.layers = nn.ModuleList(
            CliffordEGCL(
                self.algebra, hidden, hidden, hidden, 1, n_layers=blocks, receiver="source", safe=not released
            )
            for _ in range(layers)
        )  # fmt: skip
        self.projection = nn.Sequential(MVLinear(self.algebra, hidden, 1))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "cgenn_nbody", **self._options}

    @full_precision
    def forward(
        self,
        pos: Tensor,  # (B, n, 3)
        vel: Tensor,  # (B, n, 3)
        charge: Tensor,  # (B, n)
    ) -> Tensor:  # (B, n, 3)
        """Return the later positions.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        weight = self.embedding.weight
        check_samples("CGENNNBody", "pos", pos, (None, None, 3), weight)
        samples, particles = pos.shape[:2]
        check_samples("CGENNNBody", "vel", vel, (None, particles, 3), weight)
        check_samples("CGENNNBody", "charge", charge, (None, particles), weight)
        edges = complete_graph(samples, particles, pos.device)
        q = charge.flatten()
        centred = pos - pos.mean(1, keepdim=True)
        h = torch.stack(
            [
                nn.functional.pad(q[:, None], (0, 7)),
                *(nn.functional.pad(x.flatten(0, 1), (1, 4)) for x in (centred, vel)),
            ],
            1,
        )
        h = self.embedding(h)
        pair = nn.functional.pad((q[edges[0]] * q[edges[1]])[:, None, None], (0, 7))
        for layer in cast(Iterable[CliffordEGCL], self.layers):
            h = layer.propagate(h, edges, pair)
        return pos + self.projection(h)[:, 0, 1:4].view_as(pos)

    @property
    def symmetry(self) -> Symmetry:
        """E(3); the rows that S_n permutes are samples."""
        inputs = {"pos": "node:point", "vel": "node:vector", "charge": "node:inv"}
        return Symmetry("E(3)*S_n", inputs=inputs, outputs="node:point", conservative=False)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CGENNNBody, dict[str, Any]]:
        """Return a small instance and three samples of four particles."""
        inputs = {
            "pos": torch.randn(3, 4, 3, generator=generator),
            "vel": torch.randn(3, 4, 3, generator=generator),
            "charge": torch.randn(3, 4, generator=generator).sign(),
        }
        return cls(hidden=4, layers=1, blocks=1), inputs

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights"
