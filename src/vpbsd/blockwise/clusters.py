"""Dask workers to compute on: local processes, a running cluster, or SLURM jobs."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vpbsd.blockwise.workers import Workers
from vpbsd.errors import ConfigError, MissingExtraError
from vpbsd.malloc import malloc_environment

__all__ = ["DEATHS_FORGIVEN", "connect"]

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 30
DEATHS_FORGIVEN = 2
"""After one death more, a block is given up (on a cluster of our own making)."""
_SLURM_WALLTIME = "04:00:00"
_LEAST_SLURM_MEMORY_BYTES = 4 * 2**30
# A scheduler listens for HTTP even without a dashboard, and a second run on the machine would find
# the usual port in use.
_ANY_PORT = {"dashboard_address": "127.0.0.1:0"}


@contextmanager
def connect(workers: Workers) -> Iterator[Any]:
    """Yield a Dask client whose workers do the blocks.

    Raises
    ------
    ConfigError
        If a scheduler does not answer, or SLURM is not set up.
    MissingExtraError
        If dask-jobqueue is needed and not installed.
    """
    import dask
    from distributed import Client

    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": DEATHS_FORGIVEN,
        # No heartbeat of the work itself: a worker that computes for minutes is not lost.
        "distributed.scheduler.worker-ttl": None,
        "distributed.admin.tick.limit": "60s",
        # malloc reads its settings when a process starts: what a nanny sets later comes too late.
        "distributed.nanny.pre-spawn-environ": _environment(workers.threads),
    }
    if not workers.slurm_jobs:
        # Some seconds after a death Dask looks whether the worker is back, and where deaths are
        # many it may be just starting again: then Dask gives it up for good, until a run has no
        # worker left and waits for ever. (For SLURM that is how a job is replaced.)
        settings["distributed.deploy.lost-worker-timeout"] = "1000 days"
    with dask.config.set(settings), _own_environment():
        if workers.scheduler is not None:
            with _running(workers.scheduler) as client:
                yield client
            return
        with _own_cluster(workers) as cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def _own_environment() -> Iterator[None]:
    """Give this process its environment back: Dask puts into it what it hands to its workers."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _running(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
        _await_listener(address)
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at '{address}' within {_CONNECT_SECONDS} s; check that it "
            "runs (dask scheduler) and that the address is written tcp://HOST:PORT"
        ) from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            logger.warning("the scheduler at %s has no workers yet; waiting for some", address)
        yield client


def _await_listener(address: str) -> None:
    """Return once something listens; raises OSError if not in time, ValueError if that cannot be.

    A client that finds nothing does not merely fail: collected as garbage while the next one is
    made, it waits for a lock that this one holds, for ever.
    """
    from distributed.comm.addressing import get_address_host_port

    place = get_address_host_port(address)
    last = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            socket.create_connection(place, timeout=_CONNECT_SECONDS).close()
            return
        except OSError:
            if time.monotonic() > last:
                raise
            time.sleep(0.2)


@contextmanager
def _own_cluster(workers: Workers) -> Iterator[Any]:
    if not workers.slurm_jobs:
        with _local(workers) as cluster:
            yield cluster
        return
    with _slurm(workers) as cluster:
        _require_accepted(cluster.job_script())
        # Adapting, not scaling once: a job that meets its time limit is replaced by a new one.
        cluster.adapt(minimum_jobs=workers.slurm_jobs, maximum_jobs=workers.slurm_jobs)
        yield cluster


def _local(workers: Workers) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers.processes,
        threads_per_worker=workers.lanes,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs=_ANY_PORT,
        # The plan keeps memory in bounds; Dask's limit counts freed memory that glibc keeps.
        memory_limit=0,
        preload=["vpbsd.blockwise.interrupt"],
        silence_logs=logging.CRITICAL,
    )


def _slurm(workers: Workers) -> Any:
    import dask

    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise MissingExtraError(
            "SLURM jobs are started through dask-jobqueue, which is not installed; "
            "pip install 'vpbsd[cluster]'"
        ) from error

    def given(key: str) -> Any:
        return dask.config.get(f"jobqueue.slurm.{key}", None)

    memory = max(workers.memory_bytes, _LEAST_SLURM_MEMORY_BYTES)
    fallback = {
        "cores": max(1, workers.threads),
        "walltime": _SLURM_WALLTIME,
        "memory": f"{memory / 2**30:.1f}GiB",
    }
    # What the site's or the user's jobqueue.yaml says comes first (account, partition, time).
    chosen: dict[str, Any] = {key: value for key, value in fallback.items() if not given(key)}
    exports = [f"export {key}={value}" for key, value in _environment(workers.threads).items()]
    return SLURMCluster(
        processes=1,
        worker_extra_args=["--nthreads", str(workers.lanes), "--memory-limit", "0"],
        scheduler_options={**_ANY_PORT, **(given("scheduler-options") or {})},
        job_script_prologue=[*(given("job-script-prologue") or []), *exports],
        **chosen,
    )


def _require_accepted(job_script: str) -> None:
    """Ask SLURM beforehand: a refusal later is only logged, and the run would wait for ever."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
        file.write(job_script)
        file.flush()
        try:
            told = subprocess.run(
                ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise ConfigError(
                "SLURM jobs are started with sbatch, which is not on the path here; run this on a "
                "machine that submits jobs, or start a Dask scheduler and name it with --scheduler"
            ) from error
    if told.returncode:
        raise ConfigError(
            f"SLURM would not take the jobs: {' '.join(told.stderr.split())}; set account, "
            "partition, memory and walltime under jobqueue: slurm: in ~/.config/dask/jobqueue.yaml"
        )


def _environment(threads: int) -> dict[str, str]:
    """Return what must stand in a worker's environment before it imports anything."""
    usual = {"OMP_WAIT_POLICY": "PASSIVE", **malloc_environment()}
    wanted = {name: os.environ.get(name, value) for name, value in usual.items()}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        wanted[name] = str(threads) if threads else os.environ.get(name, "1")
    return wanted
