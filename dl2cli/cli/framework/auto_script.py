"""`dl2 convert --scan-script auto`: the script that an earlier run chose, or a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.searching import search_progress
from dl2cli.errors import UsageError

if TYPE_CHECKING:
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.script_choice import ScriptChoice


def check_search(*, dry_run: bool, part: str | None) -> None:
    """Refuse what does not go with a search for a scan script."""
    if dry_run:
        raise UsageError(
            "--dry-run does not search for a scan script: name one, or leave --dry-run out."
        )
    if part is not None:
        raise UsageError(
            "Every part needs the same scan script: search for it once, with dl2 analyze-images "
            "SOURCE -a scripts --script-file FILE, and give --scan-script FILE to each part."
        )


def choose_script(configs: tuple[ConvertConfig, ...], goal: str, output: Output) -> ScriptChoice:
    """Return the script for a conversion, the same for all of its splits.

    A conversion that was begun goes on with the script that it recorded. Else the images of the
    training split, or of the first one, are searched.

    Raises:
        UsageError: there is a conversion at OUT with another script.
        DataError: no image can be measured.
        Interrupted: the user pressed Ctrl-C.
    """
    from dl2cli.analysis.scripts.objective import Goal, Objective
    from dl2cli.analysis.scripts.run import ScriptSearchConfig, search_scripts
    from dl2cli.pcr.scan_script import parse
    from dl2cli.pcr.script_choice import ScriptChoice, recorded_choice

    name = f"auto:{goal}"
    for config in () if configs[0].force else configs:
        recorded = recorded_choice(config.out)
        if recorded is None:
            continue
        if recorded.script.name != name:
            raise UsageError(
                f"{config.out} holds a conversion with the scan script {recorded.script.name}; "
                "--force starts anew."
            )
        output.message(f"Using the scan script that {config.out} was begun with.")
        return recorded
    chosen = next((c for c in configs if c.source.name == "train"), configs[0])
    search = ScriptSearchConfig(
        chosen.source,
        objective=Objective(Goal(goal)),
        seed=chosen.seed,
        workers=chosen.workers,
        name=name,
    )
    with search_progress(output) as progress:
        report = search_scripts(search, progress)
    for sentence in report.sentences:
        output.message(sentence)
    return ScriptChoice(parse(report.found.text, name), report.choice())
