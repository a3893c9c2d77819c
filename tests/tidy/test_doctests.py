"""The examples in docstrings are true."""

import doctest
import importlib
import inspect
from types import ModuleType

import pytest

from tests.tidy.test_tidy import SOURCES, TOP

MODULES = [
    ".".join(path.relative_to(TOP).with_suffix("").parts)
    for path in SOURCES
    if path.name != "__init__.py" and ">>> " in path.read_text()
]


def collect(module: ModuleType) -> list[doctest.DocTest]:
    """Return the examples of a module; those of compiled kernels hang on what they were compiled from."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for test in finder.find(module, module.__name__) if test.examples]
    seen = {test.name for test in tests}
    for name, member in vars(module).items():
        function = inspect.unwrap(getattr(member, "py_func", member))
        if hasattr(member, "py_func") and function.__module__ == module.__name__:
            for test in finder.find(function, f"{module.__name__}.{name}", module=module, globs=vars(module).copy()):
                if test.examples and test.name not in seen:
                    tests.append(test)
    return tests


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(name)
    tests = collect(module)
    assert tests
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        test.globs.update(vars(module))
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
