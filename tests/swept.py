"""Points of an experiment, and their rows, one by one: what a sweep is held against."""

from nmsim.pattern import Pattern
from nmsim.recipes.recipe import load_recipe
from nmsim.run.experiment import planned
from nmsim.run.point import rows

__all__ = ["point_rows", "points_of"]


def points_of(experiment):
    """The points of an experiment, in order."""
    plan = planned(experiment)
    return [plan.point(place) for place in plan.places]


def point_rows(point):
    """The rows of a point that is run alone, each with what a sweep tells the point by."""
    own = {
        "model": point.workload.name,
        "recipe": load_recipe(point.recipe).name,
        "pattern": str(Pattern.parse(point.pattern)),
        "batch": point.samples,
        "fidelity": point.fidelity,
        "seed": point.seed,
    }
    return [{**own, **row} for row in rows(point)]
