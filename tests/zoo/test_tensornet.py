"""TensorNet: derivatives, cutoff, batches, charges, cells, bad input (parity: see the torchmd-net tests)."""

import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.kernels import use_backend
from geomlib.layers import radius_graph

D = torch.float64


def model(**options):
    torch.manual_seed(1)
    settings = {"channels": 8, "layers": 1, "num_radial": 8, "cutoff": 4.0, "max_z": 20, **options}
    return create_model("tensornet", **settings).double()


def cluster(n=6):
    grid = torch.cartesian_prod(*[torch.arange(3.0, dtype=D)] * 3)[torch.randperm(27)[:n]]
    return torch.randint(1, 10, (n,)), 1.1 * grid + 0.3 * torch.rand(n, 3, dtype=D)


@pytest.mark.parametrize(
    ("channels", "layers", "radial", "max_z", "count"),
    [
        (128, 0, 32, 128, 301_441),
        (128, 1, 32, 128, 535_681),
        (128, 2, 32, 128, 769_921),
        (64, 1, 32, 100, 141_121),
    ],
)
def test_number_of_weights(channels, layers, radial, max_z, count):
    net = create_model("tensornet", channels=channels, layers=layers, num_radial=radial, max_z=max_z)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_forces_are_minus_the_gradient(backend, group):
    if backend == "cpu":
        pytest.importorskip("numba")
    net, (z, pos) = model(group=group), cluster()
    with use_backend(backend), torch.no_grad():
        forces = net(z, pos)["forces"]
        for atom, axis in ((0, 0), (3, 2), (5, 1)):
            step = torch.zeros_like(pos)
            step[atom, axis] = 1e-4
            up, down = (net(z, pos + s, forces=False)["energy"] for s in (step, -step))
            assert float(-(up - down) / 2e-4 - forces[atom, axis]) == pytest.approx(0, abs=1e-8)


def test_stress_is_the_strain_derivative_and_forces_sum_to_zero():
    net, (z, pos) = model(), cluster()
    cell = 4.3 * torch.eye(3, dtype=D) + 0.4 * torch.rand(3, 3, dtype=D)
    out = net(z, pos, cell=cell, stress=True)
    volume = torch.linalg.det(cell).abs()
    for a, b in ((0, 0), (0, 1), (1, 2), (2, 2)):
        strain = torch.zeros(3, 3, dtype=D)
        strain[a, b] += 0.5e-4
        strain[b, a] += 0.5e-4
        energies = [
            net(z, pos @ (torch.eye(3, dtype=D) + s), cell=cell @ (torch.eye(3, dtype=D) + s))["energy"]
            for s in (strain, -strain)
        ]
        slope = (energies[0] - energies[1]) / 2e-4 / volume
        assert float((slope - out["stress"][0, a, b]).detach()) == pytest.approx(0, abs=1e-8)
    assert out["forces"].sum(0).abs().max() < 1e-12


def test_force_loss_gradient_agrees_between_backends_and_with_the_general_path():
    pytest.importorskip("numba")
    net, (z, pos) = model(layers=2).train(), cluster()
    gradients = []
    for backend, leaf in (("cpu", False), ("torch", False), ("torch", True)):
        with use_backend(backend):
            out = net(z, pos.clone().requires_grad_(leaf))
            loss = out["energy"].square().sum() + out["forces"].square().sum()
            gradients.append(torch.autograd.grad(loss, list(net.parameters())))
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_force_loss_gradient_against_differences():
    net, (z, pos) = model().train(), cluster(3)

    def loss():
        out = net(z, pos)
        return out["forces"].square().sum() + out["energy"].square().sum()

    parameters = list(net.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    directions = [torch.randn_like(p) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    values = []
    for h in (1e-5, -1e-5):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p += h * d
        values.append(loss().item())
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p -= h * d
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(slope), rel=1e-6)


def test_hessian_is_symmetric_and_matches_differences_of_forces():
    net, (z, pos) = model(), cluster(4)

    def energy(x):
        return net(z, x.view(-1, 3), forces=False)["energy"].sum()

    hessian = torch.autograd.functional.hessian(energy, pos.flatten())
    torch.testing.assert_close(hessian, hessian.T, atol=1e-12, rtol=0)
    step = torch.zeros_like(pos).flatten()
    step[4] = 1e-4
    with torch.no_grad():
        up, down = (net(z, pos + s.view(-1, 3))["forces"].flatten() for s in (step, -step))
    torch.testing.assert_close(-(up - down) / 2e-4, hessian[4], atol=1e-6, rtol=0)


def test_forces_vanish_smoothly_at_the_cutoff():
    net, z = model(), torch.tensor([6, 8])

    def at(r):
        with torch.no_grad():
            out = net(z, torch.tensor([[0, 0, 0], [0, 0, r]], dtype=D))
        return float(out["energy"]), float(out["forces"][1, 2])

    scan = [at(0.5 + 0.02 * k) for k in range(200)]
    largest = max(abs(f) for _, f in scan)
    assert abs(at(4.0 - 1e-4)[1]) <= 1e-6 * largest
    assert abs(at(4.0 - 1e-9)[0] - at(4.0 + 1e-9)[0]) <= 1e-10
    assert at(4.0 + 1e-9)[1] == 0.0


def test_batches_equal_single_runs_in_any_order_with_gaps():
    net = model(heads=("energy", "dipole", "polarizability"))
    (z1, p1), (z2, p2) = cluster(5), cluster(4)
    batch = torch.tensor([3] * 5 + [1] * 4)
    order = torch.randperm(9)
    out = net(torch.cat([z1, z2])[order], torch.cat([p1, p2])[order], batch[order], num_graphs=6)
    first, second = net(z1, p1), net(z2, p2)
    back = order.argsort()
    torch.testing.assert_close(out["energy"][[3, 1]], torch.cat([first["energy"], second["energy"]]))
    torch.testing.assert_close(out["forces"][back], torch.cat([first["forces"], second["forces"]]))
    torch.testing.assert_close(out["dipole"][[3, 1]], torch.cat([first["dipole"], second["dipole"]]))
    torch.testing.assert_close(out["polarizability"][3], first["polarizability"][0])
    assert (out["energy"][[0, 2, 4, 5]] == 0).all()


def test_edges_given_by_the_user_are_the_same_as_found():
    net, (z, pos) = model(), cluster()
    cell = 4.3 * torch.eye(3, dtype=D)
    edge_index, shift = radius_graph(pos, 4.0, cell=cell)
    expected, out = net(z, pos, cell=cell), net(z, pos, edge_index=edge_index, shift=shift, cell=cell)
    torch.testing.assert_close(out["forces"], expected["forces"])
    torch.testing.assert_close(out["energy"], expected["energy"])


def test_supercell_and_rotated_cell():
    net = model()
    z, pos = torch.tensor([11, 17]), torch.tensor([[0, 0, 0], [1.1, 1.3, 1.5]], dtype=D)
    cell = torch.tensor([[2.9, 0, 0], [0.3, 2.7, 0], [0.1, -0.4, 3.1]], dtype=D)
    one = net(z, pos, cell=cell, stress=True)
    shifts = torch.cartesian_prod(*[torch.arange(2.0, dtype=D)] * 3) @ cell
    eight = net(z.repeat(8), (pos + shifts[:, None]).flatten(0, 1), cell=2 * cell)
    assert float((eight["energy"] / 8 - one["energy"]).detach()) == pytest.approx(0, abs=1e-12)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=D))
    turned = net(z, pos @ q.T, cell=cell @ q.T, stress=True)
    torch.testing.assert_close(turned["energy"], one["energy"], atol=1e-12, rtol=0)
    torch.testing.assert_close(turned["forces"], one["forces"] @ q.T, atol=1e-12, rtol=0)
    torch.testing.assert_close(turned["stress"][0], q @ one["stress"][0] @ q.T, atol=1e-12, rtol=0)


def test_charge_zero_is_no_charge_and_charges_change_only_their_structure():
    net = model()
    (z1, p1), (z2, p2) = cluster(5), cluster(4)
    z, pos, batch = torch.cat([z1, z2]), torch.cat([p1, p2]), torch.tensor([0] * 5 + [1] * 4)
    plain = net(z, pos, batch)["energy"]
    torch.testing.assert_close(net(z, pos, batch, charge=torch.zeros(2))["energy"], plain, rtol=0, atol=0)
    charged = net(z, pos, batch, charge=torch.tensor([0.0, 1.0]))["energy"]
    assert charged[0] == plain[0]
    assert charged[1] != plain[1]


def test_references_are_added_in_float64():
    net, (z, pos) = model().float(), cluster()
    plain = net(z, pos)
    net.set_reference({int(k): -1e4 * int(k) for k in z.unique()}, scale=2.0, shift=3.0)
    out = net(z, pos)
    assert out["energy"].dtype == D
    expected = 2.0 * plain["energy"] - 1e4 * z.sum() + 3.0
    torch.testing.assert_close(out["energy"], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(out["forces"], 2.0 * plain["forces"])


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_lone_atom_and_no_atoms(dtype):
    net = model().to(dtype)
    out = net(torch.tensor([8]), torch.zeros(1, 3, dtype=dtype))
    assert out["energy"].isfinite().all()
    assert (out["forces"] == 0).all()
    out = net(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3, dtype=dtype), num_graphs=2)
    assert out["energy"].shape == (2,)
    assert out["forces"].shape == (0, 3)


def bad_inputs():
    z, pos = torch.tensor([6, 1, 8]), torch.eye(3, dtype=D)
    nan = pos.clone()
    nan[1, 2] = float("nan")
    inf = pos.clone()
    inf[1, 2] = float("inf")
    return {
        "nan": ((z, nan), "atom 1"),
        "inf": ((z, inf), "atom 1"),
        "coincident": ((z, torch.zeros(3, 3, dtype=D)), "apart"),
        "nearly coincident": ((z, 1e-20 * pos), "apart"),
        "z too large": ((torch.tensor([6, 200, 1]), pos), "atom 1: atomic number 200"),
        "z negative": ((torch.tensor([6, -1, 1]), pos), "atomic number -1"),
        "lengths": ((z[:2], pos), "2 atoms"),
        "rank": ((z, pos.flatten()), "pos"),
        "integers": ((z, pos.long()), "floating"),
        "batch": ((z, pos, torch.tensor([0, 0])), "batch"),
    }


@pytest.mark.parametrize("name", bad_inputs())
def test_bad_input_is_refused_by_name(name):
    arguments, message = bad_inputs()[name]
    with pytest.raises(InvalidInput, match=message):
        model()(*arguments)


def test_float64_positions_into_a_float32_model_far_from_the_origin():
    net, (z, pos) = model().float(), cluster()
    near, far = net(z, pos), net(z, pos + 1e6)
    torch.testing.assert_close(far["energy"], near["energy"], rtol=1e-5, atol=1e-5)
    assert far["forces"].isfinite().all()


def test_no_graph_is_kept_without_grad_and_weights_get_gradients_with_it():
    net, (z, pos) = model(), cluster()
    with torch.no_grad():
        out = net(z, pos)
    assert not any(v.requires_grad for v in out.values())
    net(z, pos)["energy"].sum().backward()
    assert net.embedding.weight.grad.abs().max() > 0


def test_configuration_rebuilds_the_model():
    net = model(group="SO(3)", heads=("dipole",), envelope="cosine")
    again = create_model(**net.config).double()
    again.load_state_dict(net.state_dict())
    z, pos = cluster()
    torch.testing.assert_close(again(z, pos)["dipole"], net(z, pos)["dipole"], rtol=0, atol=0)


def test_wrong_names_suggest_the_right_ones():
    with pytest.raises(InvalidInput, match="Did you mean 'tensornet'"):
        create_model("tensornett")
    with pytest.raises(InvalidInput, match="Did you mean 'channels'"):
        create_model("tensornet", chanels=8)
    with pytest.raises(InvalidInput, match="heads"):
        create_model("tensornet", heads=("magic",))
