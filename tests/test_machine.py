from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vpbsd import machine, resources
from vpbsd.errors import ConfigError
from vpbsd.machine import (
    available_memory_bytes,
    choose_device,
    choose_precision,
    describe_machine,
    free_bytes,
    prepare_process,
)
from vpbsd.malloc import malloc_environment, tune_malloc


def in_fresh_process(code: str, **environment: str) -> Any:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


REPORT = """
import dataclasses, json, os, sys
from vpbsd.machine import prepare_process
assert "torch" not in sys.modules
setup = prepare_process(THREADS)
import torch
policy = os.environ["OMP_WAIT_POLICY"]
print(json.dumps([dataclasses.asdict(setup), policy, torch.get_num_threads()]))
"""


def test_a_fresh_process_waits_passively_and_keeps_its_memory() -> None:
    setup, policy, threads = in_fresh_process(REPORT.replace("THREADS", "1"))
    assert setup["passive_waiting"] is True
    assert setup["malloc_tuned"] is (sys.platform == "linux" and tune_malloc())
    assert policy == "PASSIVE"
    assert setup["threads"] == threads == 1


def test_what_the_user_set_is_left_alone() -> None:
    setup, policy, threads = in_fresh_process(
        REPORT.replace("THREADS", "0"), OMP_WAIT_POLICY="active", OMP_NUM_THREADS="3"
    )
    assert policy == "active"
    assert setup["passive_waiting"] is False
    assert setup["threads"] == threads == 3


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted as Linux does")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    # 20 arrays of 64 MB one after the other: 16384 pages, faulted in once or 20 times.
    code = """
import json, resource
import numpy as np
from vpbsd.malloc import tune_malloc
if TUNED: tune_malloc()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
for _ in range(20): np.ones(2**23)
print(json.dumps(faults() - before))
"""
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0"}
    if not tune_malloc():
        pytest.skip("the C library is not glibc")
    plain = in_fresh_process(code.replace("TUNED", "False"), **environment)
    tuned = in_fresh_process(code.replace("TUNED", "True"), **environment)
    assert tuned < plain / 10


def test_negative_threads_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"threads must be 0 .* or more, got -1"):
        prepare_process(-1)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f"}, "fp32"),
        ({"avx2", "avx512_bf16"}, "bf16"),
        ({"amx_bf16"}, "bf16"),
        (set(), "fp32"),
    ],
)
def test_bf16_is_chosen_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: str
) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    assert choose_precision("auto", "cpu") == expected
    # What is asked for is done.
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"


def test_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_precision("auto", "cuda") == "bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_precision("auto", "cuda") == "fp32"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="accelerator cuda was asked for, but torch"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("content", "expected"),
    [("max 100000\n", None), ("150000 100000\n", 1.5), ("garbage", None)],
)
def test_container_quota(tmp_path: Path, content: str, expected: float | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(content)
    assert resources._cgroup_cores(file) == expected
    assert resources._cgroup_cores(tmp_path / "none") is None


def test_flags_are_read_from_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512_bf16\n"
    monkeypatch.setattr(resources, "_cpuinfo", lambda: text)
    assert machine.cpu_flags() == {"fpu", "avx2", "avx512_bf16"}
    assert resources._cpu_name() == "Some CPU"
    monkeypatch.setattr(resources, "_cpuinfo", lambda: "")
    assert machine.cpu_flags() == frozenset()


def test_free_space_of_a_path_that_does_not_exist_yet(tmp_path: Path) -> None:
    there = free_bytes(tmp_path)
    assert there > 0
    assert free_bytes(tmp_path / "a" / "b" / "c.zarr") == pytest.approx(there, rel=0.05)


def test_the_machine_in_words() -> None:
    found = json.loads(json.dumps(describe_machine()))
    assert found["torch"] == torch.__version__
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert found["memory_bytes"] >= available_memory_bytes() > 2**20
    assert found["cpu"]


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_peak_memory_is_that_of_this_process_alone() -> None:
    """A parent that holds much must not count: the kernel hands its peak down to `getrusage`."""
    script = (
        "import numpy as np\n"
        "from vpbsd.machine import peak_memory_bytes\n"
        "before = peak_memory_bytes()\n"
        "held = np.ones(100 * 2**20, np.uint8)\n"
        "del held\n"
        "print([before, peak_memory_bytes()])\n"
    )
    ours = np.ones(300 * 2**20, np.uint8)
    before, after = in_fresh_process(script)
    assert ours[0] == 1
    assert before < 200 * 2**20
    assert after - before == pytest.approx(100 * 2**20, rel=0.1)


def test_malloc_settings_for_a_process_yet_to_start() -> None:
    # The names that glibc reads; one arena, nothing mapped, nothing given back.
    assert malloc_environment() == {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "2147483647",
        "MALLOC_TOP_PAD_": "134217728",
        "MALLOC_ARENA_MAX": "1",
    }


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_free_memory_between_what_is_held_goes_back_to_the_system() -> None:
    # In a process of its own: the settings hold for all that follows.
    script = """
import numpy as np
from vpbsd.machine import resident_bytes
from vpbsd.malloc import give_back, tune_malloc

tune_malloc()
held = []
for _ in range(8):
    large = np.ones(32 << 20, np.uint8)
    held.append((large, np.ones(1 << 20, np.uint8)))
full = resident_bytes()
kept = [small for _, small in held]
del large, held
freed = resident_bytes()
given_back = give_back()
print(full - freed, freed - resident_bytes(), given_back, sum(int(k.sum()) for k in kept))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    at_once, later, given_back, held = done.stdout.split()
    assert int(at_once) < 16 << 20  # malloc keeps all of it ...
    assert int(later) > 240 << 20  # ... until it is asked
    assert (given_back, held) == ("True", str(8 << 20))
