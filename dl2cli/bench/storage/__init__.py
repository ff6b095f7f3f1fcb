"""Storage as a dataset's files see it: page cache, block device, and timed reads."""
