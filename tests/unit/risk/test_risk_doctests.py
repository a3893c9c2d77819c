"""The examples in the docstrings of risk/ hold."""

import doctest
import importlib
from pathlib import Path

import pytest

import risk

MODULES = sorted(path.stem for path in Path(risk.__path__[0]).glob("*.py") if ">>>" in path.read_text())


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"risk.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
