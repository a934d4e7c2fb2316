"""Every public layer passes every test of the exported suite."""

from __future__ import annotations

import pytest

from geomlib.testing import LayerSuite
from geomlib.verify import Subject, subjects

_LAYERS = {s.name.removeprefix("layers."): s for s in subjects() if s.name.startswith("layers.")}


def _suite(subject: Subject, **options: object) -> type[LayerSuite]:
    return type(
        f"Test{subject.name.removeprefix('layers.')}",
        (LayerSuite,),
        {"layer": staticmethod(subject.example), **options},
    )


for _name, _subject in _LAYERS.items():
    globals()[f"Test{_name}"] = _suite(
        _subject, compiles="takes up to half a minute: see test_compiles, run with -m slow"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", _LAYERS)
def test_compiles(name: str) -> None:
    _suite(_LAYERS[name])().test_compile()
