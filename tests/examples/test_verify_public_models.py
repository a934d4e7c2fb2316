"""Models from other packages get the verdicts they deserve."""

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "verify_public_models.py"
SPACE = runpy.run_path(str(EXAMPLE))
MODELS = {name: rest for name, *rest in SPACE["MODELS"]}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_verdict(name: str) -> None:
    package, group, build, expected = MODELS[name]
    pytest.importorskip(package)
    torch.manual_seed(0)
    report = SPACE["verify"].check(group=group, **build())
    assert report.verdict == expected, str(report)


def test_at_least_five_models_are_checked() -> None:
    assert len({build for _, _, build, _ in MODELS.values()}) >= 5
