"""TensorNet written down from the paper, in the plainest torch: an oracle that shares no code with geomlib.

Takes torchmd-net's state dict. ``wrong`` names one classical mistake, to see whether the fixtures would
notice.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import layer_norm, silu

MISTAKES = (
    "swapped direction", "no self loop", "no silu after gates", "no silu after weights", "elementwise square",
    "I squared", "unnormalised residual", "gate before mixing order", "square root norm", "unmixed messages",
    "charge outside", "A not odd",
)  # fmt: skip


def parts(x):  # (N, F, 3, 3)
    scalar = x.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * torch.eye(3, dtype=x.dtype)
    return scalar, 0.5 * (x - x.mT), 0.5 * (x + x.mT) - scalar


def norm2(x):
    return (x * x).sum((-1, -2))


def energy(state, config, z, pos, batch, charge=None, wrong=None):
    """Energy per structure, no periodicity."""
    w = {k.removeprefix("representation_model."): v.double() for k, v in state.items()}
    channels, cutoff = config["embedding_dimension"], config["cutoff_upper"]
    n, size = len(z), int(batch.max()) + 1

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def mix(name, tensors, first):  # channel mixers of the three parts
        mixed = [
            torch.einsum("gf,nfab->ngab", w[f"{name}.{first + k}.weight"], t) for k, t in enumerate(tensors)
        ]
        return mixed

    # All ordered pairs (receiver i, sender j) of a structure within the cutoff, and the self loops.
    i, j = (batch[:, None] == batch[None, :]).nonzero().T
    away = i != j
    r = torch.zeros(len(i), dtype=pos.dtype)
    vec = pos[i] - pos[j]
    r = torch.where(away, (vec.square().sum(1) + (~away)).sqrt(), r)
    keep = (r < cutoff) & (away if wrong == "no self loop" else torch.ones_like(away))
    i, j, r, vec, away = i[keep], j[keep], r[keep], vec[keep], away[keep]
    u = torch.where(away[:, None], vec / torch.where(away, r, torch.ones_like(r))[:, None], 0.0)
    u = -u if wrong == "swapped direction" else u

    c = 0.5 * (torch.cos(math.pi * r / cutoff) + 1.0)
    means, betas = w["distance_expansion.means"], w["distance_expansion.betas"]
    e = c[:, None] * torch.exp(-betas * (torch.exp(-5.0 / cutoff * r)[:, None] - means) ** 2)

    emb = "tensor_embedding."
    species = w[emb + "emb.weight"][z]
    pair = linear(emb + "emb2", torch.cat([species[i], species[j]], 1))
    one = torch.eye(3, dtype=pos.dtype).expand(len(i), 3, 3)
    x, y, zz = u.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -zz, y, zz, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    cross = cross.abs() if wrong == "A not odd" else cross
    outer = u[:, :, None] * u[:, None, :] - u.square().sum(1)[:, None, None] / 3.0 * one
    total = [torch.zeros(n, channels, 3, 3, dtype=pos.dtype) for _ in range(3)]
    for k, tensor in enumerate((one, cross, outer)):
        weight = c[:, None] * linear(f"{emb}distance_proj{k + 1}", e) * pair
        total[k] = total[k].index_add(0, i, weight[:, :, None, None] * tensor[:, None])
    n2 = norm2(sum(total))
    n2 = n2.sqrt() if wrong == "square root norm" else n2
    gate = layer_norm(n2, (channels,), w[emb + "init_norm.weight"], w[emb + "init_norm.bias"])
    gate = linear(emb + "linears_scalar.1", silu(linear(emb + "linears_scalar.0", gate)))
    gate = gate if wrong == "no silu after gates" else silu(gate)
    if wrong == "gate before mixing order":
        gate = gate.reshape(n, channels, 3).mT
    else:
        gate = gate.reshape(n, 3, channels)
    mixed = mix(emb + "linears_tensor", total, 0)
    x = sum(gate[:, k, :, None, None] * mixed[k] for k in range(3))

    q = torch.zeros(size, dtype=pos.dtype) if charge is None else charge
    factor = (1.0 + 0.1 * q)[batch][:, None, None, None]
    for layer in range(config["num_layers"]):
        name = f"layers.{layer}."
        f = e
        for k in range(3):
            f = linear(f"{name}linears_scalar.{k}", f)
            f = f if wrong == "no silu after weights" and k == 2 else silu(f)
        f = (c[:, None] * f).reshape(-1, 3, channels)
        before, x = x, x / (norm2(x) + 1.0)[..., None, None]
        raw = parts(x)
        mixed = mix(name + "linears_tensor", raw, 0)
        y = sum(mixed)
        sent = raw if wrong == "unmixed messages" else mixed
        m = torch.zeros_like(x)
        for k in range(3):
            m = m.index_add(0, i, f[:, k, :, None, None] * sent[k][j])
        so3 = config["equivariance_invariance_group"] == "SO(3)"
        product = 2.0 * y @ m if so3 else factor * (y @ m + m @ y)
        scale = (norm2(product) + 1.0)[..., None, None]
        d = sum(mix(name + "linears_tensor", [p / scale for p in parts(product)], 3))
        square = d * d if wrong == "elementwise square" else d @ d
        x = (before if wrong == "unnormalised residual" else x) + d
        x = x + (square if wrong == "charge outside" else factor * square)

    trace = 1.0 / 3.0 if wrong == "I squared" else 1.0
    norms = torch.cat([norm2(p) * s for p, s in zip(parts(x), (trace, 1.0, 1.0), strict=True)], 1)
    norms = layer_norm(norms, (3 * channels,), w["out_norm.weight"], w["out_norm.bias"])
    head = "output_model.output_network.layers."
    atomic = linear(head + "2", silu(linear(head + "0", silu(linear("linear", norms)))))[:, 0]
    out = torch.zeros(size, dtype=pos.dtype).index_add(0, batch, atomic)
    return w["std"] * out + w["mean"]
