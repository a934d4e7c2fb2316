"""Numba loops of the dual gate; ``sig`` is the sigmoid of the biased value, computed by torch's vectorised one."""

from __future__ import annotations

from geomlib.kernels.jit import jit

__all__ = ["gate", "gate_backward"]


@jit
def gate(one, activate, h, bias, sig, envelope, out):
    """Out = (c a(v), c' a(v) + c a'(v) t) for v = h[0] + bias, t = h[1]."""
    for p in range(h.shape[1]):
        c, dc = envelope[0, p], envelope[1, p]
        if activate:
            for k in range(h.shape[2]):
                v, s = h[0, p, k] + bias[k], sig[p, k]
                a = v * s
                out[0, p, k] = c * a
                out[1, p, k] = dc * a + c * (s * (one + v * (one - s))) * h[1, p, k]
        else:
            for k in range(h.shape[2]):
                v = h[0, p, k] + bias[k]
                out[0, p, k] = c * v
                out[1, p, k] = dc * v + c * h[1, p, k]


@jit
def gate_backward(one, activate, h, bias, sig, envelope, g, dh, dbias):
    """Gradients of <g, gate> with respect to h and the bias (which arrives filled with zeros)."""
    for p in range(h.shape[1]):
        c, dc = envelope[0, p], envelope[1, p]
        if activate:
            for k in range(h.shape[2]):
                v, s, t = h[0, p, k] + bias[k], sig[p, k], h[1, p, k]
                slope = s * (one + v * (one - s))
                curve = s * (one - s) * (one + one + v * (one - s - s))
                x, y = c * g[0, p, k] + dc * g[1, p, k], c * g[1, p, k]
                d = x * slope + y * curve * t
                dh[0, p, k] = d
                dh[1, p, k] = y * slope
                dbias[k] += d
        else:
            for k in range(h.shape[2]):
                d = c * g[0, p, k] + dc * g[1, p, k]
                dh[0, p, k] = d
                dh[1, p, k] = c * g[1, p, k]
                dbias[k] += d
