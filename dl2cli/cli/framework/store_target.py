"""`dl2 convert SOURCE s3://bucket/prefix`: what goes with a URL for OUT, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import image_progress
from dl2cli.errors import UsageError
from dl2cli.stores.path import StorePath

if TYPE_CHECKING:
    from dl2cli.cli.commands.convert import ConvertOptions
    from dl2cli.pcr.config import ConvertResult
    from dl2cli.pcr.transfer.to_store import StoreTarget


def store_target(options: ConvertOptions) -> StoreTarget | None:
    """Return where the result goes if OUT is a URL; None for a folder. Raises UsageError."""
    if not isinstance(options.out, StorePath):
        return None
    refused = {
        "--to": options.to != "pcr",
        "--part": options.part is not None,
        "--scheduler": options.scheduler is not None,
        "--force": options.force,
    }
    for name in (name for name, given in refused.items() if given):
        raise UsageError(
            f"{name} needs a folder for OUT, not {options.out}: convert to a folder, and "
            "`dl2 copy` it to the store."
        )
    from dl2cli.pcr.transfer.to_store import StoreTarget

    return StoreTarget(options.out)


def sent_to(
    target: StoreTarget | None, results: list[ConvertResult], output: Output
) -> list[ConvertResult]:
    """Send finished datasets to the store, if they are to go there; returns where they are then."""
    if target is None:
        return results
    sent = []
    for result in results:
        with image_progress(output, f"Sending {result.source.name}") as tell:
            sent.append(target.send(result, tell))
    target.finish()
    return sent
