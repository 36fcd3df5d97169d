"""Experiments: what a sweep varies, from the text of its file to the points that it runs."""

from nmsim.run.experiment.grid import point_of
from nmsim.run.experiment.plan import Place, Plan, Planner, planned
from nmsim.run.experiment.schema import (
    Experiment,
    Keep,
    read_experiment,
    with_keywords,
)
from nmsim.run.experiment.search import Judge, Search, Verdict

__all__ = [
    "Experiment",
    "Judge",
    "Keep",
    "Place",
    "Plan",
    "Planner",
    "Search",
    "Verdict",
    "planned",
    "point_of",
    "read_experiment",
    "with_keywords",
]
