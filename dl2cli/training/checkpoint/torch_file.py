"""Files of `torch.save`, ours and others': read without executing or believing anything in them.

A file passes three gates before torch sees it:

1. Its container: a zip archive whose parts are stored as they are, add up to no more than the file,
   and have the right checksums; or the format before torch 1.6, which has no checksums.
2. Its pickle, by a dry run (outline.py): only known types may occur, and every tensor must lie
   within a storage that the file really holds. So nothing can take more memory than the file.
3. The version of torch: before 2.6, `torch.load(weights_only=True)` can be made to execute code
   (CVE-2025-32434), so there the user must say that they trust the file.
"""

from __future__ import annotations

import argparse
import errno
import io
import re
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.training.checkpoint.outline import Outline, UnfitFile

SAFE_TORCH: Final = (2, 6)
TRUST_OPTION: Final = "--trust-checkpoint"
_LEGACY_MAGIC: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6
_MAX_PICKLE_BYTES: Final = 1 << 28
_DAMAGED: Final = "it is damaged, or torch.save did not write it"
_CHUNK: Final = 1 << 20
# What files that are no checkpoints often are, by how they begin.
_LOOKS: Final = (
    (b"", "it is empty"),
    (b"version https://git-lfs", "it is a Git LFS pointer; `git lfs pull` gets the file"),
    (b"<", "it is a web page or an XML document"),
    (b"PK\x03\x04", "its end is missing"),
)


def read_torch_file(path: Path, what: str, *, trusted: bool = False) -> Any:  # noqa: ANN401
    """Return what a file holds: tensors on the CPU, numbers, text, and containers of them.

    Args:
        path: the file.
        what: what it should be, for messages: "checkpoint".
        trusted: load it with a torch that the file could make execute code, too.

    Raises:
        UsageError: there is no such file, or this torch is too old for one that is not trusted.
        DataError: the file is damaged, or holds anything else.
        StorageError: the system cannot read it, or lacks the memory.
    """
    with _told(path, what):
        _check_torch(path, trusted=trusted)
        _outline(path)
        return _load(path)


def outline_torch_file(path: Path, what: str) -> Any:  # noqa: ANN401
    """Return what a file holds, with a `TensorOutline` for each tensor. Raises as above."""
    with _told(path, what):
        return _outline(path, checksums=False)


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a damaged or hostile file raises into one sentence."""
    try:
        _check_is_file(path)
        yield
    except (DataError, StorageError, UsageError):
        raise
    except FileNotFoundError:
        raise UsageError(f"There is no {what} {path}.") from None
    except MemoryError as error:
        raise StorageError(f"There is not enough memory to read {path}.") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a damaged archive sends zipfile to an impossible place
            raise DataError(f"{path} is not a readable {what}: {_DAMAGED}.") from error
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnfitFile as error:
        raise DataError(f"{path} is not a readable {what}: {error}.") from None
    except Exception as error:
        if "allocate memory" in str(error):
            raise StorageError(f"There is not enough memory to read {path}.") from error
        raise DataError(f"{path} is not a readable {what}: {_DAMAGED}.") from error


def _check_is_file(path: Path) -> None:
    """Refuse folders, and pipes that would be waited for. Raises UsageError, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UsageError(f"{path} is not a regular file.")


def is_safe_torch() -> bool:
    """Tell whether this torch reads a hostile file without executing code."""
    import torch

    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    return version >= SAFE_TORCH


def _check_torch(path: Path, *, trusted: bool) -> None:
    import torch

    if not trusted and not is_safe_torch():
        raise UsageError(
            f"torch {torch.__version__} could be made to execute code by {path} (CVE-2025-32434, "
            f"mended in torch 2.6). If you know where the file comes from, add {TRUST_OPTION}; "
            "weights can also be given as .safetensors."
        )


def _outline(path: Path, *, checksums: bool = True) -> Any:  # noqa: ANN401
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(0)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return _outline_archive(archive, path.stat().st_size, checksums=checksums)
        file.seek(0)
        if head.startswith(_LEGACY_MAGIC):
            return _outline_legacy(file, path.stat().st_size)
    for begin, look in _LOOKS:
        if head.lstrip().startswith(begin) if begin else not head:
            raise UnfitFile(look)
    raise UnfitFile("torch.save did not write it")


def _outline_archive(archive: zipfile.ZipFile, size: int, *, checksums: bool) -> Any:  # noqa: ANN401
    parts = {part.filename: part for part in archive.infolist()}
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts.values()):
        raise UnfitFile("its contents are compressed, and torch.save compresses nothing")
    if len(parts) < len(archive.infolist()) or sum(p.file_size for p in parts.values()) > size:
        raise UnfitFile("its parts overlap")
    pickles = [name for name in parts if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(pickles) != 1:
        raise UnfitFile("it is an archive of something else")
    root = pickles[0].removesuffix("data.pkl")
    for name in parts if checksums else pickles:
        _check_part(archive, name)
    if parts[pickles[0]].file_size > _MAX_PICKLE_BYTES:
        raise UnfitFile("its description of the tensors is too long")

    def storage_bytes(key: str) -> int:
        part = parts.get(f"{root}data/{key}")
        if part is None:
            raise UnfitFile(f"its tensor data {key[:20]!r} is missing")
        return part.file_size

    return Outline(io.BytesIO(archive.read(pickles[0])), storage_bytes).load()


def _check_part(archive: zipfile.ZipFile, name: str) -> None:
    """Read a part once: at its end, zipfile compares its checksum."""
    try:
        with archive.open(name) as part:
            while part.read(_CHUNK):
                pass
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise UnfitFile(f"its part {name[:80]} is damaged") from error


def _outline_legacy(file: BinaryIO, size: int) -> Any:  # noqa: ANN401
    """Outline the format before torch 1.6: five pickles, then the storages."""
    left = size

    def storage_bytes(key: str) -> int:
        return left

    outlines = [Outline(file, storage_bytes) for _ in range(5)]
    results = [outline.load() for outline in outlines]
    if sum(outlines[3].storages.values()) > size:
        raise UnfitFile("its end is missing")
    return results[3]


def _load(path: Path) -> Any:  # noqa: ANN401
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about files that others made; ours say what is wrong
        with _more_types():
            return torch.load(path, map_location="cpu", weights_only=True)


def _more_types() -> Any:  # noqa: ANN401 - a context manager
    """Let torch.load take the harmless types that recipes leave in their checkpoints."""
    import numpy as np
    import torch

    if not hasattr(torch.serialization, "safe_globals"):  # before 2.5
        return nullcontext()
    core = getattr(np, "_core", None) or np.core
    scalar = core.multiarray.scalar
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"] if code not in "SUVO"}
    return torch.serialization.safe_globals(
        [
            argparse.Namespace,
            np.dtype,
            *kinds,
            (scalar, "numpy.core.multiarray.scalar"),
            (scalar, "numpy._core.multiarray.scalar"),
        ]
    )
