"""The generated reference of all commands."""

from dl2cli.cli.main import COMMANDS
from dl2cli.cli.reference import FILE, reference


def test_the_reference_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(COMMANDS), (
        "python -m dl2cli.cli.reference writes it anew"
    )


def test_it_names_every_option_of_every_command() -> None:
    text = reference(COMMANDS)
    for command in COMMANDS:
        assert f"## dl2 {command.name}\n" in text
        for parameter in command.options.parameters():
            assert f"{parameter.names[0]}" in text
