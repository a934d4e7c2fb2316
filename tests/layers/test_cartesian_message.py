"""Cartesian messages: as many operations as couplings with spherical harmonics, the same span, shapes, edges, misuse."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.groups import haar_orthogonal
from geomlib.errors import InvalidInput
from geomlib.layers import BesselBasis, CartesianMessage
from geomlib.layers.cartesian_message import _polar
from geomlib.verify import check

D = torch.float64


def graph(seed=0, nodes=5, channels=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, 9, channels, dtype=D, generator=generator)
    pos = 1.5 * torch.randn(nodes, 3, dtype=D, generator=generator)
    edge_index = (1 - torch.eye(nodes)).nonzero().T
    return x, edge_index, pos[edge_index[1]] - pos[edge_index[0]]


def layer(channels=3, **options):
    torch.manual_seed(0)
    return CartesianMessage(channels, 4, 6.0, hidden=5, **options).double()


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_the_span_is_that_of_couplings_with_spherical_harmonics(group):
    """Independent oracle, e3nn: matrices from degree a to b are sums over l of 3j symbols times harmonics of degree l."""
    o3 = pytest.importorskip("e3nn.o3")
    generator = torch.Generator().manual_seed(1)
    u = torch.nn.functional.normalize(torch.randn(40, 3, dtype=D, generator=generator), dim=1)
    for power in range(5):
        module = layer(group=group, max_power=power)
        for a in range(3):
            for b in range(3):
                wanted = []
                for l in range(abs(a - b), min(a + b, power) + 1):
                    if group == "SO(3)" or (a + b + l) % 2 == 0:
                        harmonics = o3.spherical_harmonics(l, u, normalize=False, normalization="component")
                        wanted.append(
                            torch.einsum("bal,el->eba", o3.wigner_3j(b, a, l, dtype=D), harmonics).flatten()
                        )
                # an odd coupling needs epsilon and, in this degree, no more vectors than l + 1
                found = module.operations.get((a, b), [])
                assert len(found) == len(wanted) or group == "SO(3)"
                if not found:
                    assert not wanted
                    continue
                ours = module._matrices(a, u)[b].transpose(0, 1).flatten(1)
                rank = torch.linalg.matrix_rank(ours, rtol=1e-9)
                assert rank == len(found), "operations that depend on each other"
                together = torch.cat([ours, torch.stack(wanted)]) if wanted else ours
                assert torch.linalg.matrix_rank(together, rtol=1e-9) == len(wanted) == rank
    assert layer(group="O(3)").count == 14


def test_a_message_by_hand():
    """The sum over edges and operations, one at a time, with Cartesian tensors."""
    module, (x, edge_index, vec) = layer(), graph()
    from geomlib.algebra.cartesian import from_spherical, to_spherical

    want = torch.zeros_like(x)
    rows = (slice(0, 1), slice(1, 4), slice(4, 9))
    for e, (j, i) in enumerate(edge_index.T.tolist()):
        r = vec[e].norm()
        phi = module.radial(module.basis(r[None])) * module.basis.envelope(r[None])[0]
        phi = phi.view(module.count, 3)
        k = 0
        for (a, b), ops in module.operations.items():
            for n, op in enumerate(ops):
                for c in range(3):
                    h = from_spherical(x[j, rows[a], c])
                    value = to_spherical(op(h.reshape((3,) * a), vec[e] / r), b)
                    want[i, rows[b], c] += (
                        phi[k, c] * module.get_buffer(f"scale{a}{b}")[n, 0, 0] * value.reshape(-1)
                    )
                k += 1
    torch.testing.assert_close(module(x, edge_index, vec), want, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_symmetry(group):
    module = CartesianMessage(3, 4, 6.0, hidden=5, group=group)
    x, edge_index, vec = graph()
    example = {"x": x.float(), "edge_index": edge_index, "edge_vec": vec.float()}
    assert check(module, example=example, trials=6, stress=False).verdict == "EXACT"


def test_edges_that_come_apart_meet_or_are_missing():
    module, (x, edge_index, vec) = layer(), graph()
    assert torch.equal(module(x, edge_index[:, :0], vec[:0]), torch.zeros_like(x))
    assert module(x[:0], edge_index[:, :0], vec[:0]).shape == (0, 9, 3)
    far = module(x, edge_index, 1e3 * vec)
    assert float(far.detach().abs().max()) == 0.0
    # at the cutoff values and slopes vanish
    vec = torch.nn.functional.normalize(vec, dim=1) * 5.999999
    assert float(module(x, edge_index, vec).detach().abs().max()) < 1e-9
    # length zero: no direction, finite values and derivatives, and what is left is invariant under turns of h
    zero = torch.zeros_like(vec).requires_grad_()
    out = module(x, edge_index, zero)
    (grad,) = torch.autograd.grad(out.square().sum(), zero)
    assert bool(torch.isfinite(out).all()) and float(grad.abs().max()) == 0.0
    lengths, u = _polar(torch.tensor([[3e200, 4e200, 0.0], [3e-200, 0.0, -4e-200]], dtype=D))
    torch.testing.assert_close(lengths, torch.tensor([5e200, 5e-200], dtype=D))
    torch.testing.assert_close(u, torch.tensor([[0.6, 0.8, 0.0], [0.6, 0.0, -0.8]], dtype=D))


def test_derivatives_and_layouts():
    module, (x, edge_index, vec) = layer(1), graph(nodes=2, channels=1)
    leaves = (x.requires_grad_(), vec.requires_grad_())
    assert torch.autograd.gradcheck(lambda *t: module(t[0], edge_index, t[1]), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: module(t[0], edge_index, t[1]), leaves, fast_mode=True)
    strided = torch.stack([x, x], -1)[..., 0].transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(module(strided, edge_index, vec), module(x, edge_index, vec))
    single = module.float()(x.float(), edge_index, vec.float())
    torch.testing.assert_close(single.double(), module.double()(x, edge_index, vec), atol=1e-5, rtol=1e-5)
    module = layer(1, max_power=1)  # tracing takes a second per dozen operations
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, edge_index, vec), module(x, edge_index, vec))


def test_handedness_is_seen_in_so3_only():
    x, edge_index, vec = graph()
    mirror = torch.ones(9, 1, dtype=D)
    mirror[1:4] = -1.0  # 1o; degrees 0 and 2 are even
    for group, same in (("O(3)", True), ("SO(3)", False)):
        module = layer(group=group)
        error = (module(mirror * x, edge_index, -vec) - mirror * module(x, edge_index, vec)).abs().max()
        assert (float(error.detach()) < 1e-12) == same


def test_rotation_by_hand():
    from geomlib.algebra.irreps import Irreps

    module, (x, edge_index, vec) = layer(basis=BesselBasis(4, 6.0)), graph()
    q = haar_orthogonal(3, -1, torch.Generator().manual_seed(2))
    d = Irreps("0e+1o+2e").D(q)
    want = torch.einsum("ab,nbc->nac", d, module(x, edge_index, vec))
    torch.testing.assert_close(
        module(torch.einsum("ab,nbc->nac", d, x), edge_index, vec @ q.T), want, atol=1e-12, rtol=1e-11
    )


def test_wrong_input():
    with pytest.raises(InvalidInput, match="max_power=5"):
        CartesianMessage(4, max_power=5)
    with pytest.raises(InvalidInput, match=r"'O\(4\)'"):
        CartesianMessage(4, group="O(4)")
    module, (x, edge_index, vec) = layer(), graph()
    with pytest.raises(InvalidInput, match="`x` is"):
        module(x.float(), edge_index, vec)
    with pytest.raises(InvalidInput, match="`edge_vec` is"):
        module(x, edge_index, vec[:3])
    with pytest.raises(InvalidInput, match=r"nodes are 0\.\.4"):
        module(x, edge_index + 1, vec)
