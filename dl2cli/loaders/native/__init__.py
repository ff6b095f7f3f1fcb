"""The loaders `pcr` and `jpeg`, which run on the native core's threads."""
