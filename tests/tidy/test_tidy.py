"""The rules of style that a linter does not know, as tests."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.reasons import Reason
from strategies.catalog import STRATEGIES

TOP = Path(__file__).resolve().parents[2]
PACKAGES = ("market", "cluster", "strategies", "risk", "venues", "actors", "sweeps", "trireme")
KERNEL_PACKAGES = ("market", "strategies", "risk", "sweeps")
FUNCTION_LINES_MAX, FILE_LINES_MAX = 70, 600
OUTPUT_PACKAGES = {"trireme"}  # where printing is the job


def list_tracked() -> list[Path]:
    """Return the files that git knows, or would: new ones count too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [TOP / line for line in listed.splitlines() if (TOP / line).is_file()]


SOURCES = [path for path in list_tracked() if path.suffix == ".py" and path.relative_to(TOP).parts[0] in PACKAGES]
KERNEL_SOURCES = [path for path in SOURCES if path.relative_to(TOP).parts[0] in KERNEL_PACKAGES]


def name_of(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


def find_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("njit" in ast.unparse(decorator) for decorator in node.decorator_list)


def count_body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the end: a signature or a docstring may be long."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (node.end_lineno or node.lineno) - body[0].lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_source_keeps_the_rules(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    faults = []
    if len(text.splitlines()) > FILE_LINES_MAX:
        faults.append(f"{len(text.splitlines())} lines, at most {FILE_LINES_MAX}")
    if ast.get_docstring(tree) is None:
        faults.append("no module docstring")
    if path.name in ("utils.py", "common.py", "helpers.py"):
        faults.append("names no concept")
    if path.name == "__init__.py" and len(tree.body) != 1:
        faults.append("__init__.py is one docstring")
    for node in find_functions(tree):
        if count_body_lines(node) > FUNCTION_LINES_MAX:
            faults.append(f"{node.name}: body of {count_body_lines(node)} lines, at most {FUNCTION_LINES_MAX}")
        if is_kernel(node):
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            if "fastmath" in decorators:
                faults.append(f"{node.name}: fastmath makes isnan(nan) False")
            if "cache=True" not in decorators:
                faults.append(f"{node.name}: a kernel is cached on disk")
    for call in ast.walk(tree):
        is_print = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
        if is_print and path.relative_to(TOP).parts[0] not in OUTPUT_PACKAGES:
            faults.append(f"line {call.lineno}: print")
        if isinstance(call, ast.Global):
            faults.append(f"line {call.lineno}: global")
        if isinstance(call, ast.ExceptHandler) and call.type is None:
            faults.append(f"line {call.lineno}: bare except")
    assert not faults, f"{name_of(path)}: " + "; ".join(faults)


@pytest.mark.parametrize("path", KERNEL_SOURCES, ids=name_of)
def test_kernels_read_no_clock_and_no_chance(path: Path) -> None:
    for node in find_functions(ast.parse(path.read_text())):
        if is_kernel(node):
            source = ast.unparse(node)
            assert not re.search(r"\b(time\.(time|monotonic|perf)|np\.random|random\.)", source), node.name


def test_public_functions_say_what_they_do() -> None:
    silent = [
        f"{name_of(path)}:{node.name}"
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert not silent


def test_every_strategy_file_ends_with_its_warm_up() -> None:
    for name in STRATEGIES:
        tree = ast.parse((TOP / "strategies" / "kernels" / f"{name}.py").read_text())
        last = tree.body[-1]
        assert isinstance(last, ast.FunctionDef), name
        assert last.name == "warm_up", name


def test_reasons_are_distinct_and_denials_start_at_100() -> None:
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert Reason.DATA_QUALITY == 100


def test_commands_of_the_table_exist() -> None:
    from trireme.main import COMMANDS

    for module, attribute, line in COMMANDS.values():
        assert getattr(importlib.import_module(module), attribute).name, line


def test_no_file_names_a_registry_or_a_path_of_this_machine() -> None:
    hosts = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs", "deb" + r"\.debian")))
    machine = re.compile("/" + r"work/(main|shared)|/" + "root/")
    faults = []
    for path in list_tracked():
        if path.name == "uv.lock":  # uv writes the index into its lock file: its format has no other way
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        faults += [name_of(path) for pattern in (hosts, machine) if pattern.search(text)]
    assert not faults
