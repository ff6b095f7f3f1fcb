"""Loaders behind one contract: `create_loader(name, config)` gives one, `LOADERS` names them."""

from dl2cli.loaders.base import Batch, Loader, LoaderConfig, LoaderStats
from dl2cli.loaders.factory import LOADERS, create_loader, create_validation_loader
from dl2cli.loaders.throttle import Throttle
from dl2cli.loaders.transform import OutputConfig, TransformConfig

__all__ = [
    "LOADERS",
    "Batch",
    "Loader",
    "LoaderConfig",
    "LoaderStats",
    "OutputConfig",
    "Throttle",
    "TransformConfig",
    "create_loader",
    "create_validation_loader",
]
