"""Loaders behind one contract: `create_loader(name, config)` gives one, `LOADERS` names them.

For a DataLoader of your own there are `PcrDataset` and `RecordBatchSampler`.
"""

from typing import TYPE_CHECKING, Any

from dl2cli.loaders.base import Batch, Loader, LoaderConfig, LoaderStats, ScanSelecting
from dl2cli.loaders.registry import (
    LOADERS,
    check_loader,
    create_loader,
    create_validation_loader,
    default_loader,
    loaders_for,
)
from dl2cli.loaders.throttle import Throttle
from dl2cli.loaders.transform import OutputConfig, TransformConfig

if TYPE_CHECKING:
    from dl2cli.loaders.map_style import PcrDataset, RecordBatchSampler

__all__ = [
    "LOADERS",
    "Batch",
    "Loader",
    "LoaderConfig",
    "LoaderStats",
    "OutputConfig",
    "PcrDataset",
    "RecordBatchSampler",
    "ScanSelecting",
    "Throttle",
    "TransformConfig",
    "check_loader",
    "create_loader",
    "create_validation_loader",
    "default_loader",
    "loaders_for",
]

_NEED_TORCH = ("PcrDataset", "RecordBatchSampler")  # it takes a second to import


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what derives from torch's classes when it is asked for."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dl2cli.loaders.base import require_torch

    require_torch()
    from dl2cli.loaders import map_style

    return getattr(map_style, name)
