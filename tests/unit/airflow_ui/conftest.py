"""Gives the sample run as a fixture; tests here are not a package to import from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def sample() -> ModuleType:
    """The module ``sample_run.py`` beside this file."""
    spec = importlib.util.spec_from_file_location("tomas_sample_run", Path(__file__).with_name("sample_run.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
