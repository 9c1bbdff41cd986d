"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from vpbsd.compare.tables.markup import Row, Table, escape_latex, write_table
from vpbsd.errors import OutputError

TABLE = Table(
    name="table1",
    label="cpu few_shot methods",
    title="Methods & more",
    caption="Mean ± sd; 5 % of C_1.",
    columns=["method", "Dice", "HD95 (µm)"],
    rows=[
        Row(["VpbSD", "0.8 ± 0.1", "∞"], {"method": "vpbsd", "dice": 0.8}, frozenset({1}), "ours"),
        Row(["mean_teacher", "0.7", "a|b"], {"method": "mean_teacher", "dice": None}, group="semi"),
        Row(["a, \"b\"", "−0.1", ""], {"method": 'a, "b"', "more": 3}, group="semi"),
    ],
    notes=["vnet seed 1: failed"],
    sentences=["No difference can be told."],
)  # fmt: skip


def test_markdown() -> None:
    assert TABLE.markdown() == (
        "## Methods & more\n\n"
        "Mean ± sd; 5 % of C_1.\n\n"
        "| method | Dice | HD95 (µm) |\n"
        "|---|---:|---:|\n"
        "| *ours* |  |  |\n"
        "| VpbSD | **0.8 ± 0.1** | ∞ |\n"
        "| *semi* |  |  |\n"
        "| mean_teacher | 0.7 | a\\|b |\n"
        '| a, "b" | −0.1 |  |\n\n'
        "- vnet seed 1: failed\n\n"
        "- No difference can be told.\n"
    )


def test_csv_holds_numbers_and_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert rows == [
        {"method": "vpbsd", "dice": "0.8", "more": ""},
        {"method": "mean_teacher", "dice": "", "more": ""},
        {"method": 'a, "b"', "dice": "", "more": "3"},
    ]


def test_latex_is_whole_and_escaped() -> None:
    text = TABLE.latex()
    assert r"\caption{Methods \& more. Mean $\pm$ sd; 5 \% of C\_1.}" in text
    assert r"\label{tab:cpu-few-shot-methods}" in text
    assert r"VpbSD & \textbf{0.8 $\pm$ 0.1} & $\infty$ \\" in text
    assert r"mean\_teacher & 0.7 & a\textbar{}b \\" in text
    assert r"\multicolumn{3}{l}{\textit{semi}} \\" in text
    assert "vnet seed 1: failed." in text
    for command in ("toprule", "bottomrule"):
        assert text.count(rf"\{command}") == 1
    # Every environment is closed in turn, every brace too, and every line has three columns.
    open_ = []
    for what, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if what == "begin":
            open_.append(name)
        else:
            assert open_.pop() == name
    assert open_ == []
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    rows = [r for r in text.splitlines() if r.endswith(r"\\") and "multicolumn" not in r]
    assert [len(re.findall(r"(?<!\\)&", r)) for r in rows] == [2] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & $1 #2", r"50 \% \& \$1 \#2"),
        ("a_b^c~d", r"a\_b\textasciicircum{}c\textasciitilde{}d"),
        (r"{\x}", r"\{\textbackslash{}x\}"),
        ("≥ 2 × 3 µm", r"$\geq$ 2 $\times$ 3 $\mu$m"),
        ("Δ −1 – 2", r"$\Delta$ $-$1 -- 2"),
    ],
)
def test_escaping(text: str, expected: str) -> None:
    assert escape_latex(text) == expected


def test_files(tmp_path: Path) -> None:
    written = write_table(TABLE, tmp_path / "a" / "b")
    assert [p.name for p in written] == ["table1.md", "table1.csv", "table1.tex"]
    assert written[0].read_text("utf-8") == TABLE.markdown()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make"):
        write_table(TABLE, tmp_path / "file" / "b")
