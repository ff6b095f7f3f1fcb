"""The extras that messages and documents name are those of pyproject.toml."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECLARED = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
NAMED = re.compile(r"(?:dl2cli|'\.|\"\.|whl\)\"?)\[([a-z0-9,-]+)\]|\bextra `([a-z0-9-]+)`")


def raised() -> Iterator[str]:
    """Yield the extra that each MissingDependency names."""
    for file in (ROOT / "dl2cli").rglob("*.py"):
        tree = ast.parse(file.read_text())
        constants = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingDependency":
                extra = node.args[1]
                yield constants[extra.id] if isinstance(extra, ast.Name) else extra.value


def test_an_error_names_an_extra_that_there_is() -> None:
    found = set(raised())
    assert found <= DECLARED
    assert {"train", "plots", "object-stores"} <= found


@pytest.mark.parametrize("folder", ["dl2cli", "docker", "scripts", "tests", "."])
def test_documents_name_extras_that_there_are(folder: str) -> None:
    endings = {".md", ".py", ".sh", ".txt", ".toml"}
    files = (ROOT / folder).glob("*" if folder == "." else "**/*")
    for file in files:
        if file.suffix not in endings or file == Path(__file__):
            continue
        for several, one in NAMED.findall(file.read_text(errors="replace")):
            assert {*several.split(","), one} - {""} <= DECLARED, file


def test_the_readme_lists_every_extra() -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("| extra | what it brings |") :].split("\n\n")[0]
    assert set(re.findall(r"`([a-z0-9-]+)`", table)) >= DECLARED - {"test"}
