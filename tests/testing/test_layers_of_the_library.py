"""Every public layer passes every test of the exported suite.

`test_symmetry_of_everything` checks each declared group with more elements on every backend, its breaks and a broken copy, so
one layer stands here for these.
"""

from __future__ import annotations

import pytest

from geomlib.testing import LayerSuite
from geomlib.verify import Subject, subjects

_LAYERS = {s.name.removeprefix("layers."): s for s in subjects() if s.name.startswith("layers.")}


_ELSEWHERE = dict.fromkeys(("test_equivariance", "test_breaks", "test_mutant_is_caught"))


def _suite(subject: Subject, **options: object) -> type[LayerSuite]:
    return type(
        f"Test{subject.name.removeprefix('layers.')}",
        (LayerSuite,),
        {"layer": staticmethod(subject.example), **options},
    )


for _name, _subject in _LAYERS.items():
    globals()[f"Test{_name}"] = _suite(
        _subject,
        compiles="takes up to half a minute: see test_compiles, run with -m slow",
        **({} if _name == "ScalarHead" else _ELSEWHERE),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", _LAYERS)
def test_compiles(name: str) -> None:
    _suite(_LAYERS[name])().test_compile()
