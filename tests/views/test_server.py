"""The server, asked over real connections as a browser would, and as an intruder would."""

from __future__ import annotations

import http.client
import resource
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vpbsd.errors import ConfigError, DataError, OutputError
from vpbsd.views.server import FolderServer, origin_of

ORIGIN = "https://viewer.example"
Answer = tuple[int, dict[str, str], bytes]


def ask(served, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request on a connection of its own; keyword ``If_Range`` is header If-Range."""
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=5)
    try:
        names = {"Origin": ORIGIN} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, headers={k: v for k, v in names.items() if v})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


CHUNK = bytes(range(100))


def test_whole_file(served) -> None:
    status, headers, body = ask(served, f"{served.root}/c/0/1")
    assert (status, body) == (200, CHUNK)
    assert headers["content-length"] == "100"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["accept-ranges"] == "bytes"
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["x-content-type-options"] == "nosniff"


def test_metadata_are_json(served) -> None:
    status, headers, body = ask(served, f"{served.root}/zarr.json?again=1")
    assert (status, body) == (200, b'{"zarr_format": 3}')
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("asked", "given", "body"),
    [
        ("bytes=0-9", "bytes 0-9/100", CHUNK[:10]),
        ("bytes=40-49", "bytes 40-49/100", CHUNK[40:50]),
        ("bytes=95-", "bytes 95-99/100", CHUNK[95:]),
        ("bytes=-4", "bytes 96-99/100", CHUNK[96:]),
    ],
)
def test_range(served, asked: str, given: str, body: bytes) -> None:
    status, headers, got = ask(served, f"{served.root}/c/0/1", Range=asked)
    assert (status, headers["content-range"], got) == (206, given, body)
    assert headers["content-length"] == str(len(body))
    assert "content-range" in headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=-0", "bytes=7-3", "bytes=x"])
def test_range_that_is_not_there(served, asked: str) -> None:
    status, headers, body = ask(served, f"{served.root}/c/0/1", Range=asked)
    assert (status, headers["content-range"], body) == (416, "bytes */100", b"")
    assert headers["access-control-allow-origin"] == ORIGIN


def test_head_tells_the_size_and_sends_nothing(served) -> None:
    status, headers, body = ask(served, f"{served.root}/c/0/1", "HEAD", Range="bytes=0-1")
    assert (status, headers["content-length"], body) == (200, "100", b"")


def test_empty_file(served) -> None:
    assert ask(served, f"{served.root}/empty")[::2] == (200, b"")
    assert ask(served, f"{served.root}/empty", Range="bytes=0-")[0] == 416


def test_unchanged_file_is_not_sent_again(served) -> None:
    path = f"{served.root}/c/0/1"
    tag = ask(served, path)[1]["etag"]
    assert ask(served, path, If_None_Match=tag)[::2] == (304, b"")
    assert ask(served, path, Range="bytes=0-1", If_Range=tag)[::2] == (206, CHUNK[:2])
    (served.folder / "c" / "0" / "1").write_bytes(b"other")
    assert ask(served, path, If_None_Match=tag)[::2] == (200, b"other")
    assert ask(served, path, Range="bytes=0-1", If_Range=tag)[::2] == (200, b"other")


# ------------------------------------------------------------------------------------------- CORS


def test_preflight(served) -> None:
    status, headers, body = ask(
        served,
        f"{served.root}/c/0/1",
        "OPTIONS",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="range",
        Access_Control_Request_Private_Network="true",
    )
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "range" in headers["access-control-allow-headers"].lower()
    assert headers["access-control-allow-private-network"] == "true"
    assert headers["vary"] == "Origin"


def test_private_network_is_granted_only_when_asked_for(served) -> None:
    headers = ask(served, f"{served.root}/zarr.json", "OPTIONS")[1]
    assert "access-control-allow-private-network" not in headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "null", "http://viewer.example", ORIGIN + ".evil.com"]
)
def test_other_pages_are_refused(served, method: str, origin: str) -> None:
    status, headers, body = ask(served, f"{served.root}/zarr.json", method, Origin=origin)
    assert (status, body) == (403, b"")
    assert headers["access-control-allow-origin"] == ORIGIN  # the browser keeps the answer back


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("none", 200), ("", 200)]
)
def test_what_other_pages_embed_is_refused(served, site: str, status: int) -> None:
    # An image or script in a page is asked for without an origin; an address typed in is not.
    assert ask(served, f"{served.root}/zarr.json", Origin="", Sec_Fetch_Site=site)[0] == status


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "x"])
def test_foreign_names_for_this_machine_are_refused(served, host: str) -> None:
    named = host.format(port=served.server.port)
    assert ask(served, f"{served.root}/zarr.json", Host=named)[0] == 403


def test_localhost_is_this_machine(served) -> None:
    assert ask(served, f"{served.root}/zarr.json", Host=f"localhost:{served.server.port}")[0] == 200


# ---------------------------------------------------------------------------------------- escapes


@pytest.mark.parametrize(
    "inside",
    [
        *("../secret", "c/../../secret", "..%2fsecret", "%2e%2e/secret", "%2E%2E%2Fsecret"),
        *("..%5csecret", "..\\secret", "c/0/..%2f..%2f..%2fsecret", "....//secret"),
        *(
            "leaving",
            "leaving-folder/secret",
            "%00",
            "zarr.json%00.txt",
            "zarr.json/",
            "./zarr.json",
        ),
        *("", "c", "c/0", "c/0/", "loop", "loop/x", "pipe", "%ff%fe", "nothing", "zarr.json/x"),
        *("C:/secret", "zarr.json::$DATA", "a" * 5000),
    ],
)
def test_nothing_else_is_reached(served, inside: str) -> None:
    started = time.monotonic()
    status, headers, body = ask(served, f"{served.root}/{inside}")
    assert (status, body) == (404, b"")
    assert headers["access-control-allow-origin"] == ORIGIN  # else a gap would look like a failure
    assert time.monotonic() - started < 2, "waited for something"


def test_absolute_paths_are_not_reached(served, tmp_path: Path) -> None:
    secret = str(tmp_path / "secret")
    assert (tmp_path / "secret").is_file()
    for address in (secret, secret.replace("/", "%2f"), "/" + secret):
        assert ask(served, f"{served.root}/{address}")[0] == 404
        assert ask(served, address)[0] == 404


def test_a_link_inside_is_followed(served) -> None:
    assert ask(served, f"{served.root}/staying")[2] == b'{"zarr_format": 3}'


@pytest.mark.parametrize("token", ["", "x", "{token}x", "%2e"])
def test_without_the_token_there_is_nothing(served, token: str) -> None:
    path = f"/{token.format(token=served.token)}/0-data/zarr.json"
    assert ask(served, path)[::2] == (404, b"")
    assert ask(served, "/0-data/zarr.json")[0] == 404
    assert ask(served, "/")[::2] == (404, b"")


def test_token_cannot_be_guessed(served, tmp_path: Path) -> None:
    with FolderServer({"0-data": served.folder}, ORIGIN) as other:
        assert other.url("0-data").split("/")[3] != served.token
    assert len(served.token) >= 22, "fewer than 128 bits"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
def test_only_reading(served, method: str) -> None:
    assert ask(served, f"{served.root}/zarr.json", method)[0] == 501
    assert (served.folder / "zarr.json").read_text() == '{"zarr_format": 3}'


def test_it_listens_on_this_machine_alone(served) -> None:
    assert served.server._server.server_address[0] == "127.0.0.1"


# ------------------------------------------------------------------------------------- connections


def test_connection_stays_open_through_missing_chunks(served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=5)
    statuses, sockets = [], set()
    for name in ("zarr.json", "c/0/7", "c/0/1", "c/0/8", "zarr.json"):
        connection.request("GET", f"{served.root}/{name}", headers={"Origin": ORIGIN})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
        sockets.add(connection.sock)
    assert statuses == [200, 404, 200, 404, 200]
    assert len(sockets) == 1
    connection.close()


def test_missing_chunks_are_answered_fast(served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=5)
    started = time.process_time()  # both ends run in this process
    for i in range(300):
        connection.request("GET", f"{served.root}/c/9/{i}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
    connection.close()
    assert (time.process_time() - started) / 300 < 0.005


def test_a_body_is_not_taken_for_the_next_request(served) -> None:
    smuggled = f"GET {served.root}/zarr.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as connection:
        connection.sendall(
            f"GET {served.root}/c/0/1 HTTP/1.1\r\nHost: 127.0.0.1:{served.server.port}\r\n"
            f"Content-Length: {len(smuggled)}\r\n\r\n{smuggled}".encode()
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.count(b"HTTP/1.1") == 1


def test_many_at_once(served) -> None:
    wanted = [f"bytes={i}-{i + 9}" for i in range(90)]
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda r: ask(served, f"{served.root}/c/0/1", Range=r)[2], wanted))
    assert bodies == [CHUNK[i : i + 10] for i in range(90)]


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_large_files_are_not_read_whole(served) -> None:
    large = served.folder / "large"
    with large.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: takes no room on the disk
        file.seek(2**31 + 5)
        file.write(b"here")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = ask(served, f"{served.root}/large", Range=f"bytes={2**31 + 5}-{2**31 + 8}")
    assert (part[0], part[2]) == (206, b"here")
    assert ask(served, f"{served.root}/large", "HEAD")[1]["content-length"] == str(3 * 2**30)
    # Half a gigabyte through the server, thrown away here as it comes.
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=30)
    connection.request("GET", f"{served.root}/large", headers={"Range": f"bytes=0-{2**29 - 1}"})
    answer, got = connection.getresponse(), 0
    while block := answer.read(2**20):
        got += len(block)
    connection.close()
    assert got == 2**29
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_browser_that_leaves_does_no_harm(served, caplog: pytest.LogCaptureFixture) -> None:
    with (served.folder / "large").open("wb") as file:
        file.truncate(2**28)
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=5)
    connection.request("GET", f"{served.root}/large")
    connection.getresponse().read(1000)
    connection.close()
    time.sleep(0.2)
    assert ask(served, f"{served.root}/zarr.json")[0] == 200
    assert [r for r in caplog.records if r.levelname != "DEBUG"] == []


def test_server_ends_with_its_context(served) -> None:
    with FolderServer({"a": served.folder}, ORIGIN) as server:
        port = server.port
        held = socket.create_connection(("127.0.0.1", port), timeout=5)  # says nothing, stays
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    held.close()
    assert not [t for t in threading.enumerate() if t is server._thread]


# --------------------------------------------------------------------------------------- mistakes


def test_taken_port_is_told(served) -> None:
    port = served.server.port
    with pytest.raises(OutputError, match=rf"port {port} .*another --port"):
        FolderServer({"a": served.folder}, ORIGIN, port)


def test_impossible_port_and_file_are_told(served) -> None:
    with pytest.raises(ConfigError, match="1 to 65535"):
        FolderServer({"a": served.folder}, ORIGIN, 70000)
    with pytest.raises(DataError, match=r"zarr\.json' is not a folder"):
        FolderServer({"a": served.folder / "zarr.json"}, ORIGIN)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://neuroglancer-demo.appspot.com", "https://neuroglancer-demo.appspot.com"),
        ("https://Host.example:443/path/#!{}", "https://host.example"),
        ("http://127.0.0.1:8080/index.html", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url", ["neuroglancer", "file:///x/index.html", "http://", "http://a:b", "javascript:1"]
)
def test_no_page_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address of a web page"):
        origin_of(url)
