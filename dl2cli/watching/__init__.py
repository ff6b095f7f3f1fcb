"""Watch any loader in a training loop of your own: `for batch in dl2cli.watch(loader)`."""

from dl2cli.watching.account import EpochSummary
from dl2cli.watching.loader import Watched, WatchedLoader, watch

__all__ = ["EpochSummary", "Watched", "WatchedLoader", "watch"]
