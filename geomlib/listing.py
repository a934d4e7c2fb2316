"""`geomlib list`: what there is."""

from __future__ import annotations

import argparse

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print models, layers and data sets; return the exit status."""
    parser = argparse.ArgumentParser(prog="geomlib list", description="Models, layers and data sets.")
    parser.add_argument("what", nargs="?", choices=("models", "layers", "data"), help="only these")
    what = parser.parse_args(argv).what
    sections = {"models": _models, "layers": _layers, "data": _data}
    for name, lines in sections.items():
        if what in (None, name):
            print(name)
            for line in lines():
                print(f"  {line}")
    return 0


def _models() -> list[str]:
    from geomlib.errors import InvalidInput
    from geomlib.zoo.registry import create_model, list_models, model_card

    lines = []
    for name in list_models():
        try:
            summary = model_card(name)["summary"]
        except (InvalidInput, KeyError):
            summary = "(no card)"  # a model registered by the user
        count = sum(p.numel() for p in create_model(name).parameters())
        lines.append(f"{name:<18}{count:>12,} parameters  {summary}")
    return lines


def _layers() -> list[str]:
    import inspect

    from geomlib import layers

    lines = []
    for name in layers.__all__:
        thing = getattr(layers, name)
        first = (inspect.getdoc(thing) or "").partition("\n")[0]
        lines.append(f"{name:<18}{first}")
    return lines


def _data() -> list[str]:
    from geomlib.datasets import dataset_card, list_datasets
    from geomlib.datasets.tasks import list_tasks, load_task

    embedded = [f"{name:<18}{dataset_card(name).get('title', '')}" for name in list_datasets()]
    return embedded + [f"{name:<18}generated: {load_task(name).title}" for name in list_tasks()]
