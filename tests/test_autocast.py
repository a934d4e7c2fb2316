"""Every public layer and model runs under autocast, keeps its precision where it promises to, and is close to float32."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from geomlib.kernels.autocast import full_precision
from geomlib.verify import subjects

EVERYTHING = {subject.name: subject for subject in subjects()}


def tensors(found) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    parts = found.values() if isinstance(found, dict) else found
    return [t for part in parts for t in tensors(part)]


@pytest.mark.parametrize("name", EVERYTHING)
def test_runs_and_stays_close(name: str) -> None:
    module, inputs, _ = EVERYTHING[name].build()
    with torch.no_grad():
        plain = tensors(module(**inputs))
        with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
            warnings.simplefilter("ignore")
            low = tensors(module(**inputs))
    for a, b in zip(plain, low, strict=True):
        assert bool(torch.isfinite(b).all())
        if a.is_floating_point():
            scale = float(a.abs().max()) or 1.0
            assert float((a - b).abs().max()) < 0.1 * scale


@pytest.mark.parametrize(
    "name", ["layers.CEMLP", "layers.CliffordEGCL", "layers.MVLayerNorm", "zoo.cgenn_nbody"]
)
def test_products_and_norms_of_multivectors_stay_in_float32(name: str) -> None:
    module, inputs, _ = EVERYTHING[name].build()
    plain = tensors(module(**inputs))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = tensors(module(**inputs))[0]
        low.sum().backward()
    torch.testing.assert_close(low, plain)
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in module.parameters())


def test_half_inputs_are_raised_only_inside_autocast() -> None:
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))

        @full_precision
        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return scale * x @ x

    square, x = Square(), torch.ones(2, 2, dtype=torch.bfloat16)
    assert square(x).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert square(x, scale=2.0).dtype == torch.float64
        assert square(x=x).dtype == torch.float64
        assert square(x.float()).dtype == torch.float32
        assert (x.float() @ x.float()).dtype == torch.bfloat16  # the block outside is as it was
    compiled = torch.compile(square, fullgraph=True, backend="aot_eager")
    assert compiled(x).dtype == torch.bfloat16


def test_every_layer_is_compiled_as_its_own() -> None:
    """torch.compile keeps a small number of versions of a function: decorated ones must not share it."""

    def made(factor: float) -> nn.Module:
        class Scale(nn.Module):
            @full_precision
            def forward(self, x: Tensor) -> Tensor:
                return factor * x

        return Scale()

    for k in range(12):
        compiled = torch.compile(made(float(k)), fullgraph=True, backend="eager")
        assert float(compiled(torch.ones(1))) == k
