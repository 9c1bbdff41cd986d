"""Run every benchmark, one after the other, and write the table.

    python benchmarks/run_all.py              # under 40 minutes on 2 cores; results.json and table
    python benchmarks/run_all.py --table-only # the table again, from the results there are

Each script is a process of its own, so that none inherits another's memory or threads; the volumes
and models that they share are made once. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

SCRIPTS = (
    "ceiling",
    "end_to_end",
    "rivals",
    "scaling",
    "memory",
    "engine",
    "plan",
    "graph",
    "graph_memory",
    "gpu",
)

logger = logging.getLogger("benchmarks")


def main() -> int:
    """Return 0 if every script ended well; a figure below its bar is a result, not a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny volumes: tries the scripts only")
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--table", type=Path, default=harness.DOCUMENT, help="page with the table")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    harness.log_to_stderr()
    failed = [] if arguments.table_only else run_scripts(arguments)
    results = harness.read_results(arguments.out)
    if not arguments.quick:
        harness.write_table(arguments.table, results)
    missed = [row["name"] for row in results if row["holds"] is False]
    logger.info("failed: %s; bars missed: %s", failed or "none", missed or "none")
    return 1 if failed else 0


def run_scripts(arguments: argparse.Namespace) -> list[str]:
    """Run all of them, also after one has failed; returns the names of those that did."""
    failed = []
    # Beside the results, because a temporary folder in memory would count as memory.
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    # A figure of an earlier run, maybe on another machine, must not stand among those of this one.
    arguments.out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench_", dir=arguments.out.parent) as work:
        start = time.perf_counter()
        for name in SCRIPTS:
            command = [sys.executable, str(harness.HERE / f"{name}.py"), "--work", work]
            command += ["--out", str(arguments.out), "--seed", str(arguments.seed)]
            command += ["--quick"] if arguments.quick else []
            logger.info("--- %s, after %.0f s", name, time.perf_counter() - start)
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
        logger.info("--- all done after %.0f s", time.perf_counter() - start)
    return failed


if __name__ == "__main__":
    sys.exit(main())
