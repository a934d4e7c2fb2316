"""Comparison of a layer with the stored outputs and gradients of the authors' code."""

from __future__ import annotations

import torch


def close(a, b, tol):
    torch.testing.assert_close(a, b, rtol=0, atol=tol * max(1.0, float(b.detach().abs().max())))


def compare(layer, d, name):
    """Load the parameters of ``name`` by their names, then compare output and gradients."""
    start = f"{name}.param."
    layer.double().load_state_dict({k.removeprefix(start): v for k, v in d.items() if k.startswith(start)})
    x = d[f"{name}.x"].clone().requires_grad_()
    out = layer(x)
    close(out, d[f"{name}.out"], 1e-12)
    named = list(layer.named_parameters())
    gx, *grads = torch.autograd.grad(
        out, (x, *(p for _, p in named)), d[f"{name}.gout"], materialize_grads=True
    )
    close(gx, d[f"{name}.grad_x"], 1e-10)
    for (key, _), g in zip(named, grads, strict=True):
        close(g, d[f"{name}.grad.{key}"], 1e-10)
