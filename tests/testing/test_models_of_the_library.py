"""Every registered model passes every test of the exported suite."""

from __future__ import annotations

import pytest

from geomlib import list_models
from geomlib.testing import ModelSuite

for _name in list_models():
    _options = {"model": _name, "compiles": "takes half a minute: see test_compiles, run with -m slow"}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (ModelSuite,), _options)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_compiles(name: str) -> None:
    type("Compiled", (ModelSuite,), {"model": name})().test_compile()
