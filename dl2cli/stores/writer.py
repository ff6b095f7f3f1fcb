"""Writing whole objects: to a store, or as files. An object appears whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dl2cli.durability import replace_durably
from dl2cli.stores.fetch import fetcher_of
from dl2cli.stores.local_copy import MD5_ETAG
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ATTEMPTS = 3


class StoreWriter:
    """Writes objects below one prefix. Thread-safe.

    What was written is verified: by the etag where that is the MD5 of the content (S3, for objects
    that come in one piece), else by reading it back.
    """

    def __init__(self, prefix: StorePath, options: StoreOptions | None = None) -> None:
        """Open the store; no request is made. Raises as `Client` does."""
        self.prefix = prefix
        self._fetcher = fetcher_of(prefix, options or StoreOptions())
        self._under_way: set[Future[Any]] = set()

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write an object.

        Raises:
            OSError: with a code and the reason; what was there before is there still, or the new
                object is.
        """
        path = self.prefix / name
        body = b"".join(pieces)
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        for _ in range(_ATTEMPTS):
            etag = self._fetcher.put(path, body, self._under_way)
            vouched = MD5_ETAG.fullmatch(etag or "")
            if (vouched and vouched[1] == md5) or self._is_there(path, body):
                return
        raise OSError(errno.EREMOTEIO, f"{path} is not what was written")

    def remove(self, name: str) -> None:
        """Remove an object. Raises OSError with a code and the reason."""
        with contextlib.suppress(FileNotFoundError):
            self._fetcher.delete(self.prefix / name)

    def cancel(self) -> None:
        """End the requests that are under way: each raises OSError (ECANCELED)."""
        for future in list(self._under_way):
            future.cancel()

    def _is_there(self, path: StorePath, body: bytes) -> bool:
        try:
            fetched = self._fetcher.fetch(path, 0, len(body), self._under_way)
        except ValueError:
            return False
        return fetched.size == len(body) and b"".join(fetched.pieces) == body


def write_file(file: Path, pieces: Sequence[Buffer]) -> None:
    """Write a file under a temporary name, make it durable, and give it its name.

    Raises OSError, and then leaves no file, or the one that was there before.
    """
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as out:
            for piece in pieces:
                out.write(piece)
        replace_durably(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
