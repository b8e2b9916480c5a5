"""The house rules, as tests: what imports what, how long things are, and that the documents tell the truth."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fewstep"
MODULES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

MAX_FILE, MAX_FUNCTION = 300, 50
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
"""Named exceptions, two in all at most; each says why in its docstring."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def shipped_text() -> dict[str, str]:
    """Every text file that a clone contains, by path; where there is no git, the files that people write."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    paths = listing.stdout.split("\n") if listing.returncode == 0 else [p.relative_to(ROOT).as_posix() for p in MODULES]
    texts = {}
    for path in filter(None, paths):
        try:
            texts[path] = (ROOT / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
    return texts


def test_imports_follow_the_layers():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_and_functions_are_short_enough_to_read_at_once(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE or name(path) in LONG_FILES, f"{lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = node.end_lineno - node.lineno + 1
            assert size <= MAX_FUNCTION or f"{name(path)}:{node.name}" in LONG_FUNCTIONS, f"{node.name}: {size} lines"


def test_files_of_tests_are_no_longer():
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert not {file: count for file, count in lines.items() if count > MAX_FILE}


def test_exceptions_to_the_lengths_are_at_most_two():
    assert len(LONG_FILES) + len(LONG_FUNCTIONS) <= 2


def test_no_module_has_a_name_that_says_nothing():
    empty = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "tools.py"}
    assert not [name(path) for path in MODULES if path.name in empty]


def test_only_training_and_parallel_know_of_process_groups():
    allowed = ("training/", "parallel/")
    offenders = [
        name(path)
        for path in MODULES
        if not name(path).startswith(allowed) and "torch.distributed" in path.read_text(encoding="utf-8")
    ]
    assert not offenders


def test_folders_are_packages_with_something_in_them():
    for init in PACKAGE.rglob("__init__.py"):
        assert [path for path in init.parent.glob("*.py") if path != init], f"{name(init)} stands alone"


def test_nothing_shipped_names_a_package_registry_or_somebodys_machine():
    registries = r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|anaconda\.org|registry\.npmjs"
    machines = r"(?<![\w.$}])/(?:work|root|opt|home/\w+|Users/\w+)/"
    pattern = re.compile(f"{registries}|{machines}")
    found = {
        path: match.group()
        for path, text in shipped_text().items()
        if path != "tests/test_architecture.py" and (match := pattern.search(text))
    }
    assert not found


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").glob("*.py")), ids=name)
def test_every_config_field_is_explained_below_it(path):
    for node in tree(path).body:
        if not (isinstance(node, ast.ClassDef) and node.name.endswith("Config") and node.decorator_list):
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                explained = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                assert explained, f"{node.name}.{ast.unparse(field.target)} has no string below it"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(tree(path)) or (path.name == "__init__.py" and not tree(path).body)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_of_the_documents_exist(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    relative = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in relative if not (path.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_table_of_the_documents_has_a_header(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    headless = [rows for rows in tables if not re.match(r".*\n\|[-:| ]+\|\n", rows)]
    assert not headless


def pictured_modules() -> set[str]:
    """Paths in the tree picture of docs/architecture.md: two spaces a level, a name, then what it is for."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.search(r"```text\nsrc/fewstep/\n(.*?)```", text, flags=re.DOTALL)
    assert picture, "docs/architecture.md has no picture that starts with src/fewstep/"
    folders: list[str] = []
    modules = set()
    for line in picture.group(1).splitlines():
        entry = re.match(r"((?:  )+)(\S+)  ", line + "  ")
        if not entry or entry.group(1) != line[: len(line) - len(line.lstrip())]:
            continue
        depth = len(entry.group(1)) // 2 - 1
        folders = folders[:depth]
        if entry.group(2).endswith("/"):
            folders.append(entry.group(2))
        else:
            modules.add("".join(folders) + entry.group(2))
    return modules


def test_the_picture_of_the_architecture_is_the_tree():
    actual = {name(path) for path in MODULES if path.name != "__init__.py"}
    pictured = {module for module in pictured_modules() if module.endswith(".py")}
    assert pictured == actual, f"missing {sorted(actual - pictured)}, gone {sorted(pictured - actual)}"


def test_every_method_has_a_page():
    files = (path for path in (PACKAGE / "methods").glob("*.py") if path.name != "base.py")
    methods = [
        path for path in files if re.search(r"^class \w+Config\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "methods").glob("*.md"))
    assert not [path.name for path in methods if f"methods/{path.name}" not in pages]
