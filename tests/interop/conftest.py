"""What several tests of foreign weights need."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geomlib.interop import load_torchmdnet


@pytest.fixture
def case(data):
    def load(name, **options):
        path = data / "molecular" / f"tensornet_{name}.safetensors"
        with np.load(data / "molecular" / f"tensornet_{name}_io.npz", allow_pickle=False) as file:
            io = {k: torch.tensor(file[k]) for k in file.files if k != "config"}
        return load_torchmdnet(path, **options).double(), io

    return load
