"""A cluster whose workers are jobs of Slurm, as many as there is work for.

What a job asks for (partition, memory, time, lines of its own) stands where dask-jobqueue reads it:
``jobqueue.slurm`` in ``~/.config/dask/jobqueue.yaml``, or ``DASK_JOBQUEUE__SLURM__QUEUE=...``.

Jobs are made by the library ``dask_jobqueue`` (extra ``cluster``), so this module is imported
through ``nmsim.extras`` alone.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dask
from dask_jobqueue import SLURMCluster

from nmsim.errors import SpecError
from nmsim.run.cluster.pool import ClusterPool, connected
from nmsim.run.point import Point

__all__ = ["asked", "slurm"]

_DEFAULTS: dict[str, int | str] = {
    "cores": 1,
    "processes": 1,
    "memory": "4GiB",
    "job-name": "nmsim",
}
"""Of a job, where its user's configuration says nothing; Dask's own name of jobs says less."""


def asked() -> dict[str, int | str]:
    """What each job asks of Slurm where its user's configuration says nothing, as options."""
    said = dask.config.get("jobqueue.slurm", {})
    return {
        name.replace("-", "_"): value
        for name, value in _DEFAULTS.items()
        if said.get(name) in (None, "dask-worker")
    }


@contextmanager
def slurm(workers: int, points: Sequence[Point]) -> Iterator[ClusterPool]:
    """The pool of a cluster that has between one and so many jobs, which end with it.

    Raises
    ------
    SpecError
        if jobs cannot be submitted here.
    """
    if shutil.which("sbatch") is None:
        raise SpecError("--cluster slurm: sbatch is not found, expected a machine of Slurm's")
    try:
        cluster = SLURMCluster(**asked(), scheduler_options={"dashboard_address": None})
        cluster.adapt(minimum=1, maximum=workers)
    except (OSError, ValueError, RuntimeError) as error:
        raise SpecError(f"--cluster slurm: {error}") from error
    with cluster, connected(cluster, points, workers) as pool:
        yield pool
