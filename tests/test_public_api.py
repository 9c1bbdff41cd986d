"""The public face: what it lists, what it loads and when."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vpbsd

SOURCE = Path(__file__).resolve().parents[1] / "src"

# Written out by hand: a name that comes or goes is a decision, and belongs in CHANGELOG.md.
PUBLIC = [
    "build_graph",
    "convert_volume",
    "distill",
    "errors",
    "finetune",
    "load_config",
    "load_model",
    "open_volume",
    "pretrain",
    "score",
    "segment_volume",
    "simulate_volume",
    "train",
]


def test_all_lists_the_public_names() -> None:
    assert vpbsd.__all__ == PUBLIC


def test_docstring_map_shows_every_public_name() -> None:
    assert vpbsd.__doc__ is not None
    right_column = re.findall(r" {3,}([a-z_]+)$", vpbsd.__doc__, flags=re.MULTILINE)
    assert sorted(right_column) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_loads_from_its_home(name: str) -> None:
    value = getattr(vpbsd, name)
    assert name in dir(vpbsd)
    if name == "errors":
        assert value is importlib.import_module("vpbsd.errors")
    else:
        assert callable(value)
        assert value.__name__ == name
        assert value.__doc__


def test_no_public_function_shares_its_name_with_a_room() -> None:
    rooms = {p.stem for p in (SOURCE / "vpbsd").iterdir() if not p.stem.startswith("_")}
    assert "geometry" in rooms
    assert (set(PUBLIC) - {"errors"}) & rooms == set()


def test_unknown_name_is_an_attribute_error_that_tells_the_choice() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'segmnt_volume'.*segment_volume"):
        vpbsd.segmnt_volume  # noqa: B018


def test_listing_the_face_loads_no_room() -> None:
    script = (
        "import sys, vpbsd\n"
        "assert hasattr(vpbsd, '__version__') and 'segment_volume' in dir(vpbsd)\n"
        "print(*sorted(m for m in sys.modules if m.startswith('vpbsd')))\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert loaded == ["vpbsd", "vpbsd.errors"]


def test_every_module_lists_names_it_has() -> None:
    for path in sorted((SOURCE / "vpbsd").rglob("*.py")):
        dotted = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        name = dotted.removesuffix(".__init__")
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        missing = [n for n in getattr(module, "__all__", []) if not hasattr(module, n)]
        assert missing == [], name
