"""What a conversion is asked for, and what it gives: plain data, without behaviour of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dl2cli.pcr.index import RejectedInfo
from dl2cli.pcr.scan_script import DEFAULT, ScanScript
from dl2cli_native import _core

if TYPE_CHECKING:
    from dl2cli.pcr.dataset import Dataset


@dataclass(frozen=True)
class ScanFidelity:
    """How similar the images at fidelity `scans` are to the full images, on average.

    `psnr_db` is the mean over the images that differ at all; None if no image differs.
    """

    scans: int
    ms_ssim: float
    psnr_db: float | None
    images: int


def stored_fidelity(properties: dict[str, Any]) -> tuple[ScanFidelity, ...]:
    """Return what an index says of fidelity; nothing where it says it in no form of ours."""
    try:
        return tuple(
            ScanFidelity(
                int(each["scans"]),
                float(each["ms_ssim"]),
                None if each["psnr_db"] is None else float(each["psnr_db"]),
                int(each["images"]),
            )
            for each in properties.get("fidelity") or ()
        )
    except (TypeError, ValueError, KeyError, OverflowError):
        return ()


MeasureFidelity = Callable[["Dataset"], tuple[ScanFidelity, ...]]


@dataclass(frozen=True)
class ConvertConfig:
    """The options of a conversion.

    Attributes:
        source: an ImageFolder; it is only read.
        out: the folder of the dataset.
        classes: the class names by label, where splits share them; otherwise `source` names them.
        images_per_record: the number of images a record file holds (the last holds the rest).
        script: how images are divided into scan groups.
        script_choice: why this script was chosen, for the index, if it was searched for: JSON.
        seed: decides the order of images in the records.
        shuffle: whether to shuffle at all; otherwise images are sorted by path.
        workers: threads that transcode.
        force: replace a dataset that is there already.
        resume: go on with an unfinished conversion that has the same options.
        on_error: `skip` lists a bad file and goes on; `fail` stops at it.
        keep_metadata: which markers of the JPEGs are carried over.
        keep_damaged: convert what a damaged JPEG still gives, instead of rejecting it.
        quality: the JPEG quality at which other formats are encoded, 1 to 100.
        quality_cap: JPEGs of a higher quality are encoded anew at this one; None leaves all alone.
        max_side: larger images are scaled down to this longest side; None scales none.
        codec: which codec transcodes; both write the same bytes.
        limits: the largest image that a source file may announce in its header.
        measure_fidelity: called with the finished records; its result goes into the index, unless
            the dataset was finished before.
    """

    source: Path
    out: Path
    classes: tuple[str, ...] | None = None
    images_per_record: int = 1024
    script: ScanScript = DEFAULT
    script_choice: dict[str, Any] | None = None
    seed: int = 0
    shuffle: bool = True
    workers: int = 1
    force: bool = False
    resume: bool = True
    on_error: Literal["skip", "fail"] = "skip"
    keep_metadata: Literal["none", "icc", "exif", "all"] = "none"
    keep_damaged: bool = False
    quality: int = 95
    quality_cap: int | None = None
    max_side: int | None = None
    codec: Literal["native", "libjpeg"] = "native"
    limits: _core.Limits = field(default_factory=_core.Limits)
    measure_fidelity: MeasureFidelity | None = None


@dataclass(frozen=True)
class ConvertProgress:
    """How far a conversion has come.

    `done` of `images` images have been looked at; an earlier run did the first `resumed`.
    """

    done: int
    resumed: int
    images: int
    source_bytes: int
    rejected: int


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion made.

    Attributes:
        source: the ImageFolder.
        out: the folder of the dataset.
        images: images in the dataset.
        classes: number of classes.
        records: number of record files.
        source_bytes: bytes of the sources of these images; None where PCR_sources.db is missing.
        output_bytes: bytes of the record files.
        bytes_at_scans: bytes of record files that a reader at fidelity k = 1, 2, ... takes.
        reencoded: images that were encoded anew because they were not ordinary JPEGs.
        kept_damaged: damaged JPEGs that were kept on request.
        rejected: the files that were not converted, with their reasons.
        ignored: files that were left out by rule, counted by reason.
        resumed_records: records that an earlier run had finished.
        seconds: wall time of this run, without measuring fidelity.
        converted_images: images that this run looked at; divided by `seconds` it gives the rate.
        fidelity: the mean similarity at each fidelity, if it was asked for.
        notes: sentences about what the user should know or may want to change.
    """

    source: Path
    out: Path
    images: int
    classes: int
    records: int
    source_bytes: int | None
    output_bytes: int
    bytes_at_scans: tuple[int, ...]
    reencoded: int
    kept_damaged: int
    rejected: tuple[RejectedInfo, ...]
    ignored: dict[str, int]
    resumed_records: int
    seconds: float
    converted_images: int
    fidelity: tuple[ScanFidelity, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ConvertPlan:
    """What a conversion would do (`--dry-run`)."""

    source: Path
    out: Path
    images: int
    classes: int
    records: int
    source_bytes: int
    ignored: dict[str, int]
    scan_groups: int
    notes: tuple[str, ...]
