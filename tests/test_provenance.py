from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vpbsd.errors import OutputError
from vpbsd.provenance import library_versions, provenance, write_json_atomic


def test_provenance_holds_what_a_reader_needs_and_json_can_carry_it() -> None:
    found = json.loads(
        json.dumps(
            provenance(
                ["vpbsd", "segment", "my brain.tif"],
                {"my brain.tif": "abc"},
                machine={"cores": 2},
                seed=7,
            )
        )
    )
    assert found["command"] == "vpbsd segment 'my brain.tif'"
    assert found["inputs"] == {"my brain.tif": "abc"}
    assert found["machine"] == {"cores": 2}
    assert found["seed"] == 7
    assert found["libraries"]["zarr"].startswith("3.")
    written = datetime.fromisoformat(found["time_utc"])
    assert timedelta(0) <= datetime.now(UTC) - written < timedelta(minutes=1)


def test_a_library_that_is_not_installed_is_said_to_be_missing() -> None:
    assert library_versions(["no-such-distribution"]) == {"no-such-distribution": "missing"}


def test_json_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_json_atomic(path, {"dice": 0.5, "name": "Gefäß"})
    assert json.loads(path.read_text("utf-8")) == {"dice": 0.5, "name": "Gefäß"}
    # What cannot be written leaves the old file: NaN is no JSON ...
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(path, {"dice": float("nan")})

    # ... and a disk can fill up on the last byte.
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; make room"):
        write_json_atomic(path, {"dice": 0.9})
    assert json.loads(path.read_text("utf-8"))["dice"] == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_json_gets_the_permissions_of_an_ordinary_file(tmp_path: Path) -> None:
    ordinary, atomic = tmp_path / "a", tmp_path / "b"
    ordinary.write_text("{}")
    write_json_atomic(atomic, {})
    assert stat.S_IMODE(atomic.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_json_atomic(tmp_path / "no" / "result.json", {})
