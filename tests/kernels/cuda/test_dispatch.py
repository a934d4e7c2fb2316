"""When the generated kernels are chosen, and what is said when they cannot be."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.errors import MissingDependency
from geomlib.kernels import dispatch
from geomlib.kernels.cartesian import normalize
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.kernels.harmonics import spherical_harmonics
from geomlib.kernels.tensor_product import cuda, tensor_product, tensor_product_conv

from .problems import MIXED, arguments, channelwise_spec


class Card:
    """Looks like a tensor on a card to the dispatcher."""

    def __init__(self, dtype=torch.float32, index=0):
        self.device, self.dtype = torch.device("cuda", index), dtype


def choose(monkeypatch, tensors, backend=None, kernels=None, missing=None, capability=(9, 0)):
    monkeypatch.setattr(dispatch, "_cuda_missing", lambda: missing)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(dispatch, "Tensor", Card)
    return dispatch.choose("op", tensors, backend, cuda=lambda: kernels)


def test_a_tensor_on_a_card_is_served_by_default(monkeypatch):
    assert choose(monkeypatch, (Card(), Card())) == "cuda"
    assert choose(monkeypatch, (Card(torch.bfloat16),), "cuda") == "cuda"
    with use_backend("torch"):
        assert choose(monkeypatch, (Card(),)) == "torch"
    monkeypatch.setenv("GEOMLIB_BACKEND", "cuda")
    assert choose(monkeypatch, (Card(),)) == "cuda"


@pytest.mark.parametrize(
    ("tensors", "options", "words"),
    [
        ((Card(), Card(torch.float64)), {}, "mix"), ((Card(), Card(index=1)), {}, "mix"),
        ((Card(torch.int32),), {}, "dtype"), ((Card(),), {"kernels": "it is odd"}, "it is odd"),
        ((Card(),), {"capability": (7, 5)}, "older than"),
    ],
)  # fmt: skip
def test_what_is_not_served_goes_to_torch_unless_asked_for(monkeypatch, tensors, options, words):
    assert choose(monkeypatch, tensors, **options) == "torch"
    with pytest.raises(InvalidInput, match=words):
        choose(monkeypatch, tensors, "cuda", **options)


def test_without_the_packages_or_a_card(monkeypatch):
    assert choose(monkeypatch, (Card(),), missing="no card") == "torch"
    with pytest.raises(MissingDependency, match="no card"):
        choose(monkeypatch, (Card(),), "cuda", missing="no card")


def test_a_tensor_on_the_cpu_is_refused(monkeypatch):
    monkeypatch.setattr(dispatch, "_cuda_missing", lambda: None)
    x, y, w = arguments(MIXED, 3, 3)[0]
    with pytest.raises(InvalidInput, match=r"tensor is on cpu.*\.to\('cuda'\)"):
        tensor_product(MIXED, x, y, w, backend="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_here():
    x, y, w = arguments(MIXED, 3, 3)[0]
    edges = torch.zeros(2, 3, dtype=torch.int64)
    for call in (
        lambda: tensor_product(MIXED, x, y, w, backend="cuda"),
        lambda: tensor_product_conv(MIXED, x, y, w, edges, backend="cuda"),
        lambda: spherical_harmonics([1, 2], torch.randn(2, 3), backend="cuda"),
    ):
        with pytest.raises(MissingDependency, match="backend 'cuda' was asked for, but"):
            call()
    with pytest.raises(InvalidInput, match="degrees up to"):
        spherical_harmonics([20], torch.randn(2, 3), backend="cuda")
    with pytest.raises(InvalidInput, match="has no CUDA kernels"):
        normalize(torch.randn(2, 9, 3), backend="cuda")
    assert available_backends()["cuda"] != "available"


def test_products_that_are_not_served():
    full = channelwise_spec("2x0e+2x1o", "0e+1o", "0e+1o")
    assert cuda.refusal(full) is None
    other = type(full).from_instructions("2x0e", "2x0e", "2x0e", [(0, 0, 0, "uuu", True)])
    assert "'uvu'" in str(cuda.refusal(other))
    high = channelwise_spec(
        "2x5o+2x6e+2x7o", "0e+1o+2e+3o+4e+5o+6e", "0e+1o+2e+3o+4e+5o+6e+7o+8e+0o+1e+2o+3e+4o+5e+6o+7e"
    )
    assert "entries" in str(cuda.refusal(high))
    with pytest.raises(InvalidInput, match="entries"):
        cuda.rows(
            high, *(torch.zeros(1, n) for n in (high.irreps_in1.dim, high.irreps_in2.dim, high.weight_numel))
        )
