"""The connection to a store (obstore), one request, and what a failed one means.

obstore retries on its own; it is told not to. Ours are counted, wait with jitter, keep to a share
of all requests, and never go on in the middle of a body: a body that breaks off is asked for anew.
"""

from __future__ import annotations

import datetime
import errno
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dl2cli.errors import MissingDependency, UsageError
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STATUS: Final = re.compile(r"status code: (\d{3})([^:\n]*)")
_PASSING_STATUS: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_DENIED: Final = (401, 403)
_NOT_FOUND: Final = 404
_UNSATISFIABLE: Final = 416
_MAX_REASON: Final = 240  # characters
_WORDS: Final = (
    ("request or response body error", "the answer broke off"),
    ("error sending request", "there was no answer"),
    ("Range request not supported", "the server does not serve parts of files (range requests)"),
    ("redirect without LOCATION", "the bucket is in another region (AWS_REGION names it)"),
)


@dataclass(frozen=True)
class Answer:
    """A body that came whole.

    Attributes:
        body: its bytes.
        size: the size of the whole object in bytes.
        etag: names the version of the object; None if the server gives none.
    """

    body: Buffer
    size: int
    etag: str | None


@dataclass(frozen=True)
class ByteRange:
    """What one request asks for: bytes [begin, end) of an object.

    Attributes:
        begin: the first byte.
        end: the byte behind the last.
        whole: whether an object that ends before `end` is an error.
        etag: the version that the caller has, and does not want again; None for any.
    """

    begin: int
    end: int
    whole: bool = True
    etag: str | None = None


class RequestError(Exception):
    """A request that failed.

    Attributes:
        reason: why, in words.
        passing: whether the same request may succeed later.
        code: the errno that says whose fault it is.
    """

    def __init__(self, reason: str, *, passing: bool, code: int = errno.EREMOTEIO) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing
        self.code = code


class NotModified(Exception):  # noqa: N818 - no error
    """The object is still the version that the caller has."""


class ShortObject(Exception):  # noqa: N818 - `fetch` turns it into an error
    """The object ends before the range that was asked for."""


class Client:
    """An open store: a bucket or a server. Made once for each in a process."""

    def __init__(self, root: str, options: StoreOptions) -> None:
        """Open it; no request is made.

        Args:
            root: the URL of the bucket or server, such as `s3://bucket`.
            options: the timeouts.

        Raises:
            MissingDependency: obstore is not installed.
            UsageError: the URL or the environment says what obstore does not take.
        """
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise MissingDependency("obstore", "object-stores") from None

        self._get: Any = obstore.get_async
        self._put: Any = obstore.put_async
        self._delete: Any = obstore.delete_async
        settings: Any = {
            "connect_timeout": datetime.timedelta(seconds=options.connect_timeout_s),
            "read_timeout": datetime.timedelta(seconds=options.read_timeout_s),
            "timeout": datetime.timedelta(seconds=options.request_timeout_s),
        }
        if root.startswith("http://") or _allows_http():
            settings["allow_http"] = True
        once: Any = {"max_retries": 0, "retry_timeout": datetime.timedelta(seconds=0)}
        try:
            self._store: Any = from_url(root, client_options=settings, retry_config=once)
        except Exception as error:
            raise UsageError(f"{root} cannot be opened: {reason_of(error)}.") from error

    async def get(self, key: str, part: ByteRange) -> Answer:
        """Make one GET request for a range of an object.

        Raises:
            NotModified: the object is the version `part.etag`.
            ShortObject: the object is shorter than `part.end`, or empty.
            RequestError: anything else.
        """
        options: dict[str, Any] = {"range": (part.begin, part.end)}
        if part.etag is not None:
            options["if_none_match"] = part.etag
        try:
            result = await self._get(self._store, key, options=options)
            size, etag = result.meta["size"], result.meta["e_tag"]
            given = tuple(result.range)
            body = b"" if part.whole and size < part.end else await result.bytes_async()
        except Exception as error:
            raise _failure(error) from error
        if part.whole and size < part.end:
            raise ShortObject(f"it has {size:,} bytes, too few for {part.begin:,} to {part.end:,}")
        end = min(part.end, size)
        if given != (part.begin, end) or len(body) != end - part.begin:
            reason = f"the answer has {len(body):,} bytes of the range {given}"
            raise RequestError(reason, passing=True)
        return Answer(body, size, etag)

    async def put(self, key: str, body: bytes) -> str | None:
        """Write an object in one request; returns its etag. Raises RequestError."""
        try:
            result = await self._put(self._store, key, body, use_multipart=False)
        except Exception as error:
            raise _failure(error) from error
        etag: str | None = result["e_tag"]
        return etag

    async def delete(self, key: str) -> None:
        """Remove an object. Raises RequestError."""
        try:
            await self._delete(self._store, key)
        except Exception as error:
            raise _failure(error) from error


def split_root(path: StorePath) -> tuple[str, str]:
    """Return the URL of the bucket or server that a place is in, and the place's key in it."""
    scheme, _, rest = path.url.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def _allows_http() -> bool:
    """Tell whether an endpoint without TLS is named or allowed, as local servers need it."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return any(os.environ.get(name, "").startswith("http://") for name in names)


def _failure(error: Exception) -> Exception:
    """Return what a failure of obstore means."""
    import obstore.exceptions as known

    reason = reason_of(error)
    if isinstance(error, known.NotModifiedError):
        return NotModified()
    found = _STATUS.search(str(error))
    status = int(found[1]) if found else None
    if isinstance(error, FileNotFoundError | known.NotFoundError) or status == _NOT_FOUND:
        return RequestError("there is no such object", passing=False, code=errno.ENOENT)
    if status == _UNSATISFIABLE:
        return ShortObject("it ends before that")
    if found and status is not None:
        code = errno.EACCES if status in _DENIED else errno.EREMOTEIO
        reason = f"the server answered {status}{found[2].rstrip()}"
        return RequestError(reason, passing=status in _PASSING_STATUS, code=code)
    final = (known.NotSupportedError, known.InvalidPathError, known.PreconditionError)
    denied = (known.PermissionDeniedError, known.UnauthenticatedError)
    lasting = isinstance(error, (*final, *denied)) or "LOCATION" in str(error)
    return RequestError(reason, passing=not lasting)


def reason_of(error: BaseException) -> str:
    """Say in one line, and without ": ", what obstore reports of a failure."""
    text, _, debug = str(error).partition("\n\nDebug source:")
    for pattern, words in _WORDS:
        if re.search(pattern, text):
            text = words
            break
    causes = re.findall(r'(?:message|error|source): "([^"]+)"', debug)
    if "TimedOut" in debug or "Elapsed" in debug:
        text += " (it took too long)"
    elif causes:
        text += f" ({causes[-1]})"
    text = re.sub(r"Error performing (\w+) \S+ in \S+ - |^Generic \w+ error: ", "", text.strip())
    return re.sub(r":?\s+", lambda m: ", " if ":" in m[0] else " ", text)[:_MAX_REASON].rstrip(" .")
