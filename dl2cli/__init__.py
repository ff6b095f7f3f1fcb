"""dl2: what a vision model's data path costs, and how few bytes it can bear."""


def __getattr__(name: str) -> str:
    """Return `__version__`; it is looked up late, because that costs more than the whole import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dl2cli")
    except PackageNotFoundError:  # the source tree without an installation
        return "0+unknown"
