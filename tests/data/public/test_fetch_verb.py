"""``vpbsd fetch`` on the command line: what it lists, makes and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from file_server import FileServer
from stand_ins import make_stand_in

from vpbsd import cli
from vpbsd.config import load_config
from vpbsd.data import public
from vpbsd.data.public import SourceFile


@pytest.fixture
def octa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a stand-in that goes by the name of the real data set."""
    stand_in = make_stand_in(public.DATASETS["tubenet_octa"], tmp_path / "mine")
    monkeypatch.setitem(public.DATASETS, "tubenet_octa", stand_in.description)
    return stand_in.folder


def test_list_tells_name_home_licence_and_split(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fetch", "--list"]) == 0
    said = capsys.readouterr().out
    for name, description in public.DATASETS.items():
        block = said.partition(f"{name}: ")[2].partition("\n\n")[0]
        for part in (description.home, description.licence, description.how):
            assert part in block
        assert f"by {description.split.by}; " in block


def test_a_folder_becomes_a_recipe(
    octa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    size = ["--voxel-size", "4", "2", "1"]
    assert cli.main(["fetch", "tubenet_octa", "--from", str(octa), "-o", str(out), *size]) == 0
    heard = capsys.readouterr()
    assert f"{out / 'recipe.yaml'}\n" in heard.out
    assert "0 labelled, 0 unlabelled, 0 validation, 1 test" in heard.out
    assert "licence: MIT for the repository" in heard.err
    assert "octa: 10x12x16 voxels" in heard.err
    assert [v.name for v in load_config(out / "recipe.yaml").data.test] == ["octa"]


def test_quiet_says_no_more_than_the_result(
    octa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fetch", "tubenet_octa", "--from", str(octa), "-o", str(tmp_path / "out"), "--quiet"]
    assert cli.main([*words, "--voxel-size", "1", "1", "1"]) == 0
    assert capsys.readouterr().err == ""


def test_a_slow_download_tells_how_far_it_is(
    octa: Path,
    tmp_path: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = public.DATASETS["tubenet_octa"].volumes[0]
    files = {}
    for kind, file in (("image", real.image), ("label", real.label)):
        server.files[file.key] = (octa / file.key).read_bytes()
        files[kind] = SourceFile(file.paths, server.url(file.key))
    volume = replace(real, **files)
    description = replace(public.DATASETS["tubenet_octa"], volumes=(volume,))
    monkeypatch.setitem(public.DATASETS, "tubenet_octa", description)
    monkeypatch.setattr("vpbsd.cli.fetch._SECONDS_PER_LINE", 0.0)
    assert cli.main(["fetch", "tubenet_octa", "-o", str(tmp_path / "out")]) == 0
    assert "OCTA-Data.tif: 0 of 0 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a data set and its folder"),
        (["minivess"], "name a data set and its folder"),
        (["nothing", "-o", "out"], "no data set 'nothing'; known: selma3d, vessap"),
        (["minivess", "-o", "out", "--from", "nowhere"], "'nowhere' does not exist"),
        (["minivess", "-o", "out", "--from", "f.zip"], "neither a folder nor a whole zip"),
        (["minivess", "-o", "out", "--from", "."], "70 of 70 volumes of minivess lack files"),
        (["minivess", "-o", "f.zip", "--from", "."], "'f.zip' is a file"),
        (["minivess", "-o", "out", "--from", ".", "--axes", "xy"], "name z, y and x once"),
        (["minivess", "-o", "out", "--images", "a*"], "--images and --labels belong together"),
        (["minivess", "-o", "out", "--from", ".", "--voxel-size", "0", "1", "1"], "positive"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.zip").write_bytes(b"PK but no archive")
    assert cli.main(["fetch", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vpbsd fetch: ")
    assert says in last
    assert [p.name for p in tmp_path.iterdir()] == ["f.zip"]
