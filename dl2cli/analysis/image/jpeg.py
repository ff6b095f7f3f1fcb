"""A JPEG's markers: size, sampling, quantisation tables and metadata, without decoding a pixel.

Sources: ITU-T T.81, annex B (markers) and annex A.1.1 (sampling). What is refused here is what
libjpeg-turbo refuses when it reads a header, so that a file has a quality here if ImageMagick,
which reads through libjpeg, gives it one; but not if its header is cut, whose end libjpeg makes up.
"""

from __future__ import annotations

import operator
import re
import struct
from dataclasses import dataclass, field

from dl2cli.errors import DataError

MAX_HEADER_BYTES = 16 << 20
"""Longer headers are refused: profiles of photos are kilobytes, seldom a few megabytes."""

_SOI, _EOI, _SOS, _DQT, _DHT, _DAC, _DRI, _DNL, _TEM, _COM = (
    0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xDC, 0x01, 0xFE,
)  # fmt: skip
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xCB, 0xCD, 0xCE, 0xCF})
_WITHOUT_LENGTH = frozenset({_TEM, *range(0xD0, 0xD8), _SOI, _EOI})
_APPS = range(0xE0, 0xF0)
_APP1, _APP2 = 0xE1, 0xE2
_MAX_SIDE = 65500  # of libjpeg
_MAX_COMPONENTS = 10


def _zigzag() -> tuple[int, ...]:
    """Return the place in zigzag order of each coefficient in row order (T.81, figure A.6)."""

    def walk(row_col: tuple[int, int]) -> tuple[int, int]:
        diagonal = sum(row_col)
        return diagonal, row_col[diagonal % 2 == 0]

    cells = sorted(((row, col) for row in range(8) for col in range(8)), key=walk)
    places = {cell: place for place, cell in enumerate(cells)}
    return tuple(places[row, col] for row in range(8) for col in range(8))


_in_row_order = operator.itemgetter(*_zigzag())


class TruncatedHeaderError(DataError):
    """The bytes end before the first scan; more of the file may help."""


@dataclass(slots=True)
class JpegHeader:
    """What stands in front of a JPEG's first scan."""

    width: int = 0
    height: int = 0
    frame: int = 0  # the SOF marker: 0xC0 baseline, 0xC2 progressive, 0xC9 and 0xCA arithmetic
    sampling: tuple[tuple[int, int], ...] = ()  # (horizontal, vertical) factors of each component
    tables: dict[int, tuple[int, ...]] = field(default_factory=dict)  # 64 steps each, row order
    exif: bytes | None = None  # the TIFF structure
    icc: bool = False
    first_scan: int = 0  # offset of the first SOS marker

    @property
    def progressive(self) -> bool:
        """Whether the coefficients come in several passes."""
        return self.frame in (0xC2, 0xCA)

    @property
    def arithmetic(self) -> bool:
        """Whether the entropy coding is arithmetic."""
        return self.frame in (0xC9, 0xCA)

    @property
    def mode(self) -> str:
        """The mode that Pillow gives the image."""
        return {1: "L", 3: "RGB", 4: "CMYK"}.get(len(self.sampling), f"{len(self.sampling)} bands")

    @property
    def subsampling(self) -> str:
        """As `4:2:0`; `gray` for one component; the factors (`2x1,1x2,1x1`) if it has no name."""
        if len(self.sampling) == 1:
            return "gray"
        luma, *chroma = self.sampling
        usual = len(self.sampling) in (3, 4) and chroma[0] == chroma[1]
        if usual and (len(chroma) == 2 or chroma[2] == luma):
            ratio = luma[0] / chroma[0][0], luma[1] / chroma[0][1]
            if ratio in _SUBSAMPLING:
                return _SUBSAMPLING[ratio]
        return ",".join(f"{h}x{v}" for h, v in self.sampling)


_SUBSAMPLING: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0",
    (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0",
}  # fmt: skip


def looks_like_jpeg(head: bytes) -> bool:
    """Say whether the bytes begin as every JPEG does."""
    return head[:3] == b"\xff\xd8\xff"


def read_header(data: bytes) -> JpegHeader:
    """Read the markers up to the first scan.

    Args:
        data: The file, or its beginning; no more than `MAX_HEADER_BYTES` of it are looked at.

    Raises:
        TruncatedHeaderError: `data` ends before the first scan.
        DataError: This is no JPEG, or a kind of JPEG that libjpeg does not read.
    """
    if not looks_like_jpeg(data):
        raise DataError("not a JPEG (no SOI marker)")
    data = data[:MAX_HEADER_BYTES]
    reader = _Reader()
    position = 2
    while True:
        marker, position = _next_marker(data, position)
        if marker in _WITHOUT_LENGTH:
            _check_bare(marker)
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        end = position + (length if length > 2 else 2)  # libjpeg takes shorter ones for empty
        if end > len(data):
            raise TruncatedHeaderError("the file ends within its header")
        payload = data[position + 2 : end]
        if marker == _SOS:
            reader.scan(payload, length)
            reader.header.first_scan = position - 2
            return reader.header
        reader.segment(marker, payload, length)
        position = end


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Return the next marker and the offset behind it; what lies before it is skipped."""
    marker = data[position : position + 2]
    if len(marker) == 2 and marker[0] == 0xFF and 0 < marker[1] < 0xFF:
        return marker[1], position + 2
    found = _MARKER.search(data, position)
    if found is None:
        raise TruncatedHeaderError("the file ends within its header")
    return data[found.end() - 1], found.end()


_MARKER = re.compile(rb"\xff[\x01-\xfe]")


def _check_bare(marker: int) -> None:
    if marker == _SOI:
        raise DataError("a second SOI marker in the header")
    if marker == _EOI:
        raise DataError("the image ends before its first scan")


class _Reader:
    """Reads the marker segments, one after the other, into a header."""

    def __init__(self) -> None:
        self.header = JpegHeader()
        self.component_ids = b""

    def segment(self, marker: int, payload: bytes, length: int) -> None:
        """Read a segment that begins no scan."""
        if marker in _APPS:
            self._application(marker, payload)
        elif marker in _FRAMES:
            self._frame(marker, payload)
        elif marker in _OTHER_FRAMES:
            raise DataError(f"JPEG of an unsupported kind (SOF{marker - 0xC0})")
        else:
            self._table(marker, payload, length)

    def _table(self, marker: int, payload: bytes, length: int) -> None:
        if marker in (_DQT, _DHT, _DAC) and length < 2:
            raise DataError("a table of impossible length")
        if marker == _DQT:
            self._quantisation(payload)
        elif marker == _DHT:
            _check_huffman(payload)
        elif marker == _DAC:
            _check_arithmetic(payload)
        elif marker == _DRI:
            if length != 4:
                raise DataError("a restart interval of impossible length")
        elif marker not in (_DNL, _COM):
            raise DataError(f"an unknown marker (FF {marker:02X})")

    def _quantisation(self, payload: bytes) -> None:
        position = 0
        while position < len(payload):
            wide, index = payload[position] >> 4, payload[position] & 15
            size = 128 if wide else 64
            values = payload[position + 1 : position + 1 + size]
            if index > 3 or len(values) < size:
                raise DataError("a damaged quantisation table")
            steps = struct.unpack(">64H", values) if wide else values
            self.header.tables[index] = _in_row_order(steps)
            position += 1 + size

    def _frame(self, marker: int, payload: bytes) -> None:
        if self.component_ids:
            raise DataError("a second frame header")
        if len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
            raise DataError("a frame header of impossible length")
        precision, height, width, count = struct.unpack_from(">BHHB", payload)
        if not (width and height and count):
            raise DataError(f"an empty image ({width} x {height}, {count} components)")
        if max(width, height) > _MAX_SIDE or count > _MAX_COMPONENTS:
            raise DataError(f"an impossible image ({width} x {height}, {count} components)")
        if precision != 8:
            raise DataError(f"JPEG of an unsupported kind ({precision} bits a sample)")
        sampling = tuple((byte >> 4, byte & 15) for byte in payload[7::3])
        if not all(1 <= factor <= 4 for pair in sampling for factor in pair):
            raise DataError("impossible sampling factors")
        self.component_ids = payload[6::3]
        header = self.header
        header.frame, header.width, header.height = marker, width, height
        header.sampling = sampling

    def scan(self, payload: bytes, length: int) -> None:
        """Check the header of the first scan."""
        if not self.component_ids:
            raise DataError("a scan without a frame header")
        count = payload[0] if payload else 0
        if not 1 <= count <= 4 or length != 6 + 2 * count:
            raise DataError("a scan header of impossible length")
        ids = payload[1 : 1 + 2 * count : 2]
        if len(set(ids)) != count or not set(ids) <= set(self.component_ids):
            raise DataError("a scan of components that are not there")

    def _application(self, marker: int, payload: bytes) -> None:
        if marker == _APP1 and payload[:6] == b"Exif\0\0" and self.header.exif is None:
            self.header.exif = payload[6:]
        elif marker == _APP2 and payload[:12] == b"ICC_PROFILE\0":
            self.header.icc = True


def _check_huffman(payload: bytes) -> None:
    position = 0
    while len(payload) - position > 14:
        index = payload[position] & ~0x10
        count = sum(payload[position + 1 : position + 17])
        position += 17
        if index > 3 or count > 256 or count > len(payload) - position:
            raise DataError("a damaged Huffman table")
        position += count
    if position != len(payload):
        raise DataError("a damaged Huffman table")


def _check_arithmetic(payload: bytes) -> None:
    pairs = list(zip(payload[0::2], payload[1::2], strict=False))
    for index, value in pairs:
        if index >= 32 or (index < 16 and (value & 15) > (value >> 4)):
            raise DataError("damaged arithmetic conditioning")
    if len(payload) % 2:
        raise DataError("damaged arithmetic conditioning")


@dataclass(frozen=True, slots=True)
class Scans:
    """What follows a JPEG's header."""

    count: int
    ended: bool  # there is an EOI marker
    trailing_bytes: int  # after the EOI marker


# In entropy-coded data FF is followed by 00 or a restart marker, or it is fill before a marker.
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def walk_scans(data: bytes, header: JpegHeader) -> Scans:
    """Count the scans of a whole JPEG file, in one pass over `data`. Damage only ends it early."""
    count, position = 0, header.first_scan
    while found := _MARKER_IN_SCAN.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == _EOI:
            return Scans(count, ended=True, trailing_bytes=len(data) - position)
        if marker == _SOS:
            count += 1
        if marker not in (_TEM, _SOI):
            position += max(int.from_bytes(data[position : position + 2], "big"), 2)
    return Scans(count, ended=False, trailing_bytes=0)
