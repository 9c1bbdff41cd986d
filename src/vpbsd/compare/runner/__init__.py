"""A whole comparison, resumable and on several processes.

::

    datasets      what methods start from, and what is scored
    jobs          what is trained and scored, in which folder, after what
    pool, work    processes that do it, and what one of them does
    training      teachers and methods
    evaluation    masks on disk, their scores, speed and memory
    records       what says that a job is done
    run           all of it
"""

from __future__ import annotations

__all__: list[str] = []
