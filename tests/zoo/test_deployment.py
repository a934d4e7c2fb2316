"""A12, the part without a compiler: every model copied, pickled, sent to another process, stored and restored."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geomlib import create_model
from geomlib.interop.checkpoint import load_model, save_model
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.zoo.registry import model_class
from tests.zoo.potentials import POTENTIALS

BACKENDS = [name for name, state in available_backends().items() if state == "available" or not state]
every_model = pytest.mark.parametrize("name", POTENTIALS)
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def build(name: str, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Any]]:
    """Return a model with references that only float64 can hold, and its inputs."""
    model, inputs = model_class(name).example(torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    model.set_reference({1: -13.587222780835477, 6: -1029.4889999, 8: -2042.0}, 1.7, -3e4 + 1e-7)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return model.to(dtype).eval(), inputs


def run(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Tensor]:
    with torch.no_grad():
        return model(**inputs)


def gradients(model: nn.Module, inputs: dict[str, Any]) -> list[Tensor]:
    """Gradients of a loss of energies and forces, as in training."""
    out = model.train()(**inputs)
    loss = out["energy"].square().sum() * 1e-8 + out["forces"].square().sum()
    loss.backward()
    model.eval()
    return [p.grad for p in model.parameters() if p.grad is not None]


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key


@every_model
@both
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict", "file"])
@pytest.mark.parametrize("used", ["new", "called", "trained"])
def test_a_copy_gives_the_same_bits(tmp_path, name, dtype, backend, how, used) -> None:
    """Also after a call and a backward pass, which may leave things cached in the module."""
    model, inputs = build(name, dtype)
    with use_backend(backend):
        if used == "called":
            run(model, inputs)
        elif used == "trained":
            gradients(model, inputs)
            model.zero_grad()
        if how == "deepcopy":
            other = copy.deepcopy(model)
        elif how == "pickle":
            other = pickle.loads(pickle.dumps(model))
        elif how == "state_dict":
            other = create_model(**model.config).to(dtype).eval()  # type: ignore[arg-type]
            other.load_state_dict(model.state_dict(), strict=True)
        else:
            save_model(model, tmp_path / "m.safetensors")
            other = load_model(tmp_path / "m.safetensors")
        assert_same(run(other, inputs), run(model, inputs))
        ours, theirs = gradients(model, inputs), gradients(other, inputs)
        assert len(ours) == len(theirs) > 0
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    mine, copied = (dict(m.state_dict()) for m in (model, other))
    assert mine.keys() == copied.keys()
    for key, value in mine.items():
        assert torch.equal(value, copied[key]) and value.dtype == copied[key].dtype, key
        assert value.data_ptr() != copied[key].data_ptr() or not value.numel(), (
            f"{key} is shared with its copy"
        )


@every_model
def test_a_copy_trains_on_its_own(name: str) -> None:
    model, inputs = build(name, torch.float64)
    before, other = run(model, inputs), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert_same(run(model, inputs), before)
    assert not torch.equal(run(other, inputs)["energy"], before["energy"])


def _work(model: nn.Module, inputs: dict[str, Any], backend: str) -> tuple[dict[str, Any], list[Any]]:
    """In a new interpreter, which has imported nothing: answer and train."""
    torch.set_num_threads(1)
    with use_backend(backend):
        out = {k: v.numpy() for k, v in run(model, inputs).items()}
        return out, [g.numpy() for g in gradients(model, inputs)]


@every_model
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_spawned_worker_gives_the_same_bits(name: str, backend: str) -> None:
    model, inputs = build(name, torch.float64)
    run(model, inputs)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found, slopes = pool.apply(_work, (model, inputs, backend))
    with use_backend(backend):
        expected = run(model, inputs)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(torch.from_numpy(found[key]), value), key
        for a, b in zip(slopes, gradients(model, inputs), strict=True):
            assert torch.equal(torch.from_numpy(a), b)


@every_model
def test_a_pickle_names_only_torch_and_geomlib(name: str) -> None:
    """It can be opened wherever both are installed: no generated classes, no lambdas, no code of this test."""
    import pickletools

    model, inputs = build(name, torch.float64)
    run(model, inputs)
    words = [arg for op, arg, _ in pickletools.genops(pickle.dumps(model, protocol=2)) if op.name == "GLOBAL"]
    packages = {str(word).split(".")[0].split(" ")[0] for word in words}
    assert "geomlib" in packages and packages <= {"geomlib", "torch", "collections", "_codecs", "__builtin__"}


@every_model
def test_the_state_belongs_to_the_module(name: str) -> None:
    """Strict loading: a missing, an unknown and a misshapen entry are refused by torch itself."""
    model, _ = build(name, torch.float32)
    state = dict(model.state_dict())
    key = next(k for k, v in state.items() if v.dim() == 2)
    for wrong in (
        {k: v for k, v in state.items() if k != key},
        {**state, "unknown": torch.zeros(1)},
        {**state, key: state[key][:, :-1]},
    ):
        with pytest.raises(RuntimeError, match="Error\\(s\\) in loading"):
            model.load_state_dict(wrong)
