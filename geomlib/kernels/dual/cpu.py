"""Numba loops of the dual gate; ``sig`` is the sigmoid of the biased value, computed by torch's vectorised one.

For the identity instead of SiLU, ``sig`` is one row of ones: v times 1, whose derivative by the same formula is 1.
"""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = ["gate", "gate_backward"]


@jit
def gate(one, h, bias, sig, envelope, out):
    """Out = (c a(v), c' a(v) + c a'(v) t) for v = h[0] + bias, t = h[1]."""
    for p in range(h.shape[1]):
        c, dc = envelope[0, p], envelope[1, p]
        q = p if sig.shape[0] > 1 else 0
        for k in range(h.shape[2]):
            v, s = h[0, p, k] + bias[k], sig[q, k]
            a = v * s
            out[0, p, k] = c * a
            out[1, p, k] = dc * a + c * (s * (one + v * (one - s))) * h[1, p, k]


@jit
def gate_backward(one, h, bias, sig, envelope, g, dh, dbias):
    """Gradients of <g, gate> with respect to h and the bias (which arrives filled with zeros)."""
    for p in range(h.shape[1]):
        c, dc = envelope[0, p], envelope[1, p]
        q = p if sig.shape[0] > 1 else 0
        for k in range(h.shape[2]):
            v, s, t = h[0, p, k] + bias[k], sig[q, k], h[1, p, k]
            slope = s * (one + v * (one - s))
            curve = s * (one - s) * (one + one + v * (one - s - s))
            x, y = c * g[0, p, k] + dc * g[1, p, k], c * g[1, p, k]
            d = x * slope + y * curve * t
            dh[0, p, k] = d
            dh[1, p, k] = y * slope
            dbias[k] += d
