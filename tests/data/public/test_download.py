from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from file_server import FileServer

from vpbsd.data.public import download as module
from vpbsd.data.public.download import NotThereError, download
from vpbsd.errors import DataError, OutputError

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes: four blocks


def parts(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_comes_whole_under_its_name(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    seen: list[tuple[str, int, int | None]] = []
    download(
        server.url("a.bin"),
        tmp_path / "deep" / "a.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        progress=lambda *news: seen.append(news),
    )
    assert (tmp_path / "deep" / "a.bin").read_bytes() == CONTENT
    assert parts(tmp_path / "deep") == ["a.bin"]
    assert seen[-1] == ("a.bin", 1_024_000, 1_024_000)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_file_that_is_there_is_not_asked_for(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    download(server.url("a.bin"), tmp_path / "a.bin")
    download(
        server.url("a.bin"),
        tmp_path / "a.bin",
        sha256="3fd30542fe3f61b14bd4a4b2dc0b6fb30fa6f63ebce52dd1778aaa8c4dc02cff",
    )
    assert server.asked == []


def test_a_file_with_another_digest_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    (tmp_path / "a.bin").write_bytes(b"old")
    download(server.url("a.bin"), tmp_path / "a.bin", sha256=hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_broken_connection_goes_on_behind_what_came(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.cut = [300_000, 200_000]
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_call_goes_on_where_one_gave_up(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.cut = [100_000] * 4
    with pytest.raises(DataError, match=r"broke off 4 times .*400,000 bytes are kept"):
        download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert not (tmp_path / "a.bin").exists()
    server.asked.clear()
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [("a.bin", "bytes=400000-")]
    assert parts(tmp_path) == ["a.bin"]


def test_a_server_without_range_sends_all_again(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.ranges = False
    server.cut = [300_000]
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_without_versions_is_not_asked_for_the_rest(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["a.bin"] = CONTENT
    server.tags = False
    server.cut = [300_000]
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, None]


def test_halves_of_two_versions_are_never_joined(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.cut = [100_000] * 4
    with pytest.raises(DataError):
        download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    server.files["a.bin"] = newer = CONTENT[::-1]
    server.cut = []
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert (tmp_path / "a.bin").read_bytes() == newer


def test_a_part_that_was_whole_already_is_shown(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.cut = [100_000] * 4
    with pytest.raises(DataError):
        download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    # As if the process had been killed between the last byte and the renaming.
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    server.cut = []
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked[-1] == ("a.bin", "bytes=1024000-")


def test_a_body_of_unknown_length_is_taken_to_its_end(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    server.length = False
    totals: set[int | None] = set()
    download(
        server.url("a.bin"), tmp_path / "a.bin", progress=lambda _, __, total: totals.add(total)
    )
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert totals == {None}


def test_another_digest_is_refused_and_not_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    with pytest.raises(DataError, match=r"has SHA-256 \w{64}, not 0{64} as published"):
        download(server.url("a.bin"), tmp_path / "a.bin", sha256="0" * 64)
    assert parts(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_that_is_not_given_is_not_asked_for_twice(
    server: FileServer, tmp_path: Path, status: int
) -> None:
    server.failures = [status] * 4
    with pytest.raises(NotThereError, match=rf"said {status} .* --from"):
        download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert len(server.asked) == 1


def test_a_passing_fault_is_waited_out(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.files["a.bin"] = CONTENT
    server.failures = [503, 429, 500]
    download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0.5)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert pauses == [0.5, 1.0, 2.0]


def test_a_lasting_fault_is_told(server: FileServer, tmp_path: Path) -> None:
    server.failures = [503] * 9
    with pytest.raises(DataError, match=r"broke off 4 times .*503"):
        download(server.url("a.bin"), tmp_path / "a.bin", first_pause_s=0)
    assert len(server.asked) == 4


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with FileServer() as gone:
        url = gone.url("a.bin")
    with pytest.raises(DataError, match="refused"):
        download(url, tmp_path / "a.bin", first_pause_s=0)


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "ftp://127.0.0.1/a", "file:///etc/hostname", "a.bin"]
)
def test_only_https_or_this_machine(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not https"):
        download(url, tmp_path / "a.bin")


def test_a_redirect_is_followed_but_not_to_less_safety(server: FileServer, tmp_path: Path) -> None:
    server.files["there.bin"] = CONTENT
    server.moved = {"a.bin": server.url("there.bin"), "b.bin": "http://example.org/b.bin"}
    download(server.url("a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"http://example.org/b.bin' is not https"):
        download(server.url("b.bin"), tmp_path / "b.bin", first_pause_s=0)


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        download(server.url("a.bin"), tmp_path / "file" / "a.bin")
