"""What a conversion to variants is asked for, and what it gives: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dl2cli.errors import UsageError
from dl2cli.variants.formats import Target
from dl2cli_native import _core


@dataclass(frozen=True)
class VariantsConfig:
    """The options of a conversion to variants.

    Attributes:
        source: an ImageFolder, or a folder with splits; it is only read.
        out: the folder that gets one folder a variant, named as published (`jpeg-10`).
        targets: the variants; all are encoded from one decoding of each source.
        max_side: images whose longer side has more pixels are scaled down to it; None scales none.
        fraction: the share of each class's training images that is taken, in whole percents.
        fraction_seed: draws the subset; None takes the first files in the order of their names.
        quality_list: the CSV of `dl2 analyze-images`: JPEGs at or below a target's quality are
            copied.
        samples: how many images MS-SSIM and PSNR are measured on.
        workers: processes that encode.
        force: replace variants that are there already.
        resume: go on with unfinished variants that have the same options.
        on_error: `skip` lists a bad file and goes on; `fail` stops at it.
        keep_metadata: what is carried over beside the EXIF orientation, which always is.
        limits: what a source file may promise.
        log: the folder for logs; None is `logs` in `out`.
    """

    source: Path
    out: Path
    targets: tuple[Target, ...]
    max_side: int | None = None
    fraction: float = 1.0
    fraction_seed: int | None = None
    quality_list: Path | None = None
    samples: int = 100
    workers: int = 1
    force: bool = False
    resume: bool = True
    on_error: Literal["skip", "fail"] = "skip"
    keep_metadata: Literal["none", "icc", "exif", "all"] = "none"
    limits: _core.Limits = field(default_factory=_core.Limits)
    log: Path | None = None

    def __post_init__(self) -> None:
        percent = self.fraction * 100
        if not 1 <= round(percent) <= 100 or abs(percent - round(percent)) > 1e-9:
            raise UsageError(
                "The fraction must be a whole number of percents from 0.01 to 1, not "
                f"{self.fraction:g}."
            )
        if any(target.format == "raw" for target in self.targets) and self.percent == 100:
            raise UsageError("--to raw copies a subset: give --fraction, too.")
        if self.max_side is not None and any(target.format == "raw" for target in self.targets):
            raise UsageError("--to raw copies files as they are: leave out --max-side.")
        if self.quality_list and any(target.format != "jpeg" for target in self.targets):
            raise UsageError("--quality-list tells which JPEGs to copy: it goes with --to jpeg.")

    @property
    def percent(self) -> int:
        """The fraction in percents."""
        return round(self.fraction * 100)

    def name_of(self, target: Target) -> str:
        """Return the name of a variant's folder: `jpeg-10`, `raw-20`, `jpeg-10-sub20`."""
        if target.format == "raw":
            return f"raw-{self.percent:02d}"
        return target.name + (f"-sub{self.percent:02d}" if self.percent < 100 else "")


@dataclass(frozen=True)
class RejectedFile:
    """A source file that a variant lacks: its path in the source, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class VariantResult:
    """What became of one variant.

    Attributes:
        name: as `jpeg-10`.
        out: its folder.
        images: images in it.
        copied: those that were copied instead of encoded.
        output_bytes: bytes of its images.
        bits_per_pixel: of all images together; None where only copies were made, without decoding.
        encode_s: seconds of encoding, all workers together.
        ms_ssim: the mean over the sample; None where nothing was measured.
        psnr_db: the mean over the images of the sample that differ at all.
        measured: images of the sample that were measured.
        rejected: source files it lacks.
        resumed_images: images that an earlier run had finished.
        log: the file for `dl2 report`.
    """

    name: str
    out: Path
    images: int
    copied: int
    output_bytes: int
    bits_per_pixel: float
    encode_s: float
    ms_ssim: float | None
    psnr_db: float | None
    measured: int
    rejected: tuple[RejectedFile, ...]
    resumed_images: int
    log: Path


@dataclass(frozen=True)
class VariantsResult:
    """What a conversion to variants gave.

    Attributes:
        source: the ImageFolder.
        variants: one entry for each target.
        source_images: files that were looked at for each variant: the source's, or the subset's.
        source_bytes: their bytes.
        classes: number of classes.
        converted_images: sources that this run read.
        seconds: wall time of this run.
        ignored: files that were left out by rule, counted by reason.
        notes: sentences about what the user should know or may want to change.
    """

    source: Path
    variants: tuple[VariantResult, ...]
    source_images: int
    source_bytes: int
    classes: int
    converted_images: int
    seconds: float
    ignored: dict[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VariantsPlan:
    """What a conversion to variants would do (`--dry-run`)."""

    source: Path
    out: Path
    variants: tuple[str, ...]
    images: int
    classes: int
    ignored: dict[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VariantsProgress:
    """How far a conversion is: sources done (some by earlier runs), of so many."""

    done: int
    resumed: int
    images: int
    output_bytes: int
    rejected: int
