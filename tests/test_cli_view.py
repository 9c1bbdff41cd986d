"""``vpbsd view`` as a command: what it prints, how it ends, how it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from vpbsd.cli import main
from vpbsd.convert import ConvertOptions, convert_volume
from vpbsd.geometry import VoxelSize
from vpbsd.volumes import ArrayVolume


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "brain.ome.zarr"
    array = np.arange(8 * 8 * 8, dtype=np.uint16).reshape(8, 8, 8)
    convert_volume(ArrayVolume(array, VoxelSize(2, 1, 1)), path, ConvertOptions())
    return path


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_serves_until_ctrl_c(image: Path) -> None:
    command = "import sys; from vpbsd.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", command, "view", str(image), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            link = process.stdout.readline().strip()
            assert link.startswith("https://neuroglancer-demo.appspot.com/#!")
            (layer,) = json.loads(unquote(link.partition("#!")[2]))["layers"]
            url = layer["source"].removeprefix("zarr3://")
            with urllib.request.urlopen(f"{url}/zarr.json", timeout=10) as answer:
                assert json.load(answer)["attributes"]["ome"]["multiscales"]
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert out == ""
    assert err.endswith("Ctrl-C\nstopped\n")
    assert "Traceback" not in err
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/zarr.json", timeout=2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.ome.zarr"], "'nowhere.ome.zarr' is not the folder of an OME-Zarr"),
        (["IMAGE", "--graph", "."], "not a folder that `vpbsd graph` left"),
        (["IMAGE", "--port", "99999"], "1 to 65535"),
        (["IMAGE", "--neuroglancer", "page.html"], "'page.html' is not the address of a web page"),
    ],
)
def test_mistakes_are_one_sentence(
    image: Path,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [str(image) if word == "IMAGE" else word for word in words]
    assert main(["view", *chosen, "--no-browser"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vpbsd view: ")
    assert sentence in err
    assert err.count("\n") == 1
