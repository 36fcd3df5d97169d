"""How many rows a run has, before it is run: for who shows how far it is."""

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from nmsim.recipes.recipe import load_recipe
from nmsim.run.point import Point

__all__ = ["how_many"]


def how_many(point: Point) -> int:
    """The number of rows of ``nmsim.run.point.rows``: what runs is listed, no mask is made.

    Raises
    ------
    NmsimError
        as the run itself would.
    """
    workload = point.workload
    if workload.trace is not None:
        gemms = (work.gemm for work in workload.trace.gemms)
        return sum(one.phase in point.wanted and _named(point, one.layer) for one in gemms)
    return sum(1 for _ in _drawn(point).works(workload))


def _named(point: Point, layer: str) -> bool:
    return fnmatchcase(layer, point.layers)


def _drawn(point: Point) -> Point:
    """The point with tensors that need not be read."""
    if point.tensors is None:
        return point
    own: dict[str, Any] = {"recipe": "dense"} if load_recipe(point.recipe).brought else {}
    return replace(point, tensors=None, tensor_names=(), **own)
