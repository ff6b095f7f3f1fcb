"""What the path of a dataset says: its name, variant (codec, quality, subset) and storage.

The layout is the one of the (DL)2 experiments: `data-hdd/imagenet/jpeg-85/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

# Images (training, validation) of the data sets in the (DL)2 runs, whose logs do not count them.
KNOWN_IMAGES: dict[str, tuple[int, int]] = {
    "imagenet": (1_281_167, 50_000),
    "places365": (1_803_460, 36_500),
    "imagenet-5": (6_500, 250),
}

_VARIANT = re.compile(
    r"(raw|jpeg2000|jpeg|webp|png|pcr)(?:-?(\d{1,3})|-(lossless))?(?:-sub(\d{1,2}))?"
)
_STORAGE_PATH = re.compile(r"data-(ssd|hdd|sas)")


@dataclass(frozen=True, slots=True)
class Variant:
    """A data set's form: `name` is the label of the (DL)2 runs, such as jpeg-85 or raw-50."""

    name: str
    codec: str
    quality: str | None = None
    subset_frac: float | None = None


@dataclass(frozen=True, slots=True)
class DataPath:
    """What a data path says."""

    dataset: str | None
    variant: Variant | None
    storage: str | None


def parse_variant(label: str) -> Variant | None:
    """Read `jpeg-85`, `jpeg85`, `webp-01`, `webp-lossless`, `raw`, `raw-50` or `jpeg-85-sub50`.

    The last two are half of the images.
    """
    match = _VARIANT.fullmatch(label)
    if match is None:
        return None
    codec, digits, lossless, percent = match.groups()
    fraction = 1.0 if percent is None else int(percent) / 100
    subset = "" if percent is None else f"-sub{percent}"
    quality = digits or lossless
    if quality is None:
        return Variant(codec + subset, codec, None, fraction)
    if codec == "raw":
        known = lossless is None and percent is None
        return Variant(f"raw-{digits}", "raw", None, int(digits) / 100) if known else None
    return Variant(f"{codec}-{quality}{subset}", codec, quality, fraction)


def parse_data_path(path: str) -> DataPath:
    """Read `data-hdd/imagenet/jpeg-85/`, with or without the slash, or any other path.

    A path of another layout gives its last folder as the data set, and no variant.
    """
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", ".")]
    if parts == ["no", "real", "dataset"]:
        return DataPath("synthetic", Variant("synthetic", "synthetic", None, 1.0), "synth")
    storage = next((m.group(1) for p in parts if (m := _STORAGE_PATH.fullmatch(p))), None)
    if parts and parts[-1] == "train":
        parts.pop()
    variant = parse_variant(parts[-1]) if len(parts) > 1 else None
    if variant is not None:
        parts.pop()
    if parts and variant is None and storage is not None and (codec := _learned(parts[-1])):
        parts.pop()
        variant = codec
    return DataPath(parts[-1] if parts else None, variant, storage)


def _learned(label: str) -> Variant | None:
    match = re.fullmatch(r"([a-z]\w*?)((?:-mse)?)-(\d+(?:\.\d+)?)", label)
    if match is None or label in KNOWN_IMAGES:
        return None
    return Variant(label, match.group(1), match.group(3), 1.0)


def subset_images(dataset: str, fraction: float) -> tuple[int, int] | None:
    """Return (training, validation) images of a fraction of a known data set.

    Nominal: the published subsets round down per class, up to 0.8 % less; the validation set
    stays whole.
    """
    known = KNOWN_IMAGES.get(dataset)
    return None if known is None else (round(known[0] * fraction), known[1])
