"""Converting a dataset on several machines: in parts, or as the tasks of a Dask cluster."""
