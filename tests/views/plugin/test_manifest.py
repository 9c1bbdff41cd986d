"""What napari is told of the plugin, and that what it names is there."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vpbsd.views import plugin

npe2 = pytest.importorskip("npe2")

MANIFEST = Path(plugin.__file__).with_name("napari.yaml")


@pytest.fixture(scope="module")
def manager():
    """A plugin manager that knows this plugin and no other."""
    manager = npe2.PluginManager()
    manager.register(npe2.PluginManifest.from_file(MANIFEST))
    return manager


def test_manifest_is_valid_and_its_functions_exist() -> None:
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    assert manifest.name == "vpbsd"
    names = [command.python_name for command in manifest.contributions.commands]
    assert len(names) == 3
    for name in names:
        module, _, attribute = name.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_package_announces_the_manifest(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, file = project["entry-points"]["napari.manifest"]["vpbsd"].partition(":")
    assert Path(importlib.import_module(module).__file__).with_name(file) == MANIFEST


def test_reader_is_asked_for_what_is_ours(manager, brain: Path, graph_folder: Path) -> None:
    for path in (brain / "mask.ome.zarr", graph_folder, graph_folder / "edges.parquet"):
        readers = list(manager.iter_compatible_readers([str(path)]))
        assert [r.command for r in readers] == ["vpbsd.get_reader"]
    assert list(manager.iter_compatible_readers(["image.tif"])) == []


def test_npe2_reads_a_mask(manager, brain: Path) -> None:
    reader = next(iter(manager.iter_compatible_readers([str(brain / "mask.ome.zarr")])))
    module, _, name = (
        manager.get_manifest("vpbsd").contributions.commands[0].python_name.partition(":")
    )
    assert reader.command == "vpbsd.get_reader"
    read = getattr(importlib.import_module(module), name)(str(brain / "mask.ome.zarr"))
    assert [kind for _, _, kind in read(str(brain / "mask.ome.zarr"))] == ["labels"]


WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"napari", "magicgui", "npe2", "qtpy", "PySide6"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
import vpbsd.views.plugin.reader, vpbsd.views.plugin.sample
import vpbsd.views.session
from vpbsd.errors import MissingExtraError
try:
    import vpbsd.views.plugin.widget
except MissingExtraError as error:
    print(error)
"""


def test_without_napari_only_the_widget_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], check=True, capture_output=True, text=True, timeout=60
    )
    assert "No module named 'napari'" in done.stdout or "No module named 'magicgui'" in done.stdout
    assert "pip install 'vpbsd[napari]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_vpbsd_never_loads_qt() -> None:
    script = (
        "import sys, vpbsd.cli, vpbsd.views.session, vpbsd.views.plugin.reader\n"
        "found = {'qtpy', 'PySide6', 'PyQt5', 'PyQt6', 'napari', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
