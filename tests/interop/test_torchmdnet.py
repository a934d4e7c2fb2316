"""Weights of torchmd-net give torchmd-net's numbers (fixtures made with torchmd-net 3.1, float64)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geomlib import InvalidInput
from geomlib.algebra.cartesian import compose, norm2
from geomlib.interop import load_torchmdnet, to_torchmdnet_state_dict
from geomlib.layers.bonds import Bonds
from geomlib.layers.radius_graph import radius_graph
from tests.interop import plain_tensornet

CASES = ("o3_L1", "o3_L2", "so3_L1")


def relative(a, b):
    a, b = a.detach().flatten(), b.detach().flatten()
    return float((a - b).abs().max() / b.square().mean().sqrt().clamp(min=1e-30))


def settings_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["config"])


def errors(model, io):
    """Relative errors of energies and forces, charged and not, molecules and crystal."""
    out = {}
    for key, charge in (("mol", None), ("molq", io["q"])):
        result = model(io["z"], io["pos"], io["batch"], charge=charge)
        out[key] = max(
            relative(result["energy"], io[f"{key}_energy"]), relative(result["forces"], io[f"{key}_forces"])
        )
    result = model(io["pbc_z"], io["pbc_pos"], cell=io["pbc_box"])
    out["pbc"] = max(relative(result[k], io[f"pbc_{k}"]) for k in ("energy", "forces"))
    return out


@pytest.mark.parametrize("name", CASES)
def test_energies_and_forces(case, name):
    model, io = case(name)
    found = errors(model, io)
    assert max(found.values()) < 1e-12, found
    lone = (torch.bincount(io["batch"])[io["batch"]] == 1).nonzero().flatten()
    assert len(lone) == 1
    forces = model(io["z"], io["pos"], io["batch"])["forces"]
    assert torch.equal(forces[lone], torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("name", CASES)
def test_single_precision(case, name):
    model, io = case(name)
    assert max(errors(model.float(), io).values()) < 2e-5


@pytest.mark.parametrize("name", CASES)
def test_every_intermediate_tensor(case, name):
    model, io = case(name)
    for found, expected in intermediates(model, io):
        assert relative(found, expected) < 1e-12


def intermediates(model, io):
    pos, batch = io["pos"], io["batch"]
    edge_index, _ = radius_graph(pos, model.cutoff, batch)
    bonds = Bonds.from_edge_index(edge_index, pos[edge_index[1]] - pos[edge_index[0]], len(pos))
    tensors = model.representation(io["z"], bonds, pos.new_zeros(len(pos)))
    keys = ["X_emb", *(f"X_layer{k}" for k in range(len(tensors) - 1))]
    # Ours (atom, channel, row, column), theirs (atom, row, column, channel).
    pairs = [(compose(x).permute(0, 2, 3, 1), io[key]) for x, key in zip(tensors, keys, strict=True)]
    return [*pairs, (model.readout(tensors[-1]), io["x_repr"])]


def test_charge_zero_is_no_charge_and_batches_equal_single_runs(case):
    model, io = case("o3_L2")
    plain = model(io["z"], io["pos"], io["batch"])
    zero = model(io["z"], io["pos"], io["batch"], charge=torch.zeros(7, dtype=torch.float64))
    assert torch.equal(plain["energy"], zero["energy"])
    mixed = model(io["z"], io["pos"], io["batch"], charge=io["q"])["energy"]
    for graph, q in enumerate(io["q"]):
        atoms = io["batch"] == graph
        one = model(io["z"][atoms], io["pos"][atoms], charge=q[None])["energy"]
        assert relative(one, mixed[graph : graph + 1]) < 1e-13


def test_loading_the_2x_layout(case, data, tmp_path):
    """Undo the row order of 3.x in a fixture: as a 2.x file it gives the same numbers, as 3.x other ones."""
    source = data / "molecular" / "tensornet_o3_L2.safetensors"
    state, settings = load_file(source), settings_of(source)
    for name, value in state.items():
        if ".linears_scalar.2." in name or "tensor_embedding.linears_scalar.1." in name:
            state[name] = value.unflatten(0, (3, -1)).transpose(0, 1).flatten(0, 1).contiguous()
    state = {k.replace("output_network.layers", "output_network"): v for k, v in state.items()}
    del state["representation_model.distance.box"]
    _, io = case("o3_L2")
    for name, old_settings, layout in (
        ("marked", {**settings, "check_errors": True}, "auto"),
        ("unmarked", settings, "2.x"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file(state, path, {"config": json.dumps(old_settings)})
        assert max(errors(load_torchmdnet(path, layout=layout).double(), io).values()) < 1e-12
        assert min(errors(load_torchmdnet(path, layout="3.x").double(), io).values()) > 1e-3


def test_lightning_checkpoint(case, data, tmp_path):
    source = data / "molecular" / "tensornet_so3_L1.safetensors"
    state = {f"model.{k}": v for k, v in load_file(source).items()}
    path = tmp_path / "epoch.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": settings_of(source), "epoch": 3}, path)
    _, io = case("so3_L1")
    assert max(errors(load_torchmdnet(path).double(), io).values()) < 1e-12


def test_mirror_is_the_model_of_the_mirrored_positions(case):
    model, io = case("so3_L1")
    mirrored, _ = case("so3_L1", mirror=True)
    for charge in (None, io["q"]):
        ours = mirrored(io["z"], io["pos"], io["batch"], charge=charge)
        image = model(io["z"], -io["pos"], io["batch"], charge=charge)
        assert relative(ours["energy"], image["energy"].detach()) < 1e-14
        assert relative(ours["forces"], -image["forces"].detach()) < 1e-13
    # The handedness of a random model is a signal of 1e-5 only: it must be far above the tolerance.
    assert 1e-7 < errors(mirrored, io)["mol"] < 1e-2
    plain, io = case("o3_L1", mirror=True)
    assert errors(plain, io)["mol"] < 1e-12


def plain_error(data, name, wrong=None):
    """Relative error of the plain implementation against the stored energies with charges."""
    path = data / "molecular" / f"tensornet_{name}.safetensors"
    with np.load(data / "molecular" / f"tensornet_{name}_io.npz", allow_pickle=False) as file:
        io = {k: torch.tensor(file[k]) for k in file.files if k != "config"}
    config = settings_of(path)
    out = plain_tensornet.energy(load_file(path), config, io["z"], io["pos"], io["batch"], io["q"], wrong)
    return relative(out, io["molq_energy"])


@pytest.mark.parametrize("name", CASES)
def test_the_plain_implementation_agrees(data, name):
    assert plain_error(data, name) < 1e-12


@pytest.mark.parametrize("wrong", plain_tensornet.MISTAKES)
def test_the_fixtures_notice_every_classical_mistake(data, wrong):
    """Otherwise the agreement above would prove little."""
    found = {name: plain_error(data, name, wrong) for name in CASES}
    if wrong == "swapped direction":
        # Invisible in the energies of O(3) models; test_mirrored_tensors_are_noticed looks at the tensors.
        assert found["so3_L1"] > 1e-7 and found["o3_L1"] < 1e-12
    else:
        # Some change the energy by 1e-8 only, so the fixtures must be met to 1e-12.
        assert min(found.values()) > 1e-9, found


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("layers", [0, 2])
def test_random_weights_against_the_plain_implementation(group, layers):
    import geomlib

    model = geomlib.create_model(
        "tensornet",
        channels=6,
        layers=layers,
        num_radial=5,
        cutoff=3.0,
        max_z=9,
        group=group,
        envelope="cosine",
    ).double()
    model.set_reference(None, scale=1.7, shift=-0.4)
    z, pos = torch.randint(1, 9, (14,)), torch.rand(14, 3, dtype=torch.float64) * 4
    batch, charge = torch.arange(14) % 3, torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64)
    config = {"embedding_dimension": 6, "num_layers": layers, "cutoff_upper": 3.0}
    config["equivariance_invariance_group"] = group
    leaf = pos.clone().requires_grad_()
    expected = plain_tensornet.energy(to_torchmdnet_state_dict(model), config, z, leaf, batch, charge)
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    out = model(z, pos, batch, charge=charge)
    assert relative(out["energy"], expected.detach()) < 1e-13
    assert relative(out["forces"], -gradient) < 1e-11


def test_mirrored_tensors_are_noticed(case):
    model, io = case("o3_L1", mirror=True)
    found, expected = intermediates(model, io)[0]
    assert relative(found, expected) > 1e-3
    assert relative(norm2(found.permute(0, 3, 1, 2)), norm2(expected.permute(0, 3, 1, 2))) < 1e-12


def test_atomic_references_scale_and_shift(data, tmp_path):
    source = data / "molecular" / "tensornet_o3_L1.safetensors"
    state, settings = load_file(source), settings_of(source)
    table = torch.linspace(-3.0, 2.0, 20).reshape(-1, 1)
    pos = torch.tensor([[0.0, 0, 0], [0, 0, 1.1], [0.9, 0.2, 0]], dtype=torch.float64)
    z = torch.tensor([6, 8, 1])
    plain = load_torchmdnet(source).double()(z, pos)
    for count, prior in enumerate(
        ["Atomref", ["Atomref"], [{"Atomref": {"max_z": 20}}], ["LearnableAtomref"]]
    ):
        prefix = "prior_model." if count == 0 else "prior_model.0."
        extra = {f"{prefix}initial_atomref": table.clone(), f"{prefix}atomref.weight": table.clone()}
        path = tmp_path / f"{count}.safetensors"
        save_file({**state, **extra}, path, {"config": json.dumps({**settings, "prior_model": prior})})
        out = load_torchmdnet(path).double()(z, pos)
        assert relative(out["energy"], plain["energy"].detach() + table[z].double().sum()) < 1e-13
        assert relative(out["forces"], plain["forces"].detach()) < 1e-13
    off = {**settings, "prior_model": ["Atomref"], "prior_args": [{"max_z": 20, "enable": False}]}
    save_file({**state, **extra}, path, {"config": json.dumps(off)})
    assert relative(load_torchmdnet(path).double()(z, pos)["energy"], plain["energy"].detach()) < 1e-13


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(data, name):
    path = data / "molecular" / f"tensornet_{name}.safetensors"
    back, there = to_torchmdnet_state_dict(load_torchmdnet(path)), load_file(path)
    assert set(back) == set(there)
    assert all(torch.equal(back[k], there[k]) for k in there)


def test_models_without_counterpart_are_not_exported(data):
    import geomlib

    with pytest.raises(InvalidInput, match="smooth"):
        to_torchmdnet_state_dict(geomlib.create_model("tensornet", channels=4, layers=0))
    model = load_torchmdnet(data / "molecular" / "tensornet_o3_L1.safetensors")
    model.set_reference({1: -13.6})
    with pytest.raises(InvalidInput, match="Atomref"):
        to_torchmdnet_state_dict(model)


def test_fixed_box_is_announced(data, tmp_path):
    source = data / "molecular" / "tensornet_o3_L1.safetensors"
    state = load_file(source)
    state["representation_model.distance.box"] = torch.eye(3) * 20
    save_file(state, tmp_path / "box.safetensors", {"config": json.dumps(settings_of(source))})
    with pytest.warns(UserWarning, match="fixed box"):
        load_torchmdnet(tmp_path / "box.safetensors")
