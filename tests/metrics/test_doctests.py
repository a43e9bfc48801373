"""Every public function of `metrics` shows a value that is evident by hand, and the value is right."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import metrics

MODULES = [f"metrics.{module.name}" for module in pkgutil.iter_modules(metrics.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted and not failed  # pytest shows what doctest printed


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(name)
    functions = [
        function
        for function, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == name and not function.startswith("_")
    ]
    examples = {test.name.removeprefix(f"{name}."): test.examples for test in doctest.DocTestFinder().find(module)}
    assert [function for function in functions if not examples.get(function)] == []
