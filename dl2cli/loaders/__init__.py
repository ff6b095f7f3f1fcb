"""Loaders behind one contract: `create_loader(name, config)` gives one, `LOADERS` names them."""

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

__all__ = [
    "LOADERS",
    "Batch",
    "Loader",
    "LoaderConfig",
    "LoaderStats",
    "OutputConfig",
    "ScanSelecting",
    "Throttle",
    "TransformConfig",
    "check_loader",
    "create_loader",
    "create_validation_loader",
    "default_loader",
    "loaders_for",
]
