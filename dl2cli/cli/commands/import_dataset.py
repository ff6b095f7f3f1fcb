"""`dl2 import`: a known dataset, as it is published, becomes an ImageFolder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, option
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import JSON, PREPARE, image_progress

if TYPE_CHECKING:
    from dl2cli.dataset.importers import ImportResult

_SHOWN_MISSING = 10
_TEXT = """
SOURCE is the folder with the published files, unpacked; it is only read. OUT gets one folder per
class, in train/ and val/ (or test/) where the source has such splits or a split is made. The same
command again continues where it was interrupted.

ham10000 reads HAM10000_metadata.csv (or .tab) and its two image folders; photos of one lesion stay
in one split.

stanford-cars reads cars_train/, cars_test/ and devkit/, or car_ims/ and cars_annos.mat.

celeba-hq reads CelebAMask-HQ-attribute-anno.txt and CelebA-HQ-img/; --attribute makes the classes.

imagenet-val reads the validation images and the devkit (ILSVRC2012_devkit_t12); classes are
named by WordNet ID.

csv reads any table of images and labels.
"""


class TableOptions(Options):
    """Where the labels are found."""

    panel = "Labels"

    table: Path | None = option(
        "Read the labels from this file.", metavar="FILE", shown="where the layout has it"
    )
    file_column: str = option("Take file names from this column (csv).", default="file")
    label_column: str = option("Take classes from this column (csv).", default="label")
    group_column: str | None = option(
        "Keep images with the same value in this column in one split (csv)."
    )
    split_column: str | None = option("Take the split from this column (csv).")
    attribute: str = option("Make classes of this attribute (celeba-hq).", default="Male")


class ImportOptions(TableOptions):
    """The options of `dl2 import`."""

    panel = "Options"

    name: Literal["ham10000", "stanford-cars", "celeba-hq", "imagenet-val", "csv"] = argument(
        "NAME", "What to import: a published dataset, or any with a table of its labels."
    )
    source: Path = argument("SOURCE", "The folder with the published files.")
    out: Path = argument("OUT", "The ImageFolder to make.")
    by: Literal["hardlink", "symlink", "copy"] = option(
        "Place the images by hard link, symbolic link or copy.", default="hardlink"
    )
    val_fraction: float = option(
        "Put this share of the images into val/ if the source has no split. 0 makes no split.",
        least=0, default=0.1,
    )  # fmt: skip
    seed: int = option("Random seed of the split.", default=0)
    on_error: Literal["skip", "fail"] = option(
        "Skip and list images that are missing, or stop at the first.", default="skip"
    )
    json: bool = JSON


def import_dataset(options: ImportOptions) -> None:
    """Make an ImageFolder of a known dataset."""
    from dl2cli.dataset.importers import ImportConfig, Placing
    from dl2cli.dataset.importers import import_dataset as run
    from dl2cli.provenance import provenance

    output = Output(json_mode=options.json)
    config = ImportConfig(
        name=options.name,
        source=options.source,
        out=options.out,
        placing=Placing(options.by),
        val_fraction=options.val_fraction,
        seed=options.seed,
        table=options.table,
        file_column=options.file_column,
        label_column=options.label_column,
        group_column=options.group_column,
        split_column=options.split_column,
        attribute=options.attribute,
        on_error=options.on_error,
    )
    with image_progress(output, f"Importing {options.source.name}") as tell:
        result = run(config, tell)
    output.result(
        result, *_lines(result), provenance=lambda: provenance(config, data=options.source)
    )


def _lines(result: ImportResult) -> list[str]:
    split = ", ".join(f"{n:,} in {name}/" for name, n in result.images.items() if name)
    total = sum(result.images.values())
    earlier = f" ({result.already_there:,} from an earlier run)" if result.already_there else ""
    lines = [
        f"{result.out}: {total:,} images{earlier} in {len(result.classes)} classes"
        + (f"; {split}" if split else "")
    ]
    lines += [f"Missing: {each.path}: {each.reason}" for each in result.missing[:_SHOWN_MISSING]]
    if len(result.missing) > _SHOWN_MISSING:
        lines.append(f"... and {len(result.missing) - _SHOWN_MISSING:,} more (--json lists all)")
    return lines


COMMAND = Command(
    name="import",
    options=ImportOptions,
    run=import_dataset,
    about="Make an ImageFolder of a known dataset.",
    text=_TEXT,
    examples=(
        "ham10000 HAM10000 data/ham10000",
        "csv birds data/birds --label-column species",
    ),
    group=PREPARE,
)
