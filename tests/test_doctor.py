from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from vpbsd import doctor
from vpbsd.doctor import TESTED, Check, diagnose, render

GIB = 2**30


def test_a_diagnosis_covers_everything_once(tmp_path: Path) -> None:
    checks = diagnose(tmp_path)
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    assert {"python", "torch", "device", "bf16", "threads", "malloc", "memory"} < set(names)
    # Whatever is not well comes with its remedy.
    assert all(bool(check.remedy) == (check.status != "ok") for check in checks)


def test_tested_versions_are_those_of_the_constraints(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    assert {name: pinned[name] for name in TESTED} == TESTED


def test_versions() -> None:
    found = doctor._libraries({"torch": "2.13.0+cpu", "zarr": "3.2.0", "h5py": "missing"})
    assert [check.status for check in found] == ["ok", "warn", "fail"]
    assert found[1].finding == "3.2.0; tested with 3.1.6"
    assert found[2].remedy == "pip install h5py"


def test_missing_extras_come_with_their_install_command() -> None:
    found = doctor._requirements(
        [
            "numpy>=2.0",
            "no-such-thing[all]>=1; python_version > '3'",
            'absent-one>=1; extra == "cluster"',
            'absent-two; extra == "cluster"',
            'absent-three>=2; extra == "dev"',
        ]
    )
    assert found == [
        Check("dependencies", "fail", "missing: no-such-thing", "pip install vpbsd"),
        Check(
            "extra [cluster]",
            "warn",
            "missing: absent-one, absent-two",
            "pip install 'vpbsd[cluster]', if you need it",
        ),
    ]


@pytest.mark.parametrize(
    ("precision", "ratio", "status", "said"),
    [
        ("fp32", 0.0, "warn", "no native bf16"),
        ("bf16", 2.04, "ok", "2.0 times as fast"),
        ("bf16", 0.7, "warn", "only 0.7 times"),
    ],
)
def test_bf16(
    monkeypatch: pytest.MonkeyPatch, precision: str, ratio: float, status: str, said: str
) -> None:
    monkeypatch.setattr(doctor, "choose_precision", lambda *_: precision)
    check = doctor._bf16("some flag", lambda: ratio)
    assert check.status == status
    assert said in check.finding


@pytest.mark.parametrize(
    ("threads", "cores", "passive", "status", "remedy"),
    [
        (2, 2, True, "ok", ""),
        (1, 2, False, "ok", ""),
        (2, 2, False, "warn", "OMP_WAIT_POLICY=PASSIVE"),
        (8, 2, True, "warn", "OMP_NUM_THREADS=2"),
    ],
)
def test_threads(threads: int, cores: int, passive: bool, status: str, remedy: str) -> None:
    check = doctor._threads(threads, cores, passive=passive)
    assert check.status == status
    assert remedy in check.remedy


@pytest.mark.parametrize(
    ("free", "status"), [(5 * GIB, "ok"), (2 * GIB, "warn"), (GIB // 2, "fail")]
)
def test_memory(free: int, status: str) -> None:
    assert doctor._memory(16 * GIB, free).status == status


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._disk("d", tmp_path / "missing").status == "fail"
    for free, status in ((20e9, "ok"), (5e9, "warn"), (5e8, "fail")):
        monkeypatch.setattr(doctor, "free_bytes", lambda _, free=free: int(free))
        assert doctor._disk("d", tmp_path).status == status
    assert list(tmp_path.iterdir()) == []


def test_what_is_printed() -> None:
    text = io.StringIO()
    checks = [Check("python", "ok", "3.11.7"), Check("malloc", "warn", "old [musl]", "use glibc")]
    render(checks, Console(file=text, width=80))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines[1:] == [
        "ok    python  3.11.7",
        "warn  malloc  old [musl]",
        "              → use glibc",
    ]
