"""Every registered model passes every test of the exported suite.

`test_symmetry_of_everything` checks each declared group with more elements on every backend, its breaks and a broken copy, so
one model stands here for these.
"""

from __future__ import annotations

import pytest

from geomlib import list_models
from geomlib.testing import ModelSuite

#: A hundred tensors of weights, one after the other; the same blocks are in gca_resnet.
_LONG = ("gca_unet",)

for _name in list_models():
    _options: dict[str, object] = {
        "model": _name,
        "compiles": "takes half a minute: see test_compiles, run with -m slow",
    }
    if _name != "gca_mlp":
        _options |= dict.fromkeys(("test_equivariance", "test_breaks", "test_mutant_is_caught"))
    if _name in _LONG:
        _options["test_second_derivatives"] = None
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (ModelSuite,), _options)


#: Networks whose output is a derivative taken inside, which torch 2.13 cannot compile.
_INSIDE = ("hamiltonian_tensor_net",)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_models() if name not in _INSIDE])
def test_compiles(name: str) -> None:
    type("Compiled", (ModelSuite,), {"model": name})().test_compile()


@pytest.mark.slow
@pytest.mark.parametrize("name", _LONG)
def test_second_derivatives(name: str) -> None:
    type("Whole", (ModelSuite,), {"model": name})().test_second_derivatives()
