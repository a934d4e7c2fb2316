"""Command line and YAML of `geomlib train`, by jsonargparse."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from geomlib.errors import InvalidInput, MissingDependency
from geomlib.train.config import PRESETS, TrainConfig
from geomlib.train.task_presets import TASK_PRESETS

__all__ = ["Parsed", "parse_train", "read_yaml", "write_yaml"]

_DESCRIPTION = (
    "Train a model: geomlib train MODEL --data NAME_OR_FILE [options]. "
    "Options may come from a YAML file (--config), later ones win. Booleans: --flag or --no-flag."
)
_EXAMPLES = """examples:
  geomlib train tensornet --data ethanol
  geomlib train cgenn_hull --data hull5
  geomlib train tensornet --data my.extxyz --epochs 50 --model.channels 32 --out runs/mine
  geomlib train --resume runs/mine
  geomlib train tensornet --data my.extxyz --print_config > settings.yaml
  geomlib train --config settings.yaml"""
_OURS = {"config", "print_config", "help"}


class Parsed:
    """Settings of a run and of its model.

    Args:
        config: settings of the run.
        model: options of the architecture.
    """

    def __init__(self, config: TrainConfig, model: dict[str, Any]) -> None:
        self.config, self.model = config, model

    def as_dict(self) -> dict[str, Any]:
        """Return everything as one nested dict, as `--config` reads it."""
        return {**vars(self.config), "model": self.model}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        InvalidInput: no such file, or not a mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{path}: cannot be read as YAML ({error}).") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: expected `option: value` lines, found {type(content).__name__}.")
    return content


def write_yaml(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, atomically."""
    import yaml

    from geomlib.files import write_atomic

    write_atomic(path, [yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).encode()])


def parse_train(argv: list[str]) -> Parsed:
    """Turn the arguments of `geomlib train` into settings.

    Raises:
        InvalidInput: an unknown option, model, data set or value, with the closest one.
        SystemExit: after --help or --print_config.
    """
    argv = _spell(list(argv))
    architecture = argv.pop(0) if argv and not argv[0].startswith("-") else None
    base: dict[str, Any] = {}
    if _flag(argv, "resume"):
        base = _resumed(_value(argv, "out"), _value(argv, "data"))
    seen = base | (read_yaml(path) if (path := _value(argv, "config")) else {})
    architecture = architecture or _value(argv, "architecture") or seen.get("architecture") or "tensornet"
    data = _value(argv, "data") or seen.get("data")
    parser = _parser(architecture)
    defaults = parser.get_defaults().as_dict()
    known = set(_flat(defaults)) | {"model"} | _OURS
    _check_names(argv, known, parser.get_defaults().as_dict())
    if path:
        _check_keys(read_yaml(path), defaults, path)
    preset = _preset(str(data), architecture)
    _check_keys(base, defaults, "the config.yaml of the run")
    parser.set_defaults({**_flat(preset), **_flat(base), "architecture": architecture})
    argv = _booleans(argv, _flat(defaults))
    from jsonargparse import ArgumentError

    try:
        values = parser.parse_args(argv, env=False).as_dict()
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise InvalidInput(_tidy(error)) from None
    # A default that is a tuple comes back from YAML as a list.
    model = {k: list(v) if isinstance(v, tuple) else v for k, v in values.pop("model").items()}
    return Parsed(TrainConfig(**{f.name: values[f.name] for f in fields(TrainConfig)}), model)


def _preset(data: str, architecture: str) -> dict[str, Any]:
    """Return the defaults that suit a data set and a model."""
    if data in TASK_PRESETS:
        return {"model": {}, **TASK_PRESETS[data].get(architecture, {})}
    preset = dict(PRESETS.get(data, {}))
    return {**preset, "model": preset.pop("model", {}).get(architecture, {})}


def _parser(architecture: str) -> Any:
    from geomlib.zoo.registry import model_class

    cls = model_class(architecture)
    try:
        from jsonargparse import ActionConfigFile, ArgumentParser
    except ImportError as error:
        raise MissingDependency(
            f"geomlib train needs jsonargparse ({error}). Install it with: pip install -e '.[train]'"
        ) from None
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import DefaultHelpFormatter

    formatter = type("Formatter", (DefaultHelpFormatter, RawDescriptionHelpFormatter), {})
    parser = ArgumentParser(
        prog="geomlib train",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        exit_on_error=False,
        formatter_class=formatter,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of the options below")
    parser.add_class_arguments(TrainConfig, as_group=True)
    parser.add_class_arguments(cls, "model", as_group=True)
    return parser


# -- spelling


def _spell(argv: list[str]) -> list[str]:
    """Let `--batch-size` mean `--batch_size`, `--resume FOLDER` mean `--resume --out FOLDER`."""
    out: list[str] = []
    for word in argv:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word.partition("=")
            word = "--" + name[2:].replace("-", "_") + equals + value
        if out and out[-1] == "--resume" and not word.startswith("-") and word not in ("true", "false"):
            out.append("--out")
        out.append(word)
    return out


def _value(argv: list[str], name: str) -> str | None:
    """Return the last value given to an option."""
    found = None
    for i, word in enumerate(argv):
        if word == f"--{name}" and i + 1 < len(argv):
            found = argv[i + 1]
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found


def _flag(argv: list[str], name: str) -> bool:
    return any(w in (f"--{name}", f"--{name}=true") for w in argv)


def _booleans(argv: list[str], defaults: Mapping[str, Any]) -> list[str]:
    """Rewrite --flag and --no_flag (also --model.no_flag) as --flag=true and --flag=false."""
    switches = {k for k, v in defaults.items() if isinstance(v, bool)} | {"progress"}
    out: list[str] = []
    for i, word in enumerate(argv):
        name = word[2:] if word.startswith("--") else ""
        following = argv[i + 1].lower() if i + 1 < len(argv) else ""
        if name in switches and following not in ("true", "false"):
            word = f"{word}=true"
        elif (positive := _positive(name)) in switches:
            word = f"--{positive}=false"
        out.append(word)
    return out


def _positive(name: str) -> str:
    head, dot, last = name.rpartition(".")
    if name.startswith("no_"):
        return name[3:]
    return f"{head}{dot}{last[3:]}" if last.startswith("no_") else ""


# -- names


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and key != "data_options":
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _hint(name: str, known: Iterable[str]) -> str:
    options = sorted(known)
    near = difflib.get_close_matches(name, options, 1)
    # `--channels` for `--model.channels`
    near = near or [k for k in options if k.rpartition(".")[2] == name]
    if not near:
        tails = {k.rpartition(".")[2]: k for k in options}
        near = [tails[t] for t in difflib.get_close_matches(name, tails, 1)]
    return f" Did you mean --{near[0]}?" if near else " See geomlib train --help."


def _check_names(argv: list[str], known: set[str], defaults: Mapping[str, Any]) -> None:
    for i, word in enumerate(argv):
        if not word.startswith("--"):
            previous = argv[i - 1] if i else ""
            if not previous.startswith("--") or "=" in previous:
                raise InvalidInput(
                    f"unexpected word {word!r}. The model comes first: geomlib train MODEL --data NAME."
                )
            continue
        name = word[2:].partition("=")[0].rstrip("+")
        if name in known or _positive(name) in known or name.startswith("data_options."):
            continue
        raise InvalidInput(f"unknown option --{name}.{_hint(name, known - _OURS)}")


def _check_keys(content: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    known = _flat(defaults)
    for key in _flat(content):
        if key not in known and not key.startswith("data_options"):
            raise InvalidInput(f"{where}: unknown key {key!r}.{_hint(key, known).replace('--', '')}")


def _tidy(error: Exception) -> str:
    lines = [line.strip().removeprefix("- ") for line in str(error).splitlines() if line.strip()]
    return " ".join(dict.fromkeys(lines)).replace("Parser key ", "option --") or type(error).__name__


def _resumed(out: str | None, data: str | None) -> dict[str, Any]:
    """Return the settings of the run to be continued."""
    from geomlib.train.sets import run_folder

    folder = run_folder(out, data)
    path = folder / "config.yaml"
    if not path.is_file():
        raise InvalidInput(
            f"--resume: {folder} holds no run (no config.yaml). Give the folder: --resume runs/NAME."
        )
    return {**read_yaml(path), "out": str(folder), "resume": True}
