"""Dask workers to compute on: local processes, a running cluster, or SLURM jobs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vpbsd.blockwise.workers import Workers
from vpbsd.errors import ConfigError, MissingExtraError

__all__ = ["DEATHS_FORGIVEN", "connect"]

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 30
DEATHS_FORGIVEN = 2
"""After one death more, a block is given up (on a cluster of our own making)."""
_SLURM_DEFAULTS = {"cores": 1, "walltime": "04:00:00"}
_LEAST_SLURM_MEMORY_BYTES = 4 * 2**30


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

    settings = {
        "distributed.scheduler.allowed-failures": DEATHS_FORGIVEN,
        # No heartbeat of the work itself: a worker that computes for minutes is not lost.
        "distributed.scheduler.worker-ttl": None,
        "distributed.admin.tick.limit": "60s",
    }
    with dask.config.set(settings):
        if workers.scheduler is not None:
            with _running(workers.scheduler) as client:
                yield client
            return
        with _own_cluster(workers) as cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def _running(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
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


@contextmanager
def _own_cluster(workers: Workers) -> Iterator[Any]:
    if workers.slurm_jobs:
        cluster = _slurm(workers)
        # Adapting, not scaling once: a job that meets its time limit is replaced by a new one.
        cluster.adapt(minimum_jobs=workers.slurm_jobs, maximum_jobs=workers.slurm_jobs)
    else:
        cluster = _local(workers)
    with cluster:
        yield cluster


def _local(workers: Workers) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers.processes,
        threads_per_worker=workers.lanes,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        # The plan keeps memory in bounds; Dask's limit counts freed memory that glibc keeps.
        memory_limit=0,
        env=_environment(workers.threads),
        silence_logs=logging.CRITICAL,
    )


def _slurm(workers: Workers) -> Any:
    import dask

    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise MissingExtraError(
            "SLURM jobs are started through dask-jobqueue, which is not installed; "
            "pip install 'vpbsd[cluster]'"
        ) from error
    given: dict[str, Any] = dask.config.get("jobqueue.slurm", {})
    memory = max(workers.memory_bytes, _LEAST_SLURM_MEMORY_BYTES)
    fallback = {**_SLURM_DEFAULTS, "memory": f"{memory / 2**30:.1f}GiB"}
    # What the site's or the user's jobqueue.yaml says comes first (account, partition, time).
    chosen = {key: value for key, value in fallback.items() if not given.get(key)}
    exports = [f"export {key}={value}" for key, value in _environment(workers.threads).items()]
    return SLURMCluster(
        processes=1,
        worker_extra_args=["--nthreads", str(workers.lanes), "--memory-limit", "0"],
        job_script_prologue=[*(given.get("job_script_prologue") or []), *exports],
        **chosen,
    )


def _environment(threads: int) -> dict[str, str]:
    """Return what must stand in a worker's environment before it imports anything."""
    wanted = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        wanted[name] = str(threads) if threads else os.environ.get(name, "1")
    return wanted
