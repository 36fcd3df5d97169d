"""Other machines that run a sweep's points: a Dask cluster as an executor (extra ``cluster``)."""
