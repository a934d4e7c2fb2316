"""The stored products of e3nn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from geomlib.algebra.irreps.products import ProductSpec

DATA = Path(__file__).parents[2] / "data" / "tensor_products"
PRODUCTS = json.loads((DATA / "e3nn_products.json").read_text())
GRAPHS = json.loads((DATA / "conv_graph.json").read_text())


def spec_of(case) -> ProductSpec:
    """The product described by a stored case."""
    rows = [
        (i["i_in1"], i["i_in2"], i["i_out"], i["mode"], i["has_weight"], i["path_weight_arg"])
        for i in case["instructions"]
    ]
    return ProductSpec.from_instructions(
        case["irreps_in1"], case["irreps_in2"], case["irreps_out"], rows,
        irrep_normalization=case.get("irrep_normalization", "component"),
        path_normalization=case.get("path_normalization", "element"),
    )  # fmt: skip


def arrays(file, name) -> dict[str, torch.Tensor]:
    """The tensors of a case."""
    with np.load(DATA / f"{file}.npz") as stored:
        prefix = f"{name}__"
        return {k.removeprefix(prefix): torch.tensor(stored[k]) for k in stored.files if k.startswith(prefix)}
