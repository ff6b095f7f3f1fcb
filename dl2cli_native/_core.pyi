"""The native core: JPEG transcoding, records, conversion, batch loading.

The C++ headers in include/dl2 document each class and function in full.
"""

from collections.abc import Sequence
from enum import Enum
from types import CodeType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

Scan: TypeAlias = tuple[list[int], int, int, int, int] | tuple[list[int], int, int, int, int, bool]
"""Components, Ss, Se, Ah, Al, and optionally whether the scan joins the group before it."""

class DataError(ValueError):
    """The bytes are damaged, or not what they claim to be."""

class UnsupportedError(DataError):
    """A JPEG that libjpeg cannot transcode: 12-bit or lossless."""

class CancelledError(RuntimeError):
    """The caller asked to stop."""

class Limits:
    """How large an input may claim to be before it is refused."""

    def __init__(
        self,
        *,
        max_pixels: int = ...,
        max_bytes: int = ...,
        max_scans: int = ...,
        max_scan_pixels: int = ...,
    ) -> None: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def max_scans(self) -> int: ...
    @property
    def max_scan_pixels(self) -> int: ...

class JpegHeader:
    """What a JPEG's markers say up to its first scan."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def precision(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def lossless(self) -> bool: ...
    @property
    def orientation(self) -> int: ...
    @property
    def sampling(self) -> list[tuple[int, int]]: ...
    @property
    def quant_tables(self) -> dict[int, tuple[int, ...]]:
        """The tables that precede the first scan, by index: 64 steps each, row by row."""

    @property
    def arithmetic(self) -> bool: ...
    @property
    def progressive(self) -> bool: ...
    @property
    def icc(self) -> bool: ...
    @property
    def exif_span(self) -> tuple[int, int]:
        """The offsets where the first EXIF payload begins and ends; (0, 0) if there is none."""

class JpegScans:
    """What follows a JPEG's header."""

    @property
    def count(self) -> int: ...
    @property
    def ended(self) -> bool:
        """Whether there is an end marker."""

    @property
    def trailing_bytes(self) -> int:
        """The number of bytes after the end marker."""

class Transcoded:
    """A progressive JPEG in fragments: fragments[:k] and FF D9 are the JPEG at fidelity k."""

    @property
    def fragments(self) -> list[bytes]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def orientation(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def damage(self) -> str: ...
    @property
    def declined(self) -> str:
        """Why libjpeg did the work; empty if the native codec did it."""

class Pixels(Buffer):
    """uint8 (H, W, C) through the buffer protocol; C is 1 (gray), 3 (RGB) or 4 (CMYK)."""

def is_file_fault(code: int) -> bool:
    """Tell whether an errno is the file's own fault; `dl2cli.errors` has the same list."""

def read_file(path: bytes, max_bytes: int) -> bytes:
    """Read a regular file, without blocking on a FIFO. Raises DataError, OSError."""

def crc32c(data: Buffer, crc: int = 0) -> int: ...
def libjpeg_version() -> str: ...
def codec_instruction_set() -> str:
    """Return the instruction set that the native codec uses: avx512, avx2 or portable."""

def native_codec_decodes() -> bool:
    """Tell whether the native codec decodes here; libjpeg does where only portable code can run."""

def codec_instruction_sets() -> list[str]:
    """Return all instruction sets that this processor can run, the slowest first."""

def use_codec_instruction_set(name: str) -> None:
    """Choose an instruction set for all threads, for tests and benchmarks. Raises ValueError."""

def read_jpeg_header(jpeg: Buffer, limits: Limits = ...) -> JpegHeader:
    """Read the markers up to the first scan. Raises DataError."""

def peek_jpeg_header(beginning: Buffer) -> JpegHeader | None:
    """Read the markers from the beginning of a file, without limits; None if that is too short.

    Raises DataError.
    """

def read_icc_profile(jpeg: Buffer) -> bytes:
    """Return the colour profile; empty if there is none, or if pieces are missing."""

def survey_scans(jpeg: Buffer) -> JpegScans:
    """Count the scans of a whole file; damage only ends the count early."""

def find_scans(jpeg: Buffer, max_scans: int = ...) -> list[int]:
    """Return where each scan begins, and where the last one ends. Raises DataError."""

class Transcoder:
    """A transcoder that keeps its memory from image to image; for one thread at a time."""

    def __init__(
        self,
        script: Sequence[Scan],
        *,
        keep: str = "none",
        keep_damaged: bool = False,
        limits: Limits = ...,
        codec: str = "native",
    ) -> None: ...
    def transcode(self, jpeg: Buffer) -> Transcoded:
        """Turn a JPEG into fragments without loss. Raises DataError, UnsupportedError."""

def transcode(
    jpeg: Buffer,
    script: Sequence[Scan],
    *,
    keep: str = "none",
    keep_damaged: bool = False,
    limits: Limits = ...,
    codec: str = "native",
) -> Transcoded:
    """Turn a JPEG into fragments without loss. Raises DataError, UnsupportedError."""

def decode(
    fragments: Sequence[Buffer],
    *,
    whole_file: bool = False,
    smoothing: bool = False,
    limits: Limits = ...,
    codec: str = "native",
) -> Pixels:
    """Decode the fragments of an image as libjpeg's defaults do. Raises DataError."""

def compare_coefficients(left: Buffer, right: Buffer, limits: Limits = ...) -> str:
    """Return what differs between two JPEGs, or the empty string. Raises DataError."""

class SourceStatus(Enum):
    """What happened to a source file."""

    pending = ...
    converted = ...
    foreign = ...
    rejected = ...
    failed = ...
    cancelled = ...

class SourceReport:
    """What happened to a source file, and why."""

    @property
    def status(self) -> SourceStatus: ...
    @property
    def reason(self) -> str: ...
    @property
    def code(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def crc32c(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def jpeg(self) -> bool: ...
    @property
    def reencoded(self) -> bool: ...

class RecordEntry:
    """What the index stores about a written record."""

    @property
    def lengths(self) -> list[int]: ...
    @property
    def metadata_crc32c(self) -> int: ...

class RecordJob:
    """The images of one record while they are transcoded."""

    def __len__(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def source_bytes(self) -> int: ...
    @property
    def failed(self) -> int: ...
    def wait(self, milliseconds: int) -> bool: ...
    def report(self, index: int) -> SourceReport: ...
    def put(self, index: int, jpeg: Buffer, converter: Converter) -> None: ...
    def reject(self, index: int, reason: str) -> None: ...
    def write(self, path: bytes, groups: int) -> RecordEntry: ...

class Converter:
    """Threads that transcode the images of submitted records."""

    def __init__(
        self,
        *,
        script: Sequence[Scan],
        keep: str,
        keep_damaged: bool,
        limits: Limits,
        threads: int,
        codec: str = "native",
    ) -> None: ...
    def submit(self, paths: Sequence[bytes], labels: Sequence[int]) -> RecordJob: ...
    def cancel(self) -> None: ...

class Record(Buffer):
    """A record at fidelity k: whole JPEGs side by side, as one buffer.

    Image i is buffer[offsets[i]:offsets[i + 1]].
    """

    @property
    def bytes_read(self) -> int: ...
    @property
    def offsets(self) -> NDArray[np.uint64]: ...
    @property
    def labels(self) -> NDArray[np.int32]: ...
    @property
    def widths(self) -> NDArray[np.uint16]: ...
    @property
    def heights(self) -> NDArray[np.uint16]: ...
    @property
    def orientations(self) -> NDArray[np.uint8]: ...

class Throttle:
    """Slows down the readers that share it.

    0 bytes a second means no limit; each range that is opened waits for the latency. Raises
    ValueError for a negative number.
    """

    def __init__(self, bytes_per_s: float, latency_s: float) -> None: ...
    @property
    def bytes(self) -> int:
        """The bytes that readers asked for so far."""

    @property
    def ranges(self) -> int:
        """The ranges that readers opened so far."""

def record_checksums(metadata: Buffer) -> list[int]:
    """Return the CRC32C of each scan group, empty for a record of the PCR_Release converter.

    Raises DataError for what is no metadata of a record.
    """

def cut_metadata(metadata: Buffer, groups: int) -> bytes:
    """Return the metadata of the same record with its first scan groups only.

    Raises DataError for what is no metadata of a record, ValueError if it has fewer groups.
    """

class StoreReader(Protocol):
    """Reads ranges of the objects of a store, in any thread (`dl2cli.stores.reader`)."""

    @property
    def rereads(self) -> int:
        """How often a range is read again whose bytes prove wrong."""

    def read(self, name: str, offset: int, length: int) -> Sequence[Buffer]:
        """Return the bytes in pieces. Raises OSError with a code, ValueError for a short object."""

    def cancel(self) -> None:
        """End the reads that are under way."""

class RecordReader:
    """Reads the records of a folder, or of a store. Thread-safe."""

    def __init__(
        self, place: bytes | StoreReader, keep_buffers: int = 2, throttle: Throttle | None = None
    ) -> None: ...
    def read(
        self, name: str, lengths: Sequence[int], metadata_crc32c: int | None, scans: int
    ) -> Record:
        """Read the first `scans` groups of a record. Raises DataError, OSError."""

    def read_labels(
        self, name: str, lengths: Sequence[int], metadata_crc32c: int | None
    ) -> NDArray[np.int32]:
        """Read the labels of a record alone. Raises DataError, OSError."""

    def read_orientations(
        self, name: str, lengths: Sequence[int], metadata_crc32c: int | None
    ) -> NDArray[np.uint8]:
        """Raises DataError, OSError."""

    def release_throttle(self) -> None:
        """Stop waiting for the throttle, also in reads that have begun."""

class SampleStore:
    """Where a batch loader takes its images from."""

class RecordStore(SampleStore):
    """The records of a PCR dataset; labels are 0 to `label_count` - 1."""

    def __init__(
        self,
        *,
        place: bytes | StoreReader,
        names: Sequence[str],
        lengths: Sequence[Sequence[int]],
        crc32c: Sequence[int | None],
        label_count: int,
        keep_buffers: int,
        throttle: Throttle | None = None,
    ) -> None: ...

class FileStore(SampleStore):
    """The files of an ImageFolder; names are paths below `folder`."""

    def __init__(
        self,
        *,
        folder: bytes,
        names: Sequence[bytes],
        labels: Sequence[int],
        label_count: int,
        max_file_bytes: int,
        throttle: Throttle | None = None,
    ) -> None: ...

class BatchResult:
    """What a batch contains; `kept` has the places of its images in the plan's batch."""

    @property
    def kept(self) -> NDArray[np.uint32]: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def degraded(self) -> int: ...
    @property
    def damage(self) -> list[str]: ...

class LoaderStatistics:
    """Totals since the start; seconds are sums over threads. Units are records or files."""

    @property
    def units(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def fetch_s(self) -> float: ...
    @property
    def decode_s(self) -> float: ...
    @property
    def fetch_wait_s(self) -> float: ...
    @property
    def ready_batches(self) -> int: ...
    @property
    def units_in_memory(self) -> int: ...

class BatchLoader:
    """Threads that fill the caller's arrays, batch by batch, in the plan's order."""

    def __init__(
        self,
        *,
        store: SampleStore,
        visits: NDArray[np.uint32],
        visit: NDArray[np.uint32],
        slot: NDArray[np.uint32],
        sample: NDArray[np.uint64],
        batch_size: int,
        transform: dict[str, Any],
        output: dict[str, Any],
        limits: Limits,
        scans: int,
        max_visits: int,
        decode_threads: int,
        fetch_threads: int,
        on_damage: str,
        smoothing: bool,
        apply_orientation: bool,
        codec: str,
        scaled_decode: bool,
        seed: int,
        epoch: int,
    ) -> None: ...
    def give(self, images: NDArray[Any], labels: NDArray[np.int64]) -> None: ...
    def wait(self, milliseconds: int) -> bool:
        """Tell whether the next batch is done; return early if `take_foreign` has images."""

    def take(self) -> BatchResult:
        """Take the next batch, which must be done. Raises DataError, OSError."""

    def take_foreign(self) -> list[tuple[int, str, bytes]]:
        """Return (ticket, name, content) of the files that the caller has to decode."""

    def put_foreign(self, ticket: int, rgbx: NDArray[np.uint8], decode_s: float) -> None:
        """Give the pixels (H, W, 4) of a foreign file, and the seconds that decoding took."""

    def reject_foreign(self, ticket: int, reason: str) -> None:
        """Say why a foreign file cannot be decoded."""

    def statistics(self) -> LoaderStatistics: ...
    def close(self) -> None: ...

def place_samples(
    transform: dict[str, Any],
    seed: int,
    epoch: int,
    samples: NDArray[np.uint64],
    widths: NDArray[np.uint32],
    heights: NDArray[np.uint32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Return where each sample's crop lies, as a BatchLoader places it.

    Boxes (n, 4) are what is decoded, parts (n, 4) what of a box is resized, flips (n,) whether the
    result is mirrored. Raises ValueError.
    """

def decode_region(
    fragments: Sequence[Buffer],
    box: tuple[int, int, int, int],
    *,
    smoothing: bool = False,
    limits: Limits = ...,
    codec: str = "native",
) -> Pixels:
    """Return a box (x, y, width, height) of an image as RGB. Raises DataError."""

class TrialImage:
    """An image whose scans are weighed and whose prefixes are judged without writing them.

    States are uint8 (n, 3, 64): the lowest known bit position of each coefficient (zigzag) of luma,
    Cb and Cr; 11 where nothing is known. With a `size`, images are cut and resized as an
    evaluation does.
    """

    def __init__(self, jpeg: Buffer, limits: Limits = ...) -> None:
        """Raises DataError; UnsupportedError for what is not measured, as CMYK."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def components(self) -> int: ...
    @property
    def blocks(self) -> tuple[int, int, int]:
        """Blocks of 64 coefficients, by role."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def header_bytes(self) -> int:
        """What is in front of the first scan."""

    def scan_bytes(self, lines: Sequence[Scan]) -> list[int]:
        """Return what a transcode writes for each line; they need not make up a script.

        Raises ValueError, UnsupportedError.
        """

    def errors(self, resize_short: int = 0) -> NDArray[np.float64]:
        """Return (3, 64, 12): summed squared errors by role, coefficient and lowest known bit."""

    def compare(
        self,
        states: NDArray[np.uint8],
        size: int = 0,
        resize_short: int = 0,
        structure: bool = True,
    ) -> NDArray[np.float64]:
        """Return (n, 3): mean squared error, SSIM, MS-SSIM. Raises ValueError if too small.

        Without `structure`, which takes most of the time, the last two are 0.
        """

    def show(
        self, states: NDArray[np.uint8], size: int = 0, resize_short: int = 0
    ) -> NDArray[np.uint8]:
        """Return the pixels (channels, height, width) of one state."""

def compare_pixels(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Compare pixels (channels, height, width): mean squared error, SSIM, MS-SSIM.

    Raises ValueError.
    """

class StackLooker:
    """Looks at threads of this process, from a thread of its own. Raises OSError."""

    def __init__(self) -> None: ...
    def wait(self, seconds: float) -> bool:
        """Sleep; return False if `stop` was called."""

    def look(
        self, seconds: float, threads: Sequence[tuple[int, int]]
    ) -> list[tuple[list[tuple[CodeType, int]], bool, int]] | None:
        """Sleep, and look at threads, each given by its `ident` and `native_id`.

        Returns for each its stack as (code, line), the innermost frame first, at most 80 (none if
        it has ended), whether it was blocked, and its CPU time in ns; None if `stop` was called.
        Whether it was blocked is read at the end of the sleep, and the stack as soon as the GIL is
        to be had. A thread that waits for the GIL is not blocked.
        """

    def stop(self) -> None:
        """End `wait` and `look`, now and from now on; in a forked process nothing happens."""
