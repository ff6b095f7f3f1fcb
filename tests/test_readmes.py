"""The rooms' READMEs name the files that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("dl2cli", "dl2cli_native", "docker", "scripts", "tests")
FILES = {
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".cpp", ".hpp", ".sh")
}
READMES = sorted(path.relative_to(ROOT) for path in (ROOT / "dl2cli").rglob("README.md"))


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_every_file_that_is_named_is_there(readme: Path) -> None:
    text = (ROOT / readme).read_text("utf-8")
    named = re.findall(r"`([a-z][a-z0-9_/]*\.(?:py|cpp|hpp|sh))`", text)
    gone = [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in FILES)]
    assert gone == []


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_every_module_of_the_room_is_named(readme: Path) -> None:
    text = (ROOT / readme).read_text("utf-8")
    modules = {path.name for path in (ROOT / readme.parent).glob("[a-z]*.py")}
    assert sorted(name for name in modules if f"`{name}`" not in text) == []
