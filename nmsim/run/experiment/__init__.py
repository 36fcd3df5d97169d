"""Experiments: what a sweep varies, from the text of its file to the points that it runs."""

from nmsim.run.experiment.plan import Place, Plan, planned
from nmsim.run.experiment.schema import (
    KEEPS,
    Experiment,
    Keep,
    point_of,
    read_experiment,
    with_keywords,
)

__all__ = [
    "KEEPS",
    "Experiment",
    "Keep",
    "Place",
    "Plan",
    "planned",
    "point_of",
    "read_experiment",
    "with_keywords",
]
