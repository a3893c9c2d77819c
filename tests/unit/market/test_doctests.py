"""The examples in market's docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

import market

MODULES = sorted(path.stem for path in Path(market.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"market.{name}"))
    assert results.failed == 0
