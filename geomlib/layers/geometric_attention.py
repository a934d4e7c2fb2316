"""Attention over tuples of points whose invariants come from geometric products."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry, closest
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.layers._attention_inputs import checked_inputs, hidden_where
from geomlib.layers._sub_products import (
    MODES,
    SubProducts,
    covariant_count,
    covariants_reflect,
    invariant_dim,
    invariants_reflect,
    runs,
)
from geomlib.layers._tuples import Fold, Tuples, fold_of

__all__ = ["GeometricAttention"]

MAX_RANK = 4
OUTPUTS = ("values", "covariants", "both")
MERGES = ("mean", "concat")


class GeometricAttention(nn.Module):
    r"""Attention over all tuples of points, scored by invariants of their geometric products.

    .. math:: p_{ij\dots} = r_i r_j \cdots, \qquad
              v_{ij\dots} = J\big(V(q_{ij\dots}),\, M(v_i, v_j, \dots)\big), \qquad
              w_{ij\dots} = \operatorname{softmax} S(v_{ij\dots})

    .. math:: v'_i = \sum_{j\dots} w_{ij\dots}\, v_{ij\dots}, \qquad
              r'_i = \sum_{j\dots} w_{ij\dots}\, R(v_{ij\dots}) \sum_n \alpha_n\, p^{(n)}_{ij\dots}

    The invariants q are the signed numbers and lengths of the grades of a product; tuples may repeat a point. With
    ``reduce`` softmax and sum run over i too. With ``neighbours`` the members after the first are neighbours of the first:
    N k^(rank-1) tuples instead of N^rank, and the same numbers where all points are neighbours of all, themselves included.

    **Group** SO(3) and permutations of points; O(3) where no trivector, and no vector beside the dual of a bivector, has a
    say; :attr:`symmetry` knows. **Shapes** ``r`` (..., N, 3), or (..., N, 8) multivectors, and ``v`` (..., N, D) to values
    (..., N, D), or (..., D) with ``reduce``, and covariants with the last axis of ``r``; ``output="both"`` returns the
    covariants and then the values. With ``labeled``, ``child_values`` (..., L, D) adds an axis L in front of N.

    Args:
        dim: D.
        score_net: S, from D to 1; by default D -> 2D -> 1.
        value_net: V, from :attr:`invariant_dim` to D; by default through 2D with a layer norm.
        scale_net: R, from D to 1; for covariants only, and by default as ``score_net``.
        rank: members of a tuple, 1 to 4.
        multivector: ``r`` holds multivectors of Cl(3,0,0).
        output: ``"values"``, ``"covariants"``, or ``"both"`` with the same weights.
        labeled: join the values of labels to those of tuples; every label has its own weights.
        reduce: one output for all points.
        merge_fun: M, ``"mean"``, or ``"concat"`` for a learned matrix per member.
        join_fun: J, likewise, of labels, invariants and members.
        invariant_mode: products whose invariants are used: ``"single"``, the whole; ``"partial"``, all that begin with the
            first member; ``"full"``, all contiguous ones.
        covariant_mode: products that covariants are made of, likewise.
        include_normalized_products: append invariants and covariants of products divided by their length.
        linear_mode: products in linear terms, likewise.
        linear_terms: number of learned sums of products, with signs from a softmax, that are appended.
        convex_covariants: weigh covariants by a softmax, in which the zero vector takes part.

    Raises:
        InvalidInput: unknown options; wrong shapes or types at the call.

    Source: Spellings, *Geometric Algebra Attention Networks for Small Point Clouds*, arXiv 2110.02393.

    >>> layer = GeometricAttention(16, rank=2)
    >>> layer(torch.randn(5, 10, 3), torch.randn(5, 10, 16)).shape
    torch.Size([5, 16])
    """

    def __init__(
        self,
        dim: int,
        score_net: nn.Module | None = None,
        value_net: nn.Module | None = None,
        scale_net: nn.Module | None = None,
        *,
        rank: int = 2,
        multivector: bool = False,
        output: str = "values",
        labeled: bool = False,
        reduce: bool = True,
        merge_fun: str = "mean",
        join_fun: str = "mean",
        invariant_mode: str = "single",
        covariant_mode: str = "single",
        include_normalized_products: bool = False,
        linear_mode: str = "partial",
        linear_terms: int = 0,
        convex_covariants: bool = False,
    ) -> None:
        super().__init__()
        modes = {
            "invariant_mode": invariant_mode,
            "covariant_mode": covariant_mode,
            "linear_mode": linear_mode,
        }
        for name, value in modes.items():
            _one_of(name, value, MODES)
        _one_of("merge_fun", merge_fun, MERGES)
        _one_of("join_fun", join_fun, MERGES)
        _one_of("output", output, OUTPUTS)
        if not 1 <= rank <= MAX_RANK or dim < 1 or linear_terms < 0:
            raise InvalidInput(
                f"GeometricAttention: rank={rank}, dim={dim}, linear_terms={linear_terms}: expected a rank of 1 to "
                f"{MAX_RANK}, dim >= 1 and linear_terms >= 0; the cost grows as N^rank."
            )
        if scale_net is not None and output == "values":
            raise InvalidInput(
                "GeometricAttention: a scale_net is for covariants. Drop it or pass output='both'."
            )
        self.dim, self.rank, self.multivector, self.output, self.labeled = (
            dim, rank, multivector, output, labeled,
        )  # fmt: skip
        self.reduce, self.merge_fun, self.join_fun = reduce, merge_fun, join_fun
        self.invariant_mode, self.covariant_mode, self.linear_mode = (
            invariant_mode, covariant_mode, linear_mode,
        )  # fmt: skip
        self.include_normalized_products, self.linear_terms = include_normalized_products, linear_terms
        self.convex_covariants = convex_covariants
        self.algebra = SubProducts(rank, multivector, include_normalized_products)
        if merge_fun == "concat":
            self.merge_kernels = _kernels(dim, [rank] * rank)
        if join_fun == "concat":
            self.join_kernels = _kernels(dim, [2, 2, 3] if labeled else [2, 2])
        if linear_terms:
            count = len(runs(rank, linear_mode))
            self.linear_kernels = nn.Parameter(torch.randn(linear_terms, count, 4 if multivector else 2, 2))
        vectors = covariant_count(rank, covariant_mode, include_normalized_products, linear_terms)
        if output != "values" and vectors > 1:
            self.vector_kernels = nn.Parameter(0.05 * torch.randn(vectors))
        self.score_net = score_net if score_net is not None else _to_number(dim)
        self.value_net = value_net if value_net is not None else _to_values(self.invariant_dim, dim)
        if output != "values":
            self.scale_net = scale_net if scale_net is not None else _to_number(dim)

    @property
    def invariant_dim(self) -> int:
        """Number of invariants of a tuple, which is what ``value_net`` takes."""
        return invariant_dim(
            self.rank,
            self.invariant_mode,
            multivector=self.multivector,
            normalized=self.include_normalized_products,
            linear_terms=self.linear_terms,
        )

    @full_precision
    def forward(
        self,
        r: Tensor,  # (..., N, 3 or 8)
        v: Tensor,  # (..., N, D)
        child_values: Tensor | None = None,  # (..., L, D)
        *,
        mask: Tensor | None = None,  # (..., N)
        weights: Tensor | None = None,  # (..., N)
        neighbours: Tensor | None = None,  # (..., N, k) or (N, k)
        return_attention: bool = False,
    ) -> Any:
        """Return values, covariants or both, and then the weights of all tuples if they are wanted.

        Args:
            r: vectors or multivectors.
            v: values of the points.
            child_values: values of the labels, for a layer with ``labeled``.
            mask: points that count; those that do not may hold anything.
            weights: nonnegative weights of points; values of a tuple are multiplied by their geometric mean.
            neighbours: numbers of the neighbours of each point, -1 where it has fewer than k; see
                :func:`~geomlib.layers.neighbour_table`.
            return_attention: return the weights too: axes of the points of a tuple are last.

        Raises:
            InvalidInput: shapes, types or indices that do not fit.
        """
        like = next(self.parameters()).dtype
        checked_inputs(
            r, v, child_values, mask, weights, neighbours, dim=self.dim, blades=8 if self.multivector else 3,
            labeled=self.labeled, dtype=like,
        )  # fmt: skip
        if mask is not None:
            r, v = hidden_where(mask, r), hidden_where(mask, v)
            weights = None if weights is None else hidden_where(mask, weights)
        if self.labeled:
            r, v = r.unsqueeze(-3), v.unsqueeze(-3)
            mask, weights = (None if x is None else x.unsqueeze(-2) for x in (mask, weights))
            neighbours = None if neighbours is None else neighbours.unsqueeze(-3)
        tuples = Tuples(self.rank, neighbours)
        fold = self._fold(r, tuples)
        products = None if fold is not None and self.output == "values" else self._products(r, tuples)
        if fold is None:
            joined = self._joined(self.value_net(self._invariants(products)), v, child_values, tuples)
            scores = self.score_net(joined)
        else:
            values = self.value_net(self._invariants(self._products(r, fold)))
            if self.merge_fun == "mean":  # all that follows is the same for tuples of one kind
                joined = self._joined(values, v, child_values, fold)
                joined, scores = fold.spread(joined), fold.spread(self.score_net(joined))
            else:
                joined = self._joined(fold.spread(values), v, child_values, tuples)
                scores = self.score_net(joined)
        attention = tuples.softmax(scores[..., 0], tuples.kept(mask), self.reduce)
        gains = (
            attention if weights is None else attention * _geometric_mean(tuples.members(weights[..., None]))
        )
        found: list[Tensor] = []
        if self.output != "values":
            sizes = self.scale_net(joined)[..., 0]
            found.append(tuples.add(gains * sizes, self._covariants(products, sizes.shape), self.reduce))
        if self.output != "covariants":
            found.append(tuples.add(gains, joined, self.reduce))
        if return_attention:
            found.append(attention)
        return found[0] if len(found) == 1 else tuple(found)

    def _fold(self, r: Tensor, tuples: Tuples) -> Fold | None:
        """Return representatives of tuples with the same invariants, where there are fewer of them than tuples."""
        alike = self.invariant_mode == "single" and not self.linear_terms and not self.multivector
        if not alike or tuples.table is not None or self.rank not in (2, 3) or torch.compiler.is_compiling():
            return None
        return fold_of(r.shape[-2], self.rank, r.device)

    def _products(self, r: Tensor, tuples: Tuples | Fold) -> Any:
        modes = [self.invariant_mode, *([self.linear_mode] if self.linear_terms else [])]
        if self.output != "values" and isinstance(tuples, Tuples):
            modes.append(self.covariant_mode)
        wanted = list(dict.fromkeys(run for mode in modes for run in runs(self.rank, mode)))
        found = self.algebra.products(self.algebra.components(tuples.members(r)), wanted)
        terms = []
        if self.linear_terms:
            terms = self.algebra.linear_terms(
                self.linear_kernels, [found[run] for run in runs(self.rank, self.linear_mode)]
            )
        return found, terms

    def _invariants(self, products: Any) -> Tensor:
        found, terms = products
        whole = found[0, self.rank]  # every blade of it has the axes of all members
        shape = next(iter(whole.values())).shape
        return self.algebra.invariants(
            [found[run] for run in runs(self.rank, self.invariant_mode)], terms, shape
        )

    def _covariants(self, products: Any, shape: torch.Size) -> Tensor:  # (tuples, 3 or 8)
        found, terms = products
        parts = self.algebra.covariants([found[run] for run in runs(self.rank, self.covariant_mode)], terms)
        if len(parts) > 1:
            alpha = self.vector_kernels
            if self.convex_covariants:
                alpha = torch.cat([alpha, alpha.new_zeros(1)]).softmax(0)
            total = [alpha[0] * x for x in parts[0]]
            for n, part in enumerate(parts[1:], 1):
                total = [t + alpha[n] * x for t, x in zip(total, part, strict=True)]
            parts = [total]
        return torch.stack([x.expand(shape) for x in parts[0]], -1)

    def _joined(
        self, values: Tensor, v: Tensor, child: Tensor | None, tuples: Tuples | Fold
    ) -> Tensor:  # (tuples, D)
        """Return the values of tuples. Matrices act on points, of which there are fewer than tuples."""
        count = 3 if self.labeled else 2
        kernels = list(self.join_kernels) if self.join_fun == "concat" else [1.0 / count] * count
        own = kernels[-1]
        if self.merge_fun == "mean":
            members = tuples.members(_through(v, own) * (1.0 / self.rank))
        else:
            each = [_through(v, k if isinstance(own, float) else k @ own) for k in self.merge_kernels]
            if isinstance(own, float):
                each = [x * own for x in each]
            members = [tuples.members(x)[a] for a, x in enumerate(each)]
        total = members[0]
        for x in members[1:]:
            total = total + x
        if child is not None:
            axes = total.dim() - v.dim() + 1 if isinstance(tuples, Tuples) else 1
            child = _through(child, kernels[0])
            total = total + child.reshape(*child.shape[:-1], *[1] * axes, child.shape[-1])
        mixed = kernels[-2]
        if isinstance(mixed, float):
            return torch.add(total, values, alpha=mixed)
        return total + values @ mixed

    @property
    def symmetry(self) -> Symmetry:
        """SO(3), or O(3) where it holds, and permutations of points; of points without further axes."""
        kind = "mv(3,0,0)" if self.multivector else "vector"
        inputs = {"r": f"node:{kind}", "v": "node:inv", "weights": "node:inv"}
        if self.labeled:
            inputs["child_values"] = "graph:inv"
        scope = "graph" if self.reduce else "node"
        values, covariants = self._under_reflections()
        types = {"covariants": f"{scope}:{covariants or kind}", "values": f"{scope}:inv"}
        reflects = {"covariants": covariants is not None, "values": values}
        names = ["covariants", "values"] if self.output == "both" else [self.output]
        whole = all(reflects[name] for name in names)
        group = "O(3)" if whole else "SO(3)"
        if self.reduce or not self.labeled:  # the axis of labels is in front of that of points
            group += "*S_n"
        return Symmetry(
            group,
            inputs=inputs,
            outputs=types[names[0]] if len(names) == 1 else tuple(types[name] for name in names),
            breaks=() if whole else ("reflections",),
        )

    def _under_reflections(self) -> tuple[bool, str | None]:
        """Return whether values stay the same, and the type of the covariants if they have one."""
        if self.multivector:
            return False, None
        linear = self.linear_mode if self.linear_terms else None
        evenly = self.merge_fun == "mean"
        values = invariants_reflect(self.rank, self.invariant_mode, linear=linear, evenly=evenly)
        return values, covariants_reflect(
            self.rank,
            self.invariant_mode,
            self.covariant_mode,
            linear=linear,
            evenly=evenly,
            reduce=self.reduce,
        )

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[GeometricAttention, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls(6, rank=2, output="both", reduce=False, invariant_mode="full", covariant_mode="full")
        with torch.no_grad():
            for p in layer.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        r, v = torch.randn(5, 3, generator=generator), torch.randn(5, 6, generator=generator)
        return layer, {"r": r, "v": v, "weights": 0.1 + torch.rand(5, generator=generator)}

    def extra_repr(self) -> str:
        """Return the sizes and the modes."""
        kind = "multivectors" if self.multivector else "vectors"
        return (
            f"{self.dim}, rank {self.rank}, {kind}, {self.output}, reduce={self.reduce}, "
            f"invariants {self.invariant_mode}, {self.symmetry.group}"
        )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidInput(
            f"GeometricAttention: {name}={value!r}: expected one of {', '.join(known)}.{closest(value, known)}"
        )


def _kernels(dim: int, joined: list[int]) -> nn.ParameterList:
    """Return a matrix for each of the joined values; their squares add up to two."""
    return nn.ParameterList([math.sqrt(2.0 / (n * dim)) * torch.randn(dim, dim) for n in joined])


def _to_number(dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, 1))


def _to_values(invariants: int, dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(invariants, 2 * dim), nn.LayerNorm(2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim)
    )


def _through(x: Tensor, kernel: Tensor | float) -> Tensor:
    return x * kernel if isinstance(kernel, float) else x @ kernel


def _geometric_mean(members: list[Tensor]) -> Tensor:
    """Return the geometric mean; its gradient is zero where one is zero."""
    total = members[0][..., 0]
    for x in members[1:]:
        total = total * x[..., 0]
    positive = total > 0
    return total.masked_fill(~positive, 1.0).pow(1.0 / len(members)) * positive
