"""What is shipped: wheel, sdist and pins; the wheel works in a clean environment."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vpbsd

# Distribution -> module, where the two names differ.
MODULES = {
    "connected-components-3d": "cc3d",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}
# Needed without being imported here: by tifffile, for compressed pages; by nibabel, for .nii.gz.
LOADED_BY_OTHERS = {"imagecodecs", "indexed_gzip"}
# Imported by scripts that run in environments of their own.
ELSEWHERE = {"nnunetv2"}


def _run(*command: str | Path, cwd: Path) -> str:
    # Neither this source tree nor a user's pip settings may help the package along.
    clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PIP_CONSTRAINT"}}
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=clean,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def _project(repository: Path) -> dict[str, Any]:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


# ------------------------------------------------------------------------------------ dependencies


def test_every_requirement_is_pinned_within_its_range(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, version = line.split("==")  # an unpinned or local line fails right here
            pins[canonicalize_name(name)] = version
    project = _project(repository)
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    outside = []
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        if requirement.name == project["name"]:
            continue  # dev takes in the other extras, which are looked at themselves
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is None or not requirement.specifier.contains(pin):
            outside.append(f"{requirement}: {pin}")
    assert outside == []


def test_every_dependency_is_imported(repository: Path) -> None:
    imported = set()
    for path in (repository / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    assert "vpbsd" in imported
    project = _project(repository)
    needed = _modules(project["dependencies"])
    optional = _modules([r for extra in project["optional-dependencies"].values() for r in extra])
    assert sorted(needed - imported) == [], "in pyproject.toml but imported nowhere"
    known = needed | optional | set(sys.stdlib_module_names) | {"vpbsd", *ELSEWHERE}
    assert sorted(imported - known) == [], "imported but not in pyproject.toml"


def _modules(requirements: list[str]) -> set[str]:
    names = {Requirement(r).name.lower() for r in requirements} - LOADED_BY_OTHERS
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


# ---------------------------------------------------------------------------------- wheel and sdist


@pytest.fixture(scope="module")
def distributions(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    _run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, repository, cwd=folder
    )
    return folder


def _one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _files(folder: Path, *, below: str = "") -> set[str]:
    return {
        below + p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


@pytest.mark.slow
def test_wheel_holds_the_package_and_the_recipes(repository: Path, distributions: Path) -> None:
    wheel = _one(distributions, "*.whl")
    assert wheel.name == f"vpbsd-{vpbsd.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"vpbsd-{vpbsd.__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    package = _files(repository / "src" / "vpbsd", below="vpbsd/")
    recipes = _files(repository / "recipes", below="vpbsd/recipes/")
    assert "vpbsd/py.typed" in names
    assert recipes
    assert {n for n in names if not n.startswith(info)} == package | recipes
    assert f"{info}/licenses/LICENSE" in names
    assert "License-Expression: Apache-2.0" in metadata.splitlines()
    assert "vpbsd = vpbsd.cli:main" in entry_points.splitlines()


@pytest.mark.slow
def test_sdist_holds_what_building_and_testing_need(repository: Path, distributions: Path) -> None:
    sdist = _one(distributions, "*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    needed = _files(repository / "src", below="src/") | _files(
        repository / "recipes", below="recipes/"
    )
    needed |= {p.relative_to(repository).as_posix() for p in (repository / "tests").rglob("*.py")}
    needed |= {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt"}
    needed |= {"results/cpu.jsonl", "results/tables/cpu/verdicts.md"}  # the docs are held to them
    assert needed - names == set()
    assert {n for n in names if n.startswith((".venv", "demo", "runs"))} == set()
    assert sdist.stat().st_size < 5_000_000, "something large slipped into the sdist"


@pytest.mark.slow
def test_wheel_works_in_a_clean_environment(distributions: Path, tmp_path: Path) -> None:
    environment = tmp_path / "clean"
    venv.create(environment, with_pip=False, symlinks=os.name == "posix")
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = environment / scripts / "python"
    _run(
        *(sys.executable, "-m", "pip", "--python", python, "install"),
        *("--no-deps", "--no-index", "--no-compile", "--quiet", _one(distributions, "*.whl")),
        cwd=tmp_path,
    )
    # The dependencies come from the environment of the tests, which a path file makes visible; a
    # path file found through another is not read, so an editable vpbsd there stays out of sight.
    site = Path(
        _run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    where = _run(python, "-c", "import vpbsd; print(vpbsd.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(environment)
    command = environment / scripts / "vpbsd"
    assert vpbsd.__version__ in _run(command, "--version", cwd=tmp_path)
    assert "usage" in _run(command, "--help", cwd=tmp_path).lower()
