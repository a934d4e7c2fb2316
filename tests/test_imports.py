"""Imports go one way: algebra <- kernels <- layers <- zoo <- train/interop <- cli."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "geomlib"
BASE = {"errors", "_lazy", "_version"}
#: What each part may import at most.
ALLOWED = {
    "errors": set(),
    "_lazy": set(),
    "_version": set(),
    "files": BASE,
    "algebra": BASE,
    "verify": BASE | {"algebra"},
    "kernels": BASE | {"files", "algebra"},
    "layers": BASE | {"algebra", "kernels"},
    "datasets": BASE | {"files", "algebra", "kernels"},
    "zoo": BASE | {"algebra", "kernels", "layers"},
    "interop": BASE | {"files", "algebra", "kernels", "layers", "zoo", "datasets", "verify"},
    "train": BASE | {"files", "algebra", "kernels", "layers", "zoo", "datasets", "interop", "verify"},
    "bench": BASE | {"files", "algebra", "kernels", "layers", "train"},
    "testing": BASE | {"algebra", "verify", "zoo"},
}
#: Above everything; they may import what they like, but lazily.
TOP = {"cli", "__init__", "__main__", "doctor", "listing"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Yield every module that an import statement names, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield base, node.lineno
            if base == "geomlib":
                yield from ((f"geomlib.{alias.name}", node.lineno) for alias in node.names)


def wrong_arrows(path: Path) -> Iterator[str]:
    part = part_of(path)
    if part in TOP:
        return
    assert part in ALLOWED, f"{part} is new: say in this test what it may import"
    package = ".".join(["geomlib", *path.relative_to(PACKAGE).parent.parts])
    for name, line in imports(tree_of(path), package):
        steps = name.split(".")
        if steps[0] != "geomlib" or len(steps) < 2 or steps[1] == part:
            continue
        known = steps[1] in ALLOWED or steps[1] in TOP
        if (
            known and steps[1] not in ALLOWED[part]
        ):  # else a public name of geomlib/__init__, such as InvalidInput
            yield f"{path.relative_to(PACKAGE)}:{line} imports {name}; {part} must not"


def test_arrows() -> None:
    assert len(modules()) > 100
    assert [wrong for path in modules() for wrong in wrong_arrows(path)] == []


def test_the_test_can_fail() -> None:
    text = "from ..zoo import registry\nimport geomlib.train"
    found = {name for name, _ in imports(ast.parse(text), "geomlib.layers")}
    assert found == {"geomlib.zoo", "geomlib.train"}


def test_only_the_walk_reaches_up_from_verify() -> None:
    """The table of everything finds layers and models by name, inside one function."""
    users = [p.name for p in (PACKAGE / "verify").glob("*.py") if "importlib.import_module" in p.read_text()]
    assert users == ["walk.py"]


#: Lightning, ASE, matplotlib and friends must not load with a plain layer.
OPTIONAL = {
    "lightning", "jsonargparse", "tensorboard", "matplotlib", "ase", "numba", "rdkit", "tblite", "e3nn",
    "torch_geometric", "h5py", "scipy", "sympy", "yaml", "torchmdnet", "geoopt",
}  # fmt: skip
#: Files that exist only to wrap such a package say so here; nothing else may import them at module level.
WRAPPERS = {
    "kernels/jit.py", "kernels/lanes.py", "kernels/lane_arithmetic.py", "kernels/lane_turn.py",
    "kernels/gaunt/cpu.py", "kernels/gaunt/weave.py",
    "train/module.py", "train/data.py", "train/callbacks.py", "train/loop.py",
    "train/progress.py", "train/_lightning.py", "interop/ase_calculator.py",
}  # fmt: skip


def imported_at_once(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the optional packages that a module imports when it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((name, node.lineno) for name in names if name.split(".")[0] in OPTIONAL)
        else:  # of a class, a try or a with
            yield from imported_at_once(node)


def test_optional_packages_are_imported_inside_functions() -> None:
    plain = [path for path in modules() if path.relative_to(PACKAGE).as_posix() not in WRAPPERS]
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name} at module level"
        for path in plain
        for name, line in imported_at_once(tree_of(path))
    ]
    assert wrong == []


def test_an_import_at_module_level_is_seen() -> None:
    text = "import numba\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ase\ndef f():\n    import scipy"
    text += "\ntry:\n    import scipy\nexcept ImportError:\n    pass"
    assert list(imported_at_once(ast.parse(text))) == [("numba", 1), ("scipy", 8)]
