"""The house: quick imports, no side effects, one version, safe files, runnable README."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import geomlib

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "geomlib").rglob("*.py"))


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = [
    "torch",
    "numpy",
    "lightning",
    "ase",
    "matplotlib",
    "numba",
    "safetensors",
    "vesin",
    "scipy",
    "e3nn",
    "cuda",
]


def test_import_pulls_nothing_heavy() -> None:
    loaded = python(f"import sys, geomlib; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_import_is_quick() -> None:
    """Under 50 ms of CPU time over a bare interpreter and over torch, in one of a few tries."""
    code = "import time; t = time.process_time(); import geomlib; print(time.process_time() - t)"
    assert any(float(python(code)) < 0.05 for _ in range(3))
    assert any(float(python(f"import torch; {code}")) < 0.05 for _ in range(3))


def test_training_and_plotting_stay_out_of_layers() -> None:
    """One interpreter imports them in turn and says behind which the first heavy package is there."""
    names = ["geomlib.verify", "geomlib.algebra", "geomlib.layers", "geomlib.zoo.registry"]
    absent = ["lightning", "matplotlib", "ase", "torch_geometric", "jsonargparse", "numba", "e3nn"]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    print(name, [m for m in {absent!r} if m in sys.modules])
"""
    assert python(code).splitlines() == [f"{name} []" for name in names]


STATE = """
import random, sys, warnings
import numpy as np, torch
def state():
    return [torch.get_default_dtype(), torch.get_num_threads(), torch.get_num_interop_threads(),
            torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.allow_tf32, torch.is_grad_enabled(), torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(), random.getstate(), list(warnings.filters), np.geterr(),
            torch.jit._state._python_cu is None, sys.getrecursionlimit(), torch.get_default_device()]
before = state()
"""


def test_importing_changes_no_global_state() -> None:
    """Lazy modules of torch add one warning filter of their own on first import: load torch and them first."""
    imports = "import geomlib, geomlib.layers, geomlib.verify, geomlib.datasets, geomlib.interop, geomlib.zoo.registry"
    imports += (
        ", geomlib.train.run, geomlib.interop.ase_calculator, geomlib.interop.md_command, geomlib.doctor"
    )
    assert (
        python(STATE + f"{imports}\nprint([i for i, (a, b) in enumerate(zip(before, state())) if a != b])")
        == "[]"
    )


def test_first_call_changes_no_global_state() -> None:
    """Outputs, a training step and the verifier, with the kernels compiled or loaded on the way, on every backend.

    One interpreter for all models: what a model changes is laid to its name, shared code to the first that calls it.
    """
    code = f"""
from geomlib import verify
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.zoo.registry import model_class
backends = [name for name, state in available_backends().items() if state == "available" or not state]
for name in {geomlib.list_models()!r}:
    model, inputs = model_class(name).example(torch.Generator().manual_seed(0))
    before = state()
    for backend in backends:
        with use_backend(backend):
            model.eval()(**inputs)
            out = model.train()(**inputs)
            sum(x.square().sum() for x in (out.values() if isinstance(out, dict) else [out])).backward()
    print(name, [i for i, (a, b) in enumerate(zip(before, state())) if a != b])
before = state()
verify.check(lambda x: 2 * x, "O(3)", "vector", "vector", trials=2)
print("verify", [i for i, (a, b) in enumerate(zip(before, state())) if a != b])
"""
    assert python(STATE + code).splitlines() == [f"{name} []" for name in [*geomlib.list_models(), "verify"]]


def test_a_changed_state_is_noticed() -> None:
    code = """
threads = torch.get_num_threads() + 1
for change in (lambda: torch.set_num_threads(threads), lambda: torch.rand(1), lambda: random.random(),
               lambda: warnings.simplefilter("ignore"), lambda: np.random.rand(),
               lambda: torch.set_float32_matmul_precision("high"), lambda: torch.set_default_dtype(torch.float64)):
    before = state()
    change()
    print(before != state(), end=" ")
"""
    assert python(STATE + code) == " ".join(["True"] * 7)


def test_one_version() -> None:
    """The top entry of the changelog, the citation and the package say the same."""
    top = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert top is not None and cited is not None
    assert top.group(1) == geomlib.__version__ == cited.group(1)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    literal = re.compile(rf"[\"']{re.escape(geomlib.__version__)}[\"']")
    assert [p.name for p in SOURCES if literal.search(p.read_text())] == ["_version.py"]


FORBIDDEN = {
    r"\bpickle\.(load|loads|Unpickler)\b": "unpickling runs code of the file",
    r"weights_only\s*=\s*False": "unpickling runs code of the file",
    r"\bset_default_dtype\b": "global state",
    r"\btorch\.jit\.script\b": "deprecated",
    r"except[^\n]*:\s*\n?\s*pass\b": "errors must not vanish",
    r"except\s*:": "name the exception",
    r"\ballow_pickle\s*=\s*True": "unpickling runs code of the file",
    r"\b(eval|exec)\(": "runs text",
}
# `.eval()` puts a module in evaluation mode; the verifier restores the dtype that a target changed.
EXCEPTIONS = {("verify/state.py", r"\bset_default_dtype\b")}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_forbidden_patterns(pattern: str) -> None:
    for path in SOURCES:
        relative = path.relative_to(ROOT / "geomlib").as_posix()
        if (relative, pattern) in EXCEPTIONS:
            continue
        text = _code(path)
        found = re.search(pattern, text.replace(".eval(", "._(").replace(".exec_module(", "._("))
        assert found is None, f"{relative}: {found and found.group(0)!r}: {FORBIDDEN[pattern]}"


@cache
def _code(path: Path) -> str:
    """Return a source without comments and docstrings."""
    tree = ast.parse(path.read_text())  # of its own: it is changed
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0] = ast.Expr(ast.Constant("doc"))
    return ast.unparse(tree)


def test_the_patterns_can_fail() -> None:
    bad = "try:\n    pickle.load(f)\nexcept OSError:\n    pass\ntorch.load(f, weights_only=False)\neval(text)"
    hits = [p for p in FORBIDDEN if re.search(p, bad)]
    assert len(hits) == 4


def test_no_assert_for_user_input() -> None:
    """`python -O` drops assertions; only those that tell the type checker "not None" are left in."""
    for path in SOURCES:
        asserts = [n for n in ast.walk(_tree(path)) if isinstance(n, ast.Assert)]
        lines = [n.lineno for n in asserts if not _narrows(n.test)]
        assert not lines, f"{path.relative_to(ROOT)}:{lines}"


def _narrows(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp):
        return all(_narrows(value) for value in test.values)
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id == "isinstance"
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot)


def test_top_level_names() -> None:
    """A top-level `datasets` or `layers` would shadow other libraries."""
    names = {p.name for p in ROOT.iterdir()}
    assert not names & {"datasets", "layers", "algebra", "zoo", "kernels", "train", "verify", "interop"}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert packages["include"] == ["geomlib*"]


def test_public_names_exist() -> None:
    import importlib

    for path in SOURCES:
        if path.name == "__init__.py" and path.parent != ROOT / "geomlib":
            name = ".".join(path.relative_to(ROOT).parent.parts)
            module = importlib.import_module(name)
            for public in getattr(module, "__all__", ()):
                assert hasattr(module, public), f"{name}.__all__ lists {public!r}, which is missing"


def test_every_module_says_what_it_is() -> None:
    for path in SOURCES:
        tree = _tree(path)
        if tree.body:
            assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"
            future = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
            assert future or path.name == "_version.py" or not _annotated(tree), path


def _annotated(tree: ast.Module) -> bool:
    return any(isinstance(n, ast.FunctionDef) for n in ast.walk(tree))


def test_constraints_hold_the_dependencies() -> None:
    """Every direct dependency is pinned, torch first of all: an unpinned torch resolves to a newer one."""
    pins = dict(
        re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for names in project["optional-dependencies"].values():
        wanted += names
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None and re.sub(r"[-_.]+", "-", name.group(0)).lower() in pinned, requirement
        assert "<" not in requirement and "==" not in requirement, f"{requirement}: lower bounds only"
