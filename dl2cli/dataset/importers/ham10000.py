"""HAM10000: 10,015 photos of skin lesions in seven classes.

The published files are a table (`HAM10000_metadata`, `.csv` or `.tab`) with the columns lesion_id,
image_id, dx, ... and two folders of images. Several photos show one lesion: they must not straddle
the split, or validation would measure memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dl2cli.dataset.importers.base import ImportConfig, LabelledFile
from dl2cli.dataset.importers.table import read_table
from dl2cli.errors import UsageError

_TABLES: Final = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
_FOLDERS: Final = ("HAM10000_images_part_1", "HAM10000_images_part_2")


def read_ham10000(config: ImportConfig) -> list[LabelledFile]:
    """Return the images of HAM10000 with the diagnosis (dx) as class and the lesion as group."""
    source = config.source
    table = config.table or next(
        (source / name for name in _TABLES if (source / name).is_file()), None
    )
    if table is None:
        raise UsageError(
            f"{source} holds neither {' nor '.join(_TABLES)}: name the table with --table."
        )
    folders = _image_folders(source)
    return [
        LabelledFile(_find(folders, f"{row['image_id']}.jpg"), row["dx"], group=row["lesion_id"])
        for row in read_table(table, ("lesion_id", "image_id", "dx"))
    ]


def _image_folders(source: Path) -> list[Path]:
    """Return the folders that images are looked for in; some copies write their names small."""
    wanted = {name.lower() for name in _FOLDERS}
    found = sorted(p for p in source.iterdir() if p.name.lower() in wanted and p.is_dir())
    return [*found, source]


def _find(folders: list[Path], name: str) -> Path:
    return next(
        (folder / name for folder in folders if (folder / name).is_file()), folders[0] / name
    )
