"""Training on generated problems: the loop, its files, evaluation, the cache, and wrong input."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from geomlib.algebra.symmetry import Symmetry
from geomlib.cli import main
from geomlib.datasets import tasks
from geomlib.datasets.tasks import Samples, Task, list_tasks, load_task, make_task, register_task
from geomlib.errors import InvalidInput
from geomlib.interop.checkpoint import load_model
from geomlib.train.config import TrainConfig
from geomlib.train.run import train
from geomlib.train.task_data import TaskPacker, read_task
from geomlib.train.task_losses import MAIN_SCORE, SCORES, check_prediction, scores_of, task_loss, task_sums
from geomlib.zoo import registry

CALLS = []


def make_square(n, seed, slope=3.0):
    CALLS.append((n, seed))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return {"x": x, "y": slope * x[:, 0] - x[:, 1] + 0.5, "unused": torch.zeros(n, 7)}


def make_sign(n, seed):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"x": x, "label": (x[:, 0] > 0).long()}


def mean_predictor(train, test):
    return {"mean": float((test["y"] - train["y"].mean()).square().mean())}


LINE = Task("line", "a plane", make_square, ("x",), "y", sizes=(64, 32, 48), baselines=mean_predictor)
SCALED = Task("scaled", "a plane", make_square, ("x",), "y", sizes=(64, 32, 48), standardize=True)
SIGN = Task("sign", "a half plane", make_sign, ("x",), "label", loss="cross_entropy", sizes=(64, 0, 48))


class Plane(nn.Module):
    """A linear function, prepared by doubling its input."""

    def __init__(self, outputs: int = 0, shift: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.options = {"outputs": outputs, "shift": shift, "scale": scale}
        self.linear = nn.Linear(2, max(outputs, 1))

    @property
    def config(self):
        return {"name": "plane", **self.options}

    def prepare(self, samples):
        return Samples({**samples.tensors, "x": 2 * samples.tensors["x"]})

    def forward(self, x):
        value = self.linear(x)
        value = value if self.options["outputs"] else value[:, 0]
        return self.options["shift"] + self.options["scale"] * value

    @property
    def symmetry(self):
        return Symmetry("S_1", inputs={"x": "node:inv"}, outputs="node:inv")


@pytest.fixture(autouse=True)
def problems(monkeypatch, tmp_path):
    CALLS.clear()
    monkeypatch.setenv("GEOMLIB_DATA", str(tmp_path / "cache"))
    for name in ("LINE", "SCALED", "SIGN"):
        monkeypatch.setitem(tasks._REGISTERED, name.lower(), globals()[name])
    monkeypatch.setitem(registry._CLASSES, "plane", Plane)


def settings(folder, data="line", **options):
    base = {"steps": 400, "batch_size": 16, "lr": 0.05, "warmup": 0, "threads": 1, "plots": False}
    return TrainConfig(data=data, out=str(folder), architecture="plane", **{**base, **options})


def test_a_run_learns_and_leaves_its_files(tmp_path, capsys):
    result = train(settings(tmp_path / "run", plots=True), {})
    scores = result.metrics["results"]
    assert scores["test"]["mse"] < 1e-3 and scores["test"]["samples"] == 48
    assert scores["trivial"]["mean"] == pytest.approx(10, rel=0.5)
    assert result.metrics["budget"]["steps"] == 400 and result.metrics["budget"]["epochs"] == 100
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"model.safetensors", "last.safetensors", "metrics.json", "metrics.csv", "config.yaml"} <= names
    assert {"learning_curve.png", "parity.png"} <= names
    text = capsys.readouterr().out
    assert "task       line: a plane" in text and "trivial: mean" in text
    # what was trained on: 2x -> 3, -1 means weights 1.5, -0.5
    weights = load_model(tmp_path / "run").linear.weight
    torch.testing.assert_close(weights, torch.tensor([[1.5, -0.5]]), atol=0.02, rtol=0)


def test_recorded_steps_are_the_plain_steps(tmp_path):
    for data, outputs in (("line", 0), ("sign", 2)):
        runs = [
            train(settings(tmp_path / f"{data}{c}", data, steps=60, compile=c), {"outputs": outputs})
            for c in (True, False)
        ]
        for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        recordings = [r.metrics["budget"]["recordings"] for r in runs]
        assert recordings[0] >= 1 and recordings[1] == 0


def test_a_model_that_cannot_be_recorded_trains_all_the_same(tmp_path, monkeypatch):
    def forward(self, x):
        return functional.dropout(self.linear(x)[:, 0], 0.01, self.training)

    monkeypatch.setattr(Plane, "forward", forward)
    with pytest.warns(UserWarning, match="not recorded"):
        result = train(settings(tmp_path / "run"), {})
    assert result.metrics["budget"]["recordings"] == 0 and result.metrics["results"]["test"]["mse"] < 0.5


def test_classes(tmp_path):
    result = train(settings(tmp_path / "run", "sign", steps=200), {"outputs": 2})
    assert result.metrics["results"]["test"]["accuracy"] > 0.9
    assert set(result.metrics["data"]["split"]) == {"train", "test"}


def test_the_target_is_standardised_on_request(tmp_path):
    result = train(settings(tmp_path / "run", "scaled", steps=4), {})
    target = make_square(64, 0)["y"]
    assert result.model.config["shift"] == pytest.approx(float(target.mean()))
    assert result.model.config["scale"] == pytest.approx(float(target.std(correction=0)))
    assert train(settings(tmp_path / "given", "scaled", steps=4), {"shift": 9.0}).model.config["shift"] == 9.0


def test_the_same_settings_the_same_numbers_and_the_cache(tmp_path):
    first = train(settings(tmp_path / "a", steps=8), {})
    made = len(CALLS)
    second = train(settings(tmp_path / "b", steps=8), {})
    assert made == 3 and len(CALLS) == made  # train, val, test; then from disk
    assert first.metrics["results"] == second.metrics["results"]
    train(settings(tmp_path / "c", steps=8, data_options={"slope": 1.0}), {})
    assert len(CALLS) == made + 3


def test_a_damaged_cache_is_made_again(tmp_path):
    config = settings(tmp_path / "a")
    sets = read_task(config)[1]
    (stored,) = (tmp_path / "cache").rglob("line-*.safetensors")
    blob = bytearray(stored.read_bytes())
    blob[-3] ^= 1
    stored.write_bytes(blob)
    with pytest.warns(UserWarning, match="made again"):
        again = read_task(config)[1]
    assert torch.equal(sets["train"].tensors["x"], again["train"].tensors["x"])


def test_a_generator_without_a_file_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(make_square, "__module__", "__nowhere__")
    for _ in range(2):
        read_task(settings(tmp_path / "a"))
    assert len(CALLS) == 6 and not list((tmp_path / "cache").rglob("line*"))


def test_resume_is_the_run_without_interruption(tmp_path):
    whole = train(settings(tmp_path / "whole", steps=24), {})
    train(settings(tmp_path / "part", steps=24, max_time=1e-9), {})
    resumed = train(settings(tmp_path / "part", steps=24, resume=True), {})
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_commands(tmp_path, capsys):
    run = str(tmp_path / "run")
    words = [
        "train",
        "plane",
        "--data",
        "line",
        "--out",
        run,
        "--steps",
        "40",
        "--batch-size",
        "16",
        "--lr",
        "0.05",
    ]
    assert main([*words, "--data_options.slope", "2.0", "--train_size", "32"]) == 0
    assert main(["evaluate", run]) == 0
    stored = json.loads((tmp_path / "run" / "evaluation_test.json").read_text())
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert stored["scores"] == told["results"]["test"] and told["data"]["split"]["train"] == 32
    assert main(["evaluate", run, "--data", "sign"]) == 2
    assert main(["evaluate", run, "--split", "all"]) == 2
    assert "has no all set" in capsys.readouterr().err
    assert main(["list", "data"]) == 0
    assert "generated: a plane" in capsys.readouterr().out


def test_the_command_standardises_too(tmp_path):
    run = str(tmp_path / "run")
    words = [
        "train",
        "plane",
        "--data",
        "scaled",
        "--steps",
        "4",
        "--batch-size",
        "16",
        "--no-plots",
        "--out",
    ]
    assert main([*words, run]) == 0
    target = make_square(64, 0)["y"]
    assert load_model(run).config["shift"] == pytest.approx(float(target.mean()))
    given = str(tmp_path / "given")
    assert main([*words, given, "--model.shift", "9.0"]) == 0
    assert load_model(given).config["shift"] == 9.0 and load_model(given).config["scale"] == 1.0


def test_sets_have_seeds_of_their_own():
    small = make_task("line", sizes=(4, 8, 8), seed=1)
    large = make_task("line", sizes=(9, 8, 0), seed=1)
    assert torch.equal(small["val"].tensors["x"], large["val"].tensors["x"]) and "test" not in large
    assert not torch.equal(small["val"].tensors["x"], small["test"].tensors["x"])
    seeds = {s for _, s in CALLS}
    make_task("line", sizes=(4, 8, 8), seed=2)
    assert seeds.isdisjoint({s for _, s in CALLS[5:]})


@pytest.mark.parametrize("loss", sorted(SCORES))
def test_scores_are_those_of_all_samples_together(loss):
    generator = torch.Generator().manual_seed(0)
    if loss == "cross_entropy":
        value, label = torch.randn(12, 3, generator=generator), torch.randint(3, (12,), generator=generator)
    elif loss == "ranking":  # the second column is a known answer, or nothing
        value = torch.randn(12, 9, generator=generator)
        label = torch.stack([torch.randint(4, (12,), generator=generator), torch.arange(12) % 5 + 4], 1)
        label[:3, 1] = -1
    else:
        value, label = torch.randn(2, 12, 4, generator=generator)
    parts = [task_sums(loss, value[i:j], label[i:j])[1] for i, j in ((0, 5), (5, 12))]
    found = scores_of(loss, sum(parts))
    first = SCORES[loss][0]
    assert found[first] == pytest.approx(float(task_loss(loss, value, label)), rel=1e-5)
    by_hand = {
        "mse": lambda: ((value - label) ** 2).mean(),
        "mae": lambda: (value - label).abs().mean(),
        "ade": lambda: (value - label).square().sum(-1).sqrt().mean(),
        "cross_entropy": lambda: -torch.log_softmax(value, -1)[torch.arange(12), label].mean(),
        "ranking": lambda: -torch.log_softmax(value, -1)[torch.arange(12), label[:, 0]].mean(),
    }
    assert found[first] == pytest.approx(float(by_hand[loss]()), rel=1e-5)
    assert MAIN_SCORE[loss] in found and all(math.isfinite(v) for v in found.values())


def test_wrong_input(tmp_path):
    with pytest.raises(InvalidInput, match="Did you mean 'line'"):
        load_task("lime")
    with pytest.raises(InvalidInput, match=r"no option 'slop'\. Did you mean 'slope'"):
        make_task("line", slop=2.0)
    with pytest.raises(InvalidInput, match="sizes"):
        make_task("line", sizes=(0, 1, 1))
    with pytest.raises(InvalidInput, match="expected counts"):
        train(settings(tmp_path / "a", train_size=0), {})
    with pytest.raises(InvalidInput, match="loss 'huber'"):
        Task("t", "", make_square, ("x",), "y", loss="huber")
    with pytest.raises(InvalidInput, match="common first axis"):
        Samples({"x": torch.zeros(3), "y": torch.zeros(4)})
    with pytest.raises(InvalidInput, match="expected the shape"):
        train(settings(tmp_path / "b"), {"outputs": 2})
    with pytest.raises(InvalidInput, match="expected logits"):
        check_prediction("cross_entropy", torch.zeros(4), torch.zeros(4, dtype=torch.long))
    with pytest.raises(InvalidInput, match="--steps 0"):
        train(settings(tmp_path / "c", steps=0), {})


def test_every_task_is_whole():
    """Every task in the library makes its inputs and target, alike for the same seed, different for another."""
    for name in set(list_tasks()) - {"line", "scaled", "sign"}:
        task = load_task(name)
        assert task.name == name and task.title
        try:
            a, b, c = (task.make(3, seed=s) for s in (5, 5, 6))
        except InvalidInput as error:
            assert "GEOMLIB_SHARED" in str(error)  # data of others that is not here
            continue
        assert {*task.inputs, task.target} <= set(a)
        for key, value in a.items():
            assert (
                value.shape[0] == 3
                and torch.equal(value, b[key])
                and bool(torch.isfinite(value.double()).all())
            )
        assert any(not torch.equal(a[k], c[k]) for k in task.inputs)


def test_register_task(monkeypatch):
    monkeypatch.setattr(tasks, "_REGISTERED", {})
    assert register_task(LINE) is LINE and register_task(LINE) is LINE and load_task("line") is LINE
    with pytest.raises(InvalidInput, match="'line' is taken"):
        register_task(Task("line", "another", make_sign, ("x",), "label"))
    with pytest.raises(InvalidInput, match="is taken"):
        register_task(Task("hull5", "another", make_sign, ("x",), "label"))


def test_packer_keeps_the_order():
    packer = TaskPacker(Samples({"x": torch.arange(5)}))
    assert [b["x"].tolist() for b in packer.batches(torch.tensor([4, 0, 2]), 2)] == [[4, 0], [2]]
    assert packer.batches(torch.empty(0, dtype=torch.long), 2) == []
