"""Geometric attention written once more, tuple by tuple in loops, from the formulas; shares no code with the layer."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from geomlib.algebra.clifford import CliffordAlgebra

SPACE = CliffordAlgebra(3)


def invariants_of(p: Tensor, length: int, multivector: bool) -> Tensor:
    """Return what attention sees of one product (8,)."""
    if multivector:
        return torch.stack([p[0], p[1:4].norm(), p[4:7].norm(), p[7]])
    if length == 1:
        return p[1:4].norm()[None]
    return torch.stack([p[0], p[4:7].norm()] if length % 2 == 0 else [p[1:4].norm(), p[7]])


def covariant_of(p: Tensor, length: int, multivector: bool) -> Tensor:
    """Return the vector of one product, or all of a multivector."""
    if multivector:
        return p
    return torch.stack([p[6], -p[5], p[4]]) if length % 2 == 0 else p[1:4]


def wanted(rank: int, mode: str) -> list[tuple[int, int]]:
    """Return start and end of the products of a mode."""
    full = [(s, e) for s in range(rank) for e in range(rank, s, -1)]
    return {"single": full[:1], "partial": full[:rank], "full": full}[mode]


def attend(layer, r: Tensor, v: Tensor, near=None, mask=None, weights=None) -> tuple[Tensor, Tensor | None]:
    """Return values and covariants of one cloud (N, 3 or 8), (N, D), without labels and linear terms."""
    n, rank, mv = len(r), layer.rank, layer.multivector
    x = r if mv else SPACE.embed(r, 1)
    tuples = [
        t
        for t in itertools.product(range(n), repeat=rank)
        if (mask is None or all(mask[i] for i in t)) and (near is None or all(j in near[t[0]] for j in t[1:]))
    ]
    scores, values, vectors = [], [], []
    for t in tuples:
        invariants, covariants = {}, {}
        for mode in ("invariant_mode", "covariant_mode"):
            for start, end in wanted(rank, getattr(layer, mode)):
                p = x[t[start]]
                for i in t[start + 1 : end]:
                    p = SPACE.gp(p, x[i], method="dense")
                q = invariants_of(p, end - start, mv), covariant_of(p, end - start, mv)
                invariants[mode, start, end] = q[0], p
                covariants[mode, start, end] = q[1], p
        mine = [invariants[("invariant_mode", *w)] for w in wanted(rank, layer.invariant_mode)]
        theirs = [covariants[("covariant_mode", *w)] for w in wanted(rank, layer.covariant_mode)]
        own, vecs = [q for q, _ in mine], [q for q, _ in theirs]
        if layer.include_normalized_products:
            own += [q / p.norm().clamp(min=1e-7) for q, p in mine]
            vecs += [q / p.norm().clamp(min=1e-7) for q, p in theirs]
        if layer.merge_fun == "mean":
            merged = torch.stack([v[i] for i in t]).mean(0)
        else:
            merged = sum(v[i] @ k for i, k in zip(t, layer.merge_kernels, strict=True))
        new = layer.value_net(torch.cat(own))
        if layer.join_fun == "mean":
            joined = (new + merged) / 2
        else:
            joined = new @ layer.join_kernels[0] + merged @ layer.join_kernels[1]
        factor = 1.0 if weights is None else torch.stack([weights[i] for i in t]).prod() ** (1 / rank)
        scores.append(layer.score_net(joined)[0])
        values.append(factor * joined)
        if layer.output != "values":
            alpha = layer.vector_kernels if len(vecs) > 1 else torch.ones(1, dtype=r.dtype)
            if layer.convex_covariants:
                alpha = torch.cat([alpha, alpha.new_zeros(1)]).softmax(0)
            vectors.append(
                factor * layer.scale_net(joined) * sum(a * q for a, q in zip(alpha, vecs, strict=False))
            )
    found = []
    for rows in (values, vectors):
        groups = [list(range(len(tuples)))]
        if not layer.reduce:
            groups = [[k for k, t in enumerate(tuples) if t[0] == i] for i in range(n)]
        if not rows:
            found.append(None)
            continue
        zero = torch.zeros_like(rows[0])
        sums = []
        for group in groups:
            if not group:
                sums.append(zero)
                continue
            w = torch.stack([scores[k] for k in group]).softmax(0)
            sums.append(sum(a * rows[k] for a, k in zip(w, group, strict=True)))
        found.append(sums[0] if layer.reduce else torch.stack(sums))
    return found[0], found[1]
