"""Every command line in the documentation is one that the program takes."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from dl2cli.cli.framework.program import build
from dl2cli.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for folder in (ROOT, ROOT / "dl2cli", ROOT / "dl2cli_native", ROOT / "scripts", ROOT / "docker")
    for path in sorted(folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
    if path.name != "REFERENCE.md"
]
NAMES = {command.name: command for command in COMMANDS}
PLACEHOLDER = re.compile(r"\[--|\.\.\.|…|\$\(|<|\||\bCOMMAND\b|OPTIONS")


def command_lines(path: Path) -> list[str]:
    """Return the lines of a document's code blocks that call the program, joined where broken."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    lines = re.findall(r"^(?:    |\$ )?((?:torchrun .* -m dl2cli|dl2) .*)$", text, re.MULTILINE)
    return [re.sub(r"^torchrun .* -m dl2cli", "dl2", line) for line in lines]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_program_takes_what_is_documented(path: Path) -> None:
    for line in command_lines(path):
        words = shlex.split(line, comments=True)[1:]
        end = next((i for i, word in enumerate(words) if word in ("&&", ";", ">", "|", "&")), None)
        words = words[:end]
        if not words or words[0] not in NAMES or any(map(PLACEHOLDER.search, words)):
            continue
        command = replace(NAMES[words[0]], run=lambda options: None)
        build(command).main(words[1:], standalone_mode=False)


def test_the_readme_has_command_lines() -> None:
    assert len(command_lines(ROOT / "README.md")) > 5
