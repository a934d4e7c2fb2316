r"""CSMPN: messages between points, edges and triangles, as multivectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers.multivector_linear import MVLinear
from geomlib.layers.simplicial_embedding import SimplicialEmbedding
from geomlib.layers.simplicial_message_passing import SimplicialMessagePassing
from geomlib.zoo.lifted import LIFTS, LiftedSamples, SampledClouds, lift_of, lifted_inputs
from geomlib.zoo.registry import register_model

__all__ = ["CSMPN"]

OUTPUTS = ("scalar", "positions")


def _without_readout(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Drop what the authors' checkpoints hold and their forward pass never reads."""
    for name in ("readout.weight", "readout.bias"):
        state.pop(prefix + name, None)


@register_model("csmpn")
class CSMPN(nn.Module):
    r"""Numbers or later positions of clouds of points, from messages between simplices.

    A lift makes edges and triangles of the points (:mod:`geomlib.algebra.simplicial`). Every simplex is embedded from its
    vertices, positions relative to their mean and, if asked, velocities, and all simplices send messages in one graph:

    .. math:: h \leftarrow \mathrm{Embedding}(x - \bar x, v), \qquad h \leftarrow \mathrm{Messages}(h), \qquad
              y = \frac1{|K|} \sum_{\sigma \in K} \langle W h_\sigma \rangle_0 \ \text{ or }\ x_i + \langle W h_i \rangle_1

    Called with points alone it lifts them; :meth:`prepare` lifts a whole set once. With ``safe=False`` and
    ``legacy_duplicates=True`` it is the authors' network for hulls, whose weights load.

    **Group** E(d), permutations of points (with their bones).
    **Shapes** ``pos`` and ``vel`` (B, n, d), ``bones`` (B, K, 2), ``edges`` (2, E), ``triangles`` (3, T), ``edge_index``
    (2, M), to (B,) or (B, n, d).

    Args:
        dim: of space, d.
        channels: of every simplex.
        layers: of message passing.
        output: ``"scalar"``, or ``"positions"`` that are predicted as shifts of the given ones.
        velocities: take ``vel``.
        lift: ``"hull"``, ``"rips"`` or ``"bones"``, see :data:`~geomlib.zoo.lifted.LIFTS`.
        distance: longest edge of ``"rips"``.
        aggregation: ``"mean"`` or ``"sum"``.
        learned_kinds: three learned numbers for every dimension of a simplex; otherwise one-hot.
        safe: of the layer norms; see :class:`~geomlib.layers.MVLayerNorm`.
        legacy_duplicates: repeat messages as the authors' code does.

    Raises:
        InvalidInput: options that do not exist; shapes that do not fit, or missing inputs, at the call.

    Source: Liu, Ruhe, Eijkelboom and Forré, *Clifford group equivariant simplicial message passing networks*,
    arXiv 2402.10011.

    >>> model = CSMPN(dim=3, channels=4, layers=1)
    >>> model(torch.randn(2, 6, 3)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        dim: int = 5,
        channels: int = 28,
        layers: int = 3,
        output: str = "scalar",
        velocities: bool = False,
        lift: str = "hull",
        distance: float | None = None,
        aggregation: str = "mean",
        learned_kinds: bool = False,
        safe: bool = True,
        legacy_duplicates: bool = False,
    ) -> None:
        super().__init__()
        if output not in OUTPUTS or lift not in LIFTS:
            raise InvalidInput(
                f"CSMPN: output={output!r}, lift={lift!r}, expected one of {', '.join(OUTPUTS)} and of {', '.join(LIFTS)}."
            )
        if layers < 0:
            raise InvalidInput(f"CSMPN: layers={layers}, expected 0 or more.")
        if lift == "rips" and not (distance is not None and distance >= 0):
            raise InvalidInput(f"CSMPN: lift='rips' needs distance >= 0, got {distance}.")
        self._options = {
            "dim": dim, "channels": channels, "layers": layers, "output": output, "velocities": velocities, "lift": lift,
            "distance": distance, "aggregation": aggregation, "learned_kinds": learned_kinds, "safe": safe,
            "legacy_duplicates": legacy_duplicates,
        }  # fmt: skip
        self.dim, self.output, self.velocities, self.lift, self.distance = (
            dim,
            output,
            velocities,
            lift,
            distance,
        )
        self.legacy_duplicates = legacy_duplicates
        self.algebra = algebra = CliffordAlgebra(dim)
        self.cl_feature_embedding = SimplicialEmbedding(algebra, 2 if velocities else 1, channels, safe=safe)
        self.layers = nn.ModuleList(
            SimplicialMessagePassing(algebra, channels, aggregation=aggregation, safe=safe)
            for _ in range(layers)
        )
        self.projection = nn.Sequential(MVLinear(algebra, channels, 1))
        self.kinds = nn.Parameter(torch.randn(3, 3)) if learned_kinds else None
        self.register_load_state_dict_pre_hook(_without_readout)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "csmpn", **self._options}

    def prepare(self, samples: SampledClouds) -> LiftedSamples:
        """Return the samples with their complexes, lifted once."""
        tensors = samples.batch(torch.arange(len(samples)))
        complex = lift_of(self.lift, tensors["pos"], tensors.get("bones"), self.distance)
        return LiftedSamples(samples, complex, legacy_duplicates=self.legacy_duplicates)

    @full_precision
    def forward(
        self,
        pos: Tensor,  # (B, n, d)
        vel: Tensor | None = None,  # (B, n, d)
        bones: Tensor | None = None,  # (B, K, 2)
        edges: Tensor | None = None,  # (2, E)
        triangles: Tensor | None = None,  # (3, T)
        edge_index: Tensor | None = None,  # (2, M)
    ) -> Tensor:  # (B,) or (B, n, d)
        """Return the prediction; points are lifted unless ``edges``, ``triangles`` and ``edge_index`` are given.

        Raises:
            InvalidInput: shapes that do not fit, or missing inputs.
        """
        self._check(pos, vel)
        if edges is None or triangles is None or edge_index is None:
            if not (edges is None and triangles is None and edge_index is None):
                raise InvalidInput(
                    "CSMPN: pass all of `edges`, `triangles` and `edge_index`, or none to have them made."
                )
            found = lifted_inputs(lift_of(self.lift, pos, bones, self.distance), self.legacy_duplicates)
            edges, triangles, edge_index = found["edges"], found["triangles"], found["edge_index"]
        clouds, points = pos.shape[:2]
        vectors = [pos - pos.mean(1, keepdim=True)] + ([vel] if vel is not None else [])
        x = torch.stack(vectors, 2).flatten(0, 1)  # (B n, 1 or 2, d)
        x = nn.functional.pad(x, (1, self.algebra.size - 1 - self.dim))  # grade 1
        parts = self.cl_feature_embedding(x, edges, triangles)
        h, kinds = torch.cat(parts), self._kinds(parts)
        for layer in cast(Iterable[SimplicialMessagePassing], self.layers):
            h = layer(h, edge_index, kinds)
        if self.output == "positions":
            shift = self.projection(h[: clouds * points])[:, 0, 1 : self.dim + 1]
            return pos + shift.view_as(pos)
        scalar = self.projection(h)[:, 0, 0]
        vertex = torch.arange(clouds * points, device=pos.device)
        cloud = torch.cat([vertex, edges[0].long(), triangles[0].long()]) // points
        total = scalar.new_zeros(clouds).index_add(0, cloud, scalar)
        return total / scalar.new_zeros(clouds).index_add(0, cloud, torch.ones_like(scalar))

    def _kinds(self, parts: tuple[Tensor, ...]) -> Tensor:
        """Return the numbers that say the dimension of every simplex."""
        first = parts[0]
        rows = self.kinds if self.kinds is not None else torch.eye(3, dtype=first.dtype, device=first.device)
        return torch.cat([row.expand(len(part), 3) for row, part in zip(rows, parts, strict=True)])

    def _check(self, pos: Tensor, vel: Tensor | None) -> None:
        if pos.dim() != 3 or pos.shape[-1] != self.dim:
            raise InvalidInput(
                f"CSMPN: `pos` has shape {tuple(pos.shape)}, expected (samples, points, {self.dim})."
            )
        if (vel is not None) != self.velocities:
            state = "missing" if vel is None else "given, but the model was built without"
            raise InvalidInput(f"CSMPN: `vel` is {state}; velocities={self.velocities}.")
        if vel is not None and vel.shape != pos.shape:
            raise InvalidInput(f"CSMPN: `vel` has shape {tuple(vel.shape)}, expected {tuple(pos.shape)}.")

    @property
    def symmetry(self) -> Symmetry:
        """E(d), permutations of points; the first axis counts samples, not nodes."""
        inputs = {"pos": "graph:point"} | ({"vel": "graph:vector"} if self.velocities else {})
        outputs = "graph:point" if self.output == "positions" else "graph:scalar"
        return Symmetry(f"E({self.dim})*S_n", inputs=inputs, outputs=outputs)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[CSMPN, dict[str, Any]]:
        """Return a small instance and two clouds."""
        return cls(dim=3, channels=3, layers=1), {"pos": torch.randn(2, 5, 3, generator=generator)}

    def extra_repr(self) -> str:
        """Return the number of weights and the main sizes."""
        count = sum(p.numel() for p in self.parameters())
        return f"{count:,} weights, E({self.dim}), {self.lift} -> {self.output}"
