"""The PCR format: scan scripts, records, index, convert, read, verify."""

from dl2cli.pcr.dataset import Dataset, Record, open  # noqa: A004 - read as `pcr.open`

__all__ = ["Dataset", "Record", "open"]
