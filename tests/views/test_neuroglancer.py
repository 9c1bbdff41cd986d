"""The state as neuroglancer documents it, written out, and the graph's files, byte by byte."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.views.graph_folder import Polylines, read_edges
from vpbsd.views.intensities import intensity_range
from vpbsd.views.neuroglancer import link, viewer_state
from vpbsd.views.precomputed import write_skeletons
from vpbsd.views.session import view_session
from vpbsd.volumes import ArrayVolume

PAGE = "https://viewer.example"


def test_state_of_image_mask_and_graph(brain: Path, graph_folder: Path) -> None:
    layers = [brain / f"{n}.ome.zarr" for n in ("image", "mask", "old", "mask_probability")]
    with view_session(layers, graph_folder, PAGE) as session:
        url = session.server.url("")
        image, mask, old, probability, graph = session.state.pop("layers")
        state = session.state
    assert state == {
        "dimensions": {"x": [2e-06, "m"], "y": [2e-06, "m"], "z": [4e-06, "m"]},
        "position": [31.5, 23.5, 19.5],
        # 160 µm along z are 80 edges of 2 µm, in 500 pixels.
        "crossSectionScale": 0.16,
        "projectionScale": 120.0,
        "selectedLayer": {"visible": False, "layer": "graph"},
        "layout": "4panel",
    }
    assert image == {
        "type": "image",
        "name": "image",
        "source": f"zarr3://{url}0-image.ome.zarr",
        "shader": "#uicontrol invlerp normalized\n"
        "void main() {\n  emitGrayscale(normalized());\n}\n",
        "shaderControls": {
            "normalized": {"range": [pytest.approx(9.0, abs=1), pytest.approx(997, abs=1)]}
        },
    }
    assert mask == {
        "type": "segmentation",
        "name": "mask",
        "source": f"zarr3://{url}1-mask.ome.zarr",
        "segments": ["1"],
        "segmentColors": {"1": "#e63c3c"},
    }
    assert old["source"] == f"zarr2://{url}2-old.ome.zarr"
    assert probability["shaderControls"] == {"normalized": {"range": [0.0, 255.0]}}
    shader = graph.pop("skeletonRendering")["shader"]
    # Ten points of radius 1 to 4 µm.
    assert "float thin_um slider(min=0.0, max=4.000, default=1.000)" in shader
    assert "float thick_um slider(min=0.0, max=4.000, default=4.000)" in shader
    assert "prop_radius_um()" in shader
    assert graph == {
        "type": "segmentation",
        "name": "graph",
        "source": f"precomputed://{url}graph",
        "segments": ["1", "2"],
    }


def test_link_holds_the_state_and_nothing_breaks_it(brain: Path) -> None:
    with view_session([brain / "mask.ome.zarr"], None, PAGE) as session:
        parts = urlsplit(session.link)
        assert (parts.scheme, parts.netloc, parts.path, parts.query) == (
            *("https", "viewer.example", "/", ""),
        )
        assert parts.fragment.startswith("!")
        assert json.loads(unquote(parts.fragment[1:])) == session.state
        assert not set(session.link) & set(' "<>\\^`{|}')


@pytest.mark.parametrize(
    ("page", "start"),
    [
        ("https://viewer.example", "https://viewer.example/#!%7B"),
        ("https://viewer.example/v2/", "https://viewer.example/v2/#!%7B"),
        ("http://127.0.0.1:8080/index.html#!{}", "http://127.0.0.1:8080/index.html#!%7B"),
    ],
)
def test_link_to_a_page(page: str, start: str) -> None:
    assert link(page, {"layers": []}).startswith(start)


def test_place_of_a_volume_that_does_not_begin_at_the_origin() -> None:
    state = viewer_state(
        [{"name": "a"}], VoxelSize(1.0, 0.5, 0.5), (11, 21, 31), (100.0, 10.0, 5.0)
    )
    assert state["position"] == [10 + 15, 20 + 10, 100 + 5]


def test_what_the_link_names_is_served(brain: Path, graph_folder: Path) -> None:
    same = brain / "mask.ome.zarr"
    with view_session([same, same], graph_folder, PAGE) as session:
        first, second, graph = (
            layer["source"].partition("://")[2] for layer in session.state["layers"]
        )
        assert first != second
        names = [layer["name"] for layer in session.state["layers"]]
        assert names == ["mask", "mask 2", "graph"]
        with urlopen(f"{second}/zarr.json") as answer:
            assert json.load(answer)["node_type"] == "group"
        with urlopen(f"{graph}/info") as answer:
            assert json.load(answer)["@type"] == "neuroglancer_skeletons"
            assert answer.headers["Content-Type"] == "application/json"


def test_mistakes_are_told(brain: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder that `vpbsd graph` left"):
        view_session([brain / "mask.ome.zarr"], tmp_path, PAGE).__enter__()
    with pytest.raises(ConfigError, match="not the address of a web page"):
        view_session([brain / "mask.ome.zarr"], None, "viewer").__enter__()


def test_brightness_of_what_is_shown() -> None:
    array = np.zeros((4, 10, 25), np.float32)
    array.ravel()[:] = np.arange(1000)
    assert intensity_range(ArrayVolume(array)) == pytest.approx((9.99, 997.0), abs=0.01)
    array[:] = 3
    assert intensity_range(ArrayVolume(array)) == (3.0, 4.0)
    array[:] = np.nan
    assert intensity_range(ArrayVolume(array)) == (0.0, 1.0)


# ------------------------------------------------------------------------------------ skeletons


def test_files_of_a_graph(graph_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "skeletons"
    out.mkdir()
    assert write_skeletons(read_edges(graph_folder), out) == [1, 2]
    assert json.loads((out / "info").read_text()) == {
        "@type": "neuroglancer_skeletons",
        "transform": [1000, 0, 0, 0, 0, 1000, 0, 0, 0, 0, 1000, 0],
        "vertex_attributes": [{"id": "radius_um", "data_type": "float32", "num_components": 1}],
    }
    # The single vessel from (z, y, x) = (50, 9, 9) to (60, 9, 9), with radius 4.
    assert (out / "2").read_bytes() == struct.pack(
        "<2I6f2I2f", 2, 1, *(9, 9, 50), *(9, 9, 60), *(0, 1), *(4, 4)
    )
    # Two vessels of 5 and 3 points: no piece joins the end of one to the start of the next.
    content = (out / "1").read_bytes()
    assert struct.unpack("<2I", content[:8]) == (8, 6)
    assert np.frombuffer(content, "<f4", 24, 8).reshape(8, 3)[-1].tolist() == [8, 6, 0]
    pieces = np.frombuffer(content, "<u4", 12, 8 + 96).reshape(6, 2)
    assert pieces.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [5, 6], [6, 7]]
    assert np.frombuffer(content, "<f4", 8, 8 + 96 + 48).tolist() == [1, 1, 2, 3, 3, 3, 2, 2]
    assert len(content) == 8 + 96 + 48 + 32


def test_small_parts_share_a_file(tmp_path: Path) -> None:
    parts = 250
    vessels = Polylines(
        edge=np.arange(parts),
        component=np.arange(parts) * 10,
        offsets=np.arange(parts + 1) * 2,
        position_um=np.zeros((2 * parts, 3), np.float32),
        radius_um=np.ones(2 * parts, np.float32),
        step=1,
        left_out=0,
    )
    assert write_skeletons(vessels, tmp_path) == list(range(1, 202))
    pieces = [struct.unpack("<2I", (tmp_path / str(n)).read_bytes()[:8])[1] for n in range(1, 202)]
    assert pieces == [1] * 200 + [50]


def test_a_graph_without_vessels(tmp_path: Path) -> None:
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, 3), np.float32)
    vessels = Polylines(none, none, np.zeros(1, np.int64), empty, empty[:, 0], 1, 0)
    assert write_skeletons(vessels, tmp_path) == []
