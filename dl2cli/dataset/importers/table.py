"""Tables of text: CSV and tab-separated files with a header, as datasets publish them."""

from __future__ import annotations

import csv
from pathlib import Path

from dl2cli.dataset.importers.base import ImportConfig, LabelledFile
from dl2cli.dataset.importers.text_file import read_lines
from dl2cli.errors import DataError, UsageError


def read_table(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table by the names of its columns.

    The separator is a tab where the header has one, else a comma, else a semicolon. Quotes, a byte
    order mark, and spaces around names and values do not count.

    Raises:
        UsageError: there is no such file, or a column is missing; the message names the others.
        DataError: the file is not a table in UTF-8.
        StorageError: the system cannot read it.
    """
    lines = read_lines(path)
    separator = next((each for each in ("\t", ",", ";") if each in lines[0]), ",")
    try:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
        header = [name.strip() for name in next(reader)]
        missing = [name for name in required if name not in header]
        if missing:
            raise UsageError(
                f"{path} has no column {missing[0]!r}; its columns are {', '.join(header)}."
            )
        rows = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(row)} values for {len(header)} columns."
                )
            rows.append(dict(zip(header, (value.strip() for value in row), strict=True)))
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}.") from error
    return rows


def read_csv_dataset(config: ImportConfig) -> list[LabelledFile]:
    """Read any dataset whose images and labels stand in one table.

    File names are relative to the source; where a name has no ending, `.jpg` is tried.
    """
    table = config.table
    if table is None:
        found = sorted(p for p in config.source.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
        if len(found) != 1:
            raise UsageError(
                f"{config.source} holds {len(found)} tables (.csv, .tsv): name one with --table."
            )
        table = found[0]
    columns = (config.file_column, config.label_column, config.group_column, config.split_column)
    rows = read_table(table, tuple(column for column in columns if column))
    return [
        LabelledFile(
            path=_file(config.source, row[config.file_column]),
            label=row[config.label_column],
            split=row[config.split_column] if config.split_column else "",
            group=row[config.group_column] if config.group_column else "",
        )
        for row in rows
    ]


def _file(source: Path, name: str) -> Path:
    path = source / name
    return path if path.suffix else path.with_name(f"{path.name}.jpg")
