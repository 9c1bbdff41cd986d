"""The shape of the code, as a test: sizes, forbidden habits, cycles, how light the face is."""

from __future__ import annotations

import ast
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
HEAVY = {"torch", "lightning_fabric", "monai", "zarr", "skimage", "matplotlib"}
TORCH_FREE_ROOMS = ("blockwise", "graph")
HELP_SECONDS = 0.5

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "vpbsd"

Function = ast.FunctionDef | ast.AsyncFunctionDef


# ------------------------------------------------------------------ the laws, over one parsed file


def long_functions(tree: ast.Module) -> list[str]:
    """Functions of more than MAX_FUNCTION_LINES lines, from ``def`` to the last line."""
    return [
        f"{f.name} has {length} lines"
        for f in _functions(tree)
        if (length := (f.end_lineno or f.lineno) - f.lineno + 1) > MAX_FUNCTION_LINES
    ]


def crowded_functions(tree: ast.Module) -> list[str]:
    """Functions that take more than MAX_PARAMETERS, ``self`` and ``cls`` not counted."""
    found = []
    for function in _functions(tree):
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names += [a.arg for a in (given.vararg, given.kwarg) if a is not None]
        count = len([n for n in names if n not in {"self", "cls"}])
        if count > MAX_PARAMETERS:
            found.append(f"{function.name} takes {count} parameters")
    return found


def prints(tree: ast.Module) -> list[str]:
    """Calls of ``print``."""
    return [
        f"print in line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def blanket_excepts(tree: ast.Module) -> list[str]:
    """Handlers that catch everything and do not raise again."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {}
        blanket = node.type is None or bool({"Exception", "BaseException"} & set(caught))
        raises_again = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        if node.type is None or (blanket and not raises_again):
            found.append(f"blanket except in line {node.lineno}")
    return found


def warning_filters(tree: ast.Module) -> list[str]:
    """Warning filters set at import, which would hold for the user's code too."""
    return [
        f"global warning filter in line {statement.lineno}"
        for statement in tree.body
        if isinstance(statement, ast.Expr)
        and ast.unparse(statement.value).startswith(("warnings.filter", "warnings.simplefilter"))
    ]


def missing_face(tree: ast.Module) -> list[str]:
    """A module without ``__all__`` or without a docstring."""
    assigned = {
        target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Name)
    }
    lacks = [] if "__all__" in assigned else ["no __all__"]
    return lacks if ast.get_docstring(tree) else [*lacks, "no docstring"]


LAWS = (
    long_functions,
    crowded_functions,
    prints,
    blanket_excepts,
    warning_filters,
    missing_face,
)


def _functions(tree: ast.Module) -> Iterator[Function]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_module_keeps(law) -> None:
    broken = [
        f"{path.relative_to(PACKAGE)}: {fault}"
        for path in _modules()
        for fault in law(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (long_functions, "def f():\n" + "    x = 1\n" * 60),
        (crowded_functions, "def f(self, a, b, c, d, *e, g, h, **i): ..."),
        (prints, "def f():\n    print(1)"),
        (blanket_excepts, "try:\n    f()\nexcept:\n    raise"),
        (blanket_excepts, "try:\n    f()\nexcept (OSError, Exception):\n    pass"),
        (warning_filters, "import warnings\nwarnings.filterwarnings('ignore')"),
        (missing_face, "'''Docstring.'''\nx = 1"),
        (missing_face, "__all__ = []"),
    ],
)
def test_each_law_finds_its_fault(law, fault: str) -> None:
    assert len(law(ast.parse(fault))) == 1


@pytest.mark.parametrize(
    ("law", "fine"),
    [
        (long_functions, "def f():\n" + "    x = 1\n" * 59),
        (crowded_functions, "def f(self, a, b, c, d, *, e, g, h): ..."),
        (prints, "def f():\n    log.info('print')"),
        (blanket_excepts, "try:\n    f()\nexcept Exception as e:\n    raise OSError from e"),
        (warning_filters, "def f():\n    warnings.simplefilter('ignore')"),
        (missing_face, "'''Docstring.'''\n__all__: list[str] = []"),
    ],
)
def test_each_law_lets_the_like_pass(law, fine: str) -> None:
    assert law(ast.parse(fine)) == []


# ------------------------------------------------------------------------------ files and the tree


def test_files_stay_short() -> None:
    lengths = {
        str(p.relative_to(PACKAGE)): len(p.read_text(encoding="utf-8").splitlines())
        for p in _modules()
    }
    assert len(lengths) > 3, "no modules found: the test looks in the wrong folder"
    assert {n: v for n, v in lengths.items() if v > MAX_FILE_LINES} == {}


def test_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc", "common"}
    names = {p.stem for p in PACKAGE.rglob("*")}
    assert "errors" in names
    assert names & drawers == set()


def _import_graph() -> grimp.ImportGraph:
    graph = grimp.build_graph("vpbsd", include_external_packages=True, cache_dir=None)
    # The face names its rooms for type checkers only; it loads none of them.
    for room in graph.find_modules_directly_imported_by("vpbsd"):
        graph.remove_import(importer="vpbsd", imported=room)
    return graph


def cycles_in(graph: grimp.ImportGraph) -> list[str]:
    """Pairs of modules that import each other, directly or through others."""
    return [
        f"{a} -> {' -> '.join(back)}"
        for a in sorted(graph.modules)
        for b in sorted(graph.find_modules_directly_imported_by(a))
        # Every cycle holds a step from a name to a later one, so these steps suffice.
        if a < b and (back := graph.find_shortest_chain(importer=b, imported=a))
    ]


def test_no_import_cycle() -> None:
    graph = _import_graph()
    assert "vpbsd.errors" in graph.modules
    assert cycles_in(graph) == []


def test_import_cycle_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in [("a", "c"), ("c", "b"), ("b", "d")]:
        graph.add_import(importer=importer, imported=imported)
    assert cycles_in(graph) == []
    graph.add_import(importer="b", imported="a")
    assert cycles_in(graph) == ["a -> c -> b -> a"]


@pytest.mark.parametrize("room", TORCH_FREE_ROOMS)
def test_room_never_loads_torch(room: str) -> None:
    graph = _import_graph()
    if f"vpbsd.{room}" not in graph.modules:
        pytest.skip(f"vpbsd.{room} is not built yet")
    assert "torch" in graph.modules
    chains = graph.find_shortest_chains(
        importer=f"vpbsd.{room}", imported="torch", as_packages=True
    )
    assert chains == set()


def test_no_path_of_one_machine(repository: Path) -> None:
    # Put together from pieces, so that this file passes its own test.
    machine_path = re.compile(r"(?<![\w.~-])/(?:" + "|".join(["work", "root", "home"]) + r")/\w")
    assert machine_path.search("see /" + "root/x"), "the pattern finds nothing"
    found = []
    for path in _tracked(repository):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(repository)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if machine_path.search(line)
        ]
    assert found == []


def _tracked(repository: Path) -> list[Path]:
    """Files that are or would be committed; in an unpacked sdist all of them."""
    if not (repository / ".git").exists():
        return [p for p in (repository / "src").rglob("*") if p.is_file()]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return [path for name in listed if name and (path := repository / name).is_file()]


# --------------------------------------------------------------------------------- light to import


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


@pytest.mark.parametrize("module", ["vpbsd", "vpbsd.config", "vpbsd.cli"])
def test_import_is_light(module: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        env=_environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert module in loaded
    assert HEAVY & set(loaded) == set()


def test_help_answers_at_once() -> None:
    command = "import sys; sys.argv = ['vpbsd', '--help']; from vpbsd.cli import main; main()"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", command],
            env=_environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout.lower()
        # Processor time, not wall time: another process on this machine must not fail the test.
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert statistics.median(seconds) < HELP_SECONDS, seconds
