"""A real Chromium asks from a page of another origin, as neuroglancer does."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vpbsd.views.server import FolderServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the path")

# What a page can learn of an answer; a refusal by the browser is an exception.
FETCH = """
async ({url, options}) => {
  try {
    const answer = await fetch(url, options);
    const body = new Uint8Array(await answer.arrayBuffer());
    return {status: answer.status, range: answer.headers.get('content-range'),
            length: answer.headers.get('content-length'), body: Array.from(body)};
  } catch (error) { return {refused: String(error)}; }
}
"""


class Pages:
    """A web server with one empty page, by an origin of its own."""

    def __enter__(self) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><link rel=icon href=data:,><title>page</title>")

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def test_the_viewers_page_may_read_and_no_other(browser, brain: Path) -> None:
    mask = brain / "mask.ome.zarr"
    chunk = next(p for p in sorted((mask / "0" / "c").rglob("*")) if p.is_file())
    inside, content = chunk.relative_to(mask).as_posix(), chunk.read_bytes()
    assert len(content) > 60
    with Pages() as viewer, Pages() as other, FolderServer({"mask": mask}, viewer) as server:
        page = browser.new_page()
        page.goto(viewer)

        def fetch(path: str, **options: Any) -> dict[str, Any]:
            found: dict[str, Any] = page.evaluate(
                FETCH, {"url": f"{server.url('mask')}/{path}", "options": options}
            )
            return found

        metadata = fetch("zarr.json")
        assert bytes(metadata["body"]) == (mask / "zarr.json").read_bytes()
        # A range makes Chromium ask first (OPTIONS) where it is not of the simplest kind.
        part = fetch(inside, headers={"Range": "bytes=10-29"})
        assert (part["status"], bytes(part["body"])) == (206, content[10:30])
        assert part["range"] == f"bytes 10-29/{len(content)}"
        last = fetch(inside, headers={"Range": "bytes=-16"}, cache="no-store")
        assert (last["status"], bytes(last["body"])) == (206, content[-16:])
        head = fetch(inside, method="HEAD")
        assert (head["status"], head["length"], head["body"]) == (200, str(len(content)), [])
        # A missing chunk is an answer that the viewer can tell from a failure.
        assert fetch("0/c/99/99/99")["status"] == 404
        assert "refused" in fetch(inside, method="DELETE")

        page.goto(other)
        assert "refused" in fetch("zarr.json")
        assert "refused" in fetch(inside, headers={"Range": "bytes=10-29"})
        page.close()


def test_preflight_of_a_request_that_is_not_simple(
    browser, brain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "vpbsd.views.server")
    mask = brain / "mask.ome.zarr"
    with Pages() as viewer, FolderServer({"mask": mask}, viewer) as server:
        page = browser.new_page()
        page.goto(viewer)
        options = {"headers": {"Range": "bytes=0-3", "If-None-Match": '"old"'}}
        url = f"{server.url('mask')}/zarr.json"
        found = page.evaluate(FETCH, {"url": url, "options": options})
        assert bytes(found["body"]) == (mask / "zarr.json").read_bytes()[:4]
        methods = [r.getMessage().split()[0].strip('"') for r in caplog.records]
        assert methods == ["OPTIONS", "GET"]
        page.close()
