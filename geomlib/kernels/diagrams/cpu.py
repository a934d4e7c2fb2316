"""Numba loops of contracting and embedding: every type of a stage in one call, channels last and contiguous.

An entry of a type is a sum over its closed blocks: the place of an entry is the place of its marked blocks plus that of its
closed ones, so two short tables hold a type. ``at`` (types, positions) and ``step`` (all closed places, those of type t from
``first[t]`` to ``first[t + 1]``) are measured in rows of channels; ``factor`` holds the entries of the forms.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = ["contract_stage", "embed_stage"]


@jit
def contract_stage(x, at, first, step, factor, out):  # x (B, P, C), out (B, positions, types, C)
    """Write the entries of all types."""
    for b in range(x.shape[0]):
        for p in range(at.shape[1]):
            for t in range(at.shape[0]):
                here, start, stop = at[t, p], first[t], first[t + 1]
                if x.shape[2] == 1:
                    total = factor[start] * x[b, here + step[start], 0]
                    for e in range(start + 1, stop):
                        total += factor[e] * x[b, here + step[e], 0]
                    out[b, p, t, 0] = total
                    continue
                for c in range(x.shape[2]):
                    out[b, p, t, c] = factor[start] * x[b, here + step[start], c]
                for e in range(start + 1, stop):
                    f, row = factor[e], here + step[e]
                    for c in range(x.shape[2]):
                        out[b, p, t, c] += f * x[b, row, c]


@jit
def embed_stage(u, at, first, step, factor, y):  # u (B, positions, types, C), y (B, P, C)
    """Add the entries of all types where they belong."""
    for b in range(y.shape[0]):
        for p in range(at.shape[1]):
            for t in range(at.shape[0]):
                here = at[t, p]
                for e in range(first[t], first[t + 1]):
                    f, row = factor[e], here + step[e]
                    for c in range(y.shape[2]):
                        y[b, row, c] += f * u[b, p, t, c]
