"""The modules of ``benchmarks/``, which lie beside the package, not in it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def _module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # The scripts find each other because Python puts the folder of a script on the path.
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("harness", monkeypatch)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("bars", monkeypatch)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("processes", monkeypatch)


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("rivals", monkeypatch)


@pytest.fixture
def subjects(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("subjects", monkeypatch)


@pytest.fixture(scope="session")
def benchmark_folder() -> Path:
    """Where the scripts are."""
    assert (FOLDER / "harness.py").is_file(), sys.path
    return FOLDER
