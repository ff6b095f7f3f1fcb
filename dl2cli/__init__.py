"""dl2: find out what a vision model's data path costs, and train with as few bytes as it can bear.

In a training loop of your own: `for batch in dl2cli.watch(loader): ...` (watching/).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dl2cli.watching import watch as watch

    __version__: str


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Return `watch` or `__version__`: both are looked up late, because that costs time."""
    if name == "watch":
        from importlib import import_module

        # By its name only: the rooms below that import this package do not know it.
        return import_module("dl2cli.watching").watch
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dl2cli")
    except PackageNotFoundError:  # the source tree without an installation
        return "0+unknown"
