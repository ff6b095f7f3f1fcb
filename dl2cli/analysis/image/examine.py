"""Examine one image: all analyses except fidelity, with as little reading as they need.

`decode_source` decides whether a file is damaged, as it does for `dl2 convert`, if an analysis
needs the pixels; otherwise only the header is looked at. An image that was not decoded, because it
is too large or of a rare kind, gets a note and does not count as damaged.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePath
from typing import IO, Any, cast

from PIL import ExifTags, Image, ImageStat

from dl2cli.analysis.image.jpeg import mode_of, subsampling_of
from dl2cli.analysis.image.quality import (
    UNKNOWN_QUALITY,
    Engine,
    fingerprint,
    magick_quality,
    standard_fingerprints,
)
from dl2cli.analysis.table.rows import Analysis, Note
from dl2cli.dataset.jpeg_quality import estimate
from dl2cli.dataset.pixels import (
    JPEG_START,
    OverLimit,
    UnsupportedImage,
    decode_source,
    is_rare,
    read_image,
    readable_formats,
)
from dl2cli.errors import DataError, is_file_fault
from dl2cli_native import _core

_HEAD_BYTES = 16 << 10
_MORE_HEAD_BYTES = 1 << 20
_ENDINGS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "HEIF": {".heic", ".heif"},
    "JPEG2000": {".jp2", ".j2k", ".jpx"},
}

Stream = io.RawIOBase | io.BytesIO
Found = dict[str, Any]
"""Fields of an `ImageRow`."""


def examine(
    name: str,
    stream: Stream,
    size_bytes: int,
    analyses: frozenset[Analysis],
    engine: Engine,
    *,
    limits: _core.Limits,
    whole_file: bool = True,
) -> Found:
    """Return what the chosen analyses find, as fields of an `ImageRow`; damage is a finding.

    Args:
        name: The image's name; only its ending matters.
        stream: Its bytes, from the beginning.
        size_bytes: The number of bytes.
        analyses: What to find out; fidelity is measured elsewhere.
        engine: What estimates the quality.
        limits: The limits that an image must keep to be read and decoded.
        whole_file: It is a source file, of which nothing may be missing, and not the first scan
            groups of an image.

    Raises:
        OSError, MemoryError: The system failed, which says nothing about the image.
    """
    examination = _Examination(
        name, stream, size_bytes, analyses, engine, limits=limits, whole_file=whole_file
    )
    return examination.run()


class _Examination:
    def __init__(
        self,
        name: str,
        stream: Stream,
        size_bytes: int,
        analyses: frozenset[Analysis],
        engine: Engine,
        *,
        limits: _core.Limits,
        whole_file: bool,
    ) -> None:
        self.name = name
        self.stream = stream
        self.analyses = analyses
        self.engine = engine
        self.limits = limits
        self.whole_file = whole_file
        self.found: Found = {"size": size_bytes}
        self.notes: list[Note] = []

    def run(self) -> Found:
        if self.found["size"] == 0:
            self._fail("empty file")
        else:
            self._attempt(self._look)
        return self.found | {"notes": tuple(dict.fromkeys(self.notes))}

    def _fail(self, reason: str) -> None:
        self.found.setdefault("error", reason)

    def _attempt(self, part: Callable[[], None]) -> None:
        """Run a part of the examination; its failure is a finding, and the first one is kept."""
        try:
            part()
        except OverLimit:
            self.notes.append(Note.LARGE)
        except UnsupportedImage:
            self.notes.append(Note.UNSUPPORTED)
        except DataError as error:
            self._fail(str(error))
        except Exception as error:  # decoders raise anything for bad files
            if not is_file_fault(error):
                raise
            self._fail(f"cannot be read: {error}" if str(error) else f"cannot be read: {error!r}")

    def _look(self) -> None:
        size_bytes = self.found["size"]
        whole = bool(self.analyses & {Analysis.STATS, Analysis.JPEG})
        if size_bytes > self.limits.max_bytes:
            whole = False
            self.notes.append(Note.LARGE)
        data = self._read(size_bytes if whole else _HEAD_BYTES)
        if data.startswith(JPEG_START):
            self._attempt(lambda: self._jpeg(data, whole=whole))
        else:
            self._attempt(lambda: self._other_format(data, whole=whole))
        if whole and Analysis.STATS in self.analyses and "error" not in self.found:
            self._attempt(lambda: self._statistics(data))

    def _read(self, count: int) -> bytes:
        return self.stream.read(min(count, self.found["size"])) or b""

    def _jpeg(self, data: bytes, *, whole: bool) -> None:
        self.found["format"] = "JPEG"
        header = self._header(data)
        self.found |= {"width": header.width, "height": header.height, "mode": mode_of(header)}
        if is_rare(header):
            self.notes.append(Note.RARE_JPEG)
        if self.found["mode"] == "CMYK":
            self.notes.append(Note.CMYK)
        if Analysis.QUALITY in self.analyses:
            self._quality(data, header)
        if Analysis.JPEG in self.analyses and whole:
            self._markers(data, header)

    def _header(self, data: bytes) -> _core.JpegHeader:
        """Read the header from the beginning of a file, and read on if the header is long."""
        try:
            while (header := _core.peek_jpeg_header(data)) is None:
                more = self._read(_MORE_HEAD_BYTES)
                if not more:
                    raise DataError("the file ends within its header")
                data += more
        except _core.DataError as error:
            raise DataError(str(error)) from error
        return header

    def _quality(self, data: bytes, header: _core.JpegHeader) -> None:
        native = self.engine is Engine.NATIVE or is_rare(
            header
        )  # ImageMagick cannot read rare JPEGs
        quality = estimate(header.quant_tables) if native else magick_quality(data)
        self.found["quality"] = quality or UNKNOWN_QUALITY
        if quality is None:
            self.notes.append(Note.NO_QUALITY)

    def _markers(self, data: bytes, header: _core.JpegHeader) -> None:
        scans = _core.survey_scans(data)
        self.found |= {
            "subsampling": subsampling_of(header),
            "progressive": header.progressive,
            "scans": scans.count,
            "icc": header.icc,
            "tables": fingerprint(header.quant_tables),
        }
        self._ending()
        begin, end = header.exif_span
        self._orientation(lambda: _exif(data[begin:end]))
        odd = {
            Note.ARITHMETIC: header.arithmetic,
            Note.OWN_TABLES: self.found["tables"] not in standard_fingerprints(),
            Note.ICC: header.icc,
            Note.NO_END: not scans.ended,
            Note.TRAILING: scans.trailing_bytes > 0,
        }
        self.notes += [note for note, present in odd.items() if present]

    def _ending(self) -> None:
        kind = self.found["format"]
        ending = PurePath(self.name).suffix.lower()
        if ending and ending not in _ENDINGS.get(kind, {f".{kind.lower()}"}):
            self.notes.append(Note.ENDING)

    def _orientation(self, load: Callable[[], Image.Exif]) -> None:
        try:
            value = load().get(ExifTags.Base.Orientation, 1)
        except MemoryError:
            raise
        except Exception:  # damaged EXIF raises any exception
            self.notes.append(Note.BAD_EXIF)
            return
        self.found["orientation"] = value if isinstance(value, int) and 1 <= value <= 8 else 1
        if self.found["orientation"] != 1:
            self.notes.append(Note.ROTATED)

    def _other_format(self, data: bytes, *, whole: bool) -> None:
        source: Stream = io.BytesIO(data) if whole else self.stream
        source.seek(0)
        image: Image.Image
        try:
            image = Image.open(cast(IO[bytes], source), formats=readable_formats())
        except Exception as error:
            if not is_file_fault(error):
                raise
            source.seek(0)
            # Odd metadata costs no image: `read_image` does without, or knows the reason.
            image = read_image(source.read() or b"", self.limits)
        with image:
            self._header_of_other_format(image)

    def _header_of_other_format(self, image: Image.Image) -> None:
        self.found |= {
            "format": {"DIB": "BMP"}.get(image.format or "", image.format),
            "width": image.width,
            "height": image.height,
            "mode": image.mode,
        }
        if Analysis.JPEG in self.analyses:
            self._ending()
            self._orientation(image.getexif)
            self.found["icc"] = bool(image.info.get("icc_profile"))
            if self.found["icc"]:
                self.notes.append(Note.ICC)

    def _statistics(self, data: bytes) -> None:
        """Find mean and deviation of the image as it is converted, CMYK as RGB."""
        try:
            image = decode_source(data, self.limits, whole_file=self.whole_file)
        except (OverLimit, UnsupportedImage):
            raise
        except DataError as error:
            raise DataError(f"does not decode: {error}") from error
        statistics = ImageStat.Stat(image.convert("RGB") if image.mode == "CMYK" else image)
        self.found |= {"mean": tuple(statistics.mean), "std": tuple(statistics.stddev)}


def _exif(payload: bytes) -> Image.Exif:
    exif = Image.Exif()
    if payload:
        exif.load(payload)
    return exif
