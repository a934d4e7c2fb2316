r"""GAANet: attention over tuples of points, for classes, numbers and vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry, closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers.geometric_attention import GeometricAttention
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["GAANet"]

ORIGINS = ("given", "center", "points")
READ_OUTS = ("values", "vector")


@register_model("gaanet")
class GAANet(nn.Module):
    r"""Predict classes, numbers or vectors of small clouds of points by geometric attention.

    .. math:: v \leftarrow v + \mathrm{MLP}\big(\mathrm{Attention}(r, v)\big), \qquad
              \hat y = W\,\mathrm{MLP}\big(\mathrm{Attention}_{\mathrm{reduce}}(r, v)\big)

    or, for vectors, the covariants of the last attention.

    **Group** O(3), or SO(3) where the attention sees handedness, and permutations of points; with E(3) or SE(3) unless
    ``origin="given"``. **Shapes** ``pos`` (B, N, 3) and ``x`` (B, N, features) to (B, outputs), or (B, 3) with
    ``read_out="vector"``; with ``origin="points"`` every point is the origin of the others, and there are vectors (B, N, 3)
    or the mean over points of values. With ``labels``, ``label`` (B, L, labels) and vectors (B, L, 3).

    Args:
        features: of a point.
        outputs: classes or numbers.
        dim: of the values.
        layers: attention layers before the read-out.
        rank: members of a tuple.
        last_rank: of the read-out; ``rank`` if not given.
        read_out: ``"values"`` or ``"vector"``.
        labels: features of a label, to make one vector per label, as in backmapping; 0 for none.
        origin: ``"given"``, ``"center"`` of the points, or ``"points"``: the cost is N times as much.
        merge_fun: see :class:`~geomlib.layers.GeometricAttention`.
        join_fun: likewise.
        invariant_mode: likewise.
        covariant_mode: likewise.
        include_normalized_products: likewise.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call.

    Source: Spellings, *Geometric Algebra Attention Networks for Small Point Clouds*, arXiv 2110.02393.

    >>> GAANet(features=4, outputs=2, dim=8)(torch.randn(5, 26, 3), torch.randn(5, 26, 4)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        features: int = 4,
        outputs: int = 2,
        dim: int = 32,
        layers: int = 2,
        rank: int = 2,
        last_rank: int | None = None,
        read_out: str = "values",
        labels: int = 0,
        origin: str = "given",
        merge_fun: str = "mean",
        join_fun: str = "mean",
        invariant_mode: str = "single",
        covariant_mode: str = "full",
        include_normalized_products: bool = False,
    ) -> None:
        super().__init__()
        for name, value, known in (("origin", origin, ORIGINS), ("read_out", read_out, READ_OUTS)):
            if value not in known:
                raise InvalidInput(
                    f"GAANet: {name}={value!r}: expected one of {', '.join(known)}.{closest(value, known)}"
                )
        if layers < 0 or min(features, outputs, dim) < 1 or labels < 0:
            raise InvalidInput(
                f"GAANet: features={features}, outputs={outputs}, dim={dim}, layers={layers}, labels={labels}: expected "
                "positive sizes; layers and labels may be 0."
            )
        if labels and (read_out != "vector" or origin == "points"):
            raise InvalidInput(
                "GAANet: labels get vectors from one origin: pass read_out='vector' and another origin."
            )
        self._options: dict[str, Any] = {
            "features": features, "outputs": outputs, "dim": dim, "layers": layers, "rank": rank, "last_rank": last_rank,
            "read_out": read_out, "labels": labels, "origin": origin, "merge_fun": merge_fun, "join_fun": join_fun,
            "invariant_mode": invariant_mode, "covariant_mode": covariant_mode,
            "include_normalized_products": include_normalized_products,
        }  # fmt: skip
        self.features, self.labels, self.origin, self.read_out = features, labels, origin, read_out
        options: dict[str, Any] = {
            "merge_fun": merge_fun, "join_fun": join_fun, "invariant_mode": invariant_mode,
            "include_normalized_products": include_normalized_products,
        }  # fmt: skip
        self.up_project = nn.Linear(features, dim)
        if origin == "points":
            self.centre_project = nn.Linear(features, dim, bias=False)
        self.attention = nn.ModuleList(
            GeometricAttention(dim, rank=rank, reduce=False, **options) for _ in range(layers)
        )
        self.mlps = nn.ModuleList(_mlp(dim) for _ in range(layers))
        vector = read_out == "vector"
        self.last = GeometricAttention(
            dim, rank=last_rank or rank, reduce=True, output="covariants" if vector else "values", labeled=labels > 0,
            covariant_mode=covariant_mode if vector else "single", **options,
        )  # fmt: skip
        if labels:
            self.label_project = nn.Linear(labels, dim)
        if not vector:
            self.last_mlp, self.project = _mlp(dim), nn.Linear(dim, outputs)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "gaanet", **self._options}

    @full_precision
    def forward(
        self,
        pos: Tensor,  # (B, N, 3)
        x: Tensor,  # (B, N, features)
        label: Tensor | None = None,  # (B, L, labels)
        mask: Tensor | None = None,  # (B, N)
    ) -> Tensor:
        """Return predictions.

        Args:
            pos: positions of the points.
            x: their features.
            label: features of the labels, for a model with ``labels``.
            mask: True for points that count; others get the vector zero where every point gets one.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        like = self.up_project.weight
        check_samples("GAANet", "pos", pos, (None, None, 3), like)
        check_samples("GAANet", "x", x, (None, pos.shape[1], self.features), like)
        if (label is not None) != (self.labels > 0):
            raise InvalidInput(
                f"GAANet: `label` is {'missing' if label is None else 'given'}, labels={self.labels}."
            )
        child = None
        if label is not None:
            check_samples("GAANet", "label", label, (None, None, self.labels), like)
            child = self.label_project(label)
        v, points, inner = self.up_project(x), mask, mask
        r = pos
        if self.origin == "center":
            r = pos - _mean(pos, mask)
        if self.origin == "points":
            n = pos.shape[1]
            r = pos[:, None, :, :] - pos[:, :, None, :]
            v = v[:, None, :, :] + self.centre_project(x)[:, :, None, :]
            others = ~torch.eye(n, dtype=torch.bool, device=pos.device)
            inner = others.expand(len(pos), n, n) if mask is None else others & mask[:, None, :]
        for attend, mlp in zip(self.attention, self.mlps, strict=True):
            v = v + mlp(attend(r, v, mask=inner))
        out = self.last(r, v, child, mask=inner)
        if self.read_out == "values":
            out = self.project(self.last_mlp(out))
            return _mean(out, points)[:, 0] if self.origin == "points" else out
        if self.origin == "points" and points is not None:
            return out * points[..., None]
        return out

    @property
    def symmetry(self) -> Symmetry:
        """O(3) or SO(3), with translations unless the origin is given; the rows that S_n permutes are samples."""
        parts = [m.symmetry for m in (*self.attention, self.last) if isinstance(m, GeometricAttention)]
        reflects = all(part.group.startswith("O(3)") for part in parts)
        kind = "inv"
        if self.read_out == "vector":
            kind = parts[-1].output_texts()["out"].partition(":")[2] if reflects else "vector"
        names = ("O(3)", "SO(3)") if self.origin == "given" else ("E(3)", "SE(3)")
        inputs = {"pos": "node:vector" if self.origin == "given" else "node:point", "x": "node:inv"}
        if self.labels:
            inputs["label"] = "node:inv"
        return Symmetry(
            f"{names[not reflects]}*S_n",
            inputs=inputs,
            outputs=f"node:{kind}",
            breaks=() if reflects else ("reflections",),
            conservative=False,
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GAANet, dict[str, Any]]:
        """Return a small instance and three samples."""
        inputs = {
            "pos": torch.randn(3, 5, 3, generator=generator),
            "x": torch.randn(3, 5, 4, generator=generator),
        }
        return cls(dim=6, layers=1, origin="center"), inputs

    def extra_repr(self) -> str:
        """Return the number of weights and the group."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights, {self.symmetry.group}"


def _mlp(dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 2 * dim), nn.LayerNorm(2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim))


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:  # (B, N, F) -> (B, 1, F)
    """Return the mean over points that count."""
    if mask is None:
        return x.mean(1, keepdim=True)
    inside = mask[..., None]
    return torch.where(inside, x, x.new_zeros(())).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(
        min=1
    )
