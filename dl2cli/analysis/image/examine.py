"""Examines one image: all analyses but fidelity, with as little reading as they need."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePath
from typing import IO, Any, cast

from PIL import ExifTags, Image, ImageStat, UnidentifiedImageError

from dl2cli.analysis.image.jpeg import (
    MAX_HEADER_BYTES,
    JpegHeader,
    TruncatedHeaderError,
    looks_like_jpeg,
    read_header,
    walk_scans,
)
from dl2cli.analysis.image.quality import (
    UNKNOWN_QUALITY,
    Engine,
    estimate,
    fingerprint,
    magick_quality,
    standard_fingerprints,
)
from dl2cli.analysis.table.rows import Analysis, Note
from dl2cli.errors import DataError

MAX_FILE_BYTES = 1 << 30
"""Larger files are reported, and not read."""

_HEAD_BYTES = 16 << 10
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")
_ENDINGS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
}
_WITHOUT_STATISTICS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

Stream = io.RawIOBase | io.BytesIO
Found = dict[str, Any]
"""Fields of an `ImageRow`."""


def examine(
    name: str, stream: Stream, size_bytes: int, analyses: frozenset[Analysis], engine: Engine
) -> Found:
    """Return what the chosen analyses find, as fields of an `ImageRow`; never raises for damage.

    Args:
        name: The image's name; only its ending matters.
        stream: Its bytes, from the beginning.
        size_bytes: How many there are.
        analyses: What to find out; fidelity is left to others.
        engine: Who estimates the quality.
    """
    return _Examination(name, stream, size_bytes, analyses, engine).run()


class _Examination:
    def __init__(
        self,
        name: str,
        stream: Stream,
        size_bytes: int,
        analyses: frozenset[Analysis],
        engine: Engine,
    ) -> None:
        self.name = name
        self.stream = stream
        self.analyses = analyses
        self.engine = engine
        self.found: Found = {"size": size_bytes}
        self.notes: list[Note] = []

    def run(self) -> Found:
        size_bytes = self.found["size"]
        if size_bytes == 0:
            self._fail("empty file")
        elif size_bytes > MAX_FILE_BYTES:
            self._fail(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        else:
            self._attempt(self._look)
        return self.found | {"notes": tuple(self.notes)}

    def _fail(self, reason: str) -> None:
        self.found.setdefault("error", reason)

    def _attempt(self, part: Callable[[], None]) -> None:
        """Run a part of the examination; its failure is a finding, and the first one is kept."""
        try:
            part()
        except DataError as error:
            self._fail(str(error))
        except UnidentifiedImageError:
            self._fail("not an image of a known format")
        except Image.DecompressionBombError:
            self._fail("more pixels than Pillow's limit against decompression bombs")
        except OSError as error:
            self._fail(error.strerror or str(error))
        except MemoryError:
            self._fail("too large for the memory of this machine")
        except Exception as error:  # Pillow's plugins raise anything for bad files
            self._fail(f"cannot be read ({type(error).__name__}: {error})")

    def _look(self) -> None:
        whole = bool(self.analyses & {Analysis.STATS, Analysis.JPEG})
        data = self._read(self.found["size"] if whole else _HEAD_BYTES)
        if looks_like_jpeg(data):
            self._attempt(lambda: self._jpeg(data))
            if Analysis.STATS in self.analyses and "error" not in self.found:
                self._attempt(lambda: self._jpeg_pixels(data))
        else:
            source: Stream = io.BytesIO(data) if whole else self.stream
            self._attempt(lambda: self._pillow(source))

    def _read(self, count: int) -> bytes:
        return self.stream.read(min(count, self.found["size"])) or b""

    def _jpeg(self, data: bytes) -> None:
        self.found["format"] = "JPEG"
        try:
            header = read_header(data)
        except TruncatedHeaderError:
            data += self._read(max(MAX_HEADER_BYTES - len(data), 0))
            header = read_header(data)
        self.found |= {"width": header.width, "height": header.height, "mode": header.mode}
        if header.mode == "CMYK":
            self.notes.append(Note.CMYK)
        if Analysis.QUALITY in self.analyses:
            self._quality(data, header)
        if Analysis.JPEG in self.analyses:
            self._markers(data, header)

    def _quality(self, data: bytes, header: JpegHeader) -> None:
        native = self.engine is Engine.NATIVE
        quality = estimate(header.tables) if native else magick_quality(data)
        self.found["quality"] = quality or UNKNOWN_QUALITY
        if quality is None:
            self.notes.append(Note.NO_QUALITY)

    def _markers(self, data: bytes, header: JpegHeader) -> None:
        scans = walk_scans(data, header)
        self.found |= {
            "subsampling": header.subsampling,
            "progressive": header.progressive,
            "scans": scans.count,
            "icc": header.icc,
            "tables": fingerprint(header.tables),
        }
        self._ending()
        self._orientation(lambda: _exif(header.exif))
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
        except Exception:  # damaged EXIF raises anything
            self.notes.append(Note.BAD_EXIF)
            return
        self.found["orientation"] = value if isinstance(value, int) and 1 <= value <= 8 else 1
        if self.found["orientation"] != 1:
            self.notes.append(Note.ROTATED)

    def _jpeg_pixels(self, data: bytes) -> None:
        """Decode with the core: the same pixels as Pillow's, but libjpeg's warnings are errors."""
        from dl2cli.analysis.scan_prefixes import decode

        try:
            pixels = decode(data, whole_file=True)
        except DataError as error:
            raise DataError(f"does not decode: {error}") from error
        if pixels.shape[2] == 4:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                self._statistics(image)
        else:
            self._statistics(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))

    def _pillow(self, source: Stream) -> None:
        source.seek(0)
        with Image.open(cast(IO[bytes], source), formats=_FORMATS) as image:
            self._header_of_other_format(image)
            if Analysis.STATS in self.analyses:
                self._statistics(image)

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

    def _statistics(self, image: Image.Image) -> None:
        """Find mean and deviation: of L and RGB as they are, of other modes as RGB."""
        try:
            image.load()
        except Exception as error:
            raise DataError(f"does not decode: {error}") from error
        if image.mode in _WITHOUT_STATISTICS:
            self.notes.append(Note.DEEP)
            return
        kept = image if image.mode in ("L", "RGB") else image.convert("RGB")
        statistics = ImageStat.Stat(kept)
        self.found |= {
            "mode": image.mode,
            "mean": tuple(statistics.mean),
            "std": tuple(statistics.stddev),
        }


def _exif(payload: bytes | None) -> Image.Exif:
    exif = Image.Exif()
    if payload is not None:
        exif.load(b"Exif\0\0" + payload)
    return exif
