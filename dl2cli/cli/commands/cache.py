"""`dl2 cache`: what a folder of `--cache-dir` holds, and how to have the room back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, flag
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import HELP, JSON, size
from dl2cli.text import clean_text

_TEXT = """
`dl2 train --cache-dir DIR --cache-size 200GB` keeps the first scan groups of every record of a
dataset in a store. This shows which datasets DIR holds, and how many groups of their records.
"""


@dataclass(frozen=True)
class CachedReport:
    """A dataset in a cache: records by how many scan groups of them are kept, and their bytes."""

    url: str
    records: dict[int, int]
    bytes_kept: int


@dataclass(frozen=True)
class CacheReport:
    """What a cache holds, before it was cleared if that was asked for."""

    folder: Path
    datasets: tuple[CachedReport, ...]
    bytes_freed: int


class CacheOptions(Options):
    """The options of `dl2 cache`."""

    folder: Path = argument("DIR", "The folder that --cache-dir named.")
    clear: bool = flag("Remove what it holds of datasets, and nothing else.")
    json: bool = JSON


def cache(options: CacheOptions) -> None:
    """Show what a cache of datasets in stores holds, or clear it."""
    from dl2cli.stores.cache import cached_datasets, clear_cache

    output = Output(json_mode=options.json)
    found = tuple(
        CachedReport(each.url, each.records(), each.size())
        for each in cached_datasets(options.folder)
    )
    freed = clear_cache(options.folder) if options.clear else 0
    report = CacheReport(options.folder, found, freed)
    if not found:
        output.result(report, f"{options.folder} holds nothing of any dataset.")
        return
    table = Table(
        "dataset", "records", "scan groups", "bytes", title=clean_text(str(options.folder))
    )
    for each in found:
        groups = sorted(each.records)
        reach = f"{groups[0]} to {groups[-1]}" if len(groups) > 1 else "".join(map(str, groups))
        count = sum(each.records.values())
        table.add_row(clean_text(each.url), f"{count:,}", reach, size(each.bytes_kept))
    output.result(report, table, *([f"{size(freed)} freed."] if options.clear else []))


COMMAND = Command(
    name="cache",
    options=CacheOptions,
    run=cache,
    about="Show what a cache of datasets in stores holds, or clear it.",
    text=_TEXT,
    examples=("/scratch/dl2",),
    group=HELP,
)
