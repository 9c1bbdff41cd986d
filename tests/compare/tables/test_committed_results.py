"""The tables and numbers that the docs show are those that the committed result lines make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vpbsd.compare.results.lines import read_results
from vpbsd.compare.tables.write import write_tables

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
COMMITTED = RESULTS / "tables" / "cpu"
SECTION = "## The comparison"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables")
    write_tables(read_results(RESULTS / "cpu.jsonl"), out)
    return out / "cpu"


def test_committed_tables_are_made_of_the_committed_lines(made: Path) -> None:
    def texts(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.md")
        }

    # When this fails: vpbsd compare --tables results
    assert texts(COMMITTED) == texts(made)


def test_scores_in_the_docs_are_in_the_tables(made: Path) -> None:
    docs = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert SECTION in docs
    section = docs.split(SECTION, 1)[1].split("\n## ", 1)[0]
    tables = "\n".join(path.read_text("utf-8") for path in made.rglob("*.md"))
    quoted = re.findall(r"\d\.\d{3} ± \d\.\d{3}|[+−]\d+\.\d \(−?\d+\.\d to −?\d+\.\d\)", section)
    assert len(quoted) > 10
    assert [text for text in quoted if text not in tables] == []
