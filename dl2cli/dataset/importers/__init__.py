"""Make ImageFolders of known datasets, by hard link, symlink or copy.

    result = import_dataset(ImportConfig("ham10000", Path("HAM10000"), Path("ham10000")))

Each module reads one published layout and returns `LabelledFile`s; `run` places them.
"""

from dl2cli.dataset.importers.base import ImportConfig, ImportResult, LabelledFile, Placing
from dl2cli.dataset.importers.run import IMPORTERS, import_dataset

__all__ = [
    "IMPORTERS",
    "ImportConfig",
    "ImportResult",
    "LabelledFile",
    "Placing",
    "import_dataset",
]
