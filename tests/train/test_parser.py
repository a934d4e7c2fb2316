"""Command line and YAML: right values, and helpful answers to wrong ones."""

from __future__ import annotations

import pytest
import yaml

from geomlib import InvalidInput
from geomlib.train.parser import parse_train, write_yaml
from tests.gadgets import yaml_gadgets


def test_presets_overrides_and_model_options():
    parsed = parse_train(["tensornet", "--data", "ethanol"])
    assert (parsed.config.train_size, parsed.config.val_size, parsed.config.test_size) == (950, 50, 200)
    assert parsed.config.lr == 2e-3 and parsed.config.batch_size == 8 and parsed.config.warmup == 100
    assert parsed.model["channels"] == 64 and parsed.model["layers"] == 1 and parsed.model["cutoff"] == 4.5
    assert "name" not in parsed.model
    parsed = parse_train(
        ["tensornet", "--data=ethanol", "--batch-size", "3", "--model.channels=16", "--lr=1e-4"]
    )
    assert parsed.config.batch_size == 3 and parsed.model["channels"] == 16 and parsed.config.lr == 1e-4
    other = parse_train(["tensornet", "--data", "x.extxyz", "--train_size", "0.5", "--scale", "2.5"])
    assert (
        other.config.train_size == 0.5 and other.model["channels"] == 128 and float(other.config.scale) == 2.5
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (False, None, True)),
        (["--tensorboard", "--no-progress", "--no-plots"], (True, False, False)),
        (["--tensorboard=true", "--progress", "--plots", "false"], (True, True, False)),
        (["--no_tensorboard"], (False, None, True)),
    ],
)
def test_booleans(words, expected):
    config = parse_train(["tensornet", "--data", "ethanol", *words]).config
    assert (config.tensorboard, config.progress, config.plots) == expected


def test_booleans_of_the_model():
    assert parse_train(["--data", "ethanol", "--model.trainable_basis"]).model["trainable_basis"] is True
    assert parse_train(["--data", "ethanol", "--model.no-validate"]).model["validate"] is False


def test_yaml_is_below_the_command_line_and_round_trips(tmp_path):
    first = parse_train(["tensornet", "--data", "ethanol", "--epochs", "7", "--model.layers", "2"])
    first.config.data_options = {"energy_key": "E"}
    write_yaml(tmp_path / "c.yaml", first.as_dict())
    again = parse_train(["--config", str(tmp_path / "c.yaml")])
    assert again.as_dict() == first.as_dict()
    over = parse_train(
        ["--config", str(tmp_path / "c.yaml"), "--epochs", "9", "--data_options.units", "kcal/mol"]
    )
    assert over.config.epochs == 9 and over.model["layers"] == 2
    assert over.config.data_options == {"energy_key": "E", "units": "kcal/mol"}


def test_print_config_is_a_config(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_train(["tensornet", "--data", "ethanol", "--lr", "3e-4", "--print_config"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["lr"] == 3e-4
    (tmp_path / "c.yaml").write_text(text)
    assert parse_train(["--config", str(tmp_path / "c.yaml")]).config.lr == 3e-4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tensornett", "--data", "ethanol"], "Did you mean 'tensornet'"),
        (
            ["tensornet", "--data", "ethanol", "--epocs", "3"],
            r"unknown option --epocs. Did you mean --epochs\?",
        ),
        (["tensornet", "--data", "ethanol", "--model.chanels", "3"], r"Did you mean --model.channels\?"),
        (["tensornet", "--data", "ethanol", "--channels", "3"], r"Did you mean --model.channels\?"),
        (["tensornet", "--data", "ethanol", "--chanels", "3"], r"Did you mean --model.channels\?"),
        (["tensornet", "--data", "ethanol", "--epochs", "many"], "epochs"),
        (["tensornet", "--data", "ethanol", "--epochs", "2.5"], "epochs"),
        (["tensornet", "ethanol"], "unexpected word 'ethanol'"),
        (["tensornet", "--data", "ethanol", "--epochs"], "epochs"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--resume", "no/such/run"], "holds no run"),
        (["--resume"], "no data"),
    ],
)
def test_wrong_words_are_answered(words, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_train(words)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs: 3", "unknown key 'epocs'. Did you mean epochs"),
        ("model:\n  chanels: 3", "unknown key 'model.chanels'. Did you mean model.channels"),
        ("just words", "expected `option: value`"),
        ("a: [1", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['echo']", "cannot be read as YAML"),
        ("epochs: many", "epochs"),
    ],
)
def test_wrong_yaml_is_answered(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        parse_train(["tensornet", "--data", "ethanol", "--config", str(tmp_path / "c.yaml")])


@pytest.mark.parametrize("name", ["os.system", "Popen", "eval", "object"])
@pytest.mark.parametrize("key", ["data", "epochs", "model", "data_options"])
def test_yaml_that_wants_to_run_code(tmp_path, name, key):
    """A18: settings files are read without constructing objects, ours and those of a run to be continued."""
    marker = tmp_path / "executed"
    text = f"{key}: {yaml_gadgets(marker)[name]}\n"
    (tmp_path / "config.yaml").write_text(text)
    for argv in (["--config", str(tmp_path / "config.yaml")], ["--resume", str(tmp_path)]):
        with pytest.raises(InvalidInput, match="cannot be read as YAML"):
            parse_train(argv)
    assert not marker.exists()
    loaded = yaml.unsafe_load(text)[key]  # and this one does run
    if name == "Popen":
        loaded.wait()
    assert marker.exists()
