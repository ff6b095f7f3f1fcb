"""dl2: what a vision model's data path costs, and how few bytes it can bear."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dl2cli")
except PackageNotFoundError:  # the source tree without an installation
    __version__ = "0+unknown"
