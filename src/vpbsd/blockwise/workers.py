"""Where the work is done: in this process, in local processes, on a cluster; and which share."""

from __future__ import annotations

from dataclasses import dataclass

from vpbsd.errors import ConfigError

__all__ = ["Part", "Workers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Where blocks are computed.

    Attributes
    ----------
    processes
        Local worker processes; 1 (and nothing below) means this process itself.
    threads
        Threads that one block is computed with; 0 leaves the process as it is set up.
    scheduler
        Address of a running Dask scheduler, ``tcp://HOST:PORT``; its workers are used.
    slurm_jobs
        Number of SLURM jobs to start workers in, through dask-jobqueue.
    memory_bytes
        Memory that one worker process may need, for the SLURM jobs; 0 where it is not known.
    retries
        How often a block that raised is tried again.
    lanes
        Threads that take blocks in each process: one block is computed while the next is read and
        the last is written.

    Raises
    ------
    ConfigError
        If numbers are out of range or two places are named.
    """

    processes: int = 1
    threads: int = 0
    scheduler: str | None = None
    slurm_jobs: int = 0
    memory_bytes: int = 0
    retries: int = 2
    lanes: int = 2

    def __post_init__(self) -> None:
        if self.processes < 1 or self.lanes < 1:
            raise ConfigError(
                f"at least 1 worker is needed, got {self.processes} (and {self.lanes} lanes)"
            )
        if min(self.slurm_jobs, self.retries, self.threads, self.memory_bytes) < 0:
            raise ConfigError("numbers of jobs, retries, threads and bytes cannot be below 0")
        if self.scheduler is not None and self.slurm_jobs:
            raise ConfigError(
                "name either a running scheduler or a number of SLURM jobs, not both: --slurm "
                "starts a scheduler of its own"
            )

    @property
    def in_process(self) -> bool:
        """Whether no other process is involved."""
        return self.processes == 1 and self.scheduler is None and not self.slurm_jobs

    def __str__(self) -> str:
        if self.scheduler is not None:
            return f"the workers of {self.scheduler}"
        if self.slurm_jobs:
            return f"{self.slurm_jobs} SLURM jobs"
        return "this process" if self.in_process else f"{self.processes} processes"


@dataclass(frozen=True, slots=True)
class Part:
    """The ``number``-th of ``parts`` shares of the blocks, for job arrays; counted from 1.

    Raises
    ------
    ConfigError
        If there is no such part.
    """

    number: int
    parts: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.parts:
            raise ConfigError(
                f"part {self.number}/{self.parts} does not exist: parts are counted from 1 to N, "
                "as in --part 3/16"
            )

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``I/N``.

        Raises
        ------
        ConfigError
            If it is anything else.
        """
        number, slash, parts = text.partition("/")
        if not (slash and number.isdecimal() and parts.isdecimal()):
            raise ConfigError(f"a part is written I/N, as in --part 3/16, got '{text}'")
        return cls(int(number), int(parts))

    def of(self, total: int) -> range:
        """Return the indices of this part: neighbours, so that they share chunks of the input."""
        return range(total * (self.number - 1) // self.parts, total * self.number // self.parts)

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"
