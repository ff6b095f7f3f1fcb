"""Pillow's limits and warnings, which are settings of the whole process."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

from dl2cli_native import _core


class _PillowSettings:
    """Settings of the whole process, which several threads may ask for at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []  # of those who are within `pillow_limits`
        self._restore = contextlib.ExitStack()

    def enter(self, max_pixels: int) -> None:
        with self._lock:
            if not self._limits:
                self._restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                self._restore.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._limits.append(max_pixels)
            Image.MAX_IMAGE_PIXELS = max(self._limits)

    def leave(self, max_pixels: int) -> None:
        with self._lock:
            self._limits.remove(max_pixels)
            if self._limits:
                Image.MAX_IMAGE_PIXELS = max(self._limits)
            else:
                self._restore.close()


_pillow_settings = _PillowSettings()


@contextlib.contextmanager
def pillow_limits(limits: _core.Limits) -> Iterator[None]:
    """Make Pillow refuse only what dl2 refuses, and keep it from warning about odd but sound files.

    Both are settings of the whole process. Threads may be within at the same time: the largest of
    their limits holds, and `read_image` checks each one's own.
    """
    # Pillow refuses an image of twice as many pixels, before we can.
    _pillow_settings.enter(limits.max_pixels)
    try:
        yield
    finally:
        _pillow_settings.leave(limits.max_pixels)
