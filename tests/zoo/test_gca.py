"""GCAN: sizes, the authors' outputs, what the networks respect, and that points learn to move."""

from __future__ import annotations

import pytest
import torch

from geomlib import InvalidInput
from geomlib.datasets.tetris import make_tetris
from geomlib.zoo import GCAGNN, GCAMLP, GCAResNet, GCAUNet
from geomlib.zoo.registry import create_model
from tests.algebra.clifford.common import load
from tests.layers.multivectors.reference import close, compare

ALL = {"blades": "all", "overwrite": True}
MODELS = [GCAMLP, GCAGNN, GCAUNet, GCAResNet]


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_of_the_paper():
    assert count(GCAMLP(hidden=128, layers=2, blades="all")) == 188_944
    assert (
        count(GCAGNN(channels=64, message_channels=64, hidden=128, layers=1, steps=4, blades="all"))
        == 1_512_268
    )


class Features(torch.nn.Module):
    """A model from multivectors to multivectors, with the parameters of the model of points."""

    def __init__(self, model, run):
        super().__init__()
        self.__dict__["model_"], self.run = model, run
        for name, child in model.named_children():
            setattr(self, name, child)

    def forward(self, x):
        return self.run(self.__dict__["model_"], x)


def test_the_reference():
    d = load("gcan_models")
    flat = {k: v.squeeze(2) if v.dim() == 4 else v for k, v in d.items() if k.startswith("gcamlp")}
    mlp = GCAMLP(2, 2, 2, hidden=5, layers=2, **ALL)
    compare(Features(mlp, lambda m, x: m.model(x)), flat, "gcamlp")

    def steps(model, x):
        for layer in model.layers:
            x = layer(x, d["gcagnn.edge_index"])
        return x

    gnn = GCAGNN(2, 1, channels=4, message_channels=3, hidden=5, steps=2, **ALL)
    compare(Features(gnn, steps), d, "gcagnn")


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("cls", [GCAMLP, GCAGNN])
def test_other_blades_stay_zero(cls, overwrite):
    """With all blades the function is that of trivectors alone, whose weights are part of the others."""
    small = {"hidden": 6} | ({"channels": 3, "message_channels": 4, "steps": 2} if cls is GCAGNN else {})
    model, _ = cls(**small, blades="all", overwrite=overwrite).double(), None
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    points = cls(**small, blades="points", overwrite=overwrite).double()
    kept = {k: v[..., 11:15] if k.endswith("conv.weight") else v for k, v in model.state_dict().items()}
    points.load_state_dict(kept)
    pos = torch.randn(3, 4, 4, 3, dtype=torch.float64, generator=g)
    close(points(pos), model(pos), 1e-10)


@pytest.mark.parametrize("cls", MODELS)
def test_samples_are_independent_and_no_more_is_claimed(cls):
    model, inputs = cls.example(torch.Generator().manual_seed(0))
    model, (name, x) = model.double(), next((k, v.double()) for k, v in inputs.items())
    out = model(x)
    close(model(x[1:2]), out[1:2], 1e-12)
    assert len(model(x[:0])) == 0
    spread = torch.stack([x] * 2, -1)[..., 0]
    close(model(spread), out, 1e-13)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert float((model(x @ turn.T) - out @ turn.T).detach().abs().max()) > 1e-3
    assert model.symmetry.group == ("S_n" if name == "fields" else "T(3)*S_n")


def test_points_of_a_graph_may_come_in_any_order_and_number():
    model, inputs = GCAGNN.example(torch.Generator().manual_seed(0))
    pos = inputs["pos"]
    order = torch.tensor([2, 0, 3, 1])
    close(model(pos[:, :, order]), model(pos)[:, :, order], 1e-5)
    assert model(pos[:, :, :1]).shape == (3, 2, 1, 3)


@pytest.mark.parametrize("cls", [GCAUNet, GCAResNet])
def test_periodic_fields_may_be_shifted(cls):
    torch.manual_seed(0)
    model = (
        GCAUNet(hidden=2, multipliers=(1, 2, 1), blocks=1)
        if cls is GCAUNet
        else GCAResNet(hidden=2, blocks=2)
    ).double()
    x = torch.randn(2, 2, 8, 16, 3, dtype=torch.float64)
    shift = (4, 8) if cls is GCAUNet else (3, 5)
    close(model(x.roll(shift, (2, 3))), model(x).roll(shift, (2, 3)), 1e-12)
    edged = create_model(**{**model.config, "padding_mode": "zeros"}).double()
    edged.load_state_dict(model.state_dict())
    assert float((edged(x.roll(shift, (2, 3))) - edged(x).roll(shift, (2, 3))).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("cls", MODELS)
def test_configuration(cls):
    torch.manual_seed(0)
    model = cls(hidden=2)
    again = create_model(**model.config)
    assert type(again) is cls and again.config == model.config
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, model.frames_in, *((16, 16, 3) if cls in (GCAUNet, GCAResNet) else (4, 3)))
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("cls", [GCAUNet, GCAResNet])
def test_displacement(cls):
    model, inputs = cls.example(torch.Generator().manual_seed(0))
    other = create_model(**{**model.config, "displacement": False})
    other.load_state_dict(model.state_dict())
    x = inputs["fields"]
    close(model(x) - other(x), x[:, -1:], 1e-5)


@pytest.mark.parametrize("cls", [GCAMLP, GCAGNN])
def test_what_is_added_and_seen(cls):
    model, inputs = cls.example(torch.Generator().manual_seed(0))
    pos = inputs["pos"]

    def run(x, **options):
        found = create_model(**{**model.config, **options})
        found.load_state_dict(model.state_dict())
        return found(x)

    zero, last = run(pos, start="zero"), run(pos, start="last")
    close(last - zero, pos[:, -1:].expand_as(zero), 1e-5)
    ahead = torch.tensor([1.0, 2.0]).view(2, 1, 1)
    close(run(pos) - last, ahead * (pos[:, -1:] - pos[:, -2:-1]), 1e-5)
    centre = pos[:, -1:].mean(2, keepdim=True)
    close(run(pos - centre, start="zero", centred=False), zero, 1e-5)
    groups = {run_.symmetry.group for run_ in (cls(hidden=2, centred=False), cls(hidden=2, start="zero"))}
    assert groups == {"S_n"} and model.symmetry.group == "T(3)*S_n"


def train(model, x, y, steps):
    adam = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = (model(x) - y).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return float(loss.detach())


def test_coordinates_learn_to_move_and_the_released_layers_do_not():
    """Points near the origin that take a fixed step: without e123, old initial values hold every translation at zero."""
    g = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(32, 1, 1, 3, generator=g)
    y = x + torch.tensor([1.0, -2.0, 3.0])
    losses = {}
    for blades in ("coordinates", "points"):
        for start in (1.0, 0.0):
            torch.manual_seed(0)
            options = {
                "blades": blades,
                "e123_init": start,
                "overwrite": True,
                "start": "last",
                "centred": False,
            }
            model = GCAMLP(1, 1, 1, hidden=8, layers=1, **options)
            losses[blades, start] = train(model, x, y, 150)
            still = [
                bool((m._action[..., [1, 2, 3, 7]] == 0).all()) for m in (model.model[0], model.model[1][1])
            ]
            # A gate that reads e123 frees the first layer, never the last.
            assert still == [start == 0 and blades == "coordinates", start == 0]
    assert max(losses["coordinates", 1.0], losses["points", 1.0]) < 0.02
    assert losses["coordinates", 0.0] > 0.5


def test_it_learns_tetris():
    data = make_tetris(64, 0)
    x, y = data["pos"].float(), data["future"].float()
    torch.manual_seed(0)
    model = GCAGNN(channels=8, message_channels=8, hidden=16, steps=2)
    start = float((model(x) - y).square().mean().detach())
    assert train(model, x, y, 60) < 0.3 * start


@pytest.mark.slow
def test_compiled_without_graph_breaks():
    for cls in (GCAMLP, GCAGNN, GCAResNet):
        model, inputs = cls.example(torch.Generator().manual_seed(0))
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        close(compiled(**inputs), model(**inputs), 1e-5)


def test_misuse_is_named():
    with pytest.raises(InvalidInput, match="blades='even'"):
        GCAMLP(blades="even")
    with pytest.raises(InvalidInput, match="frames_in=0"):
        GCAMLP(frames_in=0)
    with pytest.raises(InvalidInput, match="start='linear'"):
        GCAMLP(start="linear")
    with pytest.raises(InvalidInput, match="no velocity"):
        GCAGNN(frames_in=1)
    with pytest.raises(InvalidInput, match="steps=0"):
        GCAGNN(steps=0)
    with pytest.raises(InvalidInput, match="multipliers is empty"):
        GCAUNet(multipliers=())
    with pytest.raises(InvalidInput, match="blocks=0"):
        GCAResNet(blocks=0)
    with pytest.raises(InvalidInput, match=r"multiples of 2"):
        GCAUNet(hidden=1, multipliers=(1, 1))(torch.randn(1, 2, 5, 4, 3))
    with pytest.raises(InvalidInput, match="samples, 4, 4, 3"):
        GCAMLP(hidden=2)(torch.randn(1, 4, 5, 3))
    with pytest.raises(InvalidInput, match="Cast one"):
        GCAGNN(hidden=2)(torch.randn(1, 4, 5, 3).double())
