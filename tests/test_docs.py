"""Every command and example in the documents is run, or says why not and is still checked.

A fenced ``bash`` or ``python`` block carries one of two HTML comments on the line above it::

    <!-- run -->                        run here, in an empty folder, in the page's order
    <!-- not run: trains for hours -->  not run; its vpbsd and make commands are still checked

Blocks of a page share one folder, so a later one may use what an earlier one wrote; each Python
block is a script of its own. A command's verb and options are checked against ``vpbsd VERB
--help``, in blocks that are not run and in `vpbsd ...` inside the text alike.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [*sorted(REPOSITORY.glob("[RC]*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
SECONDS_PER_BLOCK = 60
EXECUTABLE = ("bash", "python")
# Names under which a shell or Python block would slip past the two above.
DISGUISES = ("sh", "shell", "console", "zsh", "py", "python3", "pycon")

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^ *```", re.M | re.S
)
MARK = re.compile(r"<!-- (?P<mark>run|not run: (?P<reason>\S[^>]*?)) -->\s*\Z")
COMMANDS = ("vpbsd", "make")
OPERATORS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "(", ")"}
MAIN = "import sys; sys.argv[0] = 'vpbsd'; from vpbsd.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what it holds and what its author said about running."""

    place: str
    language: str
    code: str
    is_run: bool
    reason: str | None


def blocks_of(text: str, page: str) -> list[Block]:
    """Cut a page into its fenced blocks."""
    found = []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()])
        indent = len(match["indent"])
        found.append(
            Block(
                place=f"{page}:{text.count(chr(10), 0, match.start()) + 1}",
                language=match["language"],
                code="\n".join(line[indent:] for line in match["code"].splitlines()),
                is_run=mark is not None and mark["mark"] == "run",
                reason=mark["reason"] if mark else None,
            )
        )
    return found


def faults_of(block: Block) -> str | None:
    """What is wrong with how a block is marked, or None."""
    if block.language in DISGUISES:
        return f"{block.place}: write ```bash or ```python, not ```{block.language}"
    starts = {line.split()[0] for line in block.code.splitlines() if line.split()}
    if block.language not in EXECUTABLE:
        if starts & {*COMMANDS, "$", ">>>"} and block.language != "text":
            return f"{block.place}: commands stand in a block that is not ```bash"
        return None
    if not block.is_run and block.reason is None:
        return f"{block.place}: say <!-- run --> or <!-- not run: reason --> above the block"
    return None


def commands_of(shell: str) -> Iterator[list[str]]:
    """Every call of vpbsd or make in shell text, as a list of words without redirections."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in OPERATORS:
                command.append(word)
                continue
            names = [Path(w).name for w in command]
            for start, name in enumerate(names):
                # Assignments (VAR=1) and runners (time, torchrun -m) may stand before it.
                if name in COMMANDS:
                    yield [name, *command[start + 1 :]]
                    break
            command = []


def _pages() -> list[tuple[Path, str]]:
    return [(p, p.relative_to(REPOSITORY).as_posix()) for p in PAGES]


def _all_blocks() -> list[Block]:
    return [b for p, name in _pages() for b in blocks_of(p.read_text(encoding="utf-8"), name)]


# -------------------------------------------------------------------------------- the command line


@functools.cache
def help_of(*verb: str) -> str | None:
    """Text of ``vpbsd [VERB] --help``, or None where there is no such verb."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *verb, "--help"],
        env=_environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS_PER_BLOCK,
    )
    return done.stdout if done.returncode == 0 else None


def _environment(*, first_on_path: Path | None = None) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return {
        **os.environ,
        "PATH": f"{first_on_path}{os.pathsep}{path}" if first_on_path else path,
        "PYTHONPATH": str(REPOSITORY / "src"),
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


def unknown_words(command: list[str]) -> list[str]:
    """Verb, options or make targets of ``command`` that do not exist."""
    program, *words = command
    if program == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([\w-]+):", makefile, flags=re.M))
        return [w for w in words if "=" not in w and not w.startswith("-") and w not in targets]
    verb = [words[0]] if words and not words[0].startswith("-") else []
    text = help_of(*verb)
    if text is None:
        return verb
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w.-]*", text))
    asked = [w.split("=")[0] for w in words if re.match(r"--?[A-Za-z]", w)]
    return [option for option in asked if option not in known]


def _mentioned_commands() -> list[tuple[str, list[str]]]:
    found = [
        (block.place, command)
        for block in _all_blocks()
        if block.language == "bash" and not block.is_run
        for command in commands_of(block.code)
    ]
    for path, name in _pages():
        prose = FENCE.sub("", path.read_text(encoding="utf-8"))
        for code in re.findall(r"(?<!`)`((?:vpbsd|make) [^`\n]+)`", prose):
            found += [(f"{name}: `{code}`", command) for command in commands_of(code)]
    return found


# ----------------------------------------------------------------------------------------- the law


def test_every_block_is_run_or_says_why_not() -> None:
    faults = [fault for block in _all_blocks() if (fault := faults_of(block))]
    assert faults == []


def test_commands_that_are_not_run_exist() -> None:
    mentioned = _mentioned_commands()
    assert [(place, words) for place, c in mentioned if (words := unknown_words(c))] == []


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), _pages(), ids=[name for _, name in _pages()])
def test_page_runs_from_top_to_bottom(path: Path, name: str, tmp_path: Path) -> None:
    binaries, folder = tmp_path / "bin", tmp_path / "here"
    binaries.mkdir()
    folder.mkdir()
    # `vpbsd` and `python` on the page mean this source tree, installed or not.
    for command, arguments in {"vpbsd": f"-c {shlex.quote(MAIN)} ", "python": ""}.items():
        shim = binaries / command
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n')
        shim.chmod(0o755)
    for block in blocks_of(path.read_text(encoding="utf-8"), name):
        if not block.is_run or block.language not in EXECUTABLE:
            continue
        program = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable, "-W", "error"]}
        done = subprocess.run(
            [*program[block.language], "-c", block.code],
            cwd=folder,
            env=_environment(first_on_path=binaries),
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS_PER_BLOCK,
        )
        assert done.returncode == 0, f"{block.place}\n{block.code}\n{done.stdout}{done.stderr}"


def test_yaml_blocks_parse() -> None:
    for block in _all_blocks():
        if block.language in {"yaml", "yml"}:
            assert yaml.safe_load(block.code) is not None, block.place


def test_links_inside_the_repository_lead_somewhere() -> None:
    broken = []
    pages = [*PAGES, *(REPOSITORY / "recipes").glob("*.md")]
    for path in pages:
        prose = FENCE.sub("", path.read_text(encoding="utf-8"))
        targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'src="([^"]+)"', prose)
        for target in targets:
            file = target.split("#")[0]
            if file and "://" not in file and not (path.parent / file).exists():
                broken.append(f"{path.relative_to(REPOSITORY)} -> {target}")
    assert broken == []


# ---------------------------------------------------------------- the guards find what they must

PAGE = """
Text.

```bash
vpbsd doctor
```

<!-- run -->
```bash
vpbsd --version
```

<!-- not run: takes hours -->

```python
import vpbsd
```

1. In a list:

   <!-- not run: -->
   ```bash
   if true; then
     echo yes
   fi
   ```

```yaml
seed: 1
```
"""


def test_blocks_are_cut_with_place_language_and_mark() -> None:
    found = blocks_of(PAGE, "page.md")
    assert [(b.place, b.language, b.is_run, b.reason) for b in found] == [
        ("page.md:4", "bash", False, None),
        ("page.md:9", "bash", True, None),
        ("page.md:15", "python", False, "takes hours"),
        ("page.md:22", "bash", False, None),
        ("page.md:28", "yaml", False, None),
    ]
    assert found[3].code == "if true; then\n  echo yes\nfi"


def test_block_that_says_neither_is_a_fault() -> None:
    first, run, not_run, no_reason, other = blocks_of(PAGE, "page.md")
    assert faults_of(first) == (
        "page.md:4: say <!-- run --> or <!-- not run: reason --> above the block"
    )
    assert "page.md:22" in str(faults_of(no_reason))
    assert [faults_of(b) for b in (run, not_run, other)] == [None, None, None]


@pytest.mark.parametrize("language", ["", "sh", "console", "ini"])
def test_command_in_disguise_is_a_fault(language: str) -> None:
    (block,) = blocks_of(f"```{language}\n$ vpbsd doctor\n```\n", "page.md")
    assert faults_of(block) is not None


@pytest.mark.parametrize(
    ("shell", "commands"),
    [
        ("vpbsd info BRAIN  # a look first", [["vpbsd", "info", "BRAIN"]]),
        ("VPBSD_DATA=x .venv/bin/vpbsd doctor", [["vpbsd", "doctor"]]),
        (
            "vpbsd segment a b.tif \\\n  --model RUN > log.txt && make demo",
            [["vpbsd", "segment", "a", "b.tif", "--model", "RUN"], ["make", "demo"]],
        ),
        ("cat x | vpbsd info -", [["vpbsd", "info", "-"]]),
        ("git clone URL; cd vpbsd-main", []),
    ],
)
def test_commands_are_found_in_shell_text(shell: str, commands: list[list[str]]) -> None:
    assert list(commands_of(shell)) == commands


def test_unknown_verb_option_or_target_is_found() -> None:
    assert unknown_words(["make", "demo"]) == []
    assert unknown_words(["make", "dmeo", "PYTHON=python3.12"]) == ["dmeo"]
    assert unknown_words(["vpbsd", "--help"]) == []
    assert unknown_words(["vpbsd", "segmnt", "a.tif"]) == ["segmnt"]
    assert unknown_words(["vpbsd", "segment", "a.tif", "--modle", "RUN"]) == ["--modle"]
