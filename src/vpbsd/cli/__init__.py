"""The command line: one verb per step of the pipeline, one short function per verb.

Exit codes: 0 done, 1 our fault or a degenerate result, 2 something that the user can mend (one
sentence on stderr says how), 130 stopped. Whatever is heavy is imported inside the verbs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vpbsd.cli.failure import guarded
from vpbsd.cli.options import split_overrides
from vpbsd.cli.parser import STAGES, build_parser
from vpbsd.errors import ConfigError

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    overrides: dict[str, str] = {}
    if words and words[0] in STAGES:
        try:
            words, overrides = split_overrides(words)
        except ConfigError as error:
            parser.error(str(error))
    options = parser.parse_args(words)
    options.overrides = overrides
    options.command = ["vpbsd", *(sys.argv[1:] if argv is None else argv)]
    return guarded(options.action, options)
