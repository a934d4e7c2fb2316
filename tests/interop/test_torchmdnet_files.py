"""Files that are not what they should be: a message, never code that runs, never a half loaded model."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geomlib import InvalidInput
from geomlib.interop import load_torchmdnet
from tests.gadgets import gadgets


@pytest.fixture
def fixture(data):
    path = data / "molecular" / "tensornet_o3_L1.safetensors"
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["config"])


def write(folder, state, settings):
    path = folder / "model.safetensors"
    save_file(state, path, {"config": json.dumps(settings)})
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "tensornet2"}, "model='tensornet2'"),
        ({"model": "equivariant-transformer"}, "model='equivariant-transformer'"),
        ({"rbf_type": "gauss"}, "rbf_type='gauss'"),
        ({"activation": "tanh"}, "activation='tanh'"),
        ({"cutoff_lower": 1.0}, r"cutoff_lower=1\.0"),
        ({"reduce_op": "mean"}, "reduce_op='mean'"),
        ({"output_model": "DipoleMoment"}, "output_model='DipoleMoment'"),
        ({"output_mlp_num_layers": 2}, "output_mlp_num_layers=2"),
        ({"prior_model": ["ZBL"]}, "prior 'ZBL'"),
        ({"prior_model": [{"Atomref": {}}, {"D2": {}}]}, "Atomref is missing|lack the table"),
        ({"num_layers": 2}, "layers.1.linears_scalar.0.weight' is missing"),
        ({"num_layers": 0}, "tensors have no place"),
        ({"embedding_dimension": 16}, "has shape"),
        ({"equivariance_invariance_group": "U(1)"}, "group"),
    ],
)
def test_settings_that_cannot_be_reproduced(fixture, tmp_path, change, words):
    state, settings = fixture
    with pytest.raises(InvalidInput, match=words):
        load_torchmdnet(write(tmp_path, state, {**settings, **change}))


def test_missing_settings_can_be_passed(fixture, tmp_path):
    state, settings = fixture
    path = tmp_path / "bare.safetensors"
    save_file(state, path)
    with pytest.raises(InvalidInput, match="holds no settings"):
        load_torchmdnet(path)
    del settings["num_rbf"]
    with pytest.raises(InvalidInput, match="lack num_rbf"):
        load_torchmdnet(path, config=settings)
    assert load_torchmdnet(path, config={**settings, "num_rbf": 16}).cutoff == 4.5


def test_a_missing_and_a_foreign_tensor(fixture, tmp_path):
    state, settings = fixture
    with pytest.raises(InvalidInput, match=r"'something\.else'"):
        load_torchmdnet(write(tmp_path, {**state, "something.else": torch.zeros(2)}, settings))
    del state["representation_model.linear.bias"]
    with pytest.raises(InvalidInput, match=r"linear.bias' is missing"):
        load_torchmdnet(write(tmp_path, state, settings))


@pytest.mark.parametrize("place", ["hyper_parameters", "state_dict", "callbacks"])
def test_malicious_checkpoints_run_nothing(fixture, tmp_path, place):
    state, settings = fixture
    target = tmp_path / "executed"
    for gadget in gadgets(target).values():
        content = {"state_dict": dict(state), "hyper_parameters": dict(settings), "callbacks": {}}
        content[place]["x"] = gadget
        torch.save(content, tmp_path / "evil.ckpt")
        with pytest.raises(InvalidInput, match="needs to run code"):
            load_torchmdnet(tmp_path / "evil.ckpt")
        assert not target.exists()


def test_damaged_and_absent_files(fixture, tmp_path):
    state, settings = fixture
    with pytest.raises(InvalidInput, match="no file"):
        load_torchmdnet(tmp_path / "none.ckpt")
    path = write(tmp_path, state, settings)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InvalidInput, match="not a readable safetensors"):
        load_torchmdnet(path)
    torch.save({"state_dict": state, "hyper_parameters": settings}, tmp_path / "cut.ckpt")
    whole = (tmp_path / "cut.ckpt").read_bytes()
    for size in (0, 100, len(whole) // 2):
        (tmp_path / "cut.ckpt").write_bytes(whole[:size])
        with pytest.raises(InvalidInput, match=r"not a readable checkpoint|needs to run code"):
            load_torchmdnet(tmp_path / "cut.ckpt")
    torch.save({"weights": state}, tmp_path / "other.ckpt")
    with pytest.raises(InvalidInput, match="no `state_dict`"):
        load_torchmdnet(tmp_path / "other.ckpt")
    save_file(state, tmp_path / "odd.safetensors", {"config": "[1]"})
    with pytest.raises(InvalidInput, match="JSON object"):
        load_torchmdnet(tmp_path / "odd.safetensors")
    with pytest.raises(InvalidInput, match="`layout`"):
        load_torchmdnet(path, layout="4.x")
