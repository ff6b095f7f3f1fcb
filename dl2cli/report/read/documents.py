"""Readers of the published formats that are one JSON document: standalone, codec, regimen log.

Each takes the parsed document and tells by its content, never by a file name, whether it is of
the kind; values that are not numbers are left out and counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from dl2cli.dataset.naming import KNOWN_IMAGES, parse_data_path
from dl2cli.report.model import (
    CodecRun,
    Kind,
    LogNote,
    RegimenLog,
    RunSource,
    Setup,
    Severity,
    StandaloneRun,
    Status,
)
from dl2cli.report.read.naming import parse_codec_directory, parse_standalone_directory
from dl2cli.report.read.values import finite, float_of, int_of, number, text_of

TIME_KEYS = ("batch_times", "enc_times", "dec_times")
_STAGE = re.compile(r"stage_(\d{1,3})")
STANDALONE_BATCH = 256  # the published loader runs used it; their logs do not say so


def _numbers(values: object) -> tuple[tuple[float, ...], int]:
    """Return the measurements in a JSON list and the count of values that are not measurements."""
    if not isinstance(values, list):
        return (), 0
    found = [n for value in values if (n := finite(number(value))) is not None]
    return tuple(found), len(values) - len(found)


def _bad_values(count: int, file: str) -> tuple[LogNote, ...]:
    if not count:
        return ()
    text = f"Values that are not finite numbers: {count}."
    return (LogNote(Severity.ERROR, "damaged", text, file),)


def _bad_total(document: Mapping[str, Any]) -> int:
    total = document.get("total_time")
    return int(isinstance(total, int | float) and finite(number(total)) is None)


def is_standalone(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is a loader's log."""
    return isinstance(document.get("data_times"), list) and "epoch_times" in document


def standalone_run(document: Mapping[str, Any], source: RunSource) -> StandaloneRun:
    """Read a loader's log: waits of each batch and times of each epoch, without parameters.

    What was loaded is only in the directory's name; the batch size is inferred from the count of
    batches (the published runs load ImageNet's training images in batches of 256).
    """
    directory = str(PurePosixPath(source.file).parent)
    variant, storage, loader = parse_standalone_directory(directory)
    epochs = [_numbers(values) for values in document["data_times"]]
    epoch_times, bad = _numbers(document["epoch_times"])
    bad += sum(count for _, count in epochs) + _bad_total(document)
    data_times = tuple(values for values, _ in epochs)
    notes = list(_bad_values(bad, source.file))
    if len(data_times) != len(epoch_times):
        text = f"{len(data_times)} epochs of batch times, but {len(epoch_times)} epoch times."
        notes.append(LogNote(Severity.ERROR, "damaged", text, source.file))
    batches = len(data_times[0]) if data_times else 0
    imagenet = batches == math.ceil(KNOWN_IMAGES["imagenet"][0] / STANDALONE_BATCH)
    total = finite(float_of(document, "total_time"))
    return StandaloneRun(
        source=source,
        kind=Kind.STANDALONE,
        setup=Setup(
            dataset="imagenet" if imagenet else None,
            variant=variant.name if variant else None,
            codec=variant.codec if variant else None,
            quality=variant.quality if variant else None,
            storage=storage,
            loader=loader,
            batch_size=STANDALONE_BATCH if imagenet else None,
        ),
        status=Status.COMPLETE if total is not None and epoch_times else Status.NO_SUMMARY,
        notes=tuple(notes),
        duplicate_of=None,
        data_times_s=data_times,
        epoch_times_s=epoch_times,
        total_s=total,
    )


def is_codec(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is a codec's log."""
    return "dataset" in document and any(isinstance(document.get(key), list) for key in TIME_KEYS)


def codec_run(document: Mapping[str, Any], source: RunSource) -> CodecRun:
    """Read a codec's log: times per image, or per batch for the learned encoders.

    The logs do not name the device. `cuda_run.json` is CUDA, lossyless encodes on CUDA, and the
    rest ran on the CPU.
    """
    directory = str(PurePosixPath(source.file).parent)
    name = parse_codec_directory(directory)
    time_key = next(key for key in TIME_KEYS if isinstance(document.get(key), list))
    times, bad = _numbers(document[time_key])
    bpp, bad_bpp = _numbers(document.get("bpp"))
    notes = list(_bad_values(bad + bad_bpp + _bad_total(document), source.file))
    if bpp and len(bpp) != len(times):
        text = f"{len(bpp)} bits-per-pixel values for {len(times)} times."
        notes.append(LogNote(Severity.ERROR, "damaged", text, source.file))
    encodes = name.encodes if name else time_key != "dec_times"
    decodes_pixels = "cpu_times" in document  # those of dl2 bench-io
    if not encodes and name and name.method == "multiprocessing" and not decodes_pixels:
        text = "This experiment only opens the images: its times do not measure decoding."
        notes.append(LogNote(Severity.INFO, "opens only", text, source.file))
    data_path = text_of(document, "dataset")
    path = parse_data_path(data_path or "")
    variant = name.variant if name else path.variant
    cuda = PurePosixPath(source.file).stem == "cuda_run" or bool(
        name and encodes and name.variant.codec == "lossyless"
    )
    total = finite(float_of(document, "total_time"))
    return CodecRun(
        source=source,
        kind=Kind.CODEC_ENC if encodes else Kind.CODEC_DEC,
        setup=Setup(
            dataset=path.dataset,
            variant=variant.name if variant else None,
            codec=variant.codec if variant else None,
            quality=variant.quality if variant else None,
            data_path=data_path,
            loader=name.method if name else None,
            device="cuda" if cuda else "cpu",
        ),
        status=Status.COMPLETE if total is not None and times else Status.NO_SUMMARY,
        notes=tuple(notes),
        duplicate_of=None,
        time_key=time_key,
        times_s=times,
        bpp=bpp,
        total_s=total,
        shared=int_of(document, "shared_pass") or 1,
        cpu_s=_numbers(document.get("cpu_times"))[0],
        ms_ssim=_numbers(document.get("ms_ssim"))[0],
        psnr_db=_numbers(document.get("psnr_db"))[0],  # null stands for equal images
    )


def is_regimen_log(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is the journal of a multi-stage training."""
    return isinstance(document.get("stage_0"), dict)


def regimen_log(document: Mapping[str, Any], file: str) -> RegimenLog:
    """Read the wall times, epochs and data sets of the stages."""
    numbers = sorted(
        int(match.group(1))
        for key in document
        if (match := _STAGE.fullmatch(key)) and isinstance(document[key], dict)
    )
    stages = [document[f"stage_{n}"] for n in numbers if f"stage_{n}" in document]
    return RegimenLog(
        file=file,
        directory=str(PurePosixPath(file).parent),
        times_s=tuple(finite(float_of(stage, "time")) for stage in stages),
        epochs=tuple(int_of(stage, "epochs") for stage in stages),
        datasets=tuple(text_of(stage, "dataset") for stage in stages),
        total_s=finite(float_of(document, "total_time")),
    )
