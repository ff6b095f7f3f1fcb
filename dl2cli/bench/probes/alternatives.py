"""What the same images would cost in another form: some are converted in a temporary folder.

From an ImageFolder, its own files are converted; from a PCR dataset, the JPEGs that it holds at
full fidelity, which have the pixels of the originals.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dl2cli import pcr
from dl2cli.analysis.scripts.equivalent import equivalent_scans
from dl2cli.bench.config import BenchConfig
from dl2cli.bench.probes.loader import LoaderProbe
from dl2cli.bench.probes.loader_variant import LoaderVariant, bytes_per_image
from dl2cli.dataset.location import is_pcr_dataset
from dl2cli.errors import UsageError
from dl2cli.loaders.contents import data_files
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.scan_script import DEFAULT, RATE, SPECTRAL, ScanScript, parse

_RECORD = 32  # images: the sample makes several records, as a dataset has them
_RUN_S = 0.7
_COMPARED = 32  # images whose looks decide which fidelities are worth the same


@dataclass(frozen=True)
class Alternative:
    """Another form of the dataset, measured on a sample of its images.

    Attributes:
        script: the scan script.
        scans: fidelity.
        groups: scan groups in all.
        images: images in the sample.
        bytes_per_image: bytes of the records, divided by the images.
        decode_s: seconds an image by the clock, all workers together, from the page cache.
        relative_decode: `decode_s` divided by that of the present form, measured in turn on the
            same images: on a busy machine it says more than either.
        relative_bytes: bytes an image divided by those of the present form.
        same_as: the fidelity of the present form that looks no better, by the sample's MS-SSIM.
    """

    script: str
    scans: int
    groups: int
    images: int
    bytes_per_image: float
    decode_s: float
    relative_decode: float
    relative_bytes: float
    same_as: int | None = None


def measure_alternatives(config: BenchConfig, target: LoaderVariant) -> tuple[Alternative, ...]:
    """Convert a sample, and load it: with the default script, the other one, or both.

    Raises:
        UsageError: the sample makes no dataset.
        DataError: the images are damaged.
        StorageError: the temporary folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="dl2-bench-") as work:
        folder = Path(work, "images", "sample")
        folder.mkdir(parents=True)
        own = is_pcr_dataset(config.data)
        images = (_extract if own else _copy)(config.data, folder, config)
        sample = replace(
            config,
            batch_size=max(min(config.batch_size, images // 4), 1),
            run_s=min(config.run_s, _RUN_S),
        )
        datasets = {
            s.name: _convert(folder.parent, Path(work), s) for s in (DEFAULT, SPECTRAL, RATE)
        }
        base = _base(config.data, datasets, folder.parent, target)
        variants = [
            LoaderVariant("pcr", data, scans, target.workers)
            for name, data in datasets.items()
            for scans in _fidelities(name, data, own=own)
        ]
        same = _same_quality(config.data, folder, target) if own else None
        if same is not None:
            variants.append(LoaderVariant("pcr", datasets[RATE.name], same, target.workers))
        return _measure(sample, base, variants, images)


def _same_quality(data: Path, folder: Path, target: LoaderVariant) -> int | None:
    """Return the k of `rate` that looks as good as what is read now; None if that is all of it."""
    properties = pcr.open(data).properties
    try:
        now = parse(str(properties["scan_script"]), str(properties.get("scan_script_name")))
    except (KeyError, UsageError):  # of the PCR_Release converter, or a stranger's
        return None
    if target.scans is None or now == RATE:
        return None
    jpegs = (path.read_bytes() for path in sorted(folder.iterdir())[:_COMPARED])
    return equivalent_scans(jpegs, now, target.scans, RATE)


def _measure(
    config: BenchConfig, base: LoaderVariant, variants: list[LoaderVariant], images: int
) -> tuple[Alternative, ...]:
    probes = [LoaderProbe(config, r, data_files(r.data)) for r in (base, *variants)]
    for probe in probes:
        probe.warm_up()
    for _ in range(config.repeat):
        for probe in probes:
            probe.measure("warm")
    at_hand, *others = (probe.result("warm") for probe in probes)
    size = bytes_per_image(base)[base.scans]
    return tuple(
        Alternative(
            script=variant.data.name,
            scans=variant.scans or 0,
            groups=pcr.open(variant.data).groups,
            images=images,
            bytes_per_image=bytes_per_image(variant)[variant.scans],
            decode_s=1 / result.rate_img_s.median,
            relative_decode=_ratio(at_hand.rate_img_s.runs, result.rate_img_s.runs),
            relative_bytes=bytes_per_image(variant)[variant.scans] / size,
            same_as=base.scans if variant.data.name == RATE.name else None,
        )
        for variant, result in zip(variants, others, strict=True)
    )


def _ratio(above: tuple[float, ...], below: tuple[float, ...]) -> float:
    return float(np.median(np.asarray(above) / np.asarray(below)))


def _base(
    data: Path, datasets: dict[str, Path], folder: Path, target: LoaderVariant
) -> LoaderVariant:
    """Return the form at hand, of the sample's images."""
    if not is_pcr_dataset(data):
        return replace(target, data=folder, throttle=None)
    script = str(pcr.open(data).properties.get("scan_script_name", DEFAULT.name))
    return replace(target, data=datasets.get(script, datasets[DEFAULT.name]), throttle=None)


def _fidelities(script: str, data: Path, *, own: bool) -> tuple[int, ...]:
    """Return what is of interest: of the script at hand, nothing, because it is measured."""
    groups = pcr.open(data).groups
    if script == RATE.name:
        return ()  # only where it replaces a fidelity that is read now
    if script == SPECTRAL.name:
        return (groups,)
    return () if own else (1, 2, (groups + 1) // 2, groups)


def _convert(images: Path, work: Path, script: ScanScript) -> Path:
    out = work / script.name
    convert(ConvertConfig(images, out, images_per_record=_RECORD, script=script, workers=2))
    return out


def _copy(data: Path, folder: Path, config: BenchConfig) -> int:
    """Copy a sample of an ImageFolder's files."""
    files = data_files(data)
    for number, index in enumerate(_chosen(len(files), config)):
        shutil.copyfile(files[index], folder / f"{number:05d}{files[index].suffix}")
    return min(len(files), config.sample_images)


def _extract(data: Path, folder: Path, config: BenchConfig) -> int:
    """Write images of a dataset's first records."""
    dataset, count = pcr.open(data), 0
    for index in range(len(dataset.records)):
        for jpeg in dataset.read(index).images:
            if count == config.sample_images:
                return count
            (folder / f"{count:05d}.jpg").write_bytes(jpeg)
            count += 1
    return count


def _chosen(files: int, config: BenchConfig) -> list[int]:
    random = np.random.default_rng(config.seed)
    count = min(files, config.sample_images)
    return sorted(random.choice(files, count, replace=False).tolist())
