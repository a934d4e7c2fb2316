"""Every code block of the README and the documentation runs, and prints what it says; every command has its options."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from geomlib.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(m.group(1).strip(), m.group(2)) for m in FENCE.finditer(page.read_text())]


WITH_CODE = [page for page in PAGES if any(language == "python" for language, _ in blocks(page))]


def test_there_is_code() -> None:
    assert ROOT / "README.md" in WITH_CODE and len(WITH_CODE) >= 4


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: p.name)
def test_python_blocks_run_and_print_what_they_say(page: Path, tmp_path: Path, monkeypatch) -> None:
    """Blocks of one page share their names; a plain block right after one is what it prints."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": f"block of {page.name}"}
    found = blocks(page)
    for k, (language, code) in enumerate(found):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page.name}, block {k}", "exec"), names)
        follows = found[k + 1] if k + 1 < len(found) else ("none", "")
        if follows[0] in ("", "text") and "print(" in code:
            assert printed.getvalue() == follows[1], f"{page.name}, block {k}"


@cache
def help_of(command: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            status = main([*command.split(), "--help"])
        except SystemExit as ended:
            status = ended.code
    assert not status and printed.getvalue(), command
    return printed.getvalue()


def command_lines() -> list[str]:
    lines = {
        line.split("#")[0].strip()
        for page in PAGES
        for language, text in blocks(page)
        if language == "bash"
        for line in text.splitlines()
    }
    return sorted(line for line in lines if line.startswith("geomlib "))


def test_commands_of_the_pages_exist() -> None:
    lines = command_lines()
    assert len(lines) >= 10
    for line in lines:
        words = line.split()
        assert words[1] in COMMANDS, line
        options = [w.partition("=")[0] for w in words if w.startswith("--")]
        command = "data make" if words[1:3] == ["data", "make"] else words[1]
        if words[1:3] == ["data", "info"]:
            command = "data info"
        if options:
            text = help_of(command)
            # what a reader or a generator takes is checked by the reader or the generator
            options = ["--data_options" if o.startswith("--data_options.") else o for o in options]
            assert all(option in text for option in options), f"{line}: not all of {options} are options"


def test_make_targets_of_the_pages_exist() -> None:
    text = "\n".join(code for page in PAGES for language, code in blocks(page) if language == "bash")
    targets = set(re.findall(r"^make ([a-z]+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert {"train", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_links_between_pages() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_says_what_pip_install_gives() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("pip install geomlib`") == 1 and "another package" in text


def test_example_of_a_pyg_model() -> None:
    """The layers inside a PyG model are equivariant to round-off; the example says so itself."""
    pytest.importorskip("torch_geometric")
    spec = importlib.util.spec_from_file_location("pyg_model", ROOT / "examples" / "pyg_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert float(module.main()) < 1e-12


@pytest.mark.slow
def test_documentation_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "api.html").stat().st_size > 10_000
