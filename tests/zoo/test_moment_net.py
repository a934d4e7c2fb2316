"""MomentNet: order of vectors, symmetry, the formula by hand, the spectral method as a special case, misuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geomlib import InvalidInput, create_model
from geomlib.datasets.sparse_vector import make_sparse_vector, recovery_score, spectral_matrix
from geomlib.verify import check
from geomlib.zoo.moment_net import MomentNet


def model(**options):
    torch.manual_seed(0)
    return MomentNet(4, **{"channels": 3, "hidden": 6, "blocks": 2, **options}).double()


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("blocks", [1, 3])
def test_symmetry_order_and_rows(blocks):
    net = model(blocks=blocks, gain=2.0)
    x = torch.randn(3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert check(net, example={"vectors": x}, trials=5, stress=False).verdict == "EXACT"
    out = net(x)
    close(net(x[:, torch.randperm(7)]), out)
    close(net(x.repeat(1, 2, 1)), out)  # a mean over vectors
    close(torch.cat([net(v[None]) for v in x]), out)
    close(out, out.mT)
    again = create_model(**net.config).double()
    again.load_state_dict(net.state_dict())
    close(again(x), out)
    assert net(x[:0]).shape == (0, 4, 4) and bool(net(0 * x).isfinite().all())
    assert torch.autograd.gradcheck(model(hidden=2, channels=1), x[:1, :2].requires_grad_())


def test_by_hand():
    net = model()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    for sample, found in zip(x, net(x), strict=True):
        moments = [torch.zeros(4, 4, dtype=torch.float64) for _ in range(3)]
        for a in sample:
            w = net.weights[0](torch.asinh(a @ a)[None])
            moments = [m + w[c] * torch.outer(a, a) / 5 for c, m in enumerate(moments)]
        want = torch.zeros(4, 4, dtype=torch.float64)
        for a in sample:
            z = torch.stack([a @ a, *(a @ m @ a for m in moments)])
            w, shift = net.weights[1](torch.asinh(z))
            want = want + (w * torch.outer(a, a) + shift * torch.eye(4, dtype=a.dtype)) / 5
        close(found, want)


class Excess(nn.Module):
    """The weight of the spectral method."""

    def forward(self, z):
        return torch.cat([torch.sinh(z) - 4 / 50, 0 * z], -1)


def test_the_spectral_method_is_one_block():
    net = model(blocks=1)
    net.weights[0] = Excess()
    d = make_sparse_vector(5, 0, rows=50, dim=4)
    net.register_parameter("like", nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    close(50 * net(d["vectors"]), spectral_matrix(d["vectors"]))


def test_it_learns_to_find_sparse_vectors():
    """Where the noise has another size for each row the spectral method fails; 60 steps do better."""
    torch.manual_seed(0)
    net = MomentNet(gain=4.47, channels=4, hidden=16, blocks=2)
    made, test = (
        {k: v.float() for k, v in make_sparse_vector(200, s, noise="diagonal").items()} for s in (0, 2)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        (net(made["vectors"]) - made["y"]).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        found = float(recovery_score(net(test["vectors"]), test["u"]).mean())
    spectral = float(recovery_score(spectral_matrix(test["vectors"]), test["u"]).mean())
    assert spectral < 0.1 < 0.4 < found


def test_misuse():
    net = model()
    for bad, text in [
        (lambda: net(torch.zeros(2, 5, 3).double()), "`vectors` has shape"),
        (lambda: net(torch.zeros(2, 0, 4).double()), "without any vector"),
        (lambda: net(torch.zeros(2, 5, 4)), "Cast one"),
        (lambda: MomentNet(0), "dim=0"),
        (lambda: MomentNet(blocks=0), "blocks=0"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            bad()
