"""The page in a real browser without a network: it draws, sorts, switches, and asks for nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_folders import small_graph, write_graph
from report_browser import Opened, chromium, open_page

from vpbsd.report.page.build import Collected, build_page
from vpbsd.report.page.groups import groups_page, read_groups
from vpbsd.report.page.page import write_page
from vpbsd.report.page.sources import Sources

pytestmark = pytest.mark.slow

HOSTILE = "<script>document.title='taken'</script>"

# Contrast of every text with what lies behind it, after WCAG 2.1.
CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = rgb(getComputedStyle(n).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest(".plot, script, style, noscript, .skip, svg")) continue;
    const own = Array.from(node.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own) continue;
    const both = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const [a, b] = both.sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.tagName, node.textContent.slice(0, 30)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small graph with a region of a hostile name."""
    folder = tmp_path_factory.mktemp("browser")
    graph = small_graph(folder / "graph", HOSTILE)
    out = folder / "report.html"
    page = build_page(Sources(graphs=(graph,)), Collected(), out, made="2026-01-02", csv=True)
    write_page(page, out)
    return out


@pytest.fixture(scope="module")
def light(browser: Any, written: Path) -> Opened:
    return open_page(browser, written)


def coloured_pixels(opened: Opened) -> int:
    """Pixels of the view that are of no grey; its axes are grey, its bar of colours is cut off."""
    from matplotlib.image import imread

    view = opened.page.locator(".plot.three-d")
    pixels = np.asarray(imread(io.BytesIO(view.screenshot())))[..., :3]
    left = pixels[:, : int(0.75 * pixels.shape[1])]
    return int(((left.max(axis=-1) - left.min(axis=-1)) > 0.3).sum())


def column(opened: Opened, index: int) -> list[str]:
    cells = opened.page.locator("table.sortable").last.locator(f"tbody tr > :nth-child({index})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_page_loads_in_silence_and_asks_for_nothing(light: Opened, written: Path) -> None:
    assert light.errors == []
    assert light.requests == [written.as_uri()]
    assert light.page.title() == "Vessel report: graph"


def test_view_has_drawn_the_vessels(light: Opened) -> None:
    size = light.page.evaluate("document.querySelector('.plot.three-d')._fullData[0].x.length")
    assert size == 18
    for _ in range(20):
        if coloured_pixels(light) > 500:
            break
        light.page.wait_for_timeout(200)
    assert coloured_pixels(light) > 500


def test_click_and_keyboard_sort_the_table(light: Opened) -> None:
    table = light.page.locator("table.sortable").last
    volume, radius = (table.locator("thead button", has_text=t) for t in ("Volume", "Mean radius"))
    volume.first.click()
    assert column(light, 3) == ["8", "5", "2.5", "0.5"]
    volume.first.click()
    assert column(light, 3) == ["0.5", "2.5", "5", "8"]
    radius.first.focus()
    light.page.keyboard.press("Enter")
    assert column(light, 6) == ["3.25", "3.1", "2.9", "–"]
    light.page.keyboard.press("Enter")
    # A missing number stays last.
    assert column(light, 6) == ["2.9", "3.1", "3.25", "–"]
    sorts = table.locator("thead th").evaluate_all("heads => heads.map(h => h.ariaSort)")
    assert sorts == ["none"] * 5 + ["ascending", "none"]
    table.locator("thead button", has_text="Region").click()
    assert column(light, 1) == sorted(column(light, 1))


def test_hostile_name_is_shown_as_it_is(light: Opened) -> None:
    assert HOSTILE in column(light, 1)


def test_table_head_stays_in_sight(light: Opened) -> None:
    style = "e => getComputedStyle(e).position"
    assert light.page.locator("table.sortable thead th").last.evaluate(style) == "sticky"


def test_light_and_dark_can_be_read(light: Opened, browser: Any, written: Path) -> None:
    dark = open_page(browser, written, "dark")
    grounds = []
    for opened in (light, dark):
        worst = opened.page.evaluate(CONTRAST)
        assert len(worst) > 30
        assert worst[0][0] >= 4.5, worst[:3]
        grounds.append(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(247, 248, 249)", "rgb(18, 22, 27)"]
    turn = "Plotly.relayout(document.querySelector('.three-d'), 'scene.camera.eye.x', 2)"
    dark.page.evaluate(turn)
    dark.page.click("#theme")
    assert dark.page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[0]
    ink = dark.page.evaluate("document.querySelector('.plot')._fullLayout.font.color")
    assert ink == "#1c2530"
    # A view that was turned stays as it is.
    eye = "document.querySelector('.three-d')._fullLayout.scene.camera.eye.x"
    assert dark.page.evaluate(eye) == 2
    assert dark.errors == []
    dark.page.context.close()


def test_groups_are_drawn(browser: Any, tmp_path: Path) -> None:
    groups = []
    for name, densities in (("control", (10, 11, 12)), ("<b>treated</b>", (7, 8, 9))):
        rows = [
            [{"region": 0, "name": "all", "length_density_mm_per_mm3": float(d)}] for d in densities
        ]
        folders = [tmp_path / str(len(groups)) / str(d) for d in densities]
        for folder, regions in zip(folders, rows, strict=True):
            write_graph(folder, [], [], regions=regions)
        groups.append((name, folders))
    out = tmp_path / "groups.html"
    write_page(groups_page(read_groups(groups), out, made="2026-01-02"), out)
    opened = open_page(browser, out)
    assert opened.errors == []
    assert opened.requests == [out.as_uri()]
    # The forest plot, and one dot an animal.
    assert opened.page.locator(".plot .scatterlayer .point").count() == 1 + 6
    assert opened.page.locator(".plot .xtick text").last.text_content() == "<b>treated</b>"
    opened.page.context.close()


def test_narrow_screen_needs_no_sideways_scrolling(light: Opened) -> None:
    light.page.set_viewport_size({"width": 400, "height": 800})
    # Plots follow a little later.
    light.page.wait_for_function("document.documentElement.scrollWidth <= 400", timeout=5_000)
    light.page.set_viewport_size({"width": 1280, "height": 900})


def test_print_shows_the_still_picture_on_white(light: Opened) -> None:
    light.page.emulate_media(media="print", color_scheme="dark")
    shown = "e => getComputedStyle(e).display"
    assert light.page.locator("img.still").evaluate(shown) == "block"
    assert light.page.locator(".plot.three-d").evaluate(shown) == "none"
    assert light.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    light.page.emulate_media(media="screen", color_scheme="light")
