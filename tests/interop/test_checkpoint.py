"""Checkpoints come back bit for bit, and refuse what is not theirs."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import geomlib
from geomlib import CheckpointError, InvalidInput
from geomlib.interop import checkpoint
from geomlib.interop.checkpoint import checkpoint_info, load_model, load_tree, save_model, save_tree


def small_model(**options):
    return geomlib.create_model(
        "tensornet", **{"channels": 8, "layers": 1, "num_radial": 4, "max_z": 10, **options}
    )


def identical(a, b) -> bool:
    """Same types and same bits, all the way down."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and same_bits(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(identical(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, float):
        return math.isnan(a) and math.isnan(b) if a != b else math.copysign(1, a) == math.copysign(1, b)
    return a == b


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    raw = [
        bytes(t.detach().contiguous().reshape(-1).view(torch.uint8).tolist()) if t.numel() else b""
        for t in (a, b)
    ]
    return raw[0] == raw[1]


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(
    leaves,
    lambda sub: (
        st.lists(sub, max_size=3)
        | st.lists(sub, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), sub, max_size=3)
    ),
    max_leaves=12,
)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(tree=trees)
def test_any_tree_comes_back_with_its_types(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "t.safetensors"
    save_tree(tree, path)
    assert identical(load_tree(path), tree)


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64],
)
def test_tensors_come_back_bit_for_bit(tmp_path, dtype):
    base = (torch.randn(4, 6) * 3).to(dtype)
    tree = {
        "a": base,
        "strided": base.t()[::2],
        "empty": base[:0],
        "scalar": base[0, 0],
        "again": [base, (base[1],)],
    }
    save_tree(tree, tmp_path / "t.safetensors")
    assert identical(load_tree(tmp_path / "t.safetensors"), tree)


def test_special_floats_in_tensors_keep_their_bits(tmp_path):
    odd = torch.tensor([math.nan, -0.0, math.inf, 5e-324, -math.inf], dtype=torch.float64)
    save_tree([odd], tmp_path / "t.safetensors")
    assert same_bits(load_tree(tmp_path / "t.safetensors")[0], odd)


def test_same_content_gives_the_same_file(tmp_path):
    tree = {"b": torch.arange(5), "a": 1.5}
    for name in ("x", "y"):
        save_tree(tree, tmp_path / name)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"raw", 1 + 2j, lambda: 0, math])
def test_objects_are_refused_by_their_place(tmp_path, value):
    with pytest.raises(InvalidInput, match=r"tree\['a'\]\[1\]"):
        save_tree({"a": [0, value]}, tmp_path / "t.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_contains_itself_is_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(InvalidInput, match="contain itself"):
        save_tree(loop, tmp_path / "t.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_model_comes_back_with_dtype_and_references(tmp_path, dtype):
    model = small_model(cutoff=4.5).to(dtype)
    model.set_reference({1: -13.587222780835477, 6: -1029.4889999}, 0.123456789012345, -7.000000000001)
    save_model(model, tmp_path / "m.safetensors", about={"seed": 3})
    again = load_model(tmp_path / "m.safetensors")
    assert again.config == model.config and not again.training
    assert identical(dict(again.state_dict()), dict(model.state_dict()))
    assert next(again.parameters()).dtype == dtype
    z, pos = torch.tensor([6, 1, 1]), torch.randn(3, 3, dtype=dtype)
    assert identical(again(z, pos)["energy"], model.eval()(z, pos)["energy"])


def test_a_run_folder_names_its_model(tmp_path):
    save_model(small_model(), tmp_path / "model.safetensors", about={"epoch": 7})
    assert load_model(tmp_path).config["channels"] == 8
    info = checkpoint_info(tmp_path / "model.safetensors")
    assert info["kind"] == "model" and info["about"] == {"epoch": 7} and info["version"] == 1


def test_any_safetensors_reader_sees_the_layers(tmp_path):
    from safetensors.torch import load_file

    model = small_model()
    save_model(model, tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == set(model.state_dict())


def test_a_module_without_config_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="save_tree"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "m.safetensors")


def test_newer_format_is_refused_with_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 9)
    save_tree({"a": 1}, tmp_path / "t.safetensors")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"version 9.*Upgrade geomlib"):
        load_tree(tmp_path / "t.safetensors")


def test_the_kind_is_checked(tmp_path):
    save_tree({"a": 1}, tmp_path / "t.safetensors", kind="training")
    save_model(small_model(), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="holds a training, expected a model"):
        load_model(tmp_path / "t.safetensors")
    with pytest.raises(CheckpointError, match="holds a model"):
        load_tree(tmp_path / "m.safetensors")


def test_a_config_that_fits_no_model_is_refused(tmp_path):
    model = small_model()
    model._options["channels"] = 16
    save_model(model, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="cannot be rebuilt"):
        load_model(tmp_path / "m.safetensors")
    model._options["chanels"] = 8
    save_model(model, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="no option 'chanels'"):
        load_model(tmp_path / "m.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"absent\.safetensors"):
        load_model(tmp_path / "absent.safetensors")


def test_a_valid_hash_over_a_foreign_structure_is_refused(tmp_path, monkeypatch):
    """Somebody who can compute the hash still gets nothing but an error."""
    for structure in ({"x": 1}, {"t": "t9"}, {"d": [1]}, {"t": "t0", "u": []}, {"f": "eval"}):
        monkeypatch.setattr(checkpoint, "encode_tree", lambda _, s=structure: (s, {}))
        save_tree(None, tmp_path / "t.safetensors")
        with pytest.raises(CheckpointError, match="structure"):
            load_tree(tmp_path / "t.safetensors")


def test_the_hash_is_the_documented_one(tmp_path):
    """An independent reading of the format: SHA-256 of the file with the 64 digits zeroed."""
    import hashlib

    path = tmp_path / "t.safetensors"
    digest = save_tree({"a": torch.ones(3)}, path)
    blob = path.read_bytes()
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]["geomlib"]
    assert json.loads(header)["sha256"] == digest and blob.count(digest.encode()) == 1
    assert hashlib.sha256(blob.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_loading_draws_no_random_numbers(tmp_path):
    torch.manual_seed(0)
    save_model(small_model(), tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    load_model(tmp_path / "m.safetensors")
    assert torch.equal(before, torch.get_rng_state())
